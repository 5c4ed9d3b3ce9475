//! Events about chats as a whole.

use serde::Serialize;
use utoipa::ToSchema;

/// A chat, and whether it is archived now.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ChatArchiveEvent)]
pub struct ChatArchivePayload {
    /// The chat.
    pub id: String,
    /// Whether it is archived.
    pub archived: bool,
    /// Since when, in seconds since 1970.
    pub timestamp: i64,
}
