//! What every answer carries: an id to find it in the log, CORS as WAHA has it, and no guessing of content types. And the
//! line in the log that each request gets.
//!
//! A server that needs no key lets pages of other sites read nothing.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::{Instrument, Level};

use super::AppState;
use super::auth;
use super::metrics::Operation;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Random bytes in a request id.
const REQUEST_ID_BYTES: usize = 8;
/// What a preflight allows, as in WAHA.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");

/// How JSON is called, and how WAHA calls it.
const JSON: (&str, HeaderValue) = (
    "application/json",
    HeaderValue::from_static("application/json; charset=utf-8"),
);

/// Answers preflights and adds the headers.
pub(super) async fn set(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let id = hex::encode(state.random.bytes::<REQUEST_ID_BYTES>());
    let (began, operation) = (Instant::now(), Operation::of(&request));
    // Of the highest level, so that every line of the request has it. The path without the query: that may carry a key.
    let span = tracing::error_span!("request", id, method = %request.method(), path = request.uri().path());
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_unwelcome = state.config.auth.no_key && auth::is_foreign_page(&state.config.http, request.headers());
    let mut response = match is_preflight {
        true if is_unwelcome => StatusCode::FORBIDDEN.into_response(),
        true => preflight(&request),
        false => next.run(request).instrument(span.clone()).await,
    };
    let (status, took) = (response.status(), began.elapsed());
    state.metrics.http.answered(operation, status, took);
    if let Some(level) = state.config.logging.http_level {
        span.in_scope(|| log(level, status, took));
    }
    let headers = response.headers_mut();
    if !is_unwelcome {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == JSON.0) {
        headers.insert(header::CONTENT_TYPE, JSON.1);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The line in the log that each request gets, at the level that is set.
fn log(level: Level, status: StatusCode, took: Duration) {
    const MESSAGE: &str = "request completed";
    let (status, took_ms) = (status.as_u16(), took.as_secs_f64() * 1_000.0);
    match level {
        Level::ERROR => tracing::error!(status, took_ms, "{MESSAGE}"),
        Level::WARN => tracing::warn!(status, took_ms, "{MESSAGE}"),
        Level::INFO => tracing::info!(status, took_ms, "{MESSAGE}"),
        Level::DEBUG => tracing::debug!(status, took_ms, "{MESSAGE}"),
        Level::TRACE => tracing::trace!(status, took_ms, "{MESSAGE}"),
    }
}

fn preflight(request: &Request) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    if let Some(asked) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    response
}
