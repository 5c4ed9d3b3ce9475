//! The connector: what all sessions share, and the way to open a connection of one.

use std::sync::Arc;

use async_trait::async_trait;
use wacore::net::HttpClient;
use wharf_core::clock::Clock;
use wharf_core::engine::{Connector, Engine, EngineError, EngineOptions, Inbox};

use crate::connection::Connection;
use crate::error::ConfigError;
use crate::http::Http;
use crate::network::{Gate, Network};
use crate::tls;
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
    pub(crate) http: Arc<dyn HttpClient>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl WhatsApp {
    /// Sets up what all sessions share. Connects to nothing yet.
    pub fn new(config: WhatsAppConfig) -> Result<Self, ConfigError> {
        Self::through(Gate::new(&config.network)?, config.clock, config.version)
    }

    fn through(gate: Gate, clock: Arc<dyn Clock>, version: Option<Version>) -> Result<Self, ConfigError> {
        let tls = tls::client_config().map_err(|error| ConfigError::Client(Box::new(error)))?;
        let http: Arc<dyn HttpClient> = Arc::new(Http::new(gate.clone(), &tls)?);
        let versions = match version {
            Some(version) => Versions::Fixed(version),
            None if gate.is_sandbox() => Versions::pinned(),
            None => Versions::published(http.clone(), clock.clone()),
        };
        Ok(Self {
            dialer: Arc::new(Dialer::new(gate, tls)),
            http,
            versions: Arc::new(versions),
            clock,
        })
    }
}

#[async_trait]
impl Connector for WhatsApp {
    async fn connect(&self, options: EngineOptions, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Engine>, EngineError> {
        let connection = Connection::open(self, options, inbox).await?;
        Ok(Arc::new(connection))
    }
}

#[cfg(test)]
#[cfg(not(feature = "sandbox"))]
mod tests;
