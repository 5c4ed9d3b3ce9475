//! `/hook`: stores webhook requests and reads them back.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json as Answer, Router};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::extract::{Path, Poll, Query};
use super::routes::AppState;
use crate::hooks::{HookPage, HookRequest, HookSummary};

/// The largest webhook body, in bytes.
const HOOK_BODY_BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/hook", get(list_hooks))
        .route(
            "/hook/{name}",
            get(read_hook)
                .post(store_request)
                .put(store_request)
                .patch(store_request),
        )
        .layer(DefaultBodyLimit::max(HOOK_BODY_BYTES_MAX))
}

async fn list_hooks(State(state): State<AppState>) -> Answer<Vec<HookSummary>> {
    Answer(state.hooks.list())
}

/// What a webhook's sender is told.
#[derive(Serialize)]
struct Stored {
    cursor: u64,
}

/// Takes any content type: judging the request is the reader's business.
async fn store_request(
    State(state): State<AppState>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<(StatusCode, Answer<Stored>), ApiError> {
    let method = request.method().to_string();
    let headers = readable_headers(request.headers());
    let body = Bytes::from_request(request, &()).await?;
    let stored = HookRequest {
        method,
        query: query.unwrap_or_default(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        received_at: state.env.clock.now_ms(),
    };
    let cursor = state.hooks.store(&name, stored)?;
    Ok((StatusCode::OK, Answer(Stored { cursor })))
}

/// A name that nobody posted to yet is an empty page: waiting for its first request is the usual case.
async fn read_hook(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Query(poll): Query<Poll>,
) -> Result<Answer<HookPage>, ApiError> {
    let deadline = Instant::now() + poll.wait();
    let mut changed = state.hooks.changed();
    loop {
        changed.mark_unchanged();
        let page = state.hooks.read(&name, poll.after)?;
        if !page.entries.is_empty() {
            return Ok(Answer(page));
        }
        let change = async {
            tokio::select! {
                changed = changed.changed() => changed.is_ok(),
                () = state.stop.cancelled() => false,
            }
        };
        if !timeout_at(deadline, change).await.unwrap_or(false) {
            return Ok(Answer(page));
        }
    }
}

fn readable_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut readable = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        readable
            .entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    readable
}
