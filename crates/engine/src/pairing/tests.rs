//! What becomes of QR codes over time, with the library's own rotation on a clock that the test moves.

use std::pin::Pin;
use std::sync::Mutex;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use wacore::net::{HttpClient, HttpRequest, HttpResponse, Transport, TransportEvent, TransportFactory};
use wacore::runtime::{AbortHandle, Runtime};
use wacore::store::in_memory::InMemoryBackend;
use wacore::types::events::{Event, EventHandler, EventInterest};
use whatsapp_rust::store::persistence_manager::PersistenceManager;

use super::*;
use crate::runtime::Tasks;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The library's tasks, whose sleep the test ends.
#[derive(Clone)]
struct MovedClock {
    tasks: Tasks,
    /// The lives of refs that were begun, in seconds.
    begun: Arc<Mutex<Vec<u64>>>,
    /// One permit ends one ref.
    over: Arc<Semaphore>,
}

#[async_trait]
impl Runtime for MovedClock {
    fn spawn(&self, future: Task) -> AbortHandle {
        self.tasks.spawn(future)
    }

    fn spawn_detached(&self, future: Task) {
        self.tasks.spawn_detached(future);
    }

    fn sleep(&self, duration: Duration) -> Task {
        if duration != FIRST_REF && duration != NEXT_REF {
            return Box::pin(std::future::pending());
        }
        self.begun.lock().unwrap().push(duration.as_secs());
        let over = self.over.clone();
        Box::pin(async move { over.acquire().await.unwrap().forget() })
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) -> Task {
        self.tasks.spawn_blocking(work)
    }

    fn yield_now(&self) -> Option<Task> {
        None
    }
}

/// Nobody is reached.
struct Nowhere;

#[async_trait]
impl TransportFactory for Nowhere {
    async fn create_transport(&self) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        anyhow::bail!("there is no network")
    }
}

#[async_trait]
impl HttpClient for Nowhere {
    async fn execute(&self, _: HttpRequest) -> anyhow::Result<HttpResponse> {
        anyhow::bail!("there is no network")
    }
}

/// Passes on what the library tells.
struct Told(tokio::sync::mpsc::UnboundedSender<Arc<Event>>);

impl EventHandler for Told {
    fn handle_event(&self, event: Arc<Event>) {
        let _ = self.0.send(event);
    }

    fn interest(&self) -> EventInterest {
        EventInterest::ALL
    }
}

/// A client that shows QR codes.
struct Showing {
    client: Arc<Client>,
    clock: MovedClock,
    told: UnboundedReceiver<Arc<Event>>,
}

impl Showing {
    async fn start() -> Self {
        let clock = MovedClock {
            tasks: Tasks::new(tracing::Span::none()),
            begun: Arc::default(),
            over: Arc::new(Semaphore::new(0)),
        };
        let device = PersistenceManager::new(Arc::new(InMemoryBackend::new())).await.unwrap();
        let client = Client::builder()
            .with_runtime(clock.clone())
            .with_persistence_manager(Arc::new(device))
            .with_transport_factory(Nowhere)
            .with_http_client(Nowhere)
            .build()
            .await
            .unwrap()
            .into_client();
        let (sender, told) = unbounded_channel();
        client.subscribe_handler(Arc::new(Told(sender))).detach();
        let refs = (1..=6).map(|number| {
            NodeBuilder::new("ref")
                .bytes(format!("2@{number}").into_bytes())
                .build()
        });
        let pair_device = NodeBuilder::new("pair-device").children(refs.collect::<Vec<_>>());
        let request = NodeBuilder::new("iq")
            .attr("from", SERVER_JID)
            .children([pair_device.build()])
            .build();
        assert!(whatsapp_rust::pair::handle_iq(&client, &request.as_node_ref()).await);
        Self { client, clock, told }
    }

    /// The next thing that the library tells.
    async fn next(&mut self) -> Arc<Event> {
        self.told.recv().await.unwrap()
    }

    /// The next QR code, and how long it can be scanned.
    async fn qr(&mut self) -> (String, u64) {
        match &*self.next().await {
            Event::PairingQrCode(qr) => {
                let reference = qr.code.split(',').next().unwrap().to_owned();
                (reference, qr.timeout.as_secs_f64().round() as u64)
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is shown now is over.
    fn pass(&self) {
        self.clock.over.add_permits(1);
    }
}

#[tokio::test]
async fn six_qr_codes_are_shown_for_sixty_seconds_and_then_for_twenty_each() {
    let mut showing = Showing::start().await;
    for number in 1..=6 {
        let seconds = if number == 1 { 60 } else { 20 };
        assert_eq!(showing.qr().await, (format!("2@{number}"), seconds));
        showing.pass();
    }
    match &*showing.next().await {
        Event::PairingQrCodesExhausted(exhausted) => assert!(exhausted.disconnected),
        other => panic!("{other:?}"),
    }
    assert_eq!(*showing.clock.begun.lock().unwrap(), [60, 20, 20, 20, 20, 20]);
    assert_eq!(
        Linking::default().closed_by(Closed::QrCodesExpired),
        Closed::QrCodesExpired
    );
}

#[tokio::test]
async fn a_passkey_has_the_time_that_whatsapp_gives_it_whatever_is_left_of_the_qr_codes() {
    let mut showing = Showing::start().await;
    showing.qr().await;
    let linking = Linking::default();
    assert!(!linking.is_held());
    linking.passkey_required();
    assert!(linking.is_held());
    let options = json!({"challenge": "AAEC", "timeout": 120_000, "rpId": "whatsapp.com"}).to_string();
    let challenge = linking.ask_for_passkey(&showing.client, &options).await.unwrap();
    assert_eq!(challenge.timeout_ms, 120_000);

    // 60 s and three times 20 s, in which nothing that is shown is a code of WhatsApp's, and then the end.
    for _ in 0..4 {
        assert_eq!(showing.qr().await.0, "");
        showing.pass();
    }
    match &*showing.next().await {
        Event::PairingQrCodesExhausted(exhausted) => assert!(exhausted.disconnected),
        other => panic!("{other:?}"),
    }
    assert_eq!(*showing.clock.begun.lock().unwrap(), [60, 60, 20, 20, 20]);
    assert_eq!(linking.closed_by(Closed::QrCodesExpired), Closed::PasskeyExpired);
    assert_eq!(linking.closed_by(Closed::Replaced), Closed::Replaced);
}

#[test]
fn a_challenge_is_read_with_webauthns_defaults() {
    let read =
        challenge(r#"{"challenge": "AAEC", "allowCredentials": [{"id": "Zm9v", "type": "public-key"}]}"#).unwrap();
    assert_eq!((read.timeout_ms, read.rp_id.as_str()), (600_000, "web.whatsapp.com"));
    assert_eq!(read.allow_credentials[0].transports, Vec::<String>::new());
    assert!(challenge("{}").is_err());
}
