//! What a session runs with: its own configuration and, where that says nothing, the server's.

use std::time::Duration;

use tracing::Span;
use wharf_core::engine::HistoryDepth;
use wharf_core::ids::SessionName;

use super::config::{IgnoreConfig, SessionConfig};
use crate::config::SessionDefaults;

/// How many days of history WAHA's `fullSync` asks for.
const FULL_SYNC_DAYS: u32 = 365;
/// The least history that can be asked for.
const LEAST_HISTORY: HistoryDepth = HistoryDepth {
    full: Some(false),
    full_days_max: Some(1),
    full_mb_max: Some(1),
    recent_days_max: Some(1),
    messages_per_chat_max: Some(1),
    thumbnail_days_max: Some(1),
    storage_quota_mb: None,
};

/// What a session runs with.
pub(super) struct Settings {
    /// Which chats to ignore.
    pub(super) ignore: IgnoreConfig,
    /// The name that the phone shows for the device.
    pub(super) device_name: String,
    /// The browser that it shows.
    pub(super) browser_name: String,
    /// How much history to ask for.
    pub(super) history: HistoryDepth,
    /// How it is shown as online.
    pub(super) online: OnlineRules,
    /// Whether to log more.
    debug: bool,
}

/// When a session is shown as online by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlineRules {
    /// When it connects.
    pub(super) at_start: bool,
    /// For how long after it connected or did something; `None` where never.
    pub(super) lasts: Option<Duration>,
}

impl Settings {
    /// The session's configuration over the server's.
    pub(super) fn of(config: &SessionConfig, defaults: &SessionDefaults) -> Self {
        let client = config.client.clone().unwrap_or_default();
        let client_default = defaults.client.clone();
        Self {
            ignore: config.ignore.clone().unwrap_or_default().or(&defaults.ignore),
            device_name: client.device_name.or(client_default.device_name).unwrap_or_default(),
            browser_name: client.browser_name.or(client_default.browser_name).unwrap_or_default(),
            history: history(config, defaults.history),
            online: OnlineRules {
                at_start: config.noweb.as_ref().is_none_or(|noweb| noweb.mark_online),
                lasts: defaults.online_for,
            },
            debug: config.debug.unwrap_or(false),
        }
    }

    /// Where what the session logs belongs. Within a span of this name everything is logged from `debug` on.
    pub(super) fn span(&self, session: &SessionName) -> Span {
        match self.debug {
            true => tracing::info_span!("debugged", %session),
            false => Span::none(),
        }
    }
}

fn history(config: &SessionConfig, default: HistoryDepth) -> HistoryDepth {
    let keeps_messages = config.gows.as_ref().and_then(|gows| gows.storage.as_ref()?.messages);
    let full_sync = config.noweb.as_ref().and_then(|noweb| noweb.store.as_ref());
    match (keeps_messages, full_sync) {
        (Some(false), _) => LEAST_HISTORY,
        (_, Some(store)) if store.full_sync => HistoryDepth {
            full: Some(true),
            full_days_max: default.full_days_max.or(Some(FULL_SYNC_DAYS)),
            ..default
        },
        _ => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};
    use serde_json::json;

    fn settings(config: serde_json::Value, variables: &[(&str, &str)]) -> Settings {
        let environment: Environment = variables.iter().copied().collect();
        let defaults = Config::read(&environment).unwrap().defaults;
        Settings::of(&serde_json::from_value(config).unwrap(), &defaults)
    }

    #[test]
    fn a_device_is_named_by_the_session_then_by_the_server_then_as_in_waha() {
        let env = [
            ("WAHA_CLIENT_DEVICE_NAME", "Till"),
            ("WAHA_CLIENT_BROWSER_NAME", "Edge"),
        ];
        for (config, variables, device, browser) in [
            (json!({}), &[][..], "Ubuntu", "Chrome"),
            (json!({}), &env, "Till", "Edge"),
            (json!({"client": {"deviceName": "Shop"}}), &env, "Shop", "Edge"),
            (
                json!({"client": {"deviceName": "Shop", "browserName": "Opera"}}),
                &env,
                "Shop",
                "Opera",
            ),
        ] {
            let settings = settings(config, variables);
            assert_eq!(
                (settings.device_name.as_str(), settings.browser_name.as_str()),
                (device, browser)
            );
        }
    }

    #[test]
    fn the_rules_of_the_server_hold_where_a_session_has_none_of_its_own() {
        let env = [
            ("WAHA_SESSION_CONFIG_IGNORE_GROUPS", "True"),
            ("WAHA_SESSION_CONFIG_IGNORE_STATUS", "True"),
        ];
        let group = "120363000000000001@g.us".parse().unwrap();
        let status = "status@broadcast".parse().unwrap();
        for (config, ignores_group, ignores_status) in [
            (json!({}), true, true),
            (json!({"ignore": null}), true, true),
            (json!({"ignore": {}}), true, true),
            (json!({"ignore": {"broadcast": true, "groups": null}}), true, true),
            (json!({"ignore": {"groups": false}}), false, true),
            (json!({"ignore": {"status": false, "groups": true}}), true, false),
        ] {
            let ignore = settings(config.clone(), &env).ignore;
            assert_eq!(ignore.covers(&group), ignores_group, "{config}");
            assert_eq!(ignore.covers(&status), ignores_status, "{config}");
        }
    }

    #[test]
    fn history_is_as_deep_as_asked_for() {
        let env = [
            ("WAHA_GOWS_DEVICE_REQUIRE_FULL_SYNC", "false"),
            ("WAHA_GOWS_DEVICE_HISTORY_SYNC_RECENT_SYNC_DAYS_LIMIT", "30"),
            ("WAHA_GOWS_DEVICE_HISTORY_SYNC_FULL_SYNC_DAYS_LIMIT", "null"),
        ];
        let full = json!({"noweb": {"store": {"enabled": true, "fullSync": true}}});
        assert_eq!(settings(json!({}), &[]).history, HistoryDepth::default());
        let of_server = settings(json!({}), &env).history;
        assert_eq!((of_server.full, of_server.recent_days_max), (Some(false), Some(30)));
        let of_session = settings(full, &env).history;
        assert_eq!((of_session.full, of_session.full_days_max), (Some(true), Some(365)));
        let none = settings(json!({"gows": {"storage": {"messages": false}}}), &env).history;
        assert_eq!(none, LEAST_HISTORY);
    }

    #[test]
    fn being_online_is_up_to_the_server_and_at_the_start_also_to_the_session() {
        let hidden = json!({"noweb": {"markOnline": false}});
        let usual = settings(json!({}), &[]).online;
        assert_eq!((usual.at_start, usual.lasts), (true, Some(Duration::from_secs(25))));
        assert!(!settings(hidden, &[]).online.at_start);
        let never = settings(json!({}), &[("WAHA_PRESENCE_AUTO_ONLINE", "False")]).online;
        assert_eq!(never.lasts, None);
        let long = settings(json!({}), &[("WAHA_PRESENCE_AUTO_ONLINE_DURATION_SECONDS", "90")]);
        assert_eq!(long.online.lasts, Some(Duration::from_secs(90)));
    }
}
