//! Events about a session itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::session::SessionStatus;

/// The status of a session changed.
///
/// Fires on every change, and again with each new QR code while the status stays `SCAN_QR_CODE`. `FAILED` carries the
/// reason and what to do about it in `data`.
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
