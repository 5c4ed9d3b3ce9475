//! API keys: make, list, change and delete them; and the two narrow ones of each session.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::ids::SessionName;

use super::AppState;
use super::error::{ApiError, ApiResult};
use super::extract::{Body, Id, Input};
use super::pairing::unstored;
use crate::keys::{Action, Actions, Caller, Grant, Key, KeyError, Purpose};
use crate::validate::Fields;

/// What stands in the place of a key that cannot be decrypted.
const HIDDEN: &str = "cannot be shown: WHARF_MASTER_KEY is not the one under which this key was stored";

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_key, list_keys))
        .routes(routes!(get_media_key))
        .routes(routes!(get_control_key))
        .routes(routes!(update_key, delete_key))
}

/// What a key opens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKeyRequest)]
struct KeyRequest {
    /// Whether it opens everything. Such a key has neither a session nor actions.
    #[expect(dead_code, reason = "the check has seen that it agrees with the session")]
    #[schema(default = false, required = true, value_type = bool)]
    is_admin: Option<bool>,
    /// The one session that it is for. There need not be one yet.
    #[schema(value_type = Option<String>, required = true)]
    session: Option<SessionName>,
    /// Whether it opens anything now.
    #[schema(default = true, required = true, value_type = bool)]
    is_active: Option<bool>,
    /// What it may do with its session; everything but `delete` where nothing is chosen. What is left out of a choice is not
    /// allowed.
    #[schema(inline = false)]
    actions: Option<SessionActions>,
}

/// Which session.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ScopedApiKeyRequest)]
struct ScopedKeyRequest {
    /// Its name.
    #[schema(value_type = String)]
    session: SessionName,
}

/// A key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKeyDTO)]
struct KeyInfo {
    /// Its id.
    id: String,
    /// What callers send in `X-Api-Key`; instead of it a sentence that says so where the master key is another one now.
    key: String,
    /// Whether it opens anything now.
    is_active: bool,
    /// Whether it opens everything.
    is_admin: bool,
    /// The one session that it is for.
    session: Option<String>,
    /// What it may do there, if that was chosen.
    actions: Option<SessionActions>,
}

/// What a key may do with its session.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = SessionActionsDTO)]
struct SessionActions {
    /// See what it has: itself, messages, chats, contacts, groups, events.
    #[schema(value_type = bool, required = false)]
    read: Option<bool>,
    /// Send messages, and change its chats, contacts, groups, labels, channels and profile.
    #[schema(value_type = bool, required = false)]
    send: Option<bool>,
    /// Start, stop and restart it, link it and log it out.
    #[schema(value_type = bool, required = false)]
    control: Option<bool>,
    /// Change its configuration.
    #[schema(value_type = bool, required = false)]
    setting: Option<bool>,
    /// Manage its apps.
    #[schema(value_type = bool, required = false)]
    app: Option<bool>,
    /// Delete it.
    #[schema(value_type = bool, required = false)]
    delete: Option<bool>,
}

impl Body for KeyRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.boolean("isAdmin");
        fields.boolean("isActive");
        check_session(fields);
        fields.object("actions", |actions| {
            for action in Action::ALL {
                actions.boolean(action.as_str());
            }
        });
        let is_admin = fields.get("isAdmin").and_then(Value::as_bool).unwrap_or(false);
        let is_set = |fields: &Fields<'_>, name| fields.get(name).is_some();
        match is_admin {
            true => {
                for name in ["session", "actions"] {
                    if is_set(fields, name) {
                        fields.fail(name, "must be empty for the key of an administrator");
                    }
                }
            }
            false if !is_set(fields, "session") => {
                fields.fail("session", "should not be empty, unless isAdmin is true");
            }
            false => {}
        }
    }
}

impl Body for ScopedKeyRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("session");
        check_session(fields);
    }
}

fn check_session(fields: &mut Fields<'_>) {
    fields.string("session");
    let name = fields.get("session").and_then(Value::as_str);
    if let Some(Err(error)) = name.map(str::parse::<SessionName>) {
        let message = error.to_string();
        fields.fail("session", message.trim_start_matches("session name "));
    }
}

impl KeyRequest {
    /// What the key is to open, and whether it opens anything now.
    fn grant(self) -> (Grant, bool) {
        let grant = match self.session {
            Some(name) => Grant::Session {
                name,
                actions: self.actions.map(Actions::from),
            },
            // The check has seen that it is an administrator's.
            None => Grant::Admin,
        };
        (grant, self.is_active.unwrap_or(true))
    }
}

impl KeyInfo {
    fn new(key: &Key, text: Option<String>) -> Self {
        let (session, actions) = match &key.grant {
            Grant::Admin => (None, None),
            Grant::Session { name, actions } => (Some(name.to_string()), *actions),
        };
        Self {
            id: key.id.clone(),
            key: text.unwrap_or_else(|| HIDDEN.to_owned()),
            is_active: key.is_active,
            is_admin: key.grant == Grant::Admin,
            session,
            actions: actions.map(SessionActions::from),
        }
    }
}

