//! `/admin` for the network as a whole: faults, killed connections, metrics, reset, changes, the certificate authority.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json as Answer, Router};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::extract::{Json, Path, Poll, Query};
use super::routes::AppState;
use super::sessions;
use crate::faults::Fault;
use crate::metrics::Metrics;
use crate::views::KillMode;

/// Where clients learn whom our media hosts are certified by.
pub(crate) const AUTHORITY_PATH: &str = "/admin/ca.pem";

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/devices/{jid}/kill", post(kill_device))
        .route("/admin/kill", post(kill_all))
        .route("/admin/outage", post(set_outage))
        .route("/admin/faults", get(list_faults).post(set_faults))
        .route("/admin/noise/rotate", post(rotate_noise_key))
        .route("/admin/metrics", get(get_metrics))
        .route("/admin/reset", post(reset))
        .route("/admin/sessions", get(sessions::list_sessions))
        .route("/admin/changes", get(wait_for_changes))
        .route(AUTHORITY_PATH, get(get_authority))
}

async fn kill_device(
    State(state): State<AppState>,
    Path(jid): Path<String>,
    Json(mode): Json<KillMode>,
) -> Result<StatusCode, ApiError> {
    state.sandbox.kill(&jid, mode).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many connections were ended.
#[derive(Serialize)]
struct Killed {
    killed: usize,
}

async fn kill_all(State(state): State<AppState>, Json(mode): Json<KillMode>) -> Answer<Killed> {
    let killed = state.sandbox.kill_all(mode);
    Answer(Killed { killed })
}

/// Whether the network is out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outage {
    on: bool,
}

async fn set_outage(State(state): State<AppState>, Json(outage): Json<Outage>) -> StatusCode {
    state.sandbox.set_outage(outage.on);
    StatusCode::NO_CONTENT
}

/// The list of faults, in and out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    faults: Vec<Fault>,
}

async fn list_faults(State(state): State<AppState>) -> Answer<Faults> {
    Answer(Faults {
        faults: state.sandbox.faults(),
    })
}

/// Replaces all faults.
async fn set_faults(State(state): State<AppState>, Json(request): Json<Faults>) -> Result<Answer<Faults>, ApiError> {
    state.sandbox.set_faults(request.faults)?;
    Ok(Answer(Faults {
        faults: state.sandbox.faults(),
    }))
}

async fn rotate_noise_key(State(state): State<AppState>) -> StatusCode {
    state.sandbox.rotate_noise_key();
    StatusCode::NO_CONTENT
}

async fn get_metrics(State(state): State<AppState>) -> Answer<Metrics> {
    Answer(state.sandbox.metrics())
}

/// Back to the fresh network; the webhook inbox is emptied too.
async fn reset(State(state): State<AppState>) -> StatusCode {
    state.sandbox.reset().await;
    state.resets.fetch_add(1, Ordering::Relaxed);
    state.hooks.clear();
    StatusCode::NO_CONTENT
}

/// How often each part changed since the start; the page reloads the parts whose count moved.
#[derive(Serialize)]
struct Changes {
    /// Pass it as `after` to wait for the next change.
    next: u64,
    /// Changes of phones, chats and devices.
    network: u64,
    /// Changes of the webhook inbox.
    webhooks: u64,
    /// Resets since the start: after one, all cursors begin anew.
    resets: u64,
}

/// Answers as soon as the counts differ from `after`: also at once when the server was restarted and counts anew.
async fn wait_for_changes(State(state): State<AppState>, Query(poll): Query<Poll>) -> Answer<Changes> {
    let deadline = Instant::now() + poll.wait();
    let mut network = state.sandbox.changed();
    let mut webhooks = state.hooks.changed();
    loop {
        let (network_ticks, webhook_ticks) = (*network.borrow_and_update(), *webhooks.borrow_and_update());
        let changes = Changes {
            next: network_ticks + webhook_ticks,
            network: network_ticks,
            webhooks: webhook_ticks,
            resets: state.resets.load(Ordering::Relaxed),
        };
        if changes.next != poll.after || state.stop.is_cancelled() {
            return Answer(changes);
        }
        let change = async {
            tokio::select! {
                changed = network.changed() => changed.is_ok(),
                changed = webhooks.changed() => changed.is_ok(),
                () = state.stop.cancelled() => false,
            }
        };
        if !timeout_at(deadline, change).await.unwrap_or(false) {
            return Answer(changes);
        }
    }
}

async fn get_authority(State(state): State<AppState>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"wharf-sandbox-ca.pem\"",
        ),
    ];
    (headers, state.authority_pem.clone())
}
