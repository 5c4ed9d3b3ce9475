//! Events about invitations, which WhatsApp calls events too: a message that asks who comes.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::MessageDestinationPayload;
use crate::message::Source;

/// An answer to an invitation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventResponsePayload)]
pub struct EventResponsePayload {
    /// The message that carried the answer.
    pub id: String,
    /// When it was sent, in seconds since 1970.
    pub timestamp: i64,
    /// Who answered: the chat, the group, or ourselves.
    pub from: String,
    /// Whether this account answered.
    pub from_me: bool,
    /// Where it was written.
    pub source: Source,
    /// Whom it is for.
    pub to: String,
    /// Who answered, in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// The engine's own data.
    #[serde(rename = "_data", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
    /// The invitation.
    pub event_creation_key: MessageDestinationPayload,
    /// The answer; not there where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub event_response: Option<EventAnswerPayload>,
}

/// What somebody answered to an invitation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventResponse)]
pub struct EventAnswerPayload {
    /// The answer.
    pub response: EventAnswer,
    /// When it was given, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// How many others come along.
    pub extra_guest_count: u32,
}

/// An answer to an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = EventResponseType)]
pub enum EventAnswer {
    /// One that is not known here.
    Unknown,
    /// Comes.
    Going,
    /// Does not come.
    NotGoing,
    /// Perhaps.
    Maybe,
}
