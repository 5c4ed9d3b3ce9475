//! One receiver of events, as a session or the environment configures it.

use std::fmt;

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ObjectBuilder, Schema};
use wharf_core::events::EventName;

use crate::egress;
use crate::validate::Fields;

/// The most webhooks of one session.
pub(super) const WEBHOOKS_MAX: usize = 32;
/// The most headers of the caller's own per webhook.
const CUSTOM_HEADERS_MAX: usize = 32;
/// The most bytes of those headers together.
const CUSTOM_HEADERS_BYTES_MAX: usize = 8 * 1024;
/// The longest time between two attempts that can be asked for.
const DELAY_SECONDS_MAX: u32 = 24 * 60 * 60;
/// The most retries that can be asked for.
const ATTEMPTS_MAX: u32 = 1_000;
/// The delay where none is configured.
const DELAY_SECONDS_DEFAULT: f64 = 2.0;
/// The retries where none are configured.
const ATTEMPTS_DEFAULT: u32 = 15;

/// Headers that the delivery or HTTP itself sets.
const RESERVED_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
];
/// How the names of our own headers begin.
const RESERVED_HEADER_PREFIXES: &[&str] = &["x-webhook-", "webhook-"];

/// Where events are posted, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookConfig)]
pub(crate) struct Webhook {
    /// The receiver's address.
    pub url: String,
    /// Which events it gets.
    #[schema(schema_with = event_names)]
    pub events: WebhookEvents,
    /// How bodies are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacConfig>,
    /// How a failed delivery is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetryRules>,
    /// Headers to send along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_headers: Option<Vec<CustomHeader>>,
    /// Whether the receiver's certificate is not looked at. Only with the admin's key; Wharf's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// The events that a webhook gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WebhookEvents(Vec<EventName>);

/// How bodies are signed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HmacConfiguration)]
pub(crate) struct HmacConfig {
    /// The key of the signature, HMAC with SHA-512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// How a failed delivery is repeated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RetriesConfiguration)]
pub(crate) struct RetryRules {
    /// The time before the first retry, 2 s where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<f64>,
    /// Retries after the first attempt, 15 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How the time between attempts grows, `constant` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RetryPolicy>,
}

/// How the time between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RetryPolicy {
    /// Once, twice, three times the delay.
    Linear,
    /// Once, twice, four times the delay, within 20 %.
    Exponential,
    /// Always the delay.
    Constant,
}

/// A header to send along.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CustomHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl WebhookEvents {
    /// These events.
    pub(crate) fn only(events: Vec<EventName>) -> Self {
        Self(events)
    }

    /// Whether an event is among them.
    pub(crate) fn wants(&self, event: EventName) -> bool {
        self.0.contains(&event)
    }
}

impl RetryRules {
    /// The rules where none are configured.
    pub(crate) const DEFAULT: Self = Self {
        delay_seconds: None,
        attempts: None,
        policy: None,
    };

    /// The time before the first retry, in seconds.
    pub(crate) fn delay_seconds(&self) -> f64 {
        self.delay_seconds.unwrap_or(DELAY_SECONDS_DEFAULT)
    }

    /// Retries after the first attempt.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.unwrap_or(ATTEMPTS_DEFAULT)
    }

    /// How the time between attempts grows.
    pub(crate) fn policy(&self) -> RetryPolicy {
        self.policy.unwrap_or(RetryPolicy::Constant)
    }
}

impl Webhook {
    /// How a failed delivery is repeated.
    pub(crate) fn rules(&self) -> &RetryRules {
        self.retries.as_ref().unwrap_or(&RetryRules::DEFAULT)
    }

    /// The first thing that is wrong with a webhook that did not come through the API.
    pub(crate) fn problem(&self) -> Option<String> {
        let value = serde_json::to_value(self).ok()?;
        // The prefix of a field is of no use here: the caller names the variable.
        crate::validate::problems(&value, Self::check).into_iter().next()
    }

