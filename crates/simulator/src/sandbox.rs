//! The sandbox as a whole: what the control interface, the tests and the embedding server use.
//!
//! It has no listener of its own: hand it sockets with [`Sandbox::accept`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, Stream};
use tokio::sync::watch;

use crate::clock::Env;
use crate::error::SandboxError;
use crate::faults::Fault;
use crate::metrics::Metrics;
use crate::views::{DeviceView, InboxPage, KillMode, PhoneView, ReceiptKind, Seed, TypingState};

/// The whole sandbox network. Cheap to clone; all clones are the same network.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    changed: watch::Sender<u64>,
}

fn soon<T>() -> Result<T, SandboxError> {
    Err(SandboxError::Refused("not available yet".to_owned()))
}

impl Sandbox {
    /// A new network.
    pub fn new(_env: Env, _seed: Seed) -> Self {
        Self(Arc::new(Inner {
            changed: watch::Sender::new(0),
        }))
    }

    /// The network that [`Sandbox::snapshot`] saved. Phones start new Signal sessions.
    pub fn restore(_env: Env, _snapshot: &[u8]) -> Result<Self, SandboxError> {
        soon()
    }

    /// Everything that must survive a restart, as JSON. It contains the network's and the phones' secret keys.
    pub fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Ticks whenever something changed that is worth saving or showing.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Closes all sockets and waits until every task has ended.
    pub async fn shutdown(&self) {}

    /// Serves one client connection (binary websocket messages) until it ends.
    pub async fn accept<S, R, W>(&self, _socket: S)
    where
        S: Stream<Item = Result<Bytes, R>> + Sink<Bytes, Error = W> + Unpin + Send,
        R: std::fmt::Display + Send,
        W: std::fmt::Display + Send,
    {
    }

    /// A new account with a phone. Without a number the next free fictional one is taken.
    pub async fn create_phone(
        &self,
        _number: Option<String>,
        _name: Option<String>,
    ) -> Result<PhoneView, SandboxError> {
        soon()
    }

    /// All phones, by number.
    pub fn phones(&self) -> Vec<PhoneView> {
        Vec::new()
    }

    /// One phone.
    pub fn phone(&self, _number: &str) -> Result<PhoneView, SandboxError> {
        soon()
    }

    /// The phone scans a pairing code (the text of the QR) and links the device that shows it.
    pub async fn scan(&self, _number: &str, _qr: &str) -> Result<DeviceView, SandboxError> {
        soon()
    }

    /// Like [`Sandbox::scan`] with the phone that the client's push name picks: the same name is the same phone, a
    /// new name a new one.
    pub async fn scan_with_any_phone(&self, _qr: &str) -> Result<DeviceView, SandboxError> {
        soon()
    }

    /// The phone logs a companion out.
    pub async fn unlink(&self, _number: &str, _device: u16) -> Result<(), SandboxError> {
        soon()
    }

    /// The phone sends a text and answers the message's id. `to` is digits or a group id.
    pub async fn send(
        &self,
        _number: &str,
        _to: &str,
        _text: &str,
        _reply_to: Option<&str>,
    ) -> Result<String, SandboxError> {
        soon()
    }

    /// The phone reports how far a message it received got.
    pub async fn receipt(&self, _number: &str, _chat: &str, _id: &str, _kind: ReceiptKind) -> Result<(), SandboxError> {
        soon()
    }

    /// The phone's owner types, records, or stops.
    pub async fn typing(&self, _number: &str, _chat: &str, _state: TypingState) -> Result<(), SandboxError> {
        soon()
    }

    /// What the phone shows after a cursor; waits up to `wait` for something to show.
    pub async fn inbox(&self, _number: &str, _after: u64, _wait: Duration) -> Result<InboxPage, SandboxError> {
        soon()
    }

    /// Ends the connection of a device, named by either of its addresses.
    pub async fn kill(&self, _jid: &str, _mode: KillMode) -> Result<(), SandboxError> {
        soon()
    }

    /// Replaces the list of faults.
    pub fn set_faults(&self, _faults: Vec<Fault>) -> Result<(), SandboxError> {
        soon()
    }

    /// The faults that are not spent yet.
    pub fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// Makes a new static Noise key: resumed handshakes are refused and go on as full ones.
    pub fn rotate_noise_key(&self) {}

    /// What the network counted since it started or was reset.
    pub fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    /// Back to the fresh seed; closes all sockets.
    pub async fn reset(&self) {}
}
