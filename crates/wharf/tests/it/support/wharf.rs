//! A whole server on a sandbox network of its own, in this process, and a client that checks every answer.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;
use wharf_cli::serve::{Peer, Running, open_storage, start, start_on};
use wharf_core::random::SystemRandom;
use wharf_server::config::{Config, Environment};
use wharf_simulator::{InboxEntry, KillMode, Sandbox, SandboxServer, SandboxServerConfig, Seed};

use super::rigged::{Judge, Rigged};
use super::time::TestTime;
use super::{ALICE, BOB, KEY, PATIENCE, Receiver, contract, within};

/// A server and the network that it is on. Dropping it fails the test where the network saw a stanza that it does not
/// know, a malformed one, one that was acknowledged late or never, or two connections of one device. Where a device was
/// linked, a test ends with [`Self::finish`]: only waiting tells whether everything is acknowledged.
pub(crate) struct TestWharf {
    pub(crate) network: Sandbox,
    pub(crate) network_time: TestTime,
    /// The time of a server of [`Self::boot_rigged`].
    pub(crate) server_time: TestTime,
    sandbox: Option<SandboxServer>,
    folder: TempDir,
    settings: Vec<(String, String)>,
    /// The name under which the server knows the machine of the network.
    network_host: &'static str,
    running: Option<Running>,
    /// What a server runs in that can be crashed.
    doomed: Option<Runtime>,
    client: reqwest::Client,
    is_finished: bool,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; `null` where there is none.
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The JSON body, where the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Status and body, for snapshots.
    pub(crate) fn shape(&self) -> Value {
        json!({ "status": self.status.as_u16(), "body": self.json() })
    }
}

