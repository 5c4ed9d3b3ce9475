//! The sandbox network: a local stand-in for WhatsApp that speaks the same wire protocol.
//!
//! Clients pair with it, log in and exchange end-to-end encrypted messages with simulated phones. The relay never
//! decrypts what it carries; phones are real end points inside this process. It never contacts another machine.

mod acks;
mod adv;
mod certificates;
mod clock;
mod connection;
mod echo;
mod error;
mod faults;
mod hooks;
mod iq;
mod keys;
mod login;
mod media;
mod messages;
mod metrics;
mod model;
mod network;
mod noise;
mod pairing;
mod passkey;
mod phone;
mod presence;
mod queue;
mod receipts;
mod router;
mod sandbox;
mod seed;
mod server;
mod snapshot;
mod stanza;
mod tls;
mod views;

pub use clock::{Clock, Env, Random, SystemClock, SystemRandom};
pub use connection::Farewell;
pub use error::SandboxError;
pub use faults::{Fault, FaultAction, FaultDirection, FaultMatch};
pub use metrics::{Handshakes, Metrics, Strictness, Unacked};
pub use sandbox::Sandbox;
pub use seed::{ALICE, BOB, CAROL, ECHO};
pub use server::{PORT, QrSource, SandboxServer, SandboxServerConfig, StartError, TLS_PORT, load_or_new};
pub use tls::{TLS_NAMES, TlsError};
pub use views::{
    Button, Buttons, Change, ChatView, Conflict, Contact, ContactView, Content, DeviceView, InboxEntry, InboxKind,
    InboxPage, KillMode, LinkPreview, LinkView, List, ListRow, ListSection, Location, MediaKind, MediaView,
    MessageView, NewContent, NewLinkPreview, NewMedia, NewMessage, NewPoll, PhoneView, Poll, PollOption, Quoted,
    ReceiptKind, Seed, Selected, TypingState,
};
