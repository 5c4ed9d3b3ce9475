//! A server on a free port, a played connection, and receivers of webhooks.

mod clock;
mod faulty;
mod lookup;
mod played;
mod receiver;
mod site;

pub(crate) use clock::TestClock;
pub(crate) use lookup::TestLookup;
pub(crate) use played::{Door, PlayedEngine, said};
pub(crate) use receiver::Receiver;
pub(crate) use site::{Reply, Site, page, redirect};

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use wharf_core::engine::{Closed, EngineOptions, Inbox, Signal};
use wharf_core::ids::{ChatId, MessageId};
use wharf_core::message::{Ack, Message, MessageKind, Source};
use wharf_core::random::SystemRandom;
use wharf_core::session::Me;
use wharf_core::store::{Batch, Storage, StoreError};
use wharf_server::config::{Config, Environment};
use wharf_server::{Parts, Server};
use wharf_storage::media::LocalMedia;
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use faulty::FaultyStorage;
use played::PlayedConnector;

pub(crate) const KEY: &str = "test-key";
pub(crate) const ALICE: &str = "12025550101@c.us";
pub(crate) const BOB: &str = "12025550102@c.us";
/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a test looks whether something has happened that nobody tells it.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running server and what plays the network around it.
pub(crate) struct Wharf {
    server: Server,
    storage: Arc<FaultyStorage>,
    clock: Arc<TestClock>,
    lookup: Arc<TestLookup>,
    connecting: Arc<Door>,
    vacating: Arc<Door>,
    overlaps: Arc<AtomicU32>,
    links: mpsc::UnboundedReceiver<Link>,
    http: reqwest::Client,
    folder: Arc<tempfile::TempDir>,
    config: Config,
}

/// One played connection.
pub(crate) struct Link {
    pub(crate) options: EngineOptions,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) engine: Arc<PlayedEngine>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.bytes))
    }
}

impl Wharf {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(variables: &[(&str, &str)]) -> Self {
        Self::start_changed(variables, |_| ()).await
    }

    /// A server with settings that no variable allows.
    pub(crate) async fn start_changed(variables: &[(&str, &str)], change: fn(&mut Config)) -> Self {
        let mut config = configuration(variables);
        change(&mut config);
        Self::open(Arc::new(tempfile::tempdir().unwrap()), config, false).await
    }

    async fn open(folder: Arc<tempfile::TempDir>, mut config: Config, server_is_full: bool) -> Self {
        let local = LocalStorage::open(LocalConfig::new(folder.path(), "test"))
            .await
            .unwrap();
        let storage = Arc::new(FaultyStorage {
            inner: Arc::new(local),
            is_full: Arc::default(),
            server_is_full: Arc::new(server_is_full.into()),
            server_panics: Arc::default(),
            server_misreports: Arc::default(),
            server_writes: Arc::default(),
            session_writes: Arc::default(),
        });
        let (connecting, vacating) = (Arc::<Door>::default(), Arc::<Door>::default());
        let overlaps = Arc::new(AtomicU32::new(0));
        let (sender, links) = mpsc::unbounded_channel();
        let clock = Arc::<TestClock>::default();
        let lookup = Arc::<TestLookup>::default();
        // Not the folder of the store, but beside it: what the server keeps there is the test's own as well.
        config.storage.base_dir = folder.path().join("base");
        let server = Server::start(
            config.clone(),
            Parts {
                storage: Arc::clone(&storage) as _,
                media: Arc::new(LocalMedia::new(folder.path().join("media"))),
                connector: Arc::new(PlayedConnector {
                    links: sender,
                    connecting: Arc::clone(&connecting),
                    vacating: Arc::clone(&vacating),
                    engines: Mutex::default(),
                    overlaps: Arc::clone(&overlaps),
                }),
                clock: Arc::clone(&clock) as _,
                random: Arc::new(SystemRandom),
                lookup: Arc::clone(&lookup) as _,
            },
        );
        Self {
            server: server.await.unwrap(),
            storage,
            clock,
            lookup,
            connecting,
            vacating,
            overlaps,
            links,
            http: client(),
            folder,
            config,
        }
    }

