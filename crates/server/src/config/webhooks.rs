//! How webhooks are delivered, and the one that gets the events of all sessions and shows in no session's configuration.

use std::num::NonZeroU32;
use std::time::Duration;

use wharf_core::events::EventName;

use super::{ConfigError, Environment, Variable};
use crate::sessions::{CustomHeader, HmacConfig, RetryPolicy, RetryRules, Webhook, WebhookEvents};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[
    &URL,
    &EVENTS,
    &HMAC_KEY,
    &RETRIES_POLICY,
    &RETRIES_DELAY,
    &RETRIES_ATTEMPTS,
    &CUSTOM_HEADERS,
    &SLOW_RETRIES,
    &TIMEOUT,
    &CONCURRENCY,
    &CONCURRENCY_ALL,
    &BACKLOG,
];

/// The longest that a receiver can be given for an answer.
const TIMEOUT_SECONDS_MAX: f64 = 600.0;
/// The most requests to one receiver that can be asked for.
const CONCURRENCY_MAX: usize = 256;
/// The most requests to all receivers that can be asked for.
const CONCURRENCY_ALL_MAX: usize = 4_096;

const URL: Variable = Variable {
    names: &["WHATSAPP_HOOK_URL"],
    default: "",
    about: "Where to post the events of all sessions.",
    secret: false,
};
const EVENTS: Variable = Variable {
    names: &["WHATSAPP_HOOK_EVENTS"],
    default: "",
    about: "Which events, separated by commas; `*` is all but `engine.event`.",
    secret: false,
};
const HMAC_KEY: Variable = Variable {
    names: &["WHATSAPP_HOOK_HMAC_KEY"],
    default: "",
    about: "The key of the signature in `X-Webhook-Hmac`.",
    secret: true,
};
const RETRIES_POLICY: Variable = Variable {
    names: &["WHATSAPP_HOOK_RETRIES_POLICY"],
    default: "constant",
    about: "How the time between attempts grows: `constant`, `linear` or `exponential`.",
    secret: false,
};
const RETRIES_DELAY: Variable = Variable {
    names: &["WHATSAPP_HOOK_RETRIES_DELAY_SECONDS"],
    default: "2",
    about: "The time before the first retry, in seconds.",
    secret: false,
};
const RETRIES_ATTEMPTS: Variable = Variable {
    names: &["WHATSAPP_HOOK_RETRIES_ATTEMPTS"],
    default: "15",
    about: "How often to try again after the first attempt.",
    secret: false,
};
const CUSTOM_HEADERS: Variable = Variable {
    names: &["WHATSAPP_HOOK_CUSTOM_HEADERS"],
    default: "",
    about: "Headers to send along: `Name:Value;Name:Value`.",
    secret: true,
};

const SLOW_RETRIES: Variable = Variable {
    names: &["WHARF_WEBHOOK_SLOW_RETRIES"],
    default: "True",
    about: "Whether an event that no retry has brought to a webhook is tried for three more days, after 5 and 30 minutes, then 2, \
            5, 10, 14, 20 and 24 hours, each within 20 %. WAHA gives up instead.",
    secret: false,
};
const TIMEOUT: Variable = Variable {
    names: &["WHARF_WEBHOOK_TIMEOUT_SECONDS"],
    default: "30",
    about: "The longest that a receiver may take to answer, in seconds.",
    secret: false,
};
const CONCURRENCY: Variable = Variable {
    names: &["WHARF_WEBHOOK_CONCURRENCY"],
    default: "8",
    about: "The most requests at the same time for each webhook of each session.",
    secret: false,
};
const CONCURRENCY_ALL: Variable = Variable {
    names: &["WHARF_WEBHOOK_CONCURRENCY_ALL"],
    default: "256",
    about: "The most requests at the same time for all webhooks. A quarter of them is for those that fail, and one receiver \
            gets a quarter of either part at most.",
    secret: false,
};
const BACKLOG: Variable = Variable {
    names: &["WHARF_WEBHOOK_BACKLOG_PER_SECOND"],
    default: "1000",
    about: "The most requests in a second, of all webhooks together, for events that had to wait: retries, and what came while \
            a receiver was down. So a receiver that comes back does not delay the others.",
    secret: false,
};

