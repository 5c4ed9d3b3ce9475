//! The sessions of the server this sandbox is embedded in, so that a person scans with one click.
//!
//! The sandbox does not know the server: it asks a [`QrSource`]. A QR value is as good as the account it will be linked
//! to, so it goes from the source to the phone and is never shown.

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::error::ApiError;
use super::routes::AppState;

/// Where the sandbox finds sessions that wait for a phone.
#[async_trait]
pub trait QrSource: Send + Sync {
    /// The names of the sessions that show a QR now.
    async fn waiting(&self) -> Vec<String>;

    /// The text of a session's current QR, waited for while the session is about to show one; `None` where it will not.
    async fn qr(&self, session: &str) -> Option<String>;
}

/// What `GET /admin/sessions` answers.
#[derive(Serialize)]
pub(crate) struct SessionList {
    /// Whether there is a server whose sessions can be listed.
    attached: bool,
    /// The sessions that wait for a scan.
    sessions: Vec<SessionView>,
}

#[derive(Serialize)]
struct SessionView {
    name: String,
}

/// Lists the sessions that wait for a scan, without their QR.
pub(crate) async fn list_sessions(State(state): State<AppState>) -> Json<SessionList> {
    let Some(source) = &state.qr_source else {
        return Json(SessionList {
            attached: false,
            sessions: Vec::new(),
        });
    };
    let waiting = source.waiting().await;
    let sessions = waiting.into_iter().map(|name| SessionView { name }).collect();
    Json(SessionList {
        attached: true,
        sessions,
    })
}

/// The current QR of a waiting session.
pub(crate) async fn qr_of(state: &AppState, name: &str) -> Result<String, ApiError> {
    let Some(source) = &state.qr_source else {
        return Err(ApiError::conflict(
            "this sandbox runs on its own and knows no sessions; pass the qr itself",
        ));
    };
    let qr = source.qr(name).await;
    qr.ok_or_else(|| ApiError::not_found(format!("no session {name} waits for a scan")))
}
