//! Fetches and uploads what the protocol keeps outside of its socket: media, history, the web client's version.
//!
//! One client for all sessions without a proxy, and one for each connection with one. It follows no redirects, since
//! WhatsApp's media hosts need none, and reaches only what [`Gate`] lets pass, because media addresses come out of messages.

use std::io;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Body, Client, Method, Response, redirect};
use tokio::sync::watch;
use tokio::time::timeout;
use url::Url;
use wacore::net::{HttpClient, HttpRequest, HttpResponse};
use wharf_core::address::is_forbidden;
use wharf_core::engine::{EngineError, Proxy};

use crate::error::ConfigError;
use crate::network::Gate;
use crate::tls::Trust;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may come from the other side, or be taken by it.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take, after the last byte of a file was handed to the system, until there is an answer.
const UPLOAD_ANSWER_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// How long one exchange may take, from the first byte sent to the last one read: a large file on a slow line.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long an idle connection is kept for the next exchange.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest body that is read into memory, in bytes.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// An HTTP client.
pub(crate) struct Http {
    client: Client,
    gate: Gate,
    #[cfg(feature = "sandbox")]
    trust: Trust,
    /// Its proxy is written as an address to which nothing may be sent.
    is_forbidden: bool,
}

impl Http {
    #[expect(
        clippy::disallowed_methods,
        reason = "this client reaches the gate's hosts only, never an address that a caller names"
    )]
    pub(crate) fn new(gate: Gate, trust: &Trust, proxy: Option<&Proxy>) -> Result<Self, ConfigError> {
        let client = Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(&trust.config))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(EXCHANGE_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT);
        let client = match proxy {
            Some(proxy) => client.proxy(through(proxy)?).dns_resolver(Guarded),
            None => client,
        };
        let client = client.build().map_err(unusable)?;
        let address = proxy.and_then(|proxy| proxy.host.trim_matches(['[', ']']).parse().ok());
        Ok(Self {
            client,
            gate,
            #[cfg(feature = "sandbox")]
            trust: trust.clone(),
            is_forbidden: address.is_some_and(is_forbidden),
        })
    }
}

impl Http {
    /// Sends a request and answers as soon as its answer begins: the body is still to be read, by [`next_piece`].
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<Response> {
        within(SILENCE_TIMEOUT, self.exchange(method, url, headers, body.into())).await?
    }

    /// Sends a file piece by piece. It says how long the file is, which WhatsApp's hosts insist on.
    pub(crate) async fn send_file<P>(
        &self,
        url: Url,
        mut headers: HeaderMap,
        pieces: P,
        length: u64,
    ) -> anyhow::Result<Response>
    where
        P: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let (took, taken) = watch::channel(());
        // Dropped with the body, that is after the last piece.
        let pieces = pieces.inspect(move |_| took.send_replace(()));
        let exchange = self.exchange(Method::POST, url, headers, Body::wrap_stream(pieces));
        unless_silent(exchange, taken, SILENCE_TIMEOUT, UPLOAD_ANSWER_TIMEOUT).await?
    }

    async fn exchange(&self, method: Method, url: Url, headers: HeaderMap, body: Body) -> anyhow::Result<Response> {
        self.gate.check(&url)?;
        ensure!(!self.is_forbidden, "nothing may be sent to the address of the proxy");
        #[cfg(feature = "sandbox")]
        self.know(&url).await?;
        let request = self.client.request(method, url).headers(headers).body(body);
        let sent = request.send().await;
        #[cfg(feature = "sandbox")]
        if let (Err(error), Some(authority)) = (&sent, &self.trust.authority)
            && error.is_connect()
        {
            authority.doubt();
        }
        // The address may carry a token, so it stays out of errors and logs.
        Ok(sent.map_err(reqwest::Error::without_url)?)
    }

    /// Sees to it that it is known whose certificate the sandbox has.
    #[cfg(feature = "sandbox")]
    async fn know(&self, url: &Url) -> anyhow::Result<()> {
        match self.trust.authority.as_ref().filter(|_| url.scheme() == "https") {
            Some(authority) => authority
                .ask(&self.client)
                .await
                .context("the sandbox does not tell of its authority"),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let url = Url::parse(&request.url).context("address is not a url")?;
        let method = Method::from_bytes(request.method.as_bytes()).context("method is not one of http")?;
        let headers = HeaderMap::try_from(&request.headers).context("header is not one of http")?;
        let response = self
            .send(method, url, headers, request.body.unwrap_or_default())
            .await?;
        let status_code = response.status().as_u16();
        let body = body(response).await?;
        Ok(HttpResponse { status_code, body })
    }
}

/// Nothing has come, or was taken, for too long.
#[derive(Debug, thiserror::Error)]
#[error("the other side was silent for {} seconds", .0.as_secs())]
struct Silent(Duration);

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Silent> {
    timeout(limit, work).await.map_err(|_| Silent(limit))
}

/// Waits for something that shows its progress: each step of it has its time, and what comes after the last one.
async fn unless_silent<T>(
    work: impl Future<Output = T>,
    mut progress: watch::Receiver<()>,
    each: Duration,
    after: Duration,
) -> Result<T, Silent> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            step = within(each, progress.changed()) => match step? {
                Ok(()) => {}
                Err(_the_last_one) => return within(after, work).await,
            },
        }
    }
}

