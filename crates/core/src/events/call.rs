//! Events about calls.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A call.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CallData)]
pub struct CallPayload {
    /// WhatsApp's id of the call, the same in all of its events.
    pub id: String,
    /// Who calls.
    pub from: Option<String>,
    /// When it began to ring, in seconds since 1970.
    pub timestamp: i64,
    /// Whether it has pictures.
    pub is_video: bool,
    /// Whether it is a call of a group.
    pub is_group: bool,
    /// The engine's own data.
    #[serde(rename = "_data")]
    #[schema(value_type = Object)]
    pub data: Value,
}
