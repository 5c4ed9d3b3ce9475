//! Events: rendered once into an envelope, logged with their deliveries, then delivered to webhooks and websockets.
//!
//! Knows sessions only as the source that an event names.

mod delivery;
mod envelope;
mod log;
mod outbox;
mod retry;
mod schema;
mod signature;
mod webhook;
pub(crate) mod websocket;

pub(crate) use delivery::Delivery;
pub(crate) use envelope::ServerEnvironment;
pub(crate) use log::{EventLog, EventSource, Identity, NewEvent};
pub(crate) use schema::webhooks;