/// The next piece of an answer; `None` at its end.
pub(crate) async fn next_piece(response: &mut Response) -> anyhow::Result<Option<Bytes>> {
    let piece = within(SILENCE_TIMEOUT, response.chunk()).await?;
    Ok(piece.map_err(reqwest::Error::without_url)?)
}

/// Resolves the name of a proxy, which a caller can name. Any other name is the proxy's to resolve.
struct Guarded;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| !is_forbidden(address.ip())).collect();
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The proxy in the client's own words.
fn through(proxy: &Proxy) -> Result<reqwest::Proxy, ConfigError> {
    let all = reqwest::Proxy::all(proxy.to_string()).map_err(unusable)?;
    Ok(match &proxy.credentials {
        // The client puts them into a URL and reads them back from it, but leaves percent signs as they are.
        Some((username, password)) => all.basic_auth(&username.replace('%', "%25"), &password.replace('%', "%25")),
        None => all,
    })
}

fn unusable(error: reqwest::Error) -> ConfigError {
    ConfigError::Client(Box::new(error))
}

/// What a request that was not answered means to whoever wanted it.
pub(crate) fn unreachable(error: anyhow::Error) -> EngineError {
    let late = error.downcast_ref().map(|Silent(limit)| *limit);
    let ended = error.downcast_ref().is_some_and(reqwest::Error::is_timeout);
    match late.or(ended.then_some(EXCHANGE_TIMEOUT)) {
        Some(limit) => EngineError::TimedOut {
            seconds: limit.as_secs(),
        },
        None => EngineError::Internal(error.context("whatsapp's media hosts cannot be reached").into()),
    }
}

/// Reads a body that fits; one that says it will not is not even begun.
pub(crate) async fn body(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let fits = |length: usize| {
        ensure!(
            length <= BODY_BYTES_MAX,
            "response is larger than {BODY_BYTES_MAX} bytes"
        );
        Ok(())
    };
    fits(
        response
            .content_length()
            .and_then(|length| length.try_into().ok())
            .unwrap_or_default(),
    )?;
    let mut body = Vec::new();
    while let Some(piece) = next_piece(&mut response).await? {
        fits(body.len() + piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::network::Network;

    /// A server on this machine that answers one request, and a client of the sandbox that it stands for.
    async fn server(answer: String) -> (String, Http, JoinSet<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            // The client may have hung up already, which is what one of the tests is about.
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let url = Url::parse(&format!("ws://{address}/ws/chat")).unwrap();
        let gate = Gate::new(&Network::sandbox(url)).unwrap();
        let http = Http::new(gate, &Trust::public().unwrap(), None).unwrap();
        (format!("http://{address}"), http, tasks)
    }

    #[tokio::test]
    async fn an_answer_is_an_answer_whatever_its_status() {
        let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone".to_owned();
        let (site, http, mut tasks) = server(answer).await;
        let request = HttpRequest::post(format!("{site}/mms/image"))
            .with_header("origin", "https://web.whatsapp.com")
            .with_body("picture");
        let response = http.execute(request).await.unwrap();
        assert_eq!(
            (response.status_code, response.body.as_slice()),
            (404, b"gone".as_slice())
        );
        let asked = tasks.join_next().await.unwrap().unwrap();
        assert!(asked.starts_with("POST /mms/image HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("origin: https://web.whatsapp.com\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\npicture"), "{asked}");
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let answer = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_owned();
        let (site, http, _tasks) = server(answer).await;
        assert_eq!(http.execute(HttpRequest::get(site)).await.unwrap().status_code, 302);
    }

    #[tokio::test]
    async fn other_hosts_are_refused() {
        let (_site, http, _tasks) = server(String::new()).await;
        for outside in [
            "https://mmg.whatsapp.net/x",
            "http://example.com/",
            "file:///etc/passwd",
            "no url",
        ] {
            assert!(http.execute(HttpRequest::get(outside)).await.is_err(), "{outside}");
        }
    }

    #[tokio::test]
    async fn what_takes_long_may_take_long_as_long_as_it_goes_on() {
        let (brief, long) = (Duration::from_millis(1), Duration::from_secs(60));
        let (step, steps) = watch::channel(());
        let work = async {
            for _ in 0..3 {
                step.send_replace(());
                tokio::task::yield_now().await;
            }
            drop(step);
            tokio::task::yield_now().await;
            "done"
        };
        assert_eq!(unless_silent(work, steps, long, long).await.unwrap(), "done");

        let (_step, steps) = watch::channel(());
        assert!(unless_silent(pending::<()>(), steps, brief, long).await.is_err());
        let (step, steps) = watch::channel(());
        drop(step);
        assert!(unless_silent(pending::<()>(), steps, long, brief).await.is_err());
    }

    #[tokio::test]
    async fn a_body_without_end_is_cut_off() {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        let (site, http, _tasks) = server(answer).await;
        let error = http.execute(HttpRequest::get(site)).await.unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
    }
}
