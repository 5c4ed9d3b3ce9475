//! The HTTP API: one file per tag, and what they have in common.
//!
//! A handler gets what it may use from an extractor that has authorized the caller ([`extract`]); errors become WAHA's
//! bodies in [`error`]. JSON shapes live here and in the event catalog only.

mod auth;
mod chatting;
pub(crate) mod dialect;
mod error;
mod extract;
mod headers;
mod not_built;
mod observability;
mod openapi;
mod pairing;
mod passkey;
mod refusals;
mod sessions;
mod swagger;

pub use openapi::openapi;

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, OriginalUri, RawQuery, State, WebSocketUpgrade};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use wharf_core::clock::Clock;
use wharf_core::random::Random;
use wharf_core::store::Storage;

use crate::config::Config;
use crate::events::{EventLog, websocket};
use crate::sessions::Registry;
use auth::Authorized;
use error::ApiError;

/// The largest body that is read, as in WAHA.
const BODY_BYTES_MAX: usize = 50 * 1024 * 1024;

/// Websockets at the same time.
const SOCKETS_MAX: usize = 1_024;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState(pub(crate) Arc<App>);

/// What handlers work with.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<EventLog>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) started_at: Timestamp,
    /// Owns the websockets.
    pub(crate) sockets: TaskTracker,
    /// Ends the websockets when the server stops.
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
        .merge(sessions::router())
        .merge(pairing::router())
        .merge(chatting::router())
        .merge(observability::router())
}

/// The whole HTTP interface.
pub(crate) fn router(state: AppState) -> Router {
    let (router, document) = operations().split_for_parts();
    let pages = swagger::Pages::new(refusals::declare(document), &state.config);
    router
        .merge(not_built::router())
        .route("/ws", get(open_websocket))
        .fallback(move |method: Method, uri: OriginalUri, headers: HeaderMap| async move {
            pages.serve(&method, uri.path(), &headers)
        })
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(state.clone(), headers::set))
        .with_state(state)
}

async fn no_route(method: Method, uri: OriginalUri) -> ApiError {
    ApiError::no_route(&method, uri.path())
}

/// The websocket; its filters are checked after the handshake, because a browser cannot read the body of a refusal.
async fn open_websocket(
    State(state): State<AppState>,
    _caller: Authorized,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(error) => {
            return ApiError::Unreadable(format!("/ws is a websocket: {}", error.body_text())).into_response();
        }
    };
    if state.sockets.len() >= SOCKETS_MAX {
        return ApiError::Unavailable(format!("there are {SOCKETS_MAX} websockets, close one first")).into_response();
    }
    let (log, stop) = (Arc::clone(&state.events), state.stop.clone());
    let running = state.sockets.token();
    upgrade.on_upgrade(async move |socket| {
        websocket::serve(socket, query.unwrap_or_default(), log, stop).await;
        drop(running);
    })
}
