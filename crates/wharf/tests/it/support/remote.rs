//! A caller of a server and a sandbox that run in processes of their own.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::Value;

use super::{KEY, within};

/// Calls a server and a sandbox in other processes.
pub(crate) struct Client {
    http: reqwest::Client,
    api: String,
    page: String,
}

impl Client {
    #[expect(
        clippy::disallowed_methods,
        reason = "the client of the tests calls the server under test, not the outside"
    )]
    pub(crate) fn new(api: &str, page: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            http,
            api: api.to_owned(),
            page: page.to_owned(),
        }
    }

    /// Asks the server; it must answer with success.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Value) -> Value {
        self.try_api(method, path, body).await.unwrap()
    }

    /// Asks a server that may refuse, or die while it is asked.
    pub(crate) async fn try_api(&self, method: &str, path: &str, body: Value) -> reqwest::Result<Value> {
        let mut request = self
            .http
            .request(method.parse().unwrap(), format!("http://{}{path}", self.api));
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.header("x-api-key", KEY).send().await?;
        answer.error_for_status()?.json().await
    }

    /// The status of what the server answers to somebody with this key in the header.
    pub(crate) async fn status_with(&self, path: &str, key: Option<&str>) -> u16 {
        let mut request = self.http.get(format!("http://{}{path}", self.api));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// Sends something under an `Idempotency-Key` to a server that may die while it is asked.
    pub(crate) async fn send_once(&self, path: &str, key: &str, body: Value) -> reqwest::Result<(StatusCode, Bytes)> {
        let request = self.http.post(format!("http://{}{path}", self.api)).json(&body);
        let request = request.header("x-api-key", KEY).header("idempotency-key", key);
        let answer = request.send().await?;
        Ok((answer.status(), answer.bytes().await?))
    }

    /// The same caller, of a server that has moved to this address.
    pub(crate) fn at(&self, api: &str) -> Self {
        Self {
            http: self.http.clone(),
            api: api.to_owned(),
            page: self.page.clone(),
        }
    }

    /// Waits until a session has this status.
    pub(crate) async fn status(&self, session: &str, status: &str) {
        let path = format!("/api/sessions/{session}");
        let reached = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            while self.api("GET", &path, Value::Null).await["status"] != status {
                ticks.tick().await;
            }
        };
        within(&format!("session {session} to be {status}"), reached).await;
    }

    /// Waits until a phone shows a text.
    pub(crate) async fn phone_shows(&self, number: &str, text: &str) {
        let search = async {
            let mut after = 0;
            loop {
                let url = format!("http://{}/admin/phones/{number}/inbox?after={after}&wait=5", self.page);
                let answer = self.http.get(url).send().await.unwrap().error_for_status().unwrap();
                let page: Value = answer.json().await.unwrap();
                if page["entries"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|entry| entry["text"] == text)
                {
                    return;
                }
                after = page["next"].as_u64().unwrap();
            }
        };
        within(&format!("{text:?} on the phone"), search).await;
    }

    /// Asks the sandbox's control API to do something, and answers what it says of it.
    pub(crate) async fn admin(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("http://{}{path}", self.page)).json(&body);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Asks the sandbox's control API for something.
    pub(crate) async fn look(&self, path: &str) -> Value {
        let request = self.http.get(format!("http://{}{path}", self.page));
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }
}