impl TestWharf {
    /// A server with default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with these settings.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_at("127.0.0.1", settings).await
    }

    /// A server with these settings, which knows the machine of the network under this name.
    pub(crate) async fn start_at(network_host: &'static str, settings: &[(&str, &str)]) -> Self {
        // Fails where another test was faster with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let network_time = TestTime::default();
        let env = network_time.env();
        let network = Sandbox::new(env.clone(), Seed::Fresh);
        let config = SandboxServerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            tls_listen: ([127, 0, 0, 1], 0).into(),
            ..SandboxServerConfig::new(env)
        };
        let sandbox = SandboxServer::start(config, network.clone(), None).await.unwrap();
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let client = client();
        let mut wharf = Self {
            network,
            network_time,
            server_time: TestTime::default(),
            sandbox: Some(sandbox),
            folder,
            settings,
            network_host,
            running: None,
            doomed: None,
            client,
            is_finished: false,
        };
        wharf.boot().await;
        wharf
    }

    /// Starts the server on the same folder and network; it must have been stopped.
    pub(crate) async fn boot(&mut self) {
        self.boot_changed(|_| ()).await;
    }

    /// Like [`Self::boot`], with settings that no variable allows.
    pub(crate) async fn boot_changed(&mut self, change: fn(&mut Config)) {
        let (mut config, peer) = self.configuration();
        change(&mut config);
        let starting = start(config, peer, Arc::new(SystemRandom));
        self.running = Some(Box::pin(starting).await.unwrap());
    }

    /// Like [`Self::boot`], with somebody who decides over every write, on a time of its own, and so that it can be crashed.
    pub(crate) async fn boot_rigged(&mut self, judge: Arc<dyn Judge>) {
        let (config, peer) = self.configuration();
        let clock = Arc::new(self.server_time.clone());
        let doomed = Runtime::new().unwrap();
        let server = doomed.spawn(async move {
            let storage = open_storage(&config).await.unwrap();
            let rigged = Arc::new(Rigged { storage, judge });
            let random = Arc::new(SystemRandom);
            Box::pin(start_on(rigged, config, peer, clock, random)).await.unwrap()
        });
        self.running = Some(server.await.unwrap());
        self.doomed = Some(doomed);
    }

    /// Ends a server of [`Self::boot_rigged`] as a crash does: everything stops where it is, and nothing more is written.
    pub(crate) async fn crash(&mut self) {
        let doomed = self.doomed.take().expect("the server cannot be crashed");
        let running = self.running.take();
        spawn_blocking(move || drop(doomed)).await.unwrap();
        drop(running);
        within("the threads of the store to end", self.folder_is_free()).await;
        // The system closes the sockets of a process that dies; those of a runtime may outlive it.
        for phone in self.network.phones() {
            for device in phone.devices.iter().filter(|device| device.connected) {
                self.network.kill(&device.jid, KillMode::Close).await.unwrap();
            }
        }
    }

    /// Waits until nothing of a server holds its folder any more.
    async fn folder_is_free(&self) {
        let lock = File::open(self.base_dir().join("webjs/wharf.lock")).unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        // Closing the file lets go of it again.
        while lock.try_lock().is_err() {
            ticks.tick().await;
        }
    }

    fn configuration(&self) -> (Config, Peer) {
        assert!(self.running.is_none(), "the server runs already");
        let own = [
            ("WAHA_API_KEY".to_owned(), KEY.to_owned()),
            (
                "WHARF_MASTER_KEY".to_owned(),
                "master key of the tests, 32 characters".to_owned(),
            ),
            (
                "WAHA_LOCAL_STORE_BASE_DIR".to_owned(),
                self.base_dir().display().to_string(),
            ),
            ("WHATSAPP_API_PORT".to_owned(), "0".to_owned()),
            // Where ffmpeg is.
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
            (
                "WHATSAPP_FILES_FOLDER".to_owned(),
                self.folder.path().join("media").display().to_string(),
            ),
        ];
        let environment: Environment = own.into_iter().chain(self.settings.clone()).collect();
        let config = Config::read(&environment).unwrap();
        let port = self.sandbox_address().port();
        let url = format!("ws://{}:{port}/ws/chat", self.network_host).parse().unwrap();
        (config, Peer::SandboxAt(url))
    }

    /// Waits until every device has acknowledged everything that it got.
    pub(crate) async fn settled(&self) {
        let left = self.network.settled(PATIENCE).await;
        assert_eq!(left, Ok(()), "stanzas that nobody acknowledged");
    }

    /// The end of a test that links a device: everything is acknowledged.
    pub(crate) async fn finish(mut self) {
        self.settled().await;
        self.is_finished = true;
    }

    /// Stops the server as SIGTERM does; the network stays.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().expect("the server does not run");
        within("the server to stop", running.stop()).await;
        if let Some(doomed) = self.doomed.take() {
            doomed.shutdown_background();
        }
    }

    /// Stops and starts the server.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.boot().await;
    }

    /// The folder that the server keeps its data in.
    pub(crate) fn base_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("sessions")
    }

    /// The folder of one session's data.
    pub(crate) fn session_dir(&self, session: &str) -> std::path::PathBuf {
        self.base_dir().join(Path::new("webjs")).join(session)
    }

    /// Where the sandbox listens.
    pub(crate) fn sandbox_address(&self) -> std::net::SocketAddr {
        self.sandbox
            .as_ref()
            .expect("only dropping takes the sandbox")
            .local_addr()
    }

    /// The certificate of the authority that the network's media hosts have theirs from, PEM.
    pub(crate) async fn sandbox_authority(&self) -> String {
        let url = format!("http://{}/admin/ca.pem", self.sandbox_address());
        let answer = self.client.get(url).send().await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    /// Where the API is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!(
            "http://{}{path}",
            self.running.as_ref().expect("the server does not run").address()
        )
    }

    /// A request without a key, to be filled in and given to [`Self::send`].
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// Sends a request, and checks the answer against the OpenAPI document.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let operation = contract::operation(request.method().as_str(), request.url().path());
        let response = self.client.execute(request).await.unwrap();
        let content_type = response
            .headers()
            .get("content-type")
            .map(|it| it.to_str().unwrap().to_owned());
        let content_type = content_type.unwrap_or_default();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap().to_vec();
        if let Some(operation) = operation {
            contract::check(&operation, status.as_u16(), &content_type, &body);
        }
        Answer {
            status,
            content_type,
            headers,
            body,
        }
    }

    /// GET with the key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).header("x-api-key", KEY))
            .await
    }

    /// POST with the key.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).header("x-api-key", KEY).json(&body))
            .await
    }

    /// PUT with the key.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).header("x-api-key", KEY).json(&body))
            .await
    }

    /// DELETE with the key.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).header("x-api-key", KEY))
            .await
    }

    /// Creates a session that reports to `receiver`, and starts it.
    pub(crate) async fn create(&self, name: &str, receiver: &Receiver) {
        let webhook = json!({ "url": receiver.url(), "events": ALL_BUILT_EVENTS });
        let body = json!({ "name": name, "config": { "metadata": { "user.id": "123" }, "webhooks": [webhook] } });
        self.post("/api/sessions", body).await.expect(201);
    }

    /// The text of the session's QR code; waits for one.
    pub(crate) async fn qr(&self, name: &str) -> String {
        let answer = self.get(&format!("/api/{name}/auth/qr?format=raw")).await;
        answer.expect(200)["value"].as_str().unwrap().to_owned()
    }

    /// A session that is linked to a phone and `WORKING`.
    pub(crate) async fn paired(&self, name: &str, number: &str, receiver: &Receiver) {
        self.create(name, receiver).await;
        self.scan(name, number).await;
        self.wait_for_status(name, "WORKING").await;
    }

    /// The session `default`, linked to Alice, and where its events go.
    pub(crate) async fn with_alice() -> (Self, Receiver) {
        let wharf = Self::start().await;
        let receiver = Receiver::start().await;
        wharf.paired("default", ALICE, &receiver).await;
        (wharf, receiver)
    }

    /// The phone scans the session's QR code.
    pub(crate) async fn scan(&self, name: &str, number: &str) {
        let qr = self.qr(name).await;
        self.network.scan(number, &qr).await.unwrap();
    }

    /// Waits until the session has this status, by its own account.
    pub(crate) async fn wait_for_status(&self, name: &str, status: &str) {
        let reached = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            while self.get(&format!("/api/sessions/{name}")).await.json()["status"] != status {
                ticks.tick().await;
            }
        };
        within(&format!("session {name} to be {status}"), reached).await;
    }

    /// Bob writes `text 0`, `text 1`, … to Alice, so many.
    pub(crate) async fn bob_writes(&self, count: usize) {
        for number in 0..count {
            let text = format!("text {number}");
            self.network.send(BOB, ALICE, &text, None).await.unwrap();
        }
    }

    /// Alice has linked one device, the same since the test began.
    #[track_caller]
    pub(crate) fn assert_same_device(&self) {
        let devices = self.network.phone(ALICE).unwrap().devices;
        assert_eq!(devices.len(), 1, "it is the same device");
    }

    /// Waits for something that a phone shows, from the beginning of its inbox on.
    pub(crate) async fn phone_shows(
        &self,
        number: &str,
        what: &str,
        wanted: impl Fn(&InboxEntry) -> bool,
    ) -> InboxEntry {
        let search = async {
            let mut after = 0;
            loop {
                let page = self.network.inbox(number, after, PATIENCE).await.unwrap();
                if let Some(found) = page.entries.into_iter().find(&wanted) {
                    return found;
                }
                after = page.next;
            }
        };
        within(&format!("{what} on the phone {number}"), search).await
    }
}

impl Drop for TestWharf {
    fn drop(&mut self) {
        if let Some(doomed) = self.doomed.take() {
            doomed.shutdown_background();
        }
        if std::thread::panicking() {
            return;
        }
        let metrics = self.network.metrics();
        assert!(
            self.is_finished || metrics.logins == 0,
            "a test that links a device ends with `finish`"
        );
        let bad = metrics.unknown_count
            + metrics.malformed_count
            + metrics.unacked_count
            + metrics.unmatched_count
            + metrics.prekeys_reused
            + metrics.replaced;
        assert_eq!(bad, 0, "the sandbox objects to what it saw: {metrics:#?}");
    }
}

/// The events that fire so far.
const ALL_BUILT_EVENTS: &[&str] = &[
    "session.status",
    "message",
    "message.any",
    "message.ack",
    "message.waiting",
    "message.reaction",
    "message.edited",
    "message.revoked",
    "poll.vote",
    "poll.vote.failed",
];

#[expect(
    clippy::disallowed_methods,
    reason = "the client of the tests calls the server under test, not the outside"
)]
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE * 2)
        .build()
        .unwrap()
}
