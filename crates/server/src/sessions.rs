//! Sessions: their configuration, their lives, and what they receive and send.
//!
//! [`Registry`] holds them all; each has one supervisor task that owns at most one connection. Knows nothing of HTTP.

mod backoff;
mod config;
mod connection;
mod counters;
mod idempotency;
mod inbox;
mod messages;
mod metrics;
mod pace;
mod presence;
mod registry;
mod settings;
mod state;
mod store;
mod supervisor;
mod webhook;

pub(crate) use config::{ClientSessionConfig, IgnoreConfig, SessionConfig};
pub(crate) use connection::{Answering, Begun, Connection, Draft, GivenId, SendError};
pub(crate) use idempotency::{Answer, IdempotencyKey};
#[cfg(test)]
pub(crate) use messages::tests as messages_tests;
pub(crate) use messages::{MessageQuery, body, reduced};
pub(crate) use metrics::SessionMetrics;
pub(crate) use registry::{CommandError, CreateError, Registry, Session};
pub(crate) use state::{Passkey, View};
pub(crate) use webhook::{CustomHeader, HmacConfig, RetryPolicy, RetryRules, Webhook, WebhookEvents};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_core::clock::Clock;
use wharf_core::engine::Connector;
use wharf_core::ids::SessionName;
use wharf_core::random::Random;
use wharf_core::store::Storage;

use self::pace::Pace;
use crate::config::{Config, ProxiesConfig, SessionDefaults};
use crate::events::EventLog;
use crate::keys::Keys;
use crate::media::{Library, MediaJobs};

/// Connections that are set up at the same time, over all sessions, until each works, waits for a scan or fails: at boot
/// they would otherwise all dial at once.
const CONNECTS_AT_ONCE: usize = 32;

/// QR codes that nobody has printed yet, before the oldest are passed over.
const QR_CODES_WAITING_MAX: usize = 64;

/// A QR code that a session shows. Whoever has it can link a phone: it belongs into no log.
#[derive(Clone)]
pub struct ShownQr {
    /// Which session.
    pub session: SessionName,
    /// The text of the code.
    pub code: String,
}

/// What every session works with.
pub(crate) struct Shared {
    /// Where data is kept.
    pub(crate) storage: Arc<dyn Storage>,
    /// The files of messages.
    pub(crate) library: Arc<Library>,
    /// What fetches those.
    pub(crate) media_jobs: Arc<MediaJobs>,
    /// What makes connections.
    pub(crate) connector: Arc<dyn Connector>,
    /// Where events go.
    pub(crate) events: Arc<EventLog>,
    /// The API keys, of which a deleted session takes its own along.
    pub(crate) keys: Arc<Keys>,
    /// The time of day.
    pub(crate) clock: Arc<dyn Clock>,
    /// For jitter and names.
    pub(crate) random: Arc<dyn Random>,
    /// What a session runs with where its own configuration says nothing.
    pub(crate) defaults: SessionDefaults,
    /// The proxies of sessions that have none of their own.
    pub(crate) proxies: ProxiesConfig,
    /// The longest from a dial, or from a scan, to the login.
    pub(crate) login_max: Duration,
    /// How long the keys of sends are kept.
    pub(crate) idempotency: Duration,
    /// Without any stanza for this long a connection is deaf, whatever its socket says.
    pub(crate) silence_max: Duration,
    /// Tells whoever wants to know of every QR code.
    pub(crate) qr_codes: broadcast::Sender<ShownQr>,
    /// What is counted of all sessions together.
    pub(crate) metrics: Arc<SessionMetrics>,
    /// Owns every task of every session.
    pub(crate) tasks: TaskTracker,
    /// Ends every session when the server stops.
    pub(crate) shutdown: CancellationToken,
    pace: Pace,
}

impl Shared {
    /// What every session works with.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the server, and they are put together once"
    )]
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        library: Arc<Library>,
        media_jobs: Arc<MediaJobs>,
        connector: Arc<dyn Connector>,
        events: Arc<EventLog>,
        keys: Arc<Keys>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        config: &Config,
    ) -> Self {
        Self {
            storage,
            library,
            media_jobs,
            connector,
            events,
            keys,
            clock,
            random,
            defaults: config.defaults.clone(),
            proxies: config.proxies.clone(),
            login_max: config.sessions.login_max,
            idempotency: config.sessions.idempotency,
            silence_max: config.sessions.silence_max,
            qr_codes: broadcast::Sender::new(QR_CODES_WAITING_MAX),
            metrics: Arc::default(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            pace: Pace::new(config.sessions.connects_per_second, CONNECTS_AT_ONCE),
        }
    }
}
