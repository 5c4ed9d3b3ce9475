//! What is counted of requests, and the operation that shows all numbers of this server.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::ApiError;
use crate::keys::Caller;
use crate::metrics::{self, Scrape};

/// The upper ends of the buckets for requests, in seconds: from what is in memory to a send that waits for its session.
const REQUEST_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// What stands for every path that is none of our routes.
const NO_ROUTE: &str = "none";

/// The longest that the store may take to tell what is in the outbox.
const STORE_WITHIN: Duration = Duration::from_secs(2);
/// The newer format, and how scrapers name it that ask for it.
const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// The older format, for all others.
const PLAIN_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The counters of requests.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) durations: Family<Operation, Histogram, Buckets>,
}

/// Makes the histogram of an operation.
#[derive(Debug, Clone)]
pub(crate) struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(REQUEST_SECONDS)
    }
}

/// Which operation: the template of its path, never the path itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Operation {
    method: &'static str,
    route: String,
}

/// Which operation, and what it answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// The routes of this file.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_metrics))
}

/// Get all counters of the server, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "🔍 Observability",
    responses((
        status = 200, description = "The counters",
        content((String = "text/plain"), (String = "application/openmetrics-text"))
    )),
    security(("api_key" = ["admin"]))
)]
async fn get_metrics(State(state): State<AppState>, _caller: Caller, headers: HeaderMap) -> Result<Response, ApiError> {
    let (oldest_due, dead) = outbox(&state).await;
    let scrape = Scrape {
        statuses: state.registry.statuses(),
        websockets: state.sockets.len(),
        streams: state.streams.len(),
        oldest_due,
        dead,
        disabled: state.events.endpoints().disabled(),
    };
    let page = state
        .metrics
        .text(&scrape)
        .map_err(|error| ApiError::Internal(error.into()))?;
    let asked = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, page) = match asked.is_some_and(|asked| asked.contains(OPEN_METRICS)) {
        true => (OPEN_METRICS_TYPE, page),
        false => (PLAIN_TYPE, metrics::plain(&page)),
    };
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

/// For how many seconds the oldest delivery is due, and how many are dead. The other numbers are shown also where the store does
/// not say: that is when they are needed.
async fn outbox(state: &AppState) -> (Option<f64>, Option<u64>) {
    let asked = async { tokio::join!(state.delivery.oldest(), state.delivery.dead_count()) };
    let answers = match timeout(STORE_WITHIN, asked).await {
        Ok((Ok(oldest), Ok(dead))) => Some((oldest, dead)),
        Ok((Err(error), _) | (_, Err(error))) => {
            tracing::warn!(%error, "the outbox cannot be read for the metrics");
            None
        }
        Err(_) => {
            tracing::warn!("reading the outbox for the metrics takes too long");
            None
        }
    };
    let now = state.clock.now();
    let waits = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
    let oldest = answers.map(|(oldest, _)| oldest.map_or(0.0, waits));
    (oldest, answers.map(|(_, dead)| dead))
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(Buckets),
        }
    }
}

impl HttpMetrics {
    /// A request was answered.
    pub(super) fn answered(&self, operation: Operation, status: StatusCode, took: Duration) {
        self.durations.get_or_create(&operation).observe(took.as_secs_f64());
        let Operation { method, route } = operation;
        let status = status_class(status);
        self.requests
            .get_or_create(&RequestLabels { method, route, status })
            .inc();
    }
}

impl Operation {
    /// What a request asks for.
    pub(super) fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        Self {
            method: known(request.method()),
            route: route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned(),
        }
    }
}

/// A caller can make up methods.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
