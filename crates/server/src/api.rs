//! The HTTP API: one file per tag, and what they have in common.
//!
//! A handler gets what it may use from an extractor that has authorized the caller ([`extract`]); errors become WAHA's
//! bodies in [`error`]. JSON shapes live here and in the event catalog only.

mod address;
mod attempts;
mod auth;
mod chats;
mod chatting;
pub(crate) mod dialect;
mod error;
mod events;
mod extract;
mod files;
mod headers;
mod keys;
mod media;
mod metrics;
mod not_built;
mod observability;
mod openapi;
mod pairing;
mod passkey;
mod policy;
mod refusals;
mod sending;
mod sessions;
mod swagger;
mod target;
mod upload;
mod webhooks;

pub(crate) use attempts::Attempts;
pub(crate) use metrics::HttpMetrics;
pub use openapi::openapi;
pub(crate) use webhooks::Replays;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::{HeaderMap, Method};
use axum::routing::get;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use wharf_core::clock::Clock;
use wharf_core::random::Random;
use wharf_core::store::Storage;

use crate::config::Config;
use crate::egress::Egress;
use crate::events::{Delivery, EventLog};
use crate::keys::Keys;
use crate::link_preview::LinkPreviews;
use crate::media::{Files, Library};
use crate::metrics::Metrics;
use crate::sessions::Registry;
use error::ApiError;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState(pub(crate) Arc<App>);

/// What handlers work with.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) attempts: Attempts,
    pub(crate) replays: Replays,
    pub(crate) events: Arc<EventLog>,
    pub(crate) egress: Arc<Egress>,
    pub(crate) files: Arc<Files>,
    pub(crate) previews: LinkPreviews,
    pub(crate) library: Arc<Library>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) started_at: Timestamp,
    pub(crate) metrics: Metrics,
    /// Owns the websockets.
    pub(crate) sockets: TaskTracker,
    /// Owns what is told in event streams.
    pub(crate) streams: TaskTracker,
    /// Ends the websockets and streams when the server stops.
    pub(crate) stop: CancellationToken,
}

impl std::ops::Deref for AppState {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

/// Every operation that is built.
fn operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(keys::router())
        .merge(sessions::router())
        .merge(pairing::router())
        .merge(chatting::router())
        .merge(chats::router())
        .merge(events::router())
        .merge(webhooks::router())
        .merge(media::router())
        .merge(files::router())
        .merge(observability::router())
        .merge(metrics::router())
}

/// The whole HTTP interface.
pub(crate) fn router(state: AppState) -> Router {
    let (router, document) = operations().split_for_parts();
    let pages = swagger::Pages::new(openapi::completed(document), &state.config);
    router
        .merge(not_built::router())
        .route("/ws", get(events::open_websocket))
        .fallback(move |method: Method, uri: OriginalUri, headers: HeaderMap| async move {
            pages.serve(&method, uri.path(), &headers)
        })
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(state.config.files.body_bytes_max))
        .layer(axum::middleware::from_fn_with_state(state.clone(), headers::set))
        .with_state(state)
}

async fn no_route(method: Method, uri: OriginalUri) -> ApiError {
    ApiError::no_route(&method, uri.path())
}
