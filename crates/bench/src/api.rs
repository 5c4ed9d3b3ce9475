//! The two public HTTP interfaces, as far as the scenarios use them: WAHA's API of the server, and the control API of the
//! sandbox network.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::receiver::Counts;

/// The server's key; it guards nothing but an empty server of a benchmark.
pub(crate) const KEY: &str = "bench";
/// An answer that takes longer is a failure.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A round of texts that takes longer gets nowhere.
const TRAFFIC_WITHIN: Duration = Duration::from_secs(600);

/// A client that keeps its connections open.
#[expect(
    clippy::disallowed_methods,
    reason = "it calls the programs under measurement, nothing that a caller names"
)]
pub(crate) fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?)
}

/// The server's API.
#[derive(Clone)]
pub(crate) struct Server {
    http: Client,
    base: String,
}

impl Server {
    pub(crate) fn new(http: Client, address: &str) -> Self {
        Self {
            http,
            base: format!("http://{address}"),
        }
    }

    /// Asks for the simplest answer there is.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        answer(self.http.get(format!("{}/ping", self.base))).await?;
        Ok(())
    }

    /// Makes a session and starts it; these events of it go to this webhook.
    pub(crate) async fn create(&self, session: &str, webhook: Option<(&str, &[&str])>) -> anyhow::Result<()> {
        let webhooks: Vec<Value> = webhook
            .map(|(url, events)| json!({ "url": url, "events": events }))
            .into_iter()
            .collect();
        let body = json!({ "name": session, "config": { "webhooks": webhooks } });
        answer(self.post("/api/sessions", &body)).await?;
        Ok(())
    }

    /// The text of the session's QR code; the server waits until there is one.
    pub(crate) async fn qr(&self, session: &str) -> anyhow::Result<String> {
        let code = answer(self.get(&format!("/api/{session}/auth/qr?format=raw"))).await?;
        text(&code, "value")
    }

    /// The session's status.
    pub(crate) async fn status(&self, session: &str) -> anyhow::Result<String> {
        text(&answer(self.get(&format!("/api/sessions/{session}"))).await?, "status")
    }

    /// How many sessions are `WORKING`.
    pub(crate) async fn working(&self) -> anyhow::Result<usize> {
        let sessions = answer(self.get("/api/sessions?all=true")).await?;
        let sessions = sessions.as_array().context("no list of sessions")?;
        Ok(sessions.iter().filter(|session| session["status"] == "WORKING").count())
    }

    /// Sends a text.
    pub(crate) async fn send_text(&self, session: &str, number: &str, text: &str) -> anyhow::Result<()> {
        let body = json!({ "session": session, "chatId": format!("{number}@c.us"), "text": text });
        answer(self.post("/api/sendText", &body)).await?;
        Ok(())
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base)).header("x-api-key", KEY)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.base));
        request.header("x-api-key", KEY).json(body)
    }
}

/// The sandbox network's control API.
#[derive(Clone)]
pub(crate) struct Network {
    http: Client,
    base: String,
}

impl Network {
    pub(crate) fn new(http: Client, address: &str) -> Self {
        Self {
            http,
            base: format!("http://{address}"),
        }
    }

    /// Where a session's webhook may go.
    pub(crate) fn webhook(&self) -> String {
        format!("{}/hook/bench", self.base)
    }

    /// A person with a phone; answers the number.
    pub(crate) async fn new_phone(&self) -> anyhow::Result<String> {
        text(&answer(self.post("/admin/phones").json(&json!({}))).await?, "number")
    }

    /// The phone scans a QR code.
    pub(crate) async fn scan(&self, number: &str, qr: &str) -> anyhow::Result<()> {
        let scan = self.post(&format!("/admin/phones/{number}/scan"));
        answer(scan.json(&json!({ "qr": qr }))).await?;
        Ok(())
    }

    /// The phone sends a text.
    pub(crate) async fn send_text(&self, number: &str, to: &str, text: &str) -> anyhow::Result<()> {
        let send = self.post(&format!("/admin/phones/{number}/send"));
        answer(send.json(&json!({ "to": to, "text": text }))).await?;
        Ok(())
    }

