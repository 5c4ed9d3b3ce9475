//! The server: sessions, events and the HTTP API.
//!
//! Knows WhatsApp and databases only through the ports of `wharf-core`: the binary passes in a
//! [`Connector`](wharf_core::engine::Connector) and a [`Storage`](wharf_core::store::Storage). Prints nothing and reads
//! no environment.

mod api;
pub mod config;
mod egress;
mod events;
mod keys;
mod link_preview;
mod listener;
mod media;
mod metrics;
mod server;
mod sessions;
mod validate;

pub use api::openapi;
pub use egress::EgressError;
pub use server::{Parts, Server, StartError};
pub use sessions::ShownQr;
