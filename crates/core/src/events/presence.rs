//! Events about who is online, types or records.

use serde::Serialize;
use utoipa::ToSchema;

/// The presences in a chat.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WAHAChatPresences)]
pub struct PresencePayload {
    /// The chat.
    pub id: String,
    /// Who does what: one in a direct chat, each participant that is known in a group.
    pub presences: Vec<PresenceDataPayload>,
}

/// The presence of one person.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WAHAPresenceData)]
pub struct PresenceDataPayload {
    /// Who.
    pub participant: String,
    /// When they were last online, in seconds since 1970, where they show it.
    pub last_seen: Option<i64>,
    /// What they do.
    pub last_known_presence: PresenceState,
}

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WAHAPresenceStatus)]
pub enum PresenceState {
    /// Not there.
    Offline,
    /// There.
    Online,
    /// Writes a text.
    Typing,
    /// Records a voice message.
    Recording,
    /// Was writing or recording.
    Paused,
}
