//! Sessions: create, read, change, start, stop, restart, log out, delete.

mod deprecated;
mod info;

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::ids::{SESSION_NAME_CHARS_MAX, SessionName};
use wharf_core::session::{Me, SessionStatus};

use self::info::{SessionInfo, info};
use super::AppState;
use super::error::{ApiError, ApiResult};
use super::extract::{Body, Input, Known, Named, query_flag};
use crate::events::SetBy;
use crate::keys::Caller;
use crate::sessions::{Session, SessionConfig};
use crate::validate::Fields;

/// The most apps that a session may ask for.
const APPS_MAX: usize = 32;

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_sessions, create_session))
        .routes(routes!(get_session, update_session, delete_session))
        .routes(routes!(get_me))
        .routes(routes!(start_session))
        .routes(routes!(stop_session))
        .routes(routes!(restart_session))
        .routes(routes!(log_out_session))
        .merge(deprecated::router())
}

/// A session to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SessionCreateRequest)]
struct CreateSession {
    /// Its name, a random one where none is given.
    #[schema(value_type = Option<String>)]
    name: Option<SessionName>,
    /// Its apps.
    apps: Option<Vec<App>>,
    /// Whether it is started at once.
    #[serde(default)]
    #[schema(default = true)]
    start: Option<bool>,
    /// Its configuration.
    #[serde(default)]
    config: Option<SessionConfig>,
}

/// What a session is changed to. All of it: what is left out is taken away.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SessionUpdateRequest)]
struct UpdateSession {
    /// Its apps.
    apps: Option<Vec<App>>,
    /// Its configuration.
    #[serde(default)]
    config: Option<SessionConfig>,
}

/// An app on a session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
struct App {
    /// Whether it runs.
    #[serde(default)]
    #[schema(default = true)]
    enabled: Option<bool>,
    /// Its id.
    id: String,
    /// Its session.
    session: String,
    /// Which app.
    app: AppKind,
    /// Its configuration.
    #[schema(value_type = Object)]
    config: Value,
}

/// The apps that there are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AppKind {
    /// Chatwoot.
    Chatwoot,
    /// What to do about calls.
    Calls,
    /// The Model Context Protocol.
    Mcp,
}

/// Which sessions to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only documents the query; `query_flag` reads it as WAHA does")]
struct ListQuery {
    /// Also those that are stopped.
    all: Option<bool>,
    /// What more to tell.
    #[param(inline)]
    expand: Option<Vec<Expand>>,
}

/// What more to tell about a session.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only documents the query")]
struct GetQuery {
    /// What more to tell.
    #[param(inline)]
    expand: Option<Vec<Expand>>,
}

/// What more to tell about a session.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only documents the query")]
enum Expand {
    Apps,
}

impl Body for CreateSession {
    fn check(fields: &mut Fields<'_>) {
        check_name(fields);
        fields.boolean("start");
        check_config_and_apps(fields);
    }
}

impl Body for UpdateSession {
    fn check(fields: &mut Fields<'_>) {
        check_config_and_apps(fields);
    }
}

fn check_name(fields: &mut Fields<'_>) {
    match fields.get("name") {
        None => {}
        Some(Value::String(name)) => {
            if let Err(error) = name.parse::<SessionName>() {
                let message = error.to_string();
                fields.fail("name", message.trim_start_matches("session name "));
            }
        }
        Some(_) => {
            fields.fail(
                "name",
                &format!("must be shorter than or equal to {SESSION_NAME_CHARS_MAX} characters"),
            );
            fields.fail("name", "must be a string");
        }
    }
}

fn check_config_and_apps(fields: &mut Fields<'_>) {
    fields.object("config", SessionConfig::check);
    fields.objects("apps", APPS_MAX, |app| {
        app.required_string("id");
        app.required_string("session");
        app.one_of("app", &["chatwoot", "calls", "mcp"]);
    });
}

/// What a caller may set up, and in whose name. Refuses what would be dropped silently: apps that do nothing; and, where the
/// caller has only a key of the session, what leads into the network that the server is in. What the session has already
/// stays as it is.
fn accept(
    config: Option<SessionConfig>,
    apps: Option<Vec<App>>,
    caller: &Caller,
    session: Option<&Session>,
    state: &AppState,
) -> ApiResult<(SessionConfig, SetBy)> {
    let config = config.unwrap_or_default();
    if apps.is_some_and(|apps| !apps.is_empty()) {
        return Err(ApiError::Refused("apps are not built yet, leave them out".to_owned()));
    }
    if caller.is_admin() {
        return Ok((config, SetBy::Admin));
    }
    let webhooks = config.webhooks.as_deref().unwrap_or_default();
    let (name, endpoints) = (session.map(Session::name), state.events.endpoints());
    let mut objections = endpoints.objections(name, webhooks, SetBy::Session, &state.egress);
    let proxy = session.and_then(|session| session.view().config.proxy.clone());
    if config.proxy != proxy {
        objections.push("config.proxy may be changed with the admin's key only".to_owned());
    }
    match objections.is_empty() {
        true => Ok((config, SetBy::Session)),
        false => Err(ApiError::Invalid(objections)),
    }
}

