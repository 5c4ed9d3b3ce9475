//! Every answer that is not a success, in WAHA's shapes.
//!
//! A message to people says what to do next. An answer never echoes a body or a stack, nor a path of this machine but that
//! of the file with the key; what went wrong inside is logged once, here.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use wharf_core::BoxError;
use wharf_core::engine::EngineError;
use wharf_core::ids::SessionName;
use wharf_core::session::SessionStatus;
use wharf_core::store::StoreError;

use super::files::FileNotFound;
use crate::media::FileError;
use crate::sessions::{CommandError, CreateError, SendError};

/// What handlers return.
pub(super) type ApiResult<T> = Result<T, ApiError>;

/// Seconds after which a caller may try again where storage is at fault.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("10");
/// Seconds after which a send that is under way has most likely ended.
const UNDER_WAY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The body or the query has wrong fields; one text each.
    Invalid(Vec<String>),
    /// The request as a whole cannot be read.
    Unreadable(String),
    /// The key is missing or wrong.
    Unauthorized {
        /// Where to find it.
        hint: String,
    },
    /// The caller does this too often.
    TooOften {
        /// What the limit is.
        what: String,
        /// When it may go on.
        retry_after: Duration,
    },
    /// The key is right but not good for this.
    Forbidden {
        /// What it lacks. Tells nothing of what is behind the refusal.
        hint: String,
    },
    /// A page of another site, or a host name that could be one, where the caller was let in without a key.
    ForeignPage,
    /// There is nothing under this address; the text says what.
    NotFound(String),
    /// There is no such file, or no longer.
    FileNotFound,
    /// The body is larger than it may be.
    TooLarge,
    /// The body took too long to arrive.
    TooSlow,
    /// The request is fine but cannot be done; the text says why and what to do.
    Refused(String),
    /// The operation is WAHA's but not built.
    NotBuilt,
    /// The session is in another status than the operation needs.
    Status {
        /// Which session.
        session: SessionName,
        /// How it is.
        status: SessionStatus,
        /// How it must be.
        expected: SessionStatus,
        /// What to do.
        hint: String,
    },
    /// WhatsApp was asked too often; how long it wants to be left alone, where it says so.
    Throttled(Option<Duration>),
    /// The same request is being processed; it can be asked again in a moment.
    UnderWay(String),
    /// It may work later.
    Unavailable(String),
    /// WhatsApp did not answer, or nobody waited for it any longer; whether it happened is unknown.
    TimedOut(String),
    /// Nobody outside can do anything about it.
    Internal(BoxError),
}

impl ApiError {
    /// A session that the session operations do not know.
    pub(super) fn session_not_found() -> Self {
        Self::NotFound("Session not found".to_owned())
    }

    /// A session that does not run, as WAHA says it.
    pub(super) fn session_not_started(name: &str, exists: bool) -> Self {
        let mut message = format!(
            "We didn't find a session with name '{name}'.\n\
             Please start it first by using POST /api/sessions/{name}/start request"
        );
        if !exists {
            message.push_str("\nThere is no session with this name yet: create it with POST /api/sessions");
        }
        Self::NotFound(message)
    }

