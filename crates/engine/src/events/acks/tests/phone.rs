//! A companion and its phone on a sandbox network.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use url::Url;
use wharf_core::clock::SystemClock;
use wharf_core::engine::{Connector as _, Inbox, Signal};
use wharf_core::ids::MessageId;
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};
use wharf_simulator::{Env, ReceiptKind, Sandbox, SandboxServer, SandboxServerConfig, Seed};

use super::*;
use crate::testing::options;
use crate::{Network, WhatsApp, WhatsAppConfig};

/// How long anything may take here; it takes milliseconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
const ALICE: &str = "12025550101";
const BOB: &str = "12025550102";

/// What a connection reports.
#[derive(Debug)]
enum Report {
    Signal(Signal),
    Kept(MessageId),
}

struct Reports(mpsc::UnboundedSender<Report>);

#[async_trait]
impl Inbox for Reports {
    async fn commit(&self, messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        for message in messages {
            let _ = self.0.send(Report::Kept(message.id));
        }
        Ok(())
    }

    async fn find(&self, _chat: &wharf_core::ids::ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    fn signal(&self, signal: Signal) {
        let _ = self.0.send(Report::Signal(signal));
    }
}

/// The first report that is looked for.
async fn wait<T>(reports: &mut mpsc::UnboundedReceiver<Report>, mut find: impl FnMut(Report) -> Option<T>) -> T {
    let found = async {
        loop {
            let report = reports.recv().await.expect("the connection reports until it is closed");
            if let Some(found) = find(report) {
                return found;
            }
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, found).await.expect("it is reported")
}

#[tokio::test]
async fn what_the_phone_reads_is_read_here() {
    let config = SandboxServerConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ..SandboxServerConfig::new(Env::system())
    };
    let sandbox = Sandbox::new(Env::system(), Seed::Fresh);
    for number in [ALICE, BOB] {
        if sandbox.phone(number).is_err() {
            sandbox.create_phone(Some(number.to_owned()), None).await.unwrap();
        }
    }
    let server = SandboxServer::start(config, sandbox.clone(), None).await.unwrap();
    let url = Url::parse(&format!("ws://{}/ws/chat", server.local_addr())).unwrap();
    let whatsapp = WhatsApp::new(WhatsAppConfig {
        network: Network::sandbox(url),
        clock: Arc::new(SystemClock),
        version: None,
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path()).await;
    let (sender, mut reports) = mpsc::unbounded_channel();
    let engine = whatsapp.connect(options, Arc::new(Reports(sender))).await.unwrap();
    let qr = wait(&mut reports, |report| match report {
        Report::Signal(Signal::QrCode { code, .. }) => Some(code),
        _ => None,
    });
    let qr = qr.await;
    sandbox.scan(ALICE, &qr).await.unwrap();
    wait(&mut reports, |report| {
        matches!(report, Report::Signal(Signal::Connected(_))).then_some(())
    })
    .await;

    let sent = sandbox.send(BOB, ALICE, "Hi Alice!", None).await.unwrap();
    let received = wait(&mut reports, |report| match report {
        Report::Kept(id) => Some(id),
        Report::Signal(_) => None,
    });
    let received = received.await;
    assert_eq!(received.id, sent);
    sandbox.receipt(ALICE, BOB, &sent, ReceiptKind::Read).await.unwrap();
    let update = wait(&mut reports, |report| match report {
        Report::Signal(Signal::Ack(update)) => Some(update),
        _ => None,
    });
    let update = update.await;

    assert_eq!((update.ids, update.ack), (vec![sent], Ack::Read));
    assert_eq!(update.chat, received.chat, "the chat as the message has it");
    assert_eq!(update.participant, None);
    engine.disconnect().await;
    server.shutdown().await;
}