    /// Notes what is wrong with one of the `webhooks`.
    pub(crate) fn check(fields: &mut Fields<'_>) {
        match fields.get("url").and_then(Value::as_str).map(egress::check_url) {
            Some(Ok(_)) => {}
            Some(Err(egress::UrlError::Forbidden)) => {
                fields.fail("url", "must not name a link-local or metadata address");
            }
            Some(Err(egress::UrlError::NotHttp | egress::UrlError::NotPublic)) | None => {
                fields.fail("url", "must be a URL address")
            }
        }
        check_events(fields);
        fields.boolean("insecure");
        fields.object("hmac", |hmac| match hmac.get("key") {
            Some(Value::String(key)) if key.is_empty() => hmac.fail("key", "should not be empty"),
            _ => hmac.string("key"),
        });
        fields.object("retries", |retries| {
            retries.number("delaySeconds", DELAY_SECONDS_MAX);
            retries.number("attempts", ATTEMPTS_MAX);
            if retries.get("attempts").is_some_and(|value| value.is_f64()) {
                retries.fail("attempts", "must be an integer number");
            }
            retries.one_of("policy", &["linear", "exponential", "constant"]);
        });
        fields.objects("customHeaders", CUSTOM_HEADERS_MAX, |header| {
            let text = |name| header.get(name).and_then(Value::as_str).map(str::to_owned);
            let (name, value) = (text("name"), text("value"));
            match name.as_deref().map(header_name_problem) {
                None => header.fail("name", "must be a string"),
                Some(Some(problem)) => header.fail("name", problem),
                Some(None) => {}
            }
            match value.as_deref().map(HeaderValue::from_str) {
                None => header.fail("value", "must be a string"),
                Some(Err(_)) => header.fail("value", "must have visible characters only"),
                Some(Ok(_)) => {}
            }
        });
        if custom_header_bytes(fields) > CUSTOM_HEADERS_BYTES_MAX {
            fields.fail("customHeaders", "must not be longer than 8192 bytes together");
        }
    }
}

fn check_events(fields: &mut Fields<'_>) {
    match fields.get("events") {
        Some(Value::Array(events)) => {
            let is_known = |event: &Value| event.as_str().is_some_and(|name| name.parse::<EventName>().is_ok());
            if !events.iter().all(is_known) {
                let names: Vec<_> = EventName::ALL.iter().map(|name| name.as_str()).collect();
                let problem = format!("events must be one of the following values: {}", names.join(", "));
                fields.fail("each value in", &problem);
            }
        }
        _ => fields.fail("events", "must be an array"),
    }
}

fn header_name_problem(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Some("must be the name of an HTTP header");
    }
    let is_reserved = RESERVED_HEADERS.contains(&lower.as_str())
        || RESERVED_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    is_reserved.then_some("must not be a header that the delivery itself sets")
}

fn custom_header_bytes(fields: &Fields<'_>) -> usize {
    let text = |header: &Value, name: &str| header.get(name).and_then(Value::as_str).map_or(0, str::len);
    let headers = fields.get("customHeaders").and_then(Value::as_array);
    headers.map_or(0, |headers| {
        headers
            .iter()
            .map(|header| text(header, "name") + text(header, "value"))
            .sum()
    })
}

fn event_names() -> Array {
    let names = EventName::ALL.iter().map(|name| name.as_str());
    Array::new(Schema::Object(
        ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(names))
            .build(),
    ))
}

impl fmt::Debug for HmacConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacConfig(…)")
    }
}

impl fmt::Debug for CustomHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomHeader({}: …)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::problems;
    use serde_json::json;

    #[test]
    fn headers_that_break_http_are_refused() {
        for (name, value) in [
            ("Host", "x"),
            ("content-length", "1"),
            ("X-Webhook-Hmac", "x"),
            ("Webhook-Id", "x"),
            ("a b", "x"),
            ("X-A", "1\r\nX-B: 2"),
        ] {
            let webhook =
                json!({"url": "http://a.example", "events": [], "customHeaders": [{"name": name, "value": value}]});
            assert_eq!(problems(&webhook, Webhook::check).len(), 1, "{name}: {value}");
        }
    }

    #[test]
    fn addresses_of_cloud_metadata_are_refused() {
        for url in ["http://169.254.169.254/x", "http://[fe80::1]/", "http://2852039166/"] {
            let found = problems(&json!({"url": url, "events": []}), Webhook::check);
            assert_eq!(found, ["url must not name a link-local or metadata address"], "{url}");
        }
    }
}
