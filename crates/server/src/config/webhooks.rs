//! The webhook that gets the events of all sessions, and shows in no session's configuration.

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
];

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

/// The webhook of all sessions.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    /// The webhook, where a URL and events are set.
    pub(crate) global: Option<Webhook>,
    has_only_url: bool,
}

impl WebhooksConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let (url, events) = (environment.set(&URL), environment.set(&EVENTS));
        let (Some((_, url)), Some((_, events))) = (url, events) else {
            return Ok(Self {
                global: None,
                has_only_url: url.is_some(),
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
        };
        match webhook.problem() {
            Some(problem) => Err(ConfigError {
                variable: URL.names[0].to_owned(),
                problem,
            }),
            None => Ok(Self {
                global: Some(webhook),
                has_only_url: false,
            }),
        }
    }

    /// What to tell the operator about it.
    pub(super) fn warning(&self) -> Option<String> {
        self.has_only_url
            .then(|| format!("{} has no effect without {}", URL.names[0], EVENTS.names[0]))
    }
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
