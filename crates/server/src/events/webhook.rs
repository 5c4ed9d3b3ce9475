//! One attempt to post an event to a webhook.
//!
//! Only the status counts. A little of the body is read, so that the connection can be used again; what becomes of that
//! changes nothing.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use tokio::time::timeout;
use wharf_core::random::Random;

use super::signature;
use crate::egress;
use crate::sessions::Webhook;

/// The longest that a receiver may take to answer with a status.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(30);
/// The longest that the body of an answer is read.
const BODY_WITHIN: Duration = Duration::from_secs(1);
/// The most bytes of it that are read.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Random bytes in `X-Webhook-Request-Id`.
const REQUEST_ID_BYTES: usize = 16;
/// What we call ourselves.
const USER_AGENT_VALUE: &str = concat!("Wharf/", env!("CARGO_PKG_VERSION"));

const REQUEST_ID: HeaderName = HeaderName::from_static("x-webhook-request-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-webhook-timestamp");
const HMAC: HeaderName = HeaderName::from_static("x-webhook-hmac");
const HMAC_ALGORITHM: HeaderName = HeaderName::from_static("x-webhook-hmac-algorithm");

/// Why an attempt failed. All of them are tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    /// The receiver said no; redirects count as that.
    #[error("receiver answered {0}")]
    Status(u16),
    /// The receiver took too long.
    #[error("receiver did not answer within {} seconds", ATTEMPT_WITHIN.as_secs())]
    TimedOut,
    /// The receiver cannot be reached.
    #[error("receiver cannot be reached: {0}")]
    Unreachable(String),
    /// The address or a header is not acceptable any more.
    #[error("webhook is not acceptable: {0}")]
    Invalid(String),
}

/// Posts a body, once.
pub(super) async fn post(
    client: &reqwest::Client,
    webhook: &Webhook,
    body: Bytes,
    now: Timestamp,
    random: &dyn Random,
) -> Result<(), AttemptError> {
    let url = egress::check_url(&webhook.url).map_err(|error| AttemptError::Invalid(error.to_string()))?;
    let headers = headers(webhook, &body, now, random)?;
    let sent = client.post(url).headers(headers).body(body).send();
    let mut answer = timeout(ATTEMPT_WITHIN, sent)
        .await
        .map_err(|_| AttemptError::TimedOut)?
        .map_err(|error| AttemptError::Unreachable(story(&error)))?;
    let status = answer.status();
    let mut left = BODY_BYTES_MAX;
    let body = async {
        while let Ok(Some(chunk)) = answer.chunk().await
            && chunk.len() < left
        {
            left -= chunk.len();
        }
    };
    // A body that never ends costs its connection, nothing else.
    let _ = timeout(BODY_WITHIN, body).await;
    match status.is_success() {
        true => Ok(()),
        false => Err(AttemptError::Status(status.as_u16())),
    }
}

fn headers(webhook: &Webhook, body: &[u8], now: Timestamp, random: &dyn Random) -> Result<HeaderMap, AttemptError> {
    let invalid = |what: &str| AttemptError::Invalid(format!("header {what} cannot be sent"));
    let mut headers = HeaderMap::new();
    for custom in webhook.custom_headers.iter().flatten() {
        let name = HeaderName::from_bytes(custom.name.as_bytes()).map_err(|_| invalid(&custom.name))?;
        let value = HeaderValue::from_str(&custom.value).map_err(|_| invalid(&custom.name))?;
        headers.insert(name, value);
    }
    let ascii = |name: HeaderName, text: String| match HeaderValue::try_from(text) {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(AttemptError::Invalid("header cannot be sent".to_owned())),
    };
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(USER_AGENT_VALUE));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend([
        ascii(REQUEST_ID, hex::encode(random.bytes::<REQUEST_ID_BYTES>()))?,
        ascii(TIMESTAMP, now.as_millisecond().to_string())?,
    ]);
    if let Some(key) = webhook.hmac.as_ref().and_then(|hmac| hmac.key.as_deref()) {
        headers.extend([ascii(HMAC, signature::sign(key, body))?]);
        headers.insert(HMAC_ALGORITHM, HeaderValue::from_static(signature::ALGORITHM));
    }
    Ok(headers)
}

/// What went wrong, without the URL: it may carry a secret.
fn story(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut last = "connection failed".to_owned();
    while let Some(cause) = source {
        last = cause.to_string();
        source = cause.source();
    }
    last
}
