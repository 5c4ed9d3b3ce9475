//! Events about a session itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::session::SessionStatus;

/// The status of a session.
///
/// `data` carries a reason for programs and a message for people, which says what to do. With `FAILED`, which stays until somebody acts: `LOGGED_OUT`,
/// `ACCOUNT_LOCKED` (restart and scan anew), `REPLACED`, `BANNED` (with `code` and `expiresInSeconds`), `OUTDATED`, `REFUSED`,
/// `QR_CODES_EXPIRED`, `PASSKEY_EXPIRED`, `PASSKEY_FAILED`, `STORE_MISSING`, `STORE_CORRUPT`, `STORE_DENIED`, `STORE_FAILED`,
/// `UNSTABLE`, `CRASHED`, `STUCK`. With `STARTING`, while the session tries again by itself: `NOT_CONNECTED`, `TURNED_AWAY`,
/// `PROXY_FAILED`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WASessionStatusBody)]
pub struct SessionStatusPayload {
    /// The session.
    pub name: String,
    /// Its status now.
    pub status: SessionStatus,
    /// The last three statuses, oldest first, this one included.
    pub statuses: Vec<SessionStatusPoint>,
    /// Why, where there is more to say: `{"reason", "message"}`.
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
}

/// A status and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionStatusPoint {
    /// The status.
    pub status: SessionStatus,
    /// Since when, in milliseconds since 1970.
    pub timestamp: i64,
}
