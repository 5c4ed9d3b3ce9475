//! Events about polls.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::MessageDestinationPayload;
use crate::ids::MessageId;
use crate::message::Message;

/// A vote in a poll.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PollVotePayload)]
pub struct PollVotePayload {
    /// The vote.
    pub vote: PollVoteData,
    /// The poll.
    pub poll: MessageDestinationPayload,
    /// The engine's own data.
    #[serde(rename = "_data", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
}

/// What was voted, and by whom.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PollVote)]
pub struct PollVoteData {
    /// The message that carried the vote.
    pub id: String,
    /// The names of the options that are chosen now.
    pub selected_options: Vec<String>,
    /// When, in seconds since 1970.
    pub timestamp: i64,
    /// Whom it is for; `me` where that is this account.
    pub to: String,
    /// Who voted; `me` where that is this account.
    pub from: String,
    /// Whether this account voted.
    pub from_me: bool,
    /// Who voted, in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
}

impl PollVotePayload {
    /// The vote that `message` carried, for these options of `poll`.
    pub fn new(message: &Message, poll: &MessageId, options: &[String]) -> Self {
        let MessageDestinationPayload {
            id,
            to,
            from,
            from_me,
            participant,
        } = MessageDestinationPayload::new(&message.id);
        Self {
            vote: PollVoteData {
                id,
                selected_options: options.to_vec(),
                timestamp: message.timestamp.as_second(),
                to,
                from,
                from_me,
                participant,
            },
            poll: MessageDestinationPayload::new(poll),
            data: None,
        }
    }
}