    /// A server on data that another one has left.
    pub(crate) async fn on(folder: Arc<tempfile::TempDir>) -> Self {
        Self::on_with(folder, &[]).await
    }

    /// The same, with other settings.
    pub(crate) async fn on_with(folder: Arc<tempfile::TempDir>, variables: &[(&str, &str)]) -> Self {
        Self::open(folder, configuration(variables), false).await
    }

    /// Stops the server and starts another one on the same data.
    pub(crate) async fn restart(self) -> Self {
        let (folder, config) = (Arc::clone(&self.folder), self.config.clone());
        self.stop().await;
        Self::open(folder, config, false).await
    }

    /// The same, and all writes to the server's own store fail because the disk is full.
    pub(crate) async fn restart_on_a_full_disk(self) -> Self {
        let (folder, config) = (Arc::clone(&self.folder), self.config.clone());
        self.stop().await;
        Self::open(folder, config, true).await
    }

    /// Stops the server. No test may ever have seen two connections of one session.
    pub(crate) async fn stop(self) -> Arc<tempfile::TempDir> {
        self.server.shut_down().await;
        assert_eq!(
            self.overlaps.load(Ordering::SeqCst),
            0,
            "two connections of one session"
        );
        self.storage.close().await;
        self.folder
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Where callers' files are while they are needed.
    pub(crate) fn temp_folder(&self) -> std::path::PathBuf {
        let storage = &self.config.storage;
        storage.base_dir.join(&storage.namespace).join(".tmp")
    }

    /// What names resolve to.
    pub(crate) fn lookup(&self) -> &TestLookup {
        &self.lookup
    }

    /// Lets time pass on the server's clock.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.pass(time);
    }

    /// From now on, or no more, writes to the stores of sessions fail because the disk is full.
    pub(crate) fn disk_is_full(&self, full: bool) {
        self.storage.is_full.store(full, Ordering::SeqCst);
    }

    /// From now on, or no more, writes to the server's own store fail because the disk is full.
    pub(crate) fn server_disk_is_full(&self, full: bool) {
        self.storage.server_is_full.store(full, Ordering::SeqCst);
    }

    /// From now on, or no more, writes to the server's own store panic.
    pub(crate) fn server_store_panics(&self, panics: bool) {
        self.storage.server_panics.store(panics, Ordering::SeqCst);
    }

    /// The next write to the server's own store is made, and answered with this error.
    pub(crate) fn server_store_misreports(&self, error: StoreError) {
        *self.storage.server_misreports.lock().unwrap() = Some(error);
    }

    /// What every connection passes that the server makes.
    pub(crate) fn connecting(&self) -> &Door {
        &self.connecting
    }

    /// What everybody passes who waits for the end of a session's connection before.
    pub(crate) fn vacating(&self) -> &Door {
        &self.vacating
    }

    /// What every write to the server's own store passes.
    pub(crate) fn server_writes(&self) -> &Door {
        &self.storage.server_writes
    }

    /// What every write to the stores of sessions passes.
    pub(crate) fn session_writes(&self) -> &Door {
        &self.storage.session_writes
    }

    /// The next connection that the server makes.
    pub(crate) async fn link(&mut self) -> Link {
        timeout(PATIENCE, self.links.recv())
            .await
            .expect("no connection was made")
            .unwrap()
    }

    /// All connections that the server makes from now on.
    pub(crate) fn take_links(&mut self) -> mpsc::UnboundedReceiver<Link> {
        std::mem::replace(&mut self.links, mpsc::unbounded_channel().1)
    }

