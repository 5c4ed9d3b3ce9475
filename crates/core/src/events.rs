//! The event catalog: every event that webhooks and streams can carry, each with its payload and its promise.
//!
//! An event is a struct in `events/<family>.rs` and a line in `events/catalog.rs`; filters, payload schemas and texts follow from
//! it. Payloads are spelled as WAHA spells them. An event that does not come yet is declared all the same, so that clients can
//! ask for it and read what it will be.

mod call;
mod catalog;
mod chat;
mod engine;
mod event;
mod group;
mod label;
mod message;
mod poll;
mod presence;
mod session;

pub use call::CallPayload;
pub use catalog::{EventName, Promise, Stage};
pub use chat::ChatArchivePayload;
pub use engine::{EngineData, EnginePayload};
pub use event::{EventAnswer, EventAnswerPayload, EventResponsePayload};
pub use group::{
    GroupIdPayload, GroupJoinPayload, GroupLeavePayload, GroupParticipantsPayload, GroupPayload, GroupUpdatePayload,
    ParticipantPayload, ParticipantRole, ParticipantsChange,
};
pub use label::{LabelChatPayload, LabelPayload};
pub use message::{
    LocationPayload, MediaPayload, MessageAckPayload, MessageDestinationPayload, MessageEditedPayload, MessagePayload,
    MessageReactionPayload, MessageRevokedPayload, ReactionPayload, ReplyToPayload, S3Payload,
};
pub use poll::{PollVoteData, PollVotePayload};
pub use presence::{PresenceDataPayload, PresencePayload, PresenceState};
pub use session::{SessionStatusPayload, SessionStatusPoint};

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use self::catalog::Entry;

/// What stands for all events in a list of names.
const ALL_NAMES: &str = "*";

/// Why a text is not an event name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no event '{0}'")]
pub struct EventNameError(pub String);

/// The schema of a payload, with all that it refers to.
pub struct PayloadSchema {
    /// Its name in the document.
    pub name: String,
    /// Every schema by name, its own among them.
    pub schemas: Vec<(String, RefOr<Schema>)>,
}

impl PayloadSchema {
    /// The schema of one type.
    pub fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut schemas = vec![(name.clone(), T::schema())];
        T::schemas(&mut schemas);
        Self { name, schemas }
    }
}

impl EventName {
    /// The name as WAHA writes it.
    pub fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// What is promised for it.
    pub fn promise(self) -> Promise {
        self.entry().promise
    }

    /// Whether it can come.
    pub fn stage(self) -> Stage {
        self.entry().stage
    }

    /// The schema of its payload.
    pub fn payload(self) -> PayloadSchema {
        (self.entry().payload)()
    }

    /// When it comes, what follows, what is promised for it, and whether it comes at all.
    pub fn about(self) -> String {
        let Entry {
            doc, promise, stage, ..
        } = self.entry();
        let promise = match promise {
            Promise::Held => "WhatsApp is told that we have it only after the event is stored: it is not lost.",
            Promise::Live => "Not held back until it is stored: it is lost where the process dies at that moment.",
        };
        let rest = match stage {
            Stage::Emitted => promise.to_owned(),
            Stage::Declared => format!("{promise}\n\n**Not emitted yet.**"),
            Stage::Deprecated => "**Deprecated, and not emitted.**".to_owned(),
        };
        let lines: Vec<_> = doc.iter().map(|line| line.trim()).collect();
        format!("{}\n\n{rest}", lines.join("\n"))
    }

    /// Whether `*` means it too; what an engine reports in its own shape has to be named.
    pub fn is_in_all(self) -> bool {
        self != Self::EngineEvent
    }

    /// The events that a list of names means, in which `*` stands for all that need not be named.
    pub fn select<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, EventNameError> {
        let mut selected = Vec::new();
        for name in names {
            match name {
                ALL_NAMES => selected.extend(Self::ALL.iter().filter(|event| event.is_in_all())),
                name => selected.push(name.parse()?),
            }
        }
        selected.sort_unstable();
        selected.dedup();
        Ok(selected)
    }
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

/// The documentation of every event, in Markdown.
pub fn document() -> String {
    let mut page = String::from(
        "# Events\n\n\
         What webhooks, websockets and streams carry. Each comes in WAHA's envelope (`id`, `timestamp`, `event`, `session`, \
         `metadata`, `me`, `payload`, `engine`, `environment`); the payloads' fields are in the OpenAPI document, under \
         `webhooks`. The `id` is the same on every attempt and at every receiver. `*` in `WHATSAPP_HOOK_EVENTS` and in the \
         query of a websocket is every event but `engine.event`; a session's webhooks name their events one by one, as in \
         WAHA.\n",
    );
    for event in EventName::ALL {
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n## `{event}`\n\nPayload: `{}`. {}\n",
            event.payload().name,
            event.about()
        );
    }
    page
}

#[cfg(test)]
mod tests;
