//! A server on a free port, a played connection, and receivers of webhooks.

mod clock;
mod lookup;
mod receiver;
mod site;

pub(crate) use clock::TestClock;
pub(crate) use lookup::TestLookup;
pub(crate) use receiver::Receiver;
pub(crate) use site::{Reply, Site, page, redirect};

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::HeaderMap;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{interval, timeout};
use wharf_core::engine::{
    Chatting, Closed, Connector, Contacts, Content, Engine, EngineError, EngineOptions, Inbox, Lifecycle, Media,
    MediaError, Pairing, PasskeyAssertion, Presence, SeenRequest, SendRequest, SentMessage, Signal, Typing,
};
use wharf_core::ids::{ChatId, MessageId, SessionName};
use wharf_core::message::{Ack, Message, MessageKind, Source};
use wharf_core::random::SystemRandom;
use wharf_core::session::Me;
use wharf_core::store::{Batch, Collection, Condition, Document, Page, Query, Storage, Store, StoreError};
use wharf_server::config::{Config, Environment};
use wharf_server::{Parts, Server};
use wharf_storage::media::LocalMedia;
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

pub(crate) const KEY: &str = "test-key";
pub(crate) const ALICE: &str = "12025550101@c.us";
pub(crate) const BOB: &str = "12025550102@c.us";
/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a test looks whether something has happened that nobody tells it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
        storage.base_dir.join(&storage.namespace).join("tmp")
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
        timeout(PATIENCE, served).await.unwrap_or_else(|_| panic!("{path} is not served"));
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

struct PlayedConnector {
    links: mpsc::UnboundedSender<Link>,
    connecting: Arc<Door>,
    vacating: Arc<Door>,
    engines: Mutex<Vec<(SessionName, Arc<PlayedEngine>)>>,
    /// Connections that were made while another one of the same session had not ended.
    overlaps: Arc<AtomicU32>,
}

#[async_trait]
impl Connector for PlayedConnector {
    async fn vacated(&self, _session: &SessionName) {
        self.vacating.pass().await;
    }

    async fn connect(&self, options: EngineOptions, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Engine>, EngineError> {
        self.connecting.pass().await;
        let engine = Arc::new(PlayedEngine::default());
        let mut engines = self.engines.lock().unwrap();
        engines.retain(|(_, engine)| engine.is_connected());
        if engines.iter().any(|(session, _)| *session == options.session) {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        engines.push((options.session.clone(), Arc::clone(&engine)));
        let link = Link {
            options,
            inbox,
            engine: Arc::clone(&engine),
        };
        self.links.send(link).unwrap();
        Ok(engine)
    }
}

/// Sends nothing, but remembers what it was asked.
#[derive(Default)]
pub(crate) struct PlayedEngine {
    pub(crate) sent: Mutex<Vec<SendRequest>>,
    pub(crate) seen: Mutex<Vec<SeenRequest>>,
    pub(crate) typing: Mutex<Vec<Typing>>,
    pub(crate) starred: Mutex<Vec<(MessageId, bool)>>,
    /// Why the next downloads fail.
    pub(crate) undownloadable: Mutex<VecDeque<MediaError>>,
    pub(crate) downloading: Door,
    /// What was shown, oldest first: online or not.
    pub(crate) shown: watch::Sender<Vec<bool>>,
    pub(crate) refuses: Mutex<VecDeque<EngineError>>,
    /// The phones that codes were requested for.
    pub(crate) coded: Mutex<Vec<ChatId>>,
    pub(crate) assertions: Mutex<Vec<PasskeyAssertion>>,
    pub(crate) sending: Door,
    pub(crate) sending_panics: AtomicBool,
    pub(crate) seeing: Door,
    pub(crate) disconnecting: Door,
    pub(crate) disconnecting_panics: AtomicBool,
    pub(crate) is_disconnected: AtomicBool,
    pub(crate) is_logged_out: AtomicBool,
}

/// Stops something half-way, while it is shut.
#[derive(Default)]
pub(crate) struct Door(Mutex<Option<Arc<Gate>>>);

/// A door that was shut.
pub(crate) struct Gate {
    waiting: Semaphore,
    free: Semaphore,
}

impl Door {
    /// From now on whoever comes waits at the gate.
    pub(crate) fn shut(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            waiting: Semaphore::new(0),
            free: Semaphore::new(0),
        });
        *self.0.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    /// Lets everybody pass who comes from now on.
    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = None;
    }

    async fn pass(&self) {
        let gate = self.0.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.waiting.add_permits(1);
            gate.free.acquire().await.unwrap().forget();
        }
    }
}

impl Gate {
    /// Waits until somebody stands at it who was not counted before.
    pub(crate) async fn reached(&self) {
        let reached = timeout(PATIENCE, self.waiting.acquire()).await;
        reached.expect("nobody came to the gate").unwrap().forget();
    }

    /// Lets one pass.
    pub(crate) fn let_one_pass(&self) {
        self.free.add_permits(1);
    }
}