    /// Whether no connection was made that the test has not taken.
    pub(crate) fn has_no_link(&mut self) -> bool {
        self.links.try_recv().is_err()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address()))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = timeout(PATIENCE, request.send()).await.expect("no answer").unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            bytes: answer.bytes().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).header("X-Api-Key", KEY))
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).header("X-Api-Key", KEY).json(&body))
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).header("X-Api-Key", KEY).json(&body))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).header("X-Api-Key", KEY))
            .await
    }

    /// Asks until the answer is as it should be; returns it.
    pub(crate) async fn until_answer(&self, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let mut looking = interval(LOOK_EVERY);
        let mut last = Value::Null;
        let reached = async {
            loop {
                looking.tick().await;
                last = self.get(path).await.json();
                if is_right(&last) {
                    return last.clone();
                }
            }
        };
        let answer = timeout(PATIENCE, reached).await.ok();
        answer.unwrap_or_else(|| panic!("{path} did not become what it should: {last}"))
    }

    /// Asks until a file is served.
    pub(crate) async fn until_served(&self, path: &str) {
        let mut looking = interval(LOOK_EVERY);
        let served = async {
            while self.get(path).await.status != 200 {
                looking.tick().await;
            }
        };
        timeout(PATIENCE, served)
            .await
            .unwrap_or_else(|_| panic!("{path} is not served"));
    }

    /// A session that works, with this configuration.
    pub(crate) async fn working(&mut self, name: &str, config: Value) -> Link {
        let made = self
            .post("/api/sessions", json!({"name": name, "config": config}))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let link = self.link().await;
        link.work();
        self.until_status(name, "WORKING").await;
        link
    }

    /// A server whose session `default` works and tells a receiver of these events.
    pub(crate) async fn telling(events: &[&str]) -> (Self, Receiver, Link) {
        let (mut wharf, receiver) = (Self::start().await, Receiver::start().await);
        let config = json!({"webhooks": [receiver.webhook(events)]});
        let link = wharf.working("default", config).await;
        (wharf, receiver, link)
    }

    /// Waits until a session has a status; returns the session.
    pub(crate) async fn until_status(&self, name: &str, status: &str) -> Value {
        self.until(name, "/status", status).await
    }

    /// Waits until a session has this in this place; returns the session.
    pub(crate) async fn until(&self, name: &str, place: &str, expected: &str) -> Value {
        let mut looking = interval(LOOK_EVERY);
        let reached = async {
            loop {
                looking.tick().await;
                let session = self.get(&format!("/api/sessions/{name}")).await.json();
                if session.pointer(place).is_some_and(|found| found == expected) {
                    return session;
                }
            }
        };
        timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{place} of {name} did not become {expected}"))
    }
}

/// The configuration that these variables make.
fn configuration(variables: &[(&str, &str)]) -> Config {
    let own = [
        ("PORT", "0"),
        ("WAHA_API_KEY", KEY),
        ("WHARF_MASTER_KEY", "master key of the tests, 32 characters"),
    ];
    let environment: Environment = own.iter().chain(variables).copied().collect();
    Config::read(&environment).unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    // What `main` does first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "the test is the caller, not the server")]
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn me() -> Me {
    Me {
        id: "12025550100@c.us".parse().unwrap(),
        lid: Some("100000000000100@lid".parse().unwrap()),
        jid: Some("12025550100:3@s.whatsapp.net".to_owned()),
        push_name: "Us".to_owned(),
    }
}

/// A text that somebody wrote to us.
pub(crate) fn text(chat: &str, id: &str, body: &str) -> Message {
    let chat: ChatId = chat.parse().unwrap();
    Message {
        id: MessageId {
            from_me: false,
            chat: chat.clone(),
            id: id.to_owned(),
            participant: None,
        },
        stanza: format!("stanza {chat} {id}"),
        timestamp: Timestamp::from_second(1_790_000_000).unwrap(),
        from: chat,
        to: me().id,
        participant: None,
        sender_alt: None,
        push_name: Some("Alice".to_owned()),
        source: Source::App,
        kind: MessageKind::Content,
        body: body.to_owned(),
        media: None,
        reply_to: None,
        mentions: Vec::new(),
        location: None,
        vcards: Vec::new(),
        ack: Ack::Pending,
        proto: Bytes::from_static(b"\x0a\x02hi"),
    }
}

impl Link {
    pub(crate) fn show_qr(&self, code: &str) {
        self.inbox.signal(Signal::QrCode {
            code: code.to_owned(),
            valid_for: Duration::from_secs(60),
        });
    }

    pub(crate) fn work(&self) {
        self.inbox.signal(Signal::Connected(me()));
    }

    pub(crate) fn close(&self, closed: Closed) {
        self.inbox.signal(Signal::Closed(closed));
    }

    pub(crate) async fn receive(&self, message: Message) -> Result<(), StoreError> {
        self.inbox.commit(vec![message], Batch::new()).await
    }
}
