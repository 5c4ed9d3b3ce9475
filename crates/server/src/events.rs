//! Events: rendered once into an envelope, logged with their deliveries, then delivered to webhooks and websockets.
//!
//! Knows sessions only as the source that an event names.

mod delivery;
mod endpoints;
mod envelope;
mod filter;
mod follow;
mod log;
mod message;
mod metrics;
mod order;
mod outbox;
mod replay;
mod retention;
mod retry;
mod schema;
mod seats;
mod signature;
mod stream;
mod webhook;
mod websocket;

pub(crate) use delivery::Delivery;
pub(crate) use endpoints::{Endpoint, SetBy};
pub(crate) use envelope::{Envelope, ServerEnvironment};
pub(crate) use filter::{Filter, FilterError, Start};
pub(crate) use follow::{Follow, FollowError};
pub(crate) use log::{EventLog, EventSource, Identity, LoggedEvent, NewEvent};
pub(crate) use message::message_events;
pub(crate) use metrics::EventMetrics;
pub(crate) use outbox::{DeliveryState, StoredDelivery};
pub(crate) use replay::{Replayed, Wanted, WantedState};
pub(crate) use retention::Keeper;
pub(crate) use schema::webhooks;
pub(crate) use seats::NoSeat;
pub(crate) use signature::standard_secret;
pub(crate) use stream::Telling;
pub(crate) use websocket::Opening;
