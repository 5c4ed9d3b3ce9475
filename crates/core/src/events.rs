//! The event catalog: every event that webhooks and websockets can carry, each with its payload and its promise.
//!
//! An event is added by a struct in `events/<family>.rs` and a line in the `catalog!` below; names, payload schemas
//! and filters follow from it. Payloads are spelled as WAHA spells them.

mod message;
mod session;

pub use message::{LocationPayload, MediaPayload, MessageAckPayload, MessagePayload, ReplyToPayload, S3Payload};
pub use session::{SessionStatusPayload, SessionStatusPoint};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an event name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no event '{0}'")]
pub struct EventNameError(pub String);

macro_rules! catalog {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The name of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventName {
            $($(#[$doc])* $variant,)*
        }

        impl EventName {
            /// Every event, in the order of the catalog.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name as WAHA writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

catalog! {
    /// The status of a session changed; see [`SessionStatusPayload`].
    SessionStatus = "session.status",
    /// Somebody wrote to us; see [`MessagePayload`].
    Message = "message",
    /// Somebody reacted to a message.
    MessageReaction = "message.reaction",
    /// A message was written by anybody, ourselves included; see [`MessagePayload`].
    MessageAny = "message.any",
    /// A message of ours has come further; see [`MessageAckPayload`].
    MessageAck = "message.ack",
    /// A participant of a group has received or read a message of ours; see [`MessageAckPayload`].
    MessageAckGroup = "message.ack.group",
    /// A message came that cannot be read yet; see [`MessagePayload`].
    MessageWaiting = "message.waiting",
    /// A message was deleted for everyone.
    MessageRevoked = "message.revoked",
    /// A message was edited.
    MessageEdited = "message.edited",
    /// Deprecated: the connection changed.
    StateChange = "state.change",
    /// Deprecated: see `group.v2.join`.
    GroupJoin = "group.join",
    /// Deprecated: see `group.v2.leave`.
    GroupLeave = "group.leave",
    /// We joined a group, or were added.
    GroupV2Join = "group.v2.join",
    /// We left a group, or were removed.
    GroupV2Leave = "group.v2.leave",
    /// The subject, description or settings of a group changed.
    GroupV2Update = "group.v2.update",
    /// The participants of a group changed.
    GroupV2Participants = "group.v2.participants",
    /// Somebody came online, went offline, types or records.
    PresenceUpdate = "presence.update",
    /// Somebody voted in a poll.
    PollVote = "poll.vote",
    /// Somebody voted in a poll that we cannot read.
    PollVoteFailed = "poll.vote.failed",
    /// A chat was archived or unarchived.
    ChatArchive = "chat.archive",
    /// Somebody calls.
    CallReceived = "call.received",
    /// A call was accepted.
    CallAccepted = "call.accepted",
    /// A call was rejected.
    CallRejected = "call.rejected",
    /// A label was made or changed.
    LabelUpsert = "label.upsert",
    /// A label was deleted.
    LabelDeleted = "label.deleted",
    /// A label was put on a chat.
    LabelChatAdded = "label.chat.added",
    /// A label was taken off a chat.
    LabelChatDeleted = "label.chat.deleted",
    /// Somebody answered an invitation to an event.
    EventResponse = "event.response",
    /// Somebody answered an invitation that we cannot read.
    EventResponseFailed = "event.response.failed",
    /// Anything that the engine reports, in its own shape.
    EngineEvent = "engine.event",
}

impl FromStr for EventName {
    type Err = EventNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| EventNameError(text.to_owned()))
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