    /// No operation has this method and path.
    pub(super) fn no_route(method: &Method, path: &str) -> Self {
        Self::NotFound(format!("Cannot {method} {path}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message): (_, Value) = match self {
            Self::Invalid(problems) => (StatusCode::BAD_REQUEST, problems.into()),
            Self::Unreadable(message) => (StatusCode::BAD_REQUEST, message.into()),
            Self::Unauthorized { hint } => return not_let_in(StatusCode::UNAUTHORIZED, &hint),
            Self::Forbidden { hint } => return not_let_in(StatusCode::FORBIDDEN, &hint),
            Self::TooOften { what, retry_after } => {
                let wait = retry_after.as_secs().max(1);
                return later(StatusCode::TOO_MANY_REQUESTS, what.into(), wait.into());
            }
            Self::ForeignPage => (
                StatusCode::FORBIDDEN,
                "without an api key, pages of other sites and names that this server does not know are not served; send the \
                 key in X-Api-Key, or set WAHA_BASE_URL to the address that is used"
                    .into(),
            ),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message.into()),
            Self::FileNotFound => return (StatusCode::NOT_FOUND, Json(FileNotFound::BODY)).into_response(),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request entity too large".into()),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive".into()),
            Self::Refused(message) => (StatusCode::UNPROCESSABLE_ENTITY, message.into()),
            Self::NotBuilt => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "The method is not implemented by the engine.".into(),
            ),
            Self::Status {
                session,
                status,
                expected,
                hint,
            } => {
                // WAHA's one body without a status code in it.
                let body = json!({
                    "error": "Session status is not as expected. Try again later or restart the session",
                    "session": session,
                    "status": status,
                    "expected": [expected],
                    "hint": hint,
                });
                return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
            }
            Self::Throttled(retry_after) => {
                let message = "WhatsApp was asked too often, wait a while before the next try";
                match retry_after {
                    Some(wait) => return later(StatusCode::TOO_MANY_REQUESTS, message.into(), wait.as_secs().into()),
                    None => (StatusCode::TOO_MANY_REQUESTS, message.into()),
                }
            }
            Self::UnderWay(message) => return later(StatusCode::CONFLICT, message.into(), UNDER_WAY_SECONDS),
            Self::Unavailable(message) => {
                return later(StatusCode::SERVICE_UNAVAILABLE, message.into(), RETRY_AFTER_SECONDS);
            }
            Self::TimedOut(message) => (StatusCode::GATEWAY_TIMEOUT, message.into()),
            Self::Internal(error) => {
                tracing::error!(error = error.as_ref(), "a request failed");
                let message =
                    "Internal Server Error. The log has the reason under the request id of this answer's X-Request-Id";
                (StatusCode::INTERNAL_SERVER_ERROR, message.into())
            }
        };
        waha_error(status, message)
    }
}

/// WAHA's body for callers who may not, which has no `error` in it.
fn not_let_in(status: StatusCode, hint: &str) -> Response {
    let message = status.canonical_reason().unwrap_or_default();
    let body = json!({"statusCode": status.as_u16(), "message": message, "hint": hint});
    (status, Json(body)).into_response()
}

/// What may be tried again after so many seconds.
fn later(status: StatusCode, message: Value, seconds: HeaderValue) -> Response {
    let mut response = waha_error(status, message);
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

fn waha_error(status: StatusCode, message: Value) -> Response {
    let reason = status.canonical_reason().unwrap_or("Error");
    let body = json!({"statusCode": status.as_u16(), "message": message, "error": reason});
    (status, Json(body)).into_response()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Unavailable("storage is full, free some space and try again".to_owned()),
            StoreError::Unavailable(cause) => {
                tracing::error!(error = cause.as_ref(), "storage is unavailable");
                Self::Unavailable("storage is unavailable, try again later".to_owned())
            }
            other => Self::Internal(other.into()),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Offline => Self::Unavailable(
                "the session is not connected now, it dials again by itself; try again soon".to_owned(),
            ),
            EngineError::NotLinked => Self::Refused(format!("{message}; scan its QR code first")),
            EngineError::UnknownRecipient(_) => Self::Refused(format!("chatId: {message}")),
            EngineError::Refused { .. } => Self::Refused(message),
            EngineError::NotSynced => Self::Refused(format!("{message}; try again in a moment")),
            EngineError::Invalid(problem) => Self::Invalid(vec![problem]),
            EngineError::TooLarge { .. } => Self::Invalid(vec![format!("file: {message}")]),
            EngineError::Throttled { retry_after } => Self::Throttled(retry_after),
            EngineError::Unavailable { .. } => Self::Unavailable(message),
            EngineError::TimedOut { .. } => Self::TimedOut(message),
            EngineError::Store(error) => error.into(),
            EngineError::Internal(cause) => Self::Internal(cause),
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Engine(error) => error.into(),
            SendError::Store(error) => error.into(),
            SendError::CutOff => Self::TimedOut(error.to_string()),
            SendError::UnderWay => Self::UnderWay(error.to_string()),
            SendError::KeyUsed | SendError::IdUsed(_) => Self::Refused(error.to_string()),
        }
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        let message = error.to_string();
        match error {
            FileError::Invalid(problem) => Self::Invalid(vec![problem]),
            FileError::Refused(message) => Self::Refused(message),
            FileError::Full | FileError::Busy => Self::Unavailable(message),
            FileError::Io(cause) => Self::Internal(cause.into()),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::CutOff => Self::Unavailable(format!("{error}; look at the session and try again")),
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists(name) => {
                Self::Refused(format!("Session '{name}' already exists. Use PUT to update it."))
            }
            CreateError::TooMany => Self::Refused(error.to_string()),
            CreateError::Store(error) => error.into(),
            CreateError::Command(error) => error.into(),
        }
    }
}
