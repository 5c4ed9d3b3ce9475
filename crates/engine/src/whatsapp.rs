//! The connector: what all sessions share, and the way to open a connection of one.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;
use wharf_core::clock::Clock;
use wharf_core::engine::{Connector, Engine, EngineError, EngineOptions, Inbox, Proxy};
use wharf_core::ids::SessionName;

use crate::connection::Connection;
use crate::error::{ConfigError, failed};
use crate::http::Http;
use crate::network::{Gate, Network};
use crate::slots::Slots;
use crate::tls::Trust;
use crate::transport::Dialer;
use crate::version::{Version, Versions};

/// What [`WhatsApp`] is made from.
#[derive(Clone)]
pub struct WhatsAppConfig {
    /// Where sessions connect to.
    pub network: Network,
    /// Tells the time of day.
    pub clock: Arc<dyn Clock>,
    /// The version of WhatsApp Web to say; the current one where it is `None`.
    pub version: Option<Version>,
}

/// Makes connections to WhatsApp, or to a sandbox network.
pub struct WhatsApp {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) slots: Slots,
    /// What is left of connections that were called off while they were made.
    pub(crate) called_off: TaskTracker,
    gate: Gate,
    trust: Trust,
    direct: Arc<Http>,
}

impl WhatsApp {
    /// Sets up what all sessions share. Connects to nothing yet.
    pub fn new(config: WhatsAppConfig) -> Result<Self, ConfigError> {
        let gate = Gate::new(&config.network)?;
        #[cfg(feature = "sandbox")]
        if let Network::Sandbox { url, authority } = &config.network {
            let trust = Trust::sandbox(url, authority.as_deref())?;
            return Self::through(gate, trust, config.clock, config.version);
        }
        Self::through(gate, public()?, config.clock, config.version)
    }

    fn through(gate: Gate, trust: Trust, clock: Arc<dyn Clock>, version: Option<Version>) -> Result<Self, ConfigError> {
        let public = public()?;
        let versions = match version {
            Some(version) => Versions::Fixed(version),
            None if gate.is_sandbox() => Versions::pinned(),
            None => Versions::published(clock.clone()),
        };
        Ok(Self {
            dialer: Arc::new(Dialer::new(gate.clone(), public.config)),
            direct: Arc::new(Http::new(gate.clone(), &trust, None)?),
            versions: Arc::new(versions),
            clock,
            slots: Slots::default(),
            called_off: TaskTracker::new(),
            gate,
            trust,
        })
    }

    /// The HTTP client of a session: shared, or its own where it has a proxy.
    pub(crate) fn http(&self, proxy: Option<&Proxy>) -> Result<Arc<Http>, EngineError> {
        match proxy {
            None => Ok(self.direct.clone()),
            Some(proxy) => {
                let http = Http::new(self.gate.clone(), &self.trust, Some(proxy)).map_err(failed)?;
                Ok(Arc::new(http))
            }
        }
    }
}

fn public() -> Result<Trust, ConfigError> {
    Trust::public().map_err(|error| ConfigError::Client(Box::new(error)))
}

#[async_trait]
impl Connector for WhatsApp {
    async fn vacated(&self, session: &SessionName) {
        drop(self.slots.take(session).await);
    }

    async fn connect(&self, options: EngineOptions, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Engine>, EngineError> {
        let connection = Connection::open(self, options, inbox).await?;
        Ok(Arc::new(connection))
    }
}

#[cfg(test)]
#[cfg(not(feature = "sandbox"))]
mod tests;
