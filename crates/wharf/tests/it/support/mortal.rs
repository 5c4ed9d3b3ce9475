//! A server that is killed and comes back on the same folder, and the sandbox network that outlives it: three processes
//! with the test's own.

use std::fs::File;

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::process::{Process, address, sandbox_alone, serve_on};
use super::remote::Client;
use super::within;

/// What the network must not have counted.
const OBJECTIONS: &[&str] = &[
    "unknown_count",
    "malformed_count",
    "unmatched_count",
    "prekeys_reused",
    "replaced",
];

/// What is left after everything has stopped.
pub(crate) struct Remains {
    pub(crate) folder: TempDir,
    /// What the network counted.
    pub(crate) metrics: Value,
}

/// The network, and how to make a server on it.
pub(crate) struct Mortal {
    pub(crate) folder: TempDir,
    settings: Vec<(&'static str, String)>,
    page: String,
    sandbox: Process,
    network: Client,
    /// Where the server listens, while it does.
    api: watch::Sender<Option<String>>,
}

impl Mortal {
    /// A network, and the first server with these settings.
    pub(crate) async fn start(settings: &[(&'static str, &str)]) -> (Self, Process) {
        let folder = tempfile::tempdir().unwrap();
        let mut sandbox = Process::start(sandbox_alone(folder.path()));
        let page = address(&sandbox.line_with("sandbox network: ").await);
        let mortal = Self {
            network: Client::new("", &page),
            settings: settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            folder,
            page,
            sandbox,
            api: watch::Sender::new(None),
        };
        let server = mortal.boot().await;
        (mortal, server)
    }

    /// Starts a server; its log goes on in `server.log`.
    async fn boot(&self) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("server.log"))
            .unwrap();
        let mut command = serve_on(&self.page, self.folder.path());
        command.env("WAHA_LOG_LEVEL", "warn").env("WAHA_LOG_FORMAT", "JSON");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let mut server = Process::start_logging_to(log, command);
        let api = address(&server.line_with("wharf ").await);
        self.api.send_replace(Some(api));
        server
    }

    /// Kills the server at once, as a crash does, and starts another one where it was.
    pub(crate) async fn kill(&self, server: Process) -> Process {
        self.api.send_replace(None);
        server.kill().await;
        self.boot().await
    }

    /// Whoever calls the network.
    pub(crate) fn network(&self) -> &Client {
        &self.network
    }

    /// Where the server listens, as soon as it does.
    pub(crate) async fn address(&self) -> String {
        let mut api = self.api.subscribe();
        let api = api.wait_for(Option::is_some).await.unwrap();
        api.clone().unwrap()
    }

    /// Whoever calls the server that runs, as soon as one does.
    pub(crate) async fn client(&self) -> Client {
        self.network.at(&self.address().await)
    }

    /// A session that is linked to a phone and `WORKING`, with these webhooks.
    pub(crate) async fn link(&self, session: &str, number: &str, webhooks: Value) {
        let client = self.client().await;
        let body = json!({ "name": session, "config": { "webhooks": webhooks } });
        client.api("POST", "/api/sessions", body).await;
        let qr = client
            .api("GET", &format!("/api/{session}/auth/qr?format=raw"), Value::Null)
            .await;
        let scan = format!("/admin/phones/{number}/scan");
        self.network.admin(&scan, json!({ "qr": qr["value"] })).await;
        client.status(session, "WORKING").await;
    }

    /// Makes people with phones; answers their numbers.
    pub(crate) async fn people(&self, count: usize) -> Vec<String> {
        let phones = join_all((0..count).map(|_| self.network.admin("/admin/phones", json!({})))).await;
        let number = |phone: &Value| phone["number"].as_str().unwrap().to_owned();
        phones.iter().map(number).collect()
    }

    /// A person writes.
    pub(crate) async fn write(&self, from: &str, to: &str, text: &str) {
        let body = json!({ "to": to, "text": text });
        self.network.admin(&format!("/admin/phones/{from}/send"), body).await;
    }

    /// How many stanzas wait for the acknowledgement of the session of this phone.
    pub(crate) async fn open_stanzas(&self, number: &str) -> u64 {
        let phone = self.network.look(&format!("/admin/phones/{number}")).await;
        phone["devices"][0]["queued"].as_u64().unwrap()
    }

    /// Waits until the session of this phone has acknowledged everything.
    pub(crate) async fn settled(&self, number: &str) {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        while self.open_stanzas(number).await != 0 {
            ticks.tick().await;
        }
    }

    /// The texts that a phone shows from others.
    pub(crate) async fn texts_at(&self, number: &str) -> Vec<String> {
        let (mut after, mut texts) = (0, Vec::new());
        loop {
            let page = self
                .network
                .look(&format!("/admin/phones/{number}/inbox?after={after}"))
                .await;
            let entries = page["entries"].as_array().unwrap();
            if entries.is_empty() {
                return texts;
            }
            let received = entries
                .iter()
                .filter(|entry| entry["kind"] == "message" && entry["from_me"] == false);
            texts.extend(received.map(|entry| entry["text"].as_str().unwrap().to_owned()));
            after = page["next"].as_u64().unwrap();
        }
    }

    /// Stops everything, and fails where the network objects to what it saw.
    pub(crate) async fn finish(self, server: Process) -> Remains {
        assert_eq!(within("the server to stop", server.terminate()).await.0, Some(0));
        let metrics = self.network.look("/admin/metrics").await;
        for objection in OBJECTIONS {
            assert_eq!(metrics[objection], 0, "{metrics:#}");
        }
        assert_eq!(self.sandbox.terminate().await.0, Some(0));
        Remains {
            folder: self.folder,
            metrics,
        }
    }
}
