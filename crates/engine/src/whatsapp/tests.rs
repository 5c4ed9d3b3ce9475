//! A build for WhatsApp checks who it talks to: it neither pairs with a sandbox nor has a way to be sent to one.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::mpsc;
use url::Url;
use wacore::net::{HttpClient as _, HttpRequest};
use wharf_core::clock::SystemClock;
use wharf_core::engine::Signal;
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};
use wharf_simulator::{Env, Sandbox, SandboxServer, SandboxServerConfig, Seed};

use super::*;
use crate::testing::options;

/// How long the handshake may take; it takes milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Passes signals on to the test.
struct Signals(mpsc::UnboundedSender<Signal>);

#[async_trait]
impl Inbox for Signals {
    async fn commit(&self, _messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(&self, _chat: &wharf_core::ids::ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    fn signal(&self, signal: Signal) {
        let _ = self.0.send(signal);
    }
}

async fn sandbox() -> SandboxServer {
    let config = SandboxServerConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ..SandboxServerConfig::new(Env::system())
    };
    let sandbox = Sandbox::new(Env::system(), Seed::Fresh);
    SandboxServer::start(config, sandbox, None).await.unwrap()
}

#[tokio::test]
async fn a_server_that_whatsapp_does_not_vouch_for_is_refused() {
    let server = sandbox().await;
    let url = format!("ws://{}/ws/chat", server.local_addr());
    let gate = Gate::anywhere(Url::parse(&url).unwrap());
    let whatsapp = WhatsApp::through(gate, public().unwrap(), Arc::new(SystemClock), None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path()).await;
    let (sender, mut signals) = mpsc::unbounded_channel();

    let engine = whatsapp.connect(options, Arc::new(Signals(sender))).await.unwrap();
    let first = tokio::time::timeout(HANDSHAKE_TIMEOUT, signals.recv()).await.unwrap();

    match first {
        Some(Signal::ConnectFailed { reason }) => assert_eq!(reason, "the handshake with the server failed"),
        other => panic!("{other:?}"),
    }
    engine.disconnect().await;
    server.shutdown().await;
}

#[tokio::test]
async fn media_hosts_that_no_public_authority_vouches_for_are_refused() {
    let server = sandbox().await;
    let address = Url::parse(&format!("https://{}/v/image/x.enc", server.tls_addr())).unwrap();
    let whatsapp = WhatsApp::through(
        Gate::anywhere(address.clone()),
        public().unwrap(),
        Arc::new(SystemClock),
        None,
    );
    let http = whatsapp.unwrap().http(None).unwrap();
    let refused = http.execute(HttpRequest::get(address)).await.unwrap_err();
    let reason = crate::error::one_line(refused.as_ref());
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    server.shutdown().await;
}
