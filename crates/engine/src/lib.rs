//! The engine adapter: connects sessions to WhatsApp over the protocol library, and speaks Wharf's words to the rest.
//!
//! The only crate besides the simulator that names the protocol library. Starts at [`WhatsApp`], which implements
//! [`wharf_core::engine::Connector`]. Knows no HTTP API and no webhooks, and no database except through the store port.

mod addresses;
mod backend;
#[cfg(not(feature = "sandbox"))]
mod certificate;
mod changes;
mod chatting;
mod connection;
mod contacts;
mod device;
mod ending;
mod error;
mod events;
mod hook;
mod http;
mod incoming;
mod lifecycle;
mod media;
mod message;
mod network;
mod own_id;
mod pairing;
mod presence;
mod proxy;
mod runtime;
mod slots;
mod stream_error;
#[cfg(test)]
mod testing;
mod tls;
mod transport;
mod upkeep;
mod version;
mod waiting;
mod whatsapp;

#[cfg(not(feature = "sandbox"))]
pub use certificate::{CertificateCheckError, certificate_check};
pub use error::ConfigError;
pub use network::Network;
pub use version::Version;
pub use whatsapp::{WhatsApp, WhatsAppConfig};