impl From<SessionActions> for Actions {
    fn from(chosen: SessionActions) -> Self {
        let is_chosen = |action: Option<bool>| action.unwrap_or(false);
        Self {
            read: is_chosen(chosen.read),
            send: is_chosen(chosen.send),
            control: is_chosen(chosen.control),
            setting: is_chosen(chosen.setting),
            app: is_chosen(chosen.app),
            delete: is_chosen(chosen.delete),
        }
    }
}

impl From<Actions> for SessionActions {
    fn from(actions: Actions) -> Self {
        Self {
            read: Some(actions.read),
            send: Some(actions.send),
            control: Some(actions.control),
            setting: Some(actions.setting),
            app: Some(actions.app),
            delete: Some(actions.delete),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown(_) => Self::NotFound(error.to_string()),
            KeyError::TooMany | KeyError::Fixed(_) | KeyError::Inactive(_) | KeyError::Unreadable(_) => {
                Self::Refused(error.to_string())
            }
            KeyError::Store(error) => error.into(),
        }
    }
}

/// Make a key.
#[utoipa::path(
    post, path = "/api/keys", tag = "🔑 Api Keys", request_body = KeyRequest,
    responses((status = 201, description = "The key", body = KeyInfo)),
    security(("api_key" = ["admin"]))
)]
async fn create_key(
    State(state): State<AppState>,
    _caller: Caller,
    Input(request): Input<KeyRequest>,
) -> ApiResult<Response> {
    let (grant, is_active) = request.grant();
    let (key, text) = state.keys.create(grant, is_active).await?;
    Ok(made(&key, text))
}

/// List all keys, oldest first.
#[utoipa::path(
    get, path = "/api/keys", tag = "🔑 Api Keys",
    responses((status = 200, description = "The keys", body = Vec<KeyInfo>)),
    security(("api_key" = ["admin"]))
)]
async fn list_keys(State(state): State<AppState>, _caller: Caller) -> Response {
    let info = |key: &Arc<Key>| KeyInfo::new(key, state.keys.text(key));
    let keys: Vec<_> = state.keys.all().iter().map(info).collect();
    unstored(Json(keys))
}

/// Get the key that downloads the files of a session and does nothing else; it is made the first time. For `<img>` and the like,
/// where the key stands in the address.
#[utoipa::path(
    post, path = "/api/keys/media", tag = "🔑 Api Keys", request_body = ScopedKeyRequest,
    responses((status = 201, description = "The key, the same every time", body = KeyInfo)),
    security(("api_key" = ["read"]))
)]
async fn get_media_key(
    State(state): State<AppState>,
    _caller: Caller,
    Input(request): Input<ScopedKeyRequest>,
) -> ApiResult<Response> {
    for_purpose(&state, Purpose::Media, request.session).await
}

/// Get the key that starts, stops and links a session and does nothing else; it is made the first time. To open the QR code in a
/// browser.
#[utoipa::path(
    post, path = "/api/keys/control", tag = "🔑 Api Keys", request_body = ScopedKeyRequest,
    responses((status = 201, description = "The key, the same every time", body = KeyInfo)),
    security(("api_key" = ["control"]))
)]
async fn get_control_key(
    State(state): State<AppState>,
    _caller: Caller,
    Input(request): Input<ScopedKeyRequest>,
) -> ApiResult<Response> {
    for_purpose(&state, Purpose::Control, request.session).await
}

/// Change what a key opens, all of it. The key itself stays; what it has opened ends at once.
#[utoipa::path(
    put, path = "/api/keys/{id}", tag = "🔑 Api Keys", request_body = KeyRequest,
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The key", body = KeyInfo)),
    security(("api_key" = ["admin"]))
)]
async fn update_key(
    State(state): State<AppState>,
    _caller: Caller,
    Id(id): Id,
    Input(request): Input<KeyRequest>,
) -> ApiResult<Response> {
    let (grant, is_active) = request.grant();
    let key = state.keys.update(id, grant, is_active).await?;
    Ok(unstored(Json(KeyInfo::new(&key, state.keys.text(&key)))))
}

/// Delete a key. It opens nothing from now on, and what it has opened ends at once.
#[utoipa::path(
    delete, path = "/api/keys/{id}", tag = "🔑 Api Keys",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "It is gone")),
    security(("api_key" = ["admin"]))
)]
async fn delete_key(State(state): State<AppState>, _caller: Caller, Id(id): Id) -> ApiResult<StatusCode> {
    state.keys.delete(id).await?;
    Ok(StatusCode::OK)
}

async fn for_purpose(state: &AppState, purpose: Purpose, session: SessionName) -> ApiResult<Response> {
    let unknown = || ApiError::Refused(format!("Session '{session}' does not exist"));
    if state.registry.get(&session).is_none() {
        return Err(unknown());
    }
    let (key, text) = state.keys.for_purpose(purpose, session.clone()).await?;
    if state.registry.get(&session).is_none() {
        // It was deleted meanwhile, and may have looked for its keys before this one was there.
        state.keys.delete(key.id.clone()).await?;
        return Err(unknown());
    }
    Ok(made(&key, text))
}

fn made(key: &Key, text: String) -> Response {
    (StatusCode::CREATED, unstored(Json(KeyInfo::new(key, Some(text))))).into_response()
}