/// How webhooks are delivered.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryConfig {
    /// Whether there are slow retries after the webhook's own.
    pub slow_retries: bool,
    /// The longest that a receiver may take to answer.
    pub timeout: Duration,
    /// The most requests under way to one endpoint.
    pub endpoint_requests_max: usize,
    /// The most requests under way altogether.
    pub requests_max: usize,
    /// The most requests in a second for what had to wait.
    pub backlog_per_second: NonZeroU32,
}

/// Webhooks.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    /// How they are delivered.
    pub delivery: DeliveryConfig,
    /// The webhook, where a URL and events are set.
    pub(crate) global: Option<Webhook>,
    has_only_url: bool,
}

impl WebhooksConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let config = Self {
            delivery: read_delivery(environment)?,
            global: None,
            has_only_url: false,
        };
        let (url, events) = (environment.set(&URL), environment.set(&EVENTS));
        let (Some((_, url)), Some((_, events))) = (url, events) else {
            return Ok(Self {
                has_only_url: url.is_some(),
                ..config
            });
        };
        let policy = match environment.text(&RETRIES_POLICY).to_ascii_lowercase().as_str() {
            "constant" => RetryPolicy::Constant,
            "linear" => RetryPolicy::Linear,
            "exponential" => RetryPolicy::Exponential,
            _ => return Err(environment.wrong(&RETRIES_POLICY, "must be constant, linear or exponential")),
        };
        let webhook = Webhook {
            url: url.to_owned(),
            events: read_events(environment, events)?,
            hmac: environment.set(&HMAC_KEY).map(|(_, key)| HmacConfig {
                key: Some(key.to_owned()),
            }),
            retries: Some(RetryRules {
                delay_seconds: Some(environment.parse(&RETRIES_DELAY, "a number of seconds")?),
                attempts: Some(environment.parse(&RETRIES_ATTEMPTS, "a whole number")?),
                policy: Some(policy),
            }),
            custom_headers: Some(read_headers(environment)?),
            insecure: None,
        };
        match webhook.problem() {
            Some(problem) => Err(ConfigError {
                variable: URL.names[0].to_owned(),
                problem,
            }),
            None => Ok(Self {
                global: Some(webhook),
                ..config
            }),
        }
    }

    /// What to tell the operator about it.
    pub(super) fn warning(&self) -> Option<String> {
        self.has_only_url
            .then(|| format!("{} has no effect without {}", URL.names[0], EVENTS.names[0]))
    }
}

fn read_delivery(environment: &Environment) -> Result<DeliveryConfig, ConfigError> {
    let timeout: f64 = environment.parse(&TIMEOUT, "a number of seconds")?;
    if !(0.1..=TIMEOUT_SECONDS_MAX).contains(&timeout) {
        return Err(environment.wrong(&TIMEOUT, format!("must be from 0.1 to {TIMEOUT_SECONDS_MAX} seconds")));
    }
    let at_once = |variable, max: usize| {
        let count: usize = environment.parse(variable, "a whole number")?;
        match (1..=max).contains(&count) {
            true => Ok(count),
            false => Err(environment.wrong(variable, format!("must be from 1 to {max}"))),
        }
    };
    Ok(DeliveryConfig {
        slow_retries: environment.boolean(&SLOW_RETRIES)?,
        timeout: Duration::from_secs_f64(timeout),
        endpoint_requests_max: at_once(&CONCURRENCY, CONCURRENCY_MAX)?,
        requests_max: at_once(&CONCURRENCY_ALL, CONCURRENCY_ALL_MAX)?,
        backlog_per_second: environment.parse(&BACKLOG, "a whole number above 0")?,
    })
}

fn read_events(environment: &Environment, text: &str) -> Result<WebhookEvents, ConfigError> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    EventName::select(names)
        .map(WebhookEvents::only)
        .map_err(|error| environment.wrong(&EVENTS, format!("must be names of events ({error})")))
}

fn read_headers(environment: &Environment) -> Result<Vec<CustomHeader>, ConfigError> {
    environment
        .text(&CUSTOM_HEADERS)
        .split(';')
        .map(str::trim)
        .filter(|header| !header.is_empty())
        .map(|header| {
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| environment.wrong(&CUSTOM_HEADERS, "must be Name:Value;Name:Value"))?;
            Ok(CustomHeader {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
            })
        })
        .collect()
}
