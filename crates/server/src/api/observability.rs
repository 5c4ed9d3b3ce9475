//! Observability: is it there, is it well, what is it.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use crate::events::ServerEnvironment;
use crate::keys::Caller;
use crate::media::Health;
use crate::media::ffmpeg::FfmpegError;

/// The name of what is told of the storage of media, which is WAHA's also where there is no disk.
const MEDIA: &str = "mediaFiles.space";

/// The routes of this tag.
#[expect(deprecated, reason = "deprecated operations are served too")]
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(ping))
        .routes(routes!(health))
        .routes(routes!(get_server_version))
        .routes(routes!(get_version))
        .routes(routes!(get_server_status))
}

/// The server answers.
#[derive(Debug, Serialize, ToSchema)]
struct PingResponse {
    /// Always `pong`.
    #[schema(default = "pong")]
    message: String,
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
struct HealthResponse {
    /// `ok` or `error`.
    status: String,
    /// What is well, by name.
    #[schema(value_type = Object)]
    info: Map<String, Value>,
    /// What is not, by name.
    #[schema(value_type = Object)]
    error: Map<String, Value>,
    /// Both.
    #[schema(value_type = Object)]
    details: Map<String, Value>,
}

/// Since when the server runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServerStatusResponse {
    /// When it was started, in milliseconds since 1970.
    start_timestamp: i64,
    /// For how long it runs, in milliseconds.
    uptime: i64,
    /// This process among several.
    worker: WorkerInfo,
}

/// One of several processes.
#[derive(Debug, Serialize, ToSchema)]
struct WorkerInfo {
    /// `WAHA_WORKER_ID`.
    id: String,
}

/// Whether the server answers. Needs no key.
#[utoipa::path(
    get, path = "/ping", tag = "🔍 Observability",
    responses((status = 200, description = "It does", body = PingResponse))
)]
async fn ping() -> Json<PingResponse> {
    Json(PingResponse {
        message: "pong".to_owned(),
    })
}

/// Whether the server can do its work: its storage takes writes, and that of media takes files.
#[utoipa::path(
    get, path = "/health", tag = "🔍 Observability",
    responses(
        (status = 200, description = "It can", body = HealthResponse),
        (status = 503, description = "It cannot", body = HealthResponse)
    ),
    security(("api_key" = ["any"]))
)]
async fn health(State(state): State<AppState>, _caller: Caller) -> Response {
    let (mut info, mut error) = (Map::new(), Map::new());
    match state.storage.check().await {
        Ok(()) => info.insert("storage".to_owned(), json!({"status": "up"})),
        Err(cause) => {
            tracing::error!(error = %cause, "storage failed the health check");
            error.insert(
                "storage".to_owned(),
                json!({"status": "down", "message": cause.to_string()}),
            )
        }
    };
    let (media, is_well) = media_health(&state).await;
    match is_well {
        true => info.insert(MEDIA.to_owned(), media),
        false => error.insert(MEDIA.to_owned(), media),
    };
    info.insert("ffmpeg".to_owned(), ffmpeg_health(&state));
    let (code, status) = match error.is_empty() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "error"),
    };
    let details = info
        .iter()
        .chain(&error)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let body = HealthResponse {
        status: status.to_owned(),
        info,
        error,
        details,
    };
    (
        code,
        [(header::CACHE_CONTROL, "no-cache, no-store, must-revalidate")],
        Json(body),
    )
        .into_response()
}

/// Whether files can be converted. A server that cannot is not unwell: it does everything else.
fn ffmpeg_health(state: &AppState) -> Value {
    match state.files.ffmpeg().is_there() {
        true => json!({"status": "up"}),
        false => json!({"status": "missing", "message": FfmpegError::Missing.to_string()}),
    }
}

/// How the storage of media is, as WAHA tells it, and whether it is well.
async fn media_health(state: &AppState) -> (Value, bool) {
    let (mut told, space) = match state.library.check().await {
        Health::Up(space) => (json!({"status": "up"}), space),
        Health::Down { space, message } => (json!({"status": "down", "message": message}), space),
    };
    let is_well = told["status"] == "up";
    if let Some(space) = space {
        told["free"] = space.free_bytes.into();
        told["threshold"] = state.library.free_bytes_min().into();
    }
    (told, is_well)
}

/// Get the version of the server.
#[utoipa::path(
    get, path = "/api/server/version", tag = "🔍 Observability",
    responses((status = 200, description = "The version", body = ServerEnvironment)),
    security(("api_key" = ["any"]))
)]
async fn get_server_version(State(state): State<AppState>, _caller: Caller) -> Json<ServerEnvironment> {
    Json(state.events.environment().clone())
}

/// Get the version of the server. Deprecated: `/api/server/version`.
#[utoipa::path(
    get, path = "/api/version", tag = "🔍 Observability",
    responses((status = 200, description = "The version", body = ServerEnvironment)),
    security(("api_key" = ["any"]))
)]
#[deprecated]
async fn get_version(State(state): State<AppState>, _caller: Caller) -> Json<ServerEnvironment> {
    Json(state.events.environment().clone())
}

/// Get since when the server runs.
#[utoipa::path(
    get, path = "/api/server/status", tag = "🔍 Observability",
    responses((status = 200, description = "Since when", body = ServerStatusResponse)),
    security(("api_key" = ["admin"]))
)]
async fn get_server_status(State(state): State<AppState>, _caller: Caller) -> Json<ServerStatusResponse> {
    let uptime = state.clock.now().as_millisecond() - state.started_at.as_millisecond();
    Json(ServerStatusResponse {
        start_timestamp: state.started_at.as_millisecond(),
        uptime,
        worker: WorkerInfo {
            id: state.config.sessions.worker_id.clone(),
        },
    })
}
