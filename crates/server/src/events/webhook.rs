//! One attempt to post an event to a webhook.
//!
//! Only the status counts. A little of the body is read, so that the connection can be used again; what becomes of that
//! changes nothing.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;
use wharf_core::ids::EventId;
use wharf_core::random::Random;

use super::signature::{self, Signer};
use crate::egress::{self, Egress, Reach, UrlError};
use crate::sessions::Webhook;

/// The longest that the body of an answer is read.
const BODY_WITHIN: Duration = Duration::from_secs(1);
/// The most bytes of it that are read; what is left goes with the connection.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Random bytes in `X-Webhook-Request-Id`.
const REQUEST_ID_BYTES: usize = 16;
/// What we call ourselves.
const USER_AGENT_VALUE: &str = concat!("Wharf/", env!("CARGO_PKG_VERSION"));

const REQUEST_ID: HeaderName = HeaderName::from_static("x-webhook-request-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-webhook-timestamp");
const HMAC: HeaderName = HeaderName::from_static("x-webhook-hmac");
const HMAC_ALGORITHM: HeaderName = HeaderName::from_static("x-webhook-hmac-algorithm");
const STANDARD_ID: HeaderName = HeaderName::from_static("webhook-id");
const STANDARD_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const STANDARD_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A webhook that is ready to be posted to.
pub(super) struct Receiver {
    url: Url,
    reach: Reach,
    verifies: bool,
    /// Those that are the same in every request.
    headers: HeaderMap,
    signer: Option<Signer>,
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Answer {
    /// What the receiver answered, where it did.
    pub(super) status: Option<StatusCode>,
    /// How long it took.
    pub(super) took: Duration,
    /// For how long the receiver wants to be left alone, where it says so.
    pub(super) retry_after: Option<Duration>,
    /// What went wrong; `None` where the event was taken.
    pub(super) error: Option<String>,
}

impl Answer {
    /// There was none, and why.
    pub(super) fn none(error: String) -> Self {
        Self {
            status: None,
            took: Duration::ZERO,
            retry_after: None,
            error: Some(error),
        }
    }
}

impl Receiver {
    /// Makes a webhook ready; the error says why it cannot be posted to.
    pub(super) fn new(webhook: &Webhook, reach: Reach) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for custom in webhook.custom_headers.iter().flatten() {
            let name = HeaderName::from_bytes(custom.name.as_bytes());
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&custom.value)) else {
                return Err(format!("header {} cannot be sent", custom.name));
            };
            headers.insert(name, value);
        }
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(USER_AGENT_VALUE));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let signer = webhook
            .hmac
            .as_ref()
            .and_then(|hmac| hmac.key.as_deref())
            .map(Signer::new);
        if signer.is_some() {
            headers.insert(HMAC_ALGORITHM, HeaderValue::from_static(signature::ALGORITHM));
        }
        Ok(Self {
            url: egress::check_url(&webhook.url).map_err(|error| error.to_string())?,
            reach,
            verifies: webhook.insecure != Some(true),
            headers,
            signer,
        })
    }

    /// Which receiver it is, also where other webhooks lead to it: host and port.
    pub(super) fn name(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }

    /// Posts an event, once.
    pub(super) async fn post(
        &self,
        egress: &Egress,
        event: &EventId,
        body: Bytes,
        now: Timestamp,
        random: &dyn Random,
        within: Duration,
    ) -> Answer {
        let began = Instant::now();
        let failed = |error: String| Answer {
            took: began.elapsed(),
            ..Answer::none(error)
        };
        if let Err(error) = egress.check(self.url.as_str(), self.reach) {
            return failed(error.to_string());
        }
        let headers = match self.headers(event, &body, now, random) {
            Ok(headers) => headers,
            Err(error) => return failed(error.to_string()),
        };
        let client = egress.client(&self.url, self.reach, self.verifies);
        let sent = client.post(self.url.clone()).headers(headers).body(body).send();
        let answer = match timeout_at(began + within, sent).await {
            Err(_) => return failed(format!("receiver did not answer within {} s", within.as_secs_f64())),
            Ok(Err(error)) => return failed(story(&error)),
            Ok(Ok(answer)) => answer,
        };
        let (status, took) = (answer.status(), began.elapsed());
        let retry_after = retry_after(&answer, now);
        // A body that never ends costs its connection, nothing else.
        let _ = timeout(BODY_WITHIN, read_a_little(answer)).await;
        let error = match status {
            _ if status.is_success() => None,
            _ if status.is_redirection() => Some(format!(
                "receiver answered {}; redirects are not followed",
                status.as_u16()
            )),
            _ => Some(format!("receiver answered {}", status.as_u16())),
        };
        Answer {
            status: Some(status),
            took,
            retry_after: retry_after.filter(|_| error.is_some()),
            error,
        }
    }

    fn headers(
        &self,
        event: &EventId,
        body: &[u8],
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<HeaderMap, reqwest::header::InvalidHeaderValue> {
        let seconds = now.as_second().to_string();
        let mut headers = self.headers.clone();
        headers.insert(REQUEST_ID, hex::encode(random.bytes::<REQUEST_ID_BYTES>()).try_into()?);
        headers.insert(TIMESTAMP, now.as_millisecond().into());
        headers.insert(STANDARD_ID, event.as_str().try_into()?);
        if let Some(signer) = &self.signer {
            headers.insert(HMAC, signer.waha(body).try_into()?);
            let signature = signer.standard(event.as_str(), &seconds, body);
            headers.insert(STANDARD_SIGNATURE, signature.try_into()?);
        }
        headers.insert(STANDARD_TIMESTAMP, seconds.try_into()?);
        Ok(headers)
    }
}

async fn read_a_little(mut answer: Response) {
    let mut left = BODY_BYTES_MAX;
    while let Ok(Some(chunk)) = answer.chunk().await
        && chunk.len() < left
    {
        left -= chunk.len();
    }
}

/// For how long a receiver that has too much to do wants to be left alone: in seconds, or until a date (RFC 9110, 10.2.3).
fn retry_after(answer: &Response, now: Timestamp) -> Option<Duration> {
    static DATES: DateTimeParser = DateTimeParser::new();
    if !matches!(
        answer.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return None;
    }
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let until = DATES.parse_timestamp(text).ok()?;
            Duration::try_from(until.duration_since(now)).ok()
        }
    }
}

/// What went wrong, without the URL, which may carry a secret, and without the addresses behind a name that is out of reach.
fn story(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut last = "connection failed".to_owned();
    while let Some(cause) = source {
        if let Some(refusal) = cause.downcast_ref::<UrlError>() {
            return format!("receiver is out of reach: {refusal}");
        }
        last = cause.to_string();
        source = cause.source();
    }
    format!("receiver cannot be reached: {last}")
}
