//! Dials that fail, against real sockets of this machine.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tracing::span;
use url::Url;
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};

use super::*;
use crate::network::Network;

#[derive(Default)]
struct Signals(Mutex<Vec<String>>);

#[async_trait]
impl Inbox for Signals {
    async fn commit(&self, _messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(&self, _chat: &wharf_core::ids::ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    fn signal(&self, signal: Signal) {
        if let Signal::ConnectFailed { reason } = signal {
            self.0.lock().unwrap().push(reason);
        }
    }
}

fn uplink(address: &str) -> (Arc<Signals>, Uplink) {
    let url = Url::parse(address).unwrap();
    let gate = Gate::new(&Network::sandbox(url)).unwrap();
    let inbox = Arc::new(Signals::default());
    let uplink = Uplink {
        dialer: Arc::new(Dialer::new(gate, crate::tls::client_config().unwrap())),
        proxy: None,
        inbox: inbox.clone(),
        answered: Arc::default(),
        ending: Arc::default(),
    };
    (inbox, uplink)
}

/// A listener that answers one connection with `answer` to whatever it asks.
async fn listener(answer: &'static str) -> (String, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}/ws/chat", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    (address, tasks)
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_reported() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (signals, uplink) = uplink(&format!("ws://{unused}/ws/chat"));
    assert!(uplink.create_transport().await.is_err());
    let reasons = signals.0.lock().unwrap().clone();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].starts_with("127.0.0.1 cannot be reached: "), "{reasons:?}");
}

#[tokio::test]
async fn a_server_that_is_no_websocket_is_reported() {
    let (address, mut tasks) = listener("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let (signals, uplink) = uplink(&address);
    assert!(uplink.create_transport().await.is_err());
    tasks.join_next().await;
    let reasons = signals.0.lock().unwrap().clone();
    assert!(reasons[0].starts_with("127.0.0.1 refused the websocket"), "{reasons:?}");
}

/// Counts the lines that would be logged.
struct Lines(Arc<AtomicUsize>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target().starts_with("wharf_engine") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

#[tokio::test]
async fn a_failed_dial_is_for_the_session_to_log() {
    let lines = Arc::new(AtomicUsize::new(0));
    let _log = tracing::subscriber::set_default(Lines(lines.clone()));
    tracing::info!("that lines are counted");
    let (signals, uplink) = uplink("ws://127.0.0.1:1/ws/chat");
    assert!(uplink.create_transport().await.is_err());
    assert_eq!(signals.0.lock().unwrap().len(), 1);
    assert_eq!(lines.load(Ordering::Relaxed), 1, "only the line of this test");
}

struct Silent;

#[async_trait]
impl Transport for Silent {
    async fn send(&self, _data: Bytes) -> Result<(), anyhow::Error> {
        Ok(())
    }

    async fn disconnect(&self) {}
}

fn watched(uplink: &Uplink) -> Watched {
    Watched {
        socket: Arc::new(Silent),
        answered: uplink.answered.clone(),
        inbox: uplink.inbox.clone(),
        ending: uplink.ending.clone(),
        closed: AtomicBool::new(false),
    }
}

#[tokio::test]
async fn a_socket_that_closes_before_an_answer_is_a_failed_connect_once() {
    let (signals, uplink) = uplink("ws://127.0.0.1:1/ws/chat");
    let socket = watched(&uplink);
    socket.disconnect().await;
    socket.disconnect().await;
    assert_eq!(signals.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_socket_that_closes_after_an_answer_or_at_the_end_is_not() {
    let (signals, uplink) = uplink("ws://127.0.0.1:1/ws/chat");
    let answered = watched(&uplink);
    uplink.answered.set();
    answered.disconnect().await;
    uplink.answered.may_dial();
    uplink.ending.ask();
    watched(&uplink).disconnect().await;
    assert!(signals.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_after_the_store_has_failed() {
    let (_, uplink) = uplink("ws://127.0.0.1:1/ws/chat");
    let socket = watched(&uplink);
    socket.send(Bytes::new()).await.unwrap();
    uplink.ending.store_failed(&wharf_core::store::StoreError::Full);
    assert!(socket.send(Bytes::new()).await.is_err());
}
