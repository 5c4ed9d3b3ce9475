//! A session as the API shows it.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::session::{Me, SessionStatus};

use super::App;
use crate::api::AppState;
use crate::sessions::{Session, SessionConfig};

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionInfo {
    /// Its name.
    name: String,
    /// Where it stands.
    pub(super) status: SessionStatus,
    /// Its configuration.
    config: SessionConfig,
    /// Whose account it is linked to.
    me: Option<Me>,
    /// Whether the account is shown as online; `null` while nothing was said.
    #[schema(inline)]
    presence: Option<Presence>,
    /// When what happened.
    timestamps: SessionTimestamps,
    /// The process that runs it.
    assigned_worker: String,
    /// The engine that runs it; empty while it does not run.
    engine: SessionEngine,
    /// Its apps, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    apps: Option<Vec<App>>,
}

/// Whether an account is shown as online.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Presence {
    /// It is; its phone gets no notifications meanwhile.
    Online,
    /// It is not.
    Offline,
}

/// When what happened to a session.
#[derive(Debug, Serialize, ToSchema)]
struct SessionTimestamps {
    /// The last message, in milliseconds since 1970.
    activity: Option<i64>,
}

/// The engine of a session.
#[derive(Debug, Serialize, ToSchema)]
struct SessionEngine {
    /// The WAHA engine whose answers are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
}

impl SessionInfo {
    /// What may be known to whoever has any key of the session: that it is there, and how it is.
    pub(super) fn without_details(self) -> Self {
        Self {
            config: SessionConfig::default(),
            me: None,
            ..self
        }
    }
}

/// A session as it is now; with its apps, if the query asks for them.
pub(super) fn info(session: &Arc<Session>, state: &AppState, query: Option<&str>) -> SessionInfo {
    let view = session.view();
    let expands_apps = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "expand" && value.split(',').any(|part| part == "apps"));
    let runs = view.status != SessionStatus::Stopped;
    SessionInfo {
        name: session.name().to_string(),
        status: view.status,
        config: view.config.as_ref().clone(),
        me: view.me,
        presence: view.online.map(|online| match online {
            true => Presence::Online,
            false => Presence::Offline,
        }),
        timestamps: SessionTimestamps {
            activity: session.activity_ms(),
        },
        assigned_worker: state.config.sessions.worker_id.clone(),
        engine: SessionEngine {
            engine: runs.then(|| state.config.engine.dialect.as_str().to_owned()),
        },
        // `accept` lets none in.
        apps: expands_apps.then(Vec::new),
    }
}
