//! Fetches and uploads what the protocol keeps outside of its socket: media, history, the web client's version.
//!
//! One client for all sessions. It follows no redirects, since WhatsApp's media hosts need none, and reaches only what
//! [`Gate`] lets pass, because media addresses come out of messages.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use futures::StreamExt;
use reqwest::{Client, Method, redirect};
use url::Url;
use wacore::net::{HttpClient, HttpRequest, HttpResponse};

use crate::error::ConfigError;
use crate::network::Gate;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other side may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one exchange may take, from the first byte sent to the last one read.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long an idle connection is kept for the next exchange.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest body that is read into memory, in bytes.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The HTTP client of all sessions.
pub(crate) struct Http {
    client: Client,
    gate: Gate,
}

impl Http {
    #[expect(
        clippy::disallowed_methods,
        reason = "this client reaches the gate's hosts only, never an address that a caller names"
    )]
    pub(crate) fn new(gate: Gate, tls: &Arc<rustls::ClientConfig>) -> Result<Self, ConfigError> {
        let client = Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .timeout(EXCHANGE_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|error| ConfigError::Client(Box::new(error)))?;
        Ok(Self { client, gate })
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let url = Url::parse(&request.url).context("address is not a url")?;
        self.gate.check(&url)?;
        let method = Method::from_bytes(request.method.as_bytes()).context("method is not one of http")?;
        let mut outgoing = self.client.request(method, url);
        for (name, value) in &request.headers {
            outgoing = outgoing.header(name, value);
        }
        if let Some(body) = request.body {
            outgoing = outgoing.body(body);
        }
        // The address may carry a token, so it stays out of errors and logs.
        let response = outgoing.send().await.map_err(reqwest::Error::without_url)?;
        let status_code = response.status().as_u16();
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(reqwest::Error::without_url)?;
            ensure!(
                body.len() + chunk.len() <= BODY_BYTES_MAX,
                "response is larger than {BODY_BYTES_MAX} bytes"
            );
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status_code, body })
    }
}
