//! Connecting, pairing, and the end of a connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{AckUpdate, Engine, EngineError, HistoryDepth, PasskeyChallenge, Proxy};
use crate::ids::{ChatId, SessionName};
use crate::message::Message;
use crate::session::Me;
use crate::store::{Batch, Store, StoreError, Unusable};

/// Makes connections.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Returns when nothing is left of a connection of this session; [`Self::connect`] waits for that too.
    async fn vacated(&self, session: &SessionName);

    /// Starts a connection of one session: links to a phone if the store holds no account, else logs in. It dials once,
    /// and once more when a phone has scanned; what is lost stays lost, so that nobody but the caller says when to dial.
    ///
    /// Returns once the connection's tasks run, not once it is connected; [`Inbox::signal`] tells the rest. The caller
    /// sees to it that there is at most one connection per session.
    async fn connect(&self, options: EngineOptions, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Engine>, EngineError>;
}

/// What a connection is made from.
pub struct EngineOptions {
    /// Whose connection it is.
    pub session: SessionName,
    /// The session's documents: credentials, Signal state, messages.
    pub store: Arc<dyn Store>,
    /// The device's name in the phone's list of linked devices, for example `Ubuntu`.
    pub device_name: String,
    /// The browser shown there, for example `Chrome`.
    pub browser_name: String,
    /// How much history to ask the phone for when it links the device.
    pub history: HistoryDepth,
    /// The proxy that everything of the session goes through; nothing goes past it.
    pub proxy: Option<Proxy>,
    /// Where everything that the connection logs belongs.
    pub span: tracing::Span,
}

/// Where a connection reports to: the session that owns it.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Keeps messages and their events for good, in this order. WhatsApp is told that we have them only after this
    /// returned `Ok`; after an error it sends them again. The same message may come twice.
    ///
    /// `marks` is the engine's own note of what it has seen and must be written in the same batch as the messages.
    async fn commit(&self, messages: Vec<Message>, marks: Batch) -> Result<(), StoreError>;

    /// The messages of a chat that are kept under this id of WhatsApp's: one, or none, or several where somebody made up the
    /// id of somebody else's message. One that is just being sent is waited for, for some seconds.
    async fn find(&self, chat: &ChatId, id: &str) -> Result<Vec<Message>, StoreError>;

    /// Something happened. Never blocks and never fails; signals are handled in order.
    fn signal(&self, signal: Signal);
}

/// What happens to a connection.
#[derive(Debug, Clone)]
pub enum Signal {
    /// A QR code to be scanned; it replaces the one before.
    QrCode {
        /// The text that the QR picture carries.
        code: String,
        /// How long it can be scanned.
        valid_for: Duration,
    },
    /// A phone has scanned, or its owner has entered the code, and its account's passkey has to agree.
    PasskeyRequired(PasskeyChallenge),
    /// WhatsApp accepted the passkey's answer. The phone shows a code, and this one should be the same.
    PasskeyConfirmation {
        /// As people read it, `ABCD-EFGH`.
        code: String,
    },
    /// A phone has agreed; the connection logs in next.
    Linked(Me),
    /// Logged in, and ready to send.
    Connected(Me),
    /// The connection is gone. It does not come back: whoever owns it ends it, and makes another one.
    Disconnected {
        /// What ended it.
        reason: String,
    },
    /// The dial failed, or nobody answered who speaks WhatsApp. To be ended, as above.
    ConnectFailed {
        /// What went wrong.
        reason: String,
    },
    /// The session's proxy did not let the dial through. To be ended, as above.
    ProxyFailed {
        /// What went wrong. Never has the password.
        reason: String,
    },
    /// WhatsApp is there and takes no connection of this session now. To be ended, as above, and tried again later
    /// than the others.
    TurnedAway {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// A stanza of the server was processed: proof that the session is not deaf.
    Alive,
    /// The account's name changed.
    Renamed(Me),
    /// A message of ours has come further.
    Ack(AckUpdate),
    /// A message came that is not held back until it is stored (it carries a weaker promise).
    Message {
        /// The message.
        message: Box<Message>,
        /// To be written once it is kept and told.
        marks: Batch,
    },
    /// A message came that cannot be read, now or for good.
    Waiting {
        /// All that is known of it.
        message: Box<Message>,
        /// To be written once this is told.
        marks: Batch,
    },
    /// A message that was lost with an earlier process was asked for again.
    AskedAgain {
        /// WhatsApp's own id of it.
        id: String,
    },
    /// The engine stopped for good.
    Closed(Closed),
}

/// Why a connection stopped for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// [`Lifecycle::disconnect`] was called.
    Asked,
    /// Nobody scanned any of the QR codes.
    QrCodesExpired,
    /// A phone has scanned, but its account's passkey did not agree in time.
    PasskeyExpired,
    /// Linking with the account's passkey went wrong.
    PasskeyFailed {
        /// What went wrong.
        reason: String,
    },
    /// The phone, or WhatsApp, unlinked this device; its credentials are worthless.
    LoggedOut {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// WhatsApp locked the account, or its phone is no longer signed in; the credentials are worthless too.
    Locked {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// Another connection uses the same credentials.
    Replaced,
    /// WhatsApp banned the account for a time.
    Banned {
        /// WhatsApp's code for why; that of the refusal itself where it gave none.
        code: i32,
        /// How long it lasts.
        expires_in: Option<Duration>,
    },
    /// WhatsApp does not accept this client version any more, and no newer one is known.
    Outdated,
    /// WhatsApp did not accept the client version. The next connection names a newer one.
    Renewed,
    /// WhatsApp refused the login for another reason.
    Refused {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// The session's store failed. The connection ended so that WhatsApp sends again what was not stored.
    StoreFailed {
        /// What went wrong.
        reason: String,
    },
    /// A file of the store is of no use until somebody acts, so that connecting again would only fail again.
    StoreUnusable(Unusable),
    /// It ended without saying why.
    Unexpected,
}

/// The life of one connection.
#[async_trait]
pub trait Lifecycle: Send + Sync + 'static {
    /// The account that it is linked to, also while it is not connected.
    fn me(&self) -> Option<Me>;

    /// Whether it is logged in now.
    fn is_connected(&self) -> bool;

    /// Unlinks the device at WhatsApp, as far as it can be reached. The credentials in the store are the caller's to
    /// delete. Disconnects.
    async fn logout(&self);

    /// Ends the connection and all of its tasks, after what must be written is written. Final.
    async fn disconnect(&self);
}
