//! A session as the API shows it.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::session::{Me, SessionStatus};

use super::App;
use crate::api::AppState;
use crate::keys::{Action, Caller};
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

/// The configuration of a session as far as it is this caller's to see: who may not change it sees no secret of it, and who may
/// not read sees nothing.
pub(super) fn visible_config(config: &SessionConfig, caller: &Caller) -> SessionConfig {
    match (caller.may(Action::Read), caller.may(Action::Setting)) {
        (false, _) => SessionConfig::default(),
        (true, false) => config.without_secrets(),
        (true, true) => config.clone(),
    }
}

/// A session as it is now, as far as it is this caller's to see; with its apps, if the query asks for them.
pub(super) fn info(session: &Arc<Session>, caller: &Caller, state: &AppState, query: Option<&str>) -> SessionInfo {
    let view = session.view();
    let expands_apps = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "expand" && value.split(',').any(|part| part == "apps"));
    let runs = view.status != SessionStatus::Stopped;
    SessionInfo {
        name: session.name().to_string(),
        status: view.status,
        config: visible_config(&view.config, caller),
        me: view.me.filter(|_| caller.may(Action::Read)),
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
