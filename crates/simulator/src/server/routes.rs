//! Which routes each listener has, and what they share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::http::header::{self, HeaderName};
use axum::middleware;
use axum::response::Response;
use axum::routing::any;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{self, Access};
use super::error::ApiError;
use super::sessions::QrSource;
use super::{linking, media, messages, network, page, phones, traffic, webhooks, websocket};
use crate::clock::Env;
use crate::hooks::HookInbox;
use crate::sandbox::Sandbox;

/// The largest body of most control requests, in bytes: the longest text in the widest JSON escapes fits.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// What the routes work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Parts>);

/// See [`AppState`].
pub(crate) struct Parts {
    pub(crate) sandbox: Sandbox,
    pub(crate) hooks: HookInbox,
    pub(crate) qr_source: Option<Arc<dyn QrSource>>,
    pub(crate) env: Env,
    pub(crate) authority_pem: String,
    /// The port of the TLS listener.
    pub(crate) tls_port: u16,
    /// Cancelled when the server stops: whoever waits answers at once.
    pub(crate) stop: CancellationToken,
    /// How often the sandbox was reset.
    pub(crate) resets: AtomicU64,
    /// Owns every task of the server.
    pub(crate) tasks: TaskTracker,
}

impl AppState {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Everything: websocket, control API, webhook inbox and page.
pub(crate) fn plain(state: AppState, access: Access) -> Router {
    let routes = Router::new()
        .merge(page::router())
        .merge(phones::router())
        .merge(messages::router())
        .merge(linking::router())
        .merge(traffic::router())
        .merge(network::router())
        .merge(media::admin());
    // These bring body limits of their own, so they join after the common one.
    let routes = routes
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(messages::sending())
        .merge(webhooks::router());
    finish(routes, state, access)
}

/// Only what clients ask WhatsApp's own hosts for.
pub(crate) fn secure(state: AppState, access: Access) -> Router {
    finish(media::router(), state, access)
}

fn finish(routes: Router<AppState>, state: AppState, access: Access) -> Router {
    routes
        .route(websocket::CHAT_PATH, any(websocket::open_chat))
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(access, access::guard))
        .layer(middleware::map_response(harden))
        .with_state(state)
}

/// Headers that keep a browser from lending our answers to other pages.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