#[async_trait]
impl Pairing for PlayedEngine {
    async fn request_code(&self, phone: &ChatId) -> Result<String, EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.coded.lock().unwrap().push(phone.clone());
        Ok("ABCD2345".to_owned())
    }

    async fn answer_passkey(&self, assertion: PasskeyAssertion) -> Result<(), EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.assertions.lock().unwrap().push(assertion);
        Ok(())
    }

    async fn confirm_passkey(&self) -> Result<(), EngineError> {
        self.refuses.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Presence for PlayedEngine {
    async fn set_online(&self, online: bool) -> Result<(), EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.shown.send_modify(|shown| shown.push(online));
        Ok(())
    }
}

#[async_trait]
impl Chatting for PlayedEngine {
    fn new_message_id(&self) -> String {
        // No two connections make the same one.
        static IDS: AtomicU32 = AtomicU32::new(0);
        format!("3EB0{:04X}", IDS.fetch_add(1, Ordering::SeqCst))
    }

    async fn send(&self, request: SendRequest) -> Result<SentMessage, EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.sent.lock().unwrap().push(request.clone());
        self.sending.pass().await;
        assert!(!self.sending_panics.load(Ordering::SeqCst), "as the test asked");
        let mut message = text(&request.chat.to_string(), &request.id, said(&request));
        message.id.from_me = true;
        (message.from, message.to) = (message.to, message.from);
        Ok(SentMessage { message })
    }

    async fn send_seen(&self, request: SeenRequest) -> Result<(), EngineError> {
        self.seeing.pass().await;
        self.seen.lock().unwrap().push(request);
        Ok(())
    }

    async fn set_typing(&self, _chat: &ChatId, typing: Typing) -> Result<(), EngineError> {
        self.typing.lock().unwrap().push(typing);
        Ok(())
    }

    async fn set_starred(&self, message: &MessageId, starred: bool) -> Result<(), EngineError> {
        self.starred.lock().unwrap().push((message.clone(), starred));
        Ok(())
    }
}

#[async_trait]
impl Contacts for PlayedEngine {
    async fn find(&self, person: &ChatId) -> Result<Option<ChatId>, EngineError> {
        Ok(Some(person.clone()))
    }
}

/// The text of a request; empty where it is none.
pub(crate) fn said(request: &SendRequest) -> &str {
    match &request.content {
        Content::Text { text, .. } => text,
        _ => "",
    }
}

/// A file of this content is what every message has.
const FILE: &[u8] = b"the file";

#[async_trait]
impl Media for PlayedEngine {
    async fn download(&self, _message: &Message, to: &Path, _bytes_max: u64) -> Result<u64, MediaError> {
        self.downloading.pass().await;
        if let Some(error) = self.undownloadable.lock().unwrap().pop_front() {
            return Err(error);
        }
        std::fs::write(to, FILE).map_err(MediaError::Disk)?;
        Ok(FILE.len() as u64)
    }

    async fn request_reupload(&self, message: &Message) -> Result<Message, MediaError> {
        Ok(message.clone())
    }
}

#[async_trait]
impl Lifecycle for PlayedEngine {
    fn me(&self) -> Option<Me> {
        Some(me())
    }

    fn is_connected(&self) -> bool {
        !self.is_disconnected.load(Ordering::SeqCst)
    }

    async fn logout(&self) {
        self.is_logged_out.store(true, Ordering::SeqCst);
    }

    async fn disconnect(&self) {
        self.disconnecting.pass().await;
        let panics = self.disconnecting_panics.swap(false, Ordering::SeqCst);
        self.is_disconnected.store(true, Ordering::SeqCst);
        assert!(!panics, "as the test asked");
    }
}

/// Local storage whose stores can be made to fail, and to wait.
struct FaultyStorage {
    inner: Arc<LocalStorage>,
    is_full: Arc<AtomicBool>,
    server_is_full: Arc<AtomicBool>,
    server_panics: Arc<AtomicBool>,
    server_writes: Arc<Door>,
    session_writes: Arc<Door>,
}

struct FaultyStore {
    inner: Arc<dyn Store>,
    is_full: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    writes: Arc<Door>,
}

#[async_trait]
impl Storage for FaultyStorage {
    fn server(&self) -> Arc<dyn Store> {
        Arc::new(FaultyStore {
            inner: self.inner.server(),
            is_full: Arc::clone(&self.server_is_full),
            panics: Arc::clone(&self.server_panics),
            writes: Arc::clone(&self.server_writes),
        })
    }

    async fn session(&self, name: &SessionName) -> Result<Arc<dyn Store>, StoreError> {
        let inner = self.inner.session(name).await?;
        Ok(Arc::new(FaultyStore {
            inner,
            is_full: Arc::clone(&self.is_full),
            panics: Arc::default(),
            writes: Arc::clone(&self.session_writes),
        }))
    }

    async fn delete_session(&self, name: &SessionName) -> Result<(), StoreError> {
        self.inner.delete_session(name).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(StoreError::Full),
            false => self.inner.check().await,
        }
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        self.inner.get(collection, id).await
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        self.inner.get_many(collection, ids).await
    }

    async fn find(&self, collection: &'static Collection, query: Query) -> Result<Page, StoreError> {
        self.inner.find(collection, query).await
    }

    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError> {
        self.inner.count(collection, conditions).await
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.writes.pass().await;
        assert!(!self.panics.load(Ordering::SeqCst), "as the test asked");
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(StoreError::Full),
            false => self.inner.write(batch).await,
        }
    }
}
