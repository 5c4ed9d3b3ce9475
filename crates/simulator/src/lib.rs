//! The sandbox network: a local stand-in for WhatsApp that speaks the same wire protocol.
//!
//! Clients pair with it, log in and exchange end-to-end encrypted messages with simulated phones. The relay never
//! decrypts what it carries; phones are real end points inside this process. It never contacts another machine.

mod clock;
mod error;
mod faults;
mod hooks;
mod metrics;
mod sandbox;
mod server;
mod tls;
mod views;

pub use clock::{Clock, Env, Random, SystemClock, SystemRandom};
pub use error::SandboxError;
pub use faults::{Fault, FaultAction, FaultDirection, FaultMatch};
pub use metrics::{Handshakes, Metrics, Strictness, Unacked};
pub use sandbox::Sandbox;
pub use server::{
    PORT, QrSource, SandboxServer, SandboxServerConfig, StartError, TLS_PORT, WaitingSession, load_or_new,
};
pub use tls::{TLS_NAMES, TlsError};
pub use views::{
    ChatView, ContactView, DeviceView, InboxEntry, InboxKind, InboxPage, KillMode, PhoneView, ReceiptKind, Seed,
    TypingState,
};
