//! Connecting, pairing, and the end of a connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{AckUpdate, Engine, EngineError};
use crate::ids::SessionName;
use crate::message::Message;
use crate::session::Me;
use crate::store::{Batch, Store, StoreError};

/// Makes connections.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Starts a connection of one session: links to a phone if the store holds no account, else logs in.
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
}

/// Where a connection reports to: the session that owns it.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Keeps messages and their events for good, in this order. WhatsApp is told that we have them only after this
    /// returned `Ok`; after an error it sends them again. The same message may come twice.
    ///
    /// `marks` is the engine's own note of what it has seen and must be written in the same batch as the messages.
    async fn commit(&self, messages: Vec<Message>, marks: Batch) -> Result<(), StoreError>;

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
    /// A phone has scanned; the connection logs in next.
    Linked(Me),
    /// Logged in, and ready to send.
    Connected(Me),
    /// The connection is gone; the engine dials again by itself.
    Disconnected {
        /// What ended it.
        reason: String,
    },
    /// A dial failed; the engine dials again by itself.
    ConnectFailed {
        /// What went wrong.
        reason: String,
    },
    /// A stanza of the server was processed: proof that the session is not deaf.
    Alive,
    /// The account's name changed.
    Renamed(Me),
    /// A message of ours has come further.
    Ack(AckUpdate),
    /// A message came that is not held back until it is stored (it carries a weaker promise).
    Message(Box<Message>),
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
    /// The phone, or WhatsApp, unlinked this device; its credentials are worthless.
    LoggedOut {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// Another connection uses the same credentials.
    Replaced,
    /// WhatsApp banned the account for a time.
    Banned {
        /// WhatsApp's code for why.
        code: i32,
        /// How long it lasts.
        expires_in: Option<Duration>,
    },
    /// WhatsApp does not accept this client version any more.
    Outdated,
    /// WhatsApp refused the login for another reason.
    Refused {
        /// In WhatsApp's words, or its error code.
        reason: String,
    },
    /// A message could not be stored. The connection ended so that WhatsApp sends it again.
    StoreFailed {
        /// What went wrong.
        reason: String,
    },
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
