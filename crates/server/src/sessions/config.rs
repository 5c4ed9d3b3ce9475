//! The configuration of one session, spelled as WAHA spells it.
//!
//! Parsed at the edge: [`SessionConfig::check`] says what is wrong in WAHA's words, and fields that WAHA does not know are
//! dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use wharf_core::engine::Proxy;
use wharf_core::ids::{ChatId, ChatKind};

use super::webhook::{WEBHOOKS_MAX, Webhook};
use crate::config::{ProxyError, read_proxy};
use crate::validate::Fields;

/// How one session is set up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SessionConfig {
    /// Texts of the caller's own, sent along with every event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// The proxy that the session connects through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyConfig>,
    /// Whether the session logs more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<bool>,
    /// Whose messages are not kept and not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<IgnoreConfig>,
    /// What the phone shows about this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientSessionConfig>,
    /// Settings of WAHA's engine NOWEB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noweb: Option<NowebConfig>,
    /// Settings of WAHA's engine GOWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gows: Option<GowsConfig>,
    /// Settings of WAHA's engine WEBJS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webjs: Option<WebjsConfig>,
    /// Where events are posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<Vec<Webhook>>,
}

impl SessionConfig {
    /// The same without passwords, keys of signatures and headers, which may carry keys as well.
    pub(crate) fn without_secrets(&self) -> Self {
        let mut config = self.clone();
        if let Some(proxy) = &mut config.proxy {
            proxy.password = None;
        }
        for webhook in config.webhooks.iter_mut().flatten() {
            webhook.hmac = None;
            webhook.custom_headers = None;
        }
        config
    }
}

/// A proxy.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProxyConfig {
    /// `host:port`, or a URL that begins with `http://`, `https://`, `socks5://` or `socks5h://`.
    pub server: String,
    /// Who logs in at the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With which password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Whose messages are not kept and not told. Sending is not affected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct IgnoreConfig {
    /// The status feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<bool>,
    /// Groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<bool>,
    /// Channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<bool>,
    /// Broadcast lists; the status feed is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<bool>,
}

impl IgnoreConfig {
    /// These rules, each from `default` where it is not set, as in WAHA.
    pub(crate) fn or(self, default: &Self) -> Self {
        Self {
            status: self.status.or(default.status),
            groups: self.groups.or(default.groups),
            channels: self.channels.or(default.channels),
            broadcast: self.broadcast.or(default.broadcast),
        }
    }

    /// Whether a chat is one of those to ignore.
    pub(crate) fn covers(&self, chat: &ChatId) -> bool {
        let rule = match chat.kind() {
            ChatKind::Phone | ChatKind::Lid => None,
            ChatKind::Group => self.groups,
            ChatKind::Newsletter => self.channels,
            ChatKind::Broadcast if *chat == ChatId::status() => self.status,
            ChatKind::Broadcast => self.broadcast,
        };
        rule.unwrap_or(false)
    }
}

/// What the phone shows about this device in its list of linked devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClientSessionConfig {
    /// The system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// The browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_name: Option<String>,
}

/// Settings of WAHA's engine NOWEB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NowebConfig {
    /// Whether the account is shown as online while connected.
    pub mark_online: bool,
    /// What is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<NowebStoreConfig>,
}

impl Default for NowebConfig {
    fn default() -> Self {
        Self {
            mark_online: true,
            store: None,
        }
    }
}

/// What NOWEB keeps. Wharf always keeps messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NowebStoreConfig {
    /// Whether messages are kept.
    pub enabled: bool,
    /// Whether a year of history is asked for when pairing, instead of three months.
    pub full_sync: bool,
}

/// Settings of WAHA's engine GOWS.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct GowsConfig {
    /// What is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<GowsStorageConfig>,
}

/// What GOWS keeps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct GowsStorageConfig {
    /// Messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<bool>,
    /// Groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<bool>,
    /// Chats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chats: Option<bool>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<bool>,
}

/// Settings of WAHA's engine WEBJS.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WebjsConfig {
    /// Whether presence and label events are sent.
    pub tags_events_on: bool,
}

impl SessionConfig {
    /// The proxy that it names.
    pub(crate) fn proxy(&self) -> Result<Option<Proxy>, ProxyError> {
        let read =
            |proxy: &ProxyConfig| read_proxy(&proxy.server, proxy.username.as_deref(), proxy.password.as_deref());
        self.proxy.as_ref().map(read).transpose()
    }

