//! WAHA's older operations with the session's name in the body: start, stop, log out.
//!
//! They did more than their names say, and still do: `start` creates, and logging out deletes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::ids::SessionName;
use wharf_core::session::SessionStatus;

use super::info::visible_config;
use super::{accept, check_name};
use crate::api::AppState;
use crate::api::auth::{require_action, require_session};
use crate::api::error::{ApiError, ApiResult};
use crate::api::extract::{Body, Input};
use crate::events::SetBy;
use crate::keys::{Action, Caller};
use crate::sessions::{Session, SessionConfig};
use crate::validate::Fields;

/// The routes of these operations.
#[expect(deprecated, reason = "for callers of the HTTP API they are")]
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(start_by_name))
        .routes(routes!(stop_by_name))
        .routes(routes!(log_out_by_name))
}

/// A session to be created or changed, and started.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SessionStartDeprecatedRequest)]
struct StartByName {
    /// Its name.
    #[schema(value_type = String, required = true)]
    name: Option<SessionName>,
    /// Its configuration; left as it is where none is given.
    config: Option<SessionConfig>,
}

/// A session to be stopped.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SessionStopDeprecatedRequest)]
struct StopByName {
    /// Its name.
    #[schema(value_type = String, required = true)]
    name: Option<SessionName>,
    /// Whether to log it out and delete it as well.
    #[schema(default = false)]
    logout: Option<bool>,
}

/// A session to be logged out and deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SessionLogoutDeprecatedRequest)]
struct LogOutByName {
    /// Its name.
    #[schema(value_type = String, required = true)]
    name: Option<SessionName>,
}

/// A session, in short.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionDTO)]
struct SessionSummary {
    /// Its name.
    name: String,
    /// Where it stands.
    status: SessionStatus,
    /// Its configuration.
    config: SessionConfig,
}

impl Body for StartByName {
    fn check(fields: &mut Fields<'_>) {
        check_name(fields);
        fields.object("config", SessionConfig::check);
    }
}

impl Body for StopByName {
    fn check(fields: &mut Fields<'_>) {
        check_name(fields);
        fields.boolean("logout");
    }
}

impl Body for LogOutByName {
    fn check(fields: &mut Fields<'_>) {
        check_name(fields);
    }
}

/// Create a session, or change it where a configuration is given, and start it. Fine where it runs. A key of a session makes
/// none, and needs the action `setting` for a configuration.
#[utoipa::path(
    post, path = "/api/sessions/start", tag = "🖥️ Sessions", request_body = StartByName,
    responses((status = 201, description = "The session", body = SessionSummary)),
    security(("api_key" = ["control"]))
)]
#[deprecated(note = "`POST /api/sessions` and `POST /api/sessions/{session}/start`")]
async fn start_by_name(
    State(state): State<AppState>,
    caller: Caller,
    Input(request): Input<StartByName>,
) -> ApiResult<(StatusCode, Json<SessionSummary>)> {
    let name = required(request.name, &caller)?;
    if request.config.is_some() {
        require_action(&caller, Action::Setting)?;
    }
    let known = state.registry.get(&name);
    if known.is_none() && !caller.is_admin() {
        return Err(ApiError::session_not_found());
    }
    let config = request
        .config
        .map(|config| accept(Some(config), None, &caller, known.as_deref(), &state))
        .transpose()?;
    let (config, set_by) = config.map_or((None, SetBy::Admin), |(config, set_by)| (Some(config), set_by));
    let session = match known {
        Some(session) if !caller.is_admin() => {
            // Not what may make one: the session may be gone by now.
            state.registry.start_with(session, config, set_by).await?
        }
        _ => state.registry.create_or_update(name, config, set_by).await?,
    };
    Ok((StatusCode::CREATED, Json(summary(&session, &caller))))
}

/// Stop a session; with `logout`, log it out and delete it, for which a key of a session needs the action `delete`. Fine where
/// there is none.
#[utoipa::path(
    post, path = "/api/sessions/stop", tag = "🖥️ Sessions", request_body = StopByName,
    responses((status = 201, description = "It does not run any more")),
    security(("api_key" = ["control"]))
)]
#[deprecated(note = "`POST /api/sessions/{session}/stop`")]
async fn stop_by_name(
    State(state): State<AppState>,
    caller: Caller,
    Input(request): Input<StopByName>,
) -> ApiResult<StatusCode> {
    let name = required(request.name, &caller)?;
    if request.logout == Some(true) {
        require_action(&caller, Action::Delete)?;
        state.registry.delete(&name).await?;
    } else if let Some(session) = state.registry.get(&name) {
        session.stop().await?;
    }
    Ok(StatusCode::CREATED)
}

/// Log a session out and delete it. Fine where there is none.
#[utoipa::path(
    post, path = "/api/sessions/logout", tag = "🖥️ Sessions", request_body = LogOutByName,
    responses((status = 201, description = "It is gone")),
    security(("api_key" = ["delete"]))
)]
#[deprecated(note = "`DELETE /api/sessions/{session}`")]
async fn log_out_by_name(
    State(state): State<AppState>,
    caller: Caller,
    Input(request): Input<LogOutByName>,
) -> ApiResult<StatusCode> {
    state.registry.delete(&required(request.name, &caller)?).await?;
    Ok(StatusCode::CREATED)
}

/// The name, which must be there and be the caller's to use.
fn required(name: Option<SessionName>, caller: &Caller) -> ApiResult<SessionName> {
    let name = name.ok_or_else(|| ApiError::Refused("Session name is required".to_owned()))?;
    require_session(caller, name.as_str())?;
    Ok(name)
}

fn summary(session: &Session, caller: &Caller) -> SessionSummary {
    let view = session.view();
    SessionSummary {
        name: session.name().to_string(),
        status: view.status,
        config: visible_config(&view.config, caller),
    }
}
