//! Fetches what a URL of a caller's names: bounded in size and in time, each redirect checked, never whole in memory.
//!
//! Always with the reach of a tenant, whoever asks: what is fetched is handed on. One connection for each request, without
//! compression, so that there is no bomb to be taken apart. Errors tell nothing of what a name resolves to.

use std::io;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures::StreamExt as _;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use reqwest::header::HeaderMap;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;
use wharf_core::engine::Proxy;

use super::{Egress, Reach, UrlError};

/// The most redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// The longest that the other side may send nothing.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The most bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What we call ourselves; pages describe themselves to what previews links.
const USER_AGENT: &str = concat!(
    "Mozilla/5.0 (compatible; Wharf/",
    env!("CARGO_PKG_VERSION"),
    "; link preview)"
);

/// How to fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetch<'a> {
    /// The types that are asked for.
    pub(crate) accept: &'static str,
    /// The most bytes that are taken.
    pub(crate) bytes_max: u64,
    /// Whether what is larger is cut off there; it is an error otherwise.
    pub(crate) cuts: bool,
    /// The longest that it may take, redirects included.
    pub(crate) within: Duration,
    /// What it goes through.
    pub(crate) proxy: Option<&'a Proxy>,
}

/// What was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Where it came from, after all redirects.
    pub(crate) url: Url,
    /// What was said about it.
    pub(crate) headers: HeaderMap,
}

/// Why something could not be fetched. Finishes a sentence that begins with the name of the field.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// It is no URL, or leads to what the caller may not reach, or to a name that has no address. One text for all of those, so that
    /// it tells nothing of them.
    #[error(
        "must be an http or https URL without credentials that leads to a public address; WHARF_EGRESS_ALLOW names the \
         exceptions"
    )]
    OutOfReach,
    /// It redirects too often.
    #[error("redirects more than {REDIRECTS_MAX} times")]
    Redirects,
    /// The answer is none that has a file.
    #[error("answers with status {}", .0.as_u16())]
    Status(StatusCode),
    /// The answer is compressed, which was not asked for.
    #[error("answers with compressed content, which is not taken")]
    Compressed,
    /// There is no connection, or it broke.
    #[error("cannot be fetched: {}", .0.as_deref().unwrap_or("the host cannot be reached, or broke off"))]
    Unreachable(Option<String>),
    /// It took too long.
    #[error("takes too long to answer")]
    TooSlow,
    /// It is larger than what is taken.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// What came could not be written.
    #[error("cannot be written")]
    Write(#[source] io::Error),
}

impl From<UrlError> for FetchError {
    fn from(_: UrlError) -> Self {
        Self::OutOfReach
    }
}

impl From<hyper::Error> for FetchError {
    fn from(_: hyper::Error) -> Self {
        Self::Unreachable(None)
    }
}

impl Egress {
    /// Fetches what a URL names, following redirects, and writes it to `into`.
    pub(crate) async fn fetch(
        &self,
        url: &str,
        how: &Fetch<'_>,
        into: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<Fetched, FetchError> {
        let fetched = timeout(how.within, self.follow(url, how, into)).await;
        fetched.unwrap_or(Err(FetchError::TooSlow))
    }

    async fn follow(
        &self,
        url: &str,
        how: &Fetch<'_>,
        into: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<Fetched, FetchError> {
        let mut url = self.destination(url)?;
        for _ in 0..=REDIRECTS_MAX {
            // Moves the bytes of this answer; ends with it.
            let mut moving = JoinSet::new();
            let response = self.ask(&url, how, &mut moving).await?;
            if let Some(next) = redirect(&response, &url) {
                url = self.destination(next?.as_str())?;
                continue;
            }
            let (head, body) = response.into_parts();
            if !head.status.is_success() {
                return Err(FetchError::Status(head.status));
            }
            let encoding = head.headers.get(header::CONTENT_ENCODING);
            if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
                return Err(FetchError::Compressed);
            }
            let length = head
                .headers
                .get(header::CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse().ok());
            if !how.cuts && length.is_some_and(|length: u64| length > how.bytes_max) {
                return Err(FetchError::TooLarge(how.bytes_max));
            }
            take(body.into_data_stream(), how, into).await?;
            let headers = head.headers;
            return Ok(Fetched { url, headers });
        }
        Err(FetchError::Redirects)
    }

    /// Checks what a URL says. What its name resolves to is checked where the connection is opened.
    fn destination(&self, url: &str) -> Result<Url, FetchError> {
        let url = self.check(url, Reach::Public)?;
        match url.username().is_empty() && url.password().is_none() {
            true => Ok(url),
            false => Err(FetchError::OutOfReach),
        }
    }

    async fn ask(&self, url: &Url, how: &Fetch<'_>, moving: &mut JoinSet<()>) -> Result<Response<Body>, FetchError> {
        let wire = self.connect(url, how.proxy).await?;
        let client = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(wire));
        let (mut sender, connection) = client.await?;
        moving.spawn(async move {
            // What goes wrong shows in the answer.
            let _ = connection.await;
        });
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, how.accept)
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Body::empty())
            .map_err(|_| FetchError::OutOfReach)?;
        let answered = timeout(IDLE_MAX, sender.send_request(request)).await;
        Ok(answered.map_err(|_| FetchError::TooSlow)??.map(Body::new))
    }
}

/// Where an answer redirects to.
fn redirect(response: &Response<Body>, url: &Url) -> Option<Result<Url, FetchError>> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let to = response.headers().get(header::LOCATION).filter(|_| redirects)?;
    let next = to.to_str().ok().and_then(|to| url.join(to).ok());
    Some(next.ok_or(FetchError::OutOfReach))
}

async fn take(
    mut body: BodyDataStream,
    how: &Fetch<'_>,
    into: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<(), FetchError> {
    let mut left = how.bytes_max;
    while let Some(chunk) = timeout(IDLE_MAX, body.next()).await.map_err(|_| FetchError::TooSlow)? {
        let mut chunk: Bytes = chunk.map_err(|_| FetchError::Unreachable(None))?;
        let fits = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        if fits < chunk.len() && !how.cuts {
            return Err(FetchError::TooLarge(how.bytes_max));
        }
        let is_cut = fits < chunk.len();
        chunk.truncate(fits);
        left -= fits as u64;
        into.write_all(&chunk).await.map_err(FetchError::Write)?;
        if is_cut {
            break;
        }
    }
    into.flush().await.map_err(FetchError::Write)
}