    /// Every phone of `from` sends so many texts to every phone of `to`, as fast as they are acknowledged or at a pace.
    pub(crate) async fn traffic(
        &self,
        from: &[String],
        to: &[String],
        texts: usize,
        per_second: Option<u32>,
    ) -> anyhow::Result<()> {
        let order = json!({ "from": from, "to": to, "texts": texts, "per_second": per_second });
        answer(self.post("/admin/traffic").json(&order).timeout(TRAFFIC_WITHIN)).await?;
        Ok(())
    }

    /// Cuts all sockets without a word.
    pub(crate) async fn cut_all(&self) -> anyhow::Result<()> {
        answer(self.post("/admin/kill").json(&json!({ "mode": "cut" }))).await?;
        Ok(())
    }

    /// How many texts of others a phone shows after a cursor, and the cursor behind them.
    pub(crate) async fn texts(&self, number: &str, mut after: u64) -> anyhow::Result<(usize, u64)> {
        let mut count = 0;
        loop {
            let page = format!("{}/admin/phones/{number}/inbox?after={after}", self.base);
            let page = answer(self.http.get(page)).await?;
            let entries = page["entries"].as_array().context("no entries in the inbox")?;
            if entries.is_empty() {
                return Ok((count, after));
            }
            let is_text = |entry: &&Value| entry["kind"] == "message" && entry["from_me"] == false;
            count += entries.iter().filter(is_text).count();
            after = page["next"].as_u64().context("no cursor in the inbox")?;
        }
    }

    /// What the network counted.
    pub(crate) async fn counters(&self) -> anyhow::Result<Counters> {
        let metrics = answer(self.http.get(format!("{}/admin/metrics", self.base))).await?;
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let handshakes = metrics["handshakes"].as_object().context("no handshakes")?;
        Ok(Counters {
            connections: number(&metrics["connections"]),
            handshakes: handshakes.values().map(number).sum(),
        })
    }

    /// What the network objects to, in its own words; it should be nothing.
    pub(crate) async fn objections(&self) -> anyhow::Result<Vec<String>> {
        let metrics = answer(self.http.get(format!("{}/admin/metrics", self.base))).await?;
        let lists = ["unknown", "malformed", "unacked", "unmatched"]
            .iter()
            .flat_map(|kind| {
                let list = metrics[*kind].as_array().map(Vec::as_slice).unwrap_or_default();
                list.iter().map(move |objection| format!("{kind}: {objection}"))
            });
        let counts = [
            "unknown_count",
            "malformed_count",
            "unacked_count",
            "unmatched_count",
            "prekeys_reused",
        ]
        .iter()
        .filter(|key| metrics[**key] != 0)
        .map(|key| format!("{key}: {}", metrics[*key]));
        Ok(counts.chain(lists).collect())
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base))
    }
}

/// The receiver's own interface; see [`crate::receiver`].
#[derive(Clone)]
pub(crate) struct ReceiverApi {
    http: Client,
    base: String,
}

impl ReceiverApi {
    pub(crate) fn new(http: Client, address: &str) -> Self {
        Self {
            http,
            base: format!("http://{address}"),
        }
    }

    /// Where a session's webhook may go.
    pub(crate) fn webhook(&self) -> String {
        format!("{}/", self.base)
    }

    /// How many events came, and how many came again.
    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        let counts = answer(self.http.get(format!("{}/counts", self.base))).await?;
        Ok(serde_json::from_value(counts)?)
    }

    /// How long each event took that came since this was asked for last, in milliseconds.
    pub(crate) async fn latencies(&self) -> anyhow::Result<Vec<f64>> {
        let latencies = answer(self.http.get(format!("{}/latencies", self.base))).await?;
        Ok(serde_json::from_value(latencies)?)
    }
}

/// Counters of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    /// Connections that are open.
    pub(crate) connections: u64,
    /// Handshakes that were completed.
    pub(crate) handshakes: u64,
}

/// The answer's JSON, `null` where it has no body; a failure where the status is one.
async fn answer(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let (status, url) = (response.status(), response.url().clone());
    let body = response.bytes().await?;
    if !status.is_success() {
        bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn text(value: &Value, key: &str) -> anyhow::Result<String> {
    let text = value[key].as_str();
    Ok(text.with_context(|| format!("no {key} in {value}"))?.to_owned())
}
