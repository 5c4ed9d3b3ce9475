//! The engine port: what a WhatsApp connection can do, in Wharf's own words.
//!
//! One [`Engine`] is one connection of one session. It is made by a [`Connector`], reports through an [`Inbox`], and is
//! used up once it has closed: every start makes a new one from the session's store. Abilities are grouped by the API's
//! tags: [`Chatting`] and, as they come, the others.

mod chatting;
mod contacts;
mod content;
mod history;
mod lifecycle;
mod media;
mod pairing;
mod presence;
mod proxy;

pub use chatting::{AckUpdate, Chatting, Mentions, Quote, SeenRequest, SendRequest, SentMessage, Typing};
pub use contacts::Contacts;
pub use content::{
    Button, ButtonAction, Buttons, ContactCard, Content, LinkPreview, List, ListRow, ListSection, MediaFacts,
    MediaKind, OutgoingMedia, PreviewPicture,
};
pub use history::HistoryDepth;
pub use lifecycle::{Closed, Connector, EngineOptions, Inbox, Lifecycle, Signal};
pub use media::{Media, MediaError};
pub use pairing::{Pairing, PasskeyAssertion, PasskeyChallenge, PasskeyCredential};
pub use presence::Presence;
pub use proxy::{Proxy, ProxyScheme};

use std::time::Duration;

use crate::BoxError;
use crate::ids::ChatId;
use crate::store::StoreError;

/// Everything that one WhatsApp connection can do.
pub trait Engine: Lifecycle + Pairing + Chatting + Contacts + Media + Presence {}

impl<T: Lifecycle + Pairing + Chatting + Contacts + Media + Presence> Engine for T {}

/// Why the engine could not do what was asked. Variants are what a caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no connection now; the same call may work later.
    #[error("session is not connected")]
    Offline,
    /// The session is linked to no account.
    #[error("session is not linked to a phone")]
    NotLinked,
    /// Nobody has this number or id.
    #[error("whatsapp does not know {0}")]
    UnknownRecipient(ChatId),
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// WhatsApp said no.
    #[error("whatsapp refused: {reason}")]
    Refused {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// The file is larger than WhatsApp takes; nothing was sent.
    #[error("the file has more than {max} bytes, which whatsapp does not take")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The phone has not shared the keys of its settings with this device yet; the same call works once it has.
    #[error("the phone has not shared the keys of its settings with this session yet")]
    NotSynced,
    /// WhatsApp was asked too often; the same call may work after a while.
    #[error("whatsapp was asked too often")]
    Throttled {
        /// How long it wants to be left alone, where it says so.
        retry_after: Option<Duration>,
    },
    /// WhatsApp cannot do its part now; nothing was sent, and the same call may work after a while.
    #[error("whatsapp cannot do it now: {reason}")]
    Unavailable {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// WhatsApp did not answer in time; whether it happened is unknown.
    #[error("whatsapp did not answer within {seconds} seconds")]
    TimedOut {
        /// How long was waited.
        seconds: u64,
    },
    /// The session's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Anything else.
    #[error("engine failed")]
    Internal(#[source] BoxError),
}