/// List the sessions. A key of a session sees its own only; without the action `read` neither its configuration nor its account,
/// and without `setting` no secret of it. So it is in the answers of all operations on sessions.
#[utoipa::path(
    get, path = "/api/sessions", tag = "🖥️ Sessions", params(ListQuery),
    responses((status = 200, description = "The sessions", body = Vec<SessionInfo>)),
    security(("api_key" = ["any"]))
)]
async fn list_sessions(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Vec<SessionInfo>>> {
    let all = query_flag(query.as_deref(), "all")?.unwrap_or(false);
    let sessions = state.registry.all();
    let infos = sessions
        .iter()
        .filter(|session| caller.session().is_none_or(|own| own == session.name()))
        .map(|session| info(session, &caller, &state, query.as_deref()))
        .filter(|info| all || info.status != SessionStatus::Stopped)
        .collect();
    Ok(Json(infos))
}

/// Create a session, and start it unless told otherwise.
#[utoipa::path(
    post, path = "/api/sessions", tag = "🖥️ Sessions", request_body = CreateSession,
    responses((status = 201, description = "The session", body = SessionInfo)),
    security(("api_key" = ["admin"]))
)]
async fn create_session(
    State(state): State<AppState>,
    caller: Caller,
    Input(request): Input<CreateSession>,
) -> ApiResult<(StatusCode, Json<SessionInfo>)> {
    let (config, set_by) = accept(request.config, request.apps, &caller, None, &state)?;
    let start = request.start.unwrap_or(true);
    let session = state.registry.create(request.name, config, set_by, start).await?;
    Ok(created(&session, &caller, &state))
}

/// Get a session.
#[utoipa::path(
    get, path = "/api/sessions/{session}", tag = "🖥️ Sessions",
    params(("session" = String, Path, description = "Its name"), GetQuery),
    responses((status = 200, description = "The session", body = SessionInfo)),
    security(("api_key" = ["read"]))
)]
async fn get_session(
    State(state): State<AppState>,
    caller: Caller,
    session: Known,
    RawQuery(query): RawQuery,
) -> Json<SessionInfo> {
    Json(info(&session.0, &caller, &state, query.as_deref()))
}

/// Change a session's configuration, all of it. Unless it is stopped, it is started anew.
#[utoipa::path(
    put, path = "/api/sessions/{session}", tag = "🖥️ Sessions", request_body = UpdateSession,
    params(("session" = String, Path, description = "Its name")),
    responses((status = 200, description = "The session", body = SessionInfo)),
    security(("api_key" = ["setting"]))
)]
async fn update_session(
    State(state): State<AppState>,
    caller: Caller,
    session: Known,
    Input(request): Input<UpdateSession>,
) -> ApiResult<Json<SessionInfo>> {
    let (config, set_by) = accept(request.config, request.apps, &caller, Some(&session.0), &state)?;
    session.0.update(config, set_by).await?;
    Ok(Json(info(&session.0, &caller, &state, None)))
}

/// Delete a session with everything it has. Fine where there is none.
#[utoipa::path(
    delete, path = "/api/sessions/{session}", tag = "🖥️ Sessions",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is gone")),
    security(("api_key" = ["delete"]))
)]
async fn delete_session(State(state): State<AppState>, session: Named) -> ApiResult<StatusCode> {
    state.registry.delete(&session.0).await?;
    Ok(StatusCode::OK)
}

/// Get the account that a session is linked to; `null` where it is linked to none.
#[utoipa::path(
    get, path = "/api/sessions/{session}/me", tag = "🖥️ Sessions",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 200, description = "The account", body = Option<Me>)),
    security(("api_key" = ["read"]))
)]
async fn get_me(session: Known) -> Json<Option<Me>> {
    Json(session.0.view().me)
}

/// Start a session. Fine where it runs.
#[utoipa::path(
    post, path = "/api/sessions/{session}/start", tag = "🖥️ Sessions",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 201, description = "The session", body = SessionInfo)),
    security(("api_key" = ["control"]))
)]
async fn start_session(
    State(state): State<AppState>,
    caller: Caller,
    session: Known,
) -> ApiResult<(StatusCode, Json<SessionInfo>)> {
    session.0.start().await?;
    Ok(created(&session.0, &caller, &state))
}

/// Stop a session. Fine where it does not run, and, as in WAHA, where there is none; it stays linked to its phone.
#[utoipa::path(
    post, path = "/api/sessions/{session}/stop", tag = "🖥️ Sessions",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 201, description = "The session", body = SessionInfo)),
    security(("api_key" = ["control"]))
)]
async fn stop_session(State(state): State<AppState>, caller: Caller, name: Named) -> ApiResult<Response> {
    let Some(session) = state.registry.get(&name.0) else {
        // WAHA answers with the session, of which there is none.
        return Ok(StatusCode::CREATED.into_response());
    };
    session.stop().await?;
    Ok(created(&session, &caller, &state).into_response())
}

/// Stop a session and start it again.
#[utoipa::path(
    post, path = "/api/sessions/{session}/restart", tag = "🖥️ Sessions",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 201, description = "The session", body = SessionInfo)),
    security(("api_key" = ["control"]))
)]
async fn restart_session(
    State(state): State<AppState>,
    caller: Caller,
    session: Known,
) -> ApiResult<(StatusCode, Json<SessionInfo>)> {
    session.0.restart().await?;
    Ok(created(&session.0, &caller, &state))
}

/// Unlink a session from its phone and delete its data. Its configuration stays, and what is still to be delivered; unless
/// it is stopped, it starts again at a QR code.
#[utoipa::path(
    post, path = "/api/sessions/{session}/logout", tag = "🖥️ Sessions",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 201, description = "The session", body = SessionInfo)),
    security(("api_key" = ["control"]))
)]
async fn log_out_session(
    State(state): State<AppState>,
    caller: Caller,
    session: Known,
) -> ApiResult<(StatusCode, Json<SessionInfo>)> {
    session.0.log_out().await?;
    Ok(created(&session.0, &caller, &state))
}

fn created(session: &Arc<Session>, caller: &Caller, state: &AppState) -> (StatusCode, Json<SessionInfo>) {
    (StatusCode::CREATED, Json(info(session, caller, state, None)))
}
