//! A connection that reaches nobody, for what needs none but cannot do without a client.

use std::sync::Arc;

use url::Url;
use wharf_core::clock::SystemClock;
use wharf_core::engine::{EngineOptions, Inbox};

use crate::connection::Connection;
use crate::{Network, WhatsApp, WhatsAppConfig};

/// Makes it. To be ended, like any other.
pub(crate) async fn unreachable(options: EngineOptions, inbox: Arc<dyn Inbox>) -> Connection {
    let whatsapp = WhatsApp::new(WhatsAppConfig {
        network: Network::sandbox(Url::parse("ws://127.0.0.1:1/ws/chat").unwrap()),
        clock: Arc::new(SystemClock),
        version: None,
    });
    Connection::open(&whatsapp.unwrap(), options, inbox).await.unwrap()
}