    /// Notes what is wrong with a `config` object.
    pub(crate) fn check(fields: &mut Fields<'_>) {
        let is_text_map = |value: &Value| {
            value
                .as_object()
                .is_some_and(|object| object.values().all(Value::is_string))
        };
        if fields.get("metadata").is_some_and(|metadata| !is_text_map(metadata)) {
            fields.fail("metadata", "accepts string key-value pairs only");
        }
        fields.object("proxy", |proxy| {
            proxy.required_string("server");
            proxy.string("username");
            proxy.string("password");
            let text = |name| proxy.get(name).and_then(Value::as_str);
            let server = text("server").filter(|server| !server.is_empty());
            let read = server.map(|server| read_proxy(server, text("username"), text("password")));
            if let Some(Err(error)) = read {
                proxy.fail("server", &error.to_string());
            }
        });
        fields.boolean("debug");
        fields.object("ignore", |ignore| {
            for name in ["status", "groups", "channels", "broadcast"] {
                ignore.boolean(name);
            }
        });
        fields.object("client", |client| {
            client.string("deviceName");
            client.string("browserName");
        });
        fields.object("noweb", |noweb| {
            noweb.boolean("markOnline");
            noweb.object("store", |store| {
                store.boolean("enabled");
                store.boolean("fullSync");
            });
        });
        fields.object("gows", |gows| {
            gows.object("storage", |storage| {
                for name in ["messages", "groups", "chats", "labels"] {
                    storage.boolean(name);
                }
            });
        });
        fields.object("webjs", |webjs| webjs.boolean("tagsEventsOn"));
        fields.objects("webhooks", WEBHOOKS_MAX, Webhook::check);
    }
}

impl std::fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyConfig").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::problems;
    use serde_json::json;

    fn check(config: Value) -> Vec<String> {
        problems(&json!({ "config": config }), |body| {
            body.object("config", SessionConfig::check)
        })
    }

    #[test]
    fn every_problem_is_named_in_wahas_words() {
        let url = "http://localhost/x";
        for (config, expected) in [
            (
                json!("x"),
                vec!["nested property config must be either object or array"],
            ),
            (
                json!({"metadata": {"a": 1}}),
                vec!["config.metadata accepts string key-value pairs only"],
            ),
            (json!({"debug": "true"}), vec!["config.debug must be a boolean value"]),
            (
                json!({"noweb": {"store": {"enabled": "true"}}}),
                vec!["config.noweb.store.enabled must be a boolean value"],
            ),
            (
                json!({"webhooks": [{"events": ["message"]}]}),
                vec!["config.webhooks.0.url must be a URL address"],
            ),
            (
                json!({"webhooks": [{"url": "example.com", "events": ["message"]}]}),
                vec!["config.webhooks.0.url must be a URL address"],
            ),
            (
                json!({"webhooks": [{"url": url, "events": "message"}]}),
                vec!["config.webhooks.0.events must be an array"],
            ),
            (
                json!({"webhooks": [{"url": url, "events": ["message"], "retries": {"policy": "zig", "attempts": "x"}}]}),
                vec![
                    "config.webhooks.0.retries.attempts must be a number conforming to the specified constraints",
                    "config.webhooks.0.retries.policy must be one of the following values: linear, exponential, constant",
                ],
            ),
            (
                json!({"webhooks": [{"url": url, "events": ["message"], "customHeaders": [{"name": 1}]}]}),
                vec![
                    "config.webhooks.0.customHeaders.0.name must be a string",
                    "config.webhooks.0.customHeaders.0.value must be a string",
                ],
            ),
        ] {
            assert_eq!(check(config.clone()), expected, "{config}");
        }
    }

    #[test]
    fn the_star_is_not_an_event_of_a_session() {
        let problems = check(json!({"webhooks": [{"url": "http://localhost/x", "events": ["*"]}]}));
        let start =
            "config.webhooks.0.each value in events must be one of the following values: session.status, message, ";
        assert!(problems[0].starts_with(start), "{problems:?}");
    }

    #[test]
    fn unknown_fields_are_dropped() {
        let config: SessionConfig = serde_json::from_value(json!({"metadata": {"a": "b"}, "unknownField": 1})).unwrap();
        assert_eq!(serde_json::to_value(config).unwrap(), json!({"metadata": {"a": "b"}}));
    }

    #[test]
    fn broadcast_does_not_ignore_the_status_feed() {
        let ignore: IgnoreConfig = serde_json::from_value(json!({"broadcast": true, "groups": true})).unwrap();
        for (chat, ignored) in [
            ("12025550101@c.us", false),
            ("120363000000000001@g.us", true),
            ("status@broadcast", false),
            ("1600000000@broadcast", true),
        ] {
            assert_eq!(ignore.covers(&chat.parse().unwrap()), ignored, "{chat}");
        }
    }
}
