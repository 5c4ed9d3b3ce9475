//! What the configuration reads, refuses and documents.

use super::*;
use wharf_core::events::EventName;

fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::read(&variables.iter().copied().collect())
}

#[test]
fn defaults_are_wahas() {
    let config = read(&[]).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.http.base_url, "http://localhost:3000");
    assert_eq!(config.engine.dialect, Dialect::Webjs);
    assert_eq!(config.storage.namespace, "webjs");
    assert!(config.auth.key.is_none() && !config.auth.no_key);
    assert!(config.sessions.restart && config.swagger.enabled);
    assert!(config.webhooks.global.is_none());
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_first_name_wins_and_empty_counts_as_not_set() {
    assert_eq!(read(&[("PORT", "4000")]).unwrap().http.listen.port(), 4000);
    let both = [("PORT", "4000"), ("WHATSAPP_API_PORT", "5000")];
    assert_eq!(read(&both).unwrap().http.listen.port(), 5000);
    let empty = [("PORT", "4000"), ("WHATSAPP_API_PORT", "")];
    assert_eq!(read(&empty).unwrap().http.listen.port(), 4000);
}

#[test]
fn booleans_are_read_as_waha_writes_them() {
    for (text, expected) in [
        ("True", true),
        ("1", true),
        ("false", false),
        ("0", false),
        ("False", false),
    ] {
        assert_eq!(
            read(&[("WAHA_NO_API_KEY", text)]).unwrap().auth.no_key,
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_wrong_value_is_one_line_that_names_the_variable() {
    for (name, value, line) in [
        ("PORT", "x", "PORT must be a port number from 0 to 65535, but it is 'x'"),
        (
            "WAHA_NO_API_KEY",
            "perhaps",
            "WAHA_NO_API_KEY must be True or False, but it is 'perhaps'",
        ),
        (
            "WHATSAPP_DEFAULT_ENGINE",
            "X",
            "WHATSAPP_DEFAULT_ENGINE must be WEBJS, WPP, NOWEB or GOWS, but it is 'X'",
        ),
        (
            "WAHA_LOG_FORMAT",
            "xml",
            "WAHA_LOG_FORMAT must be PRETTY or JSON, but it is 'xml'",
        ),
    ] {
        assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), line);
    }
}

#[test]
fn the_value_of_a_secret_is_never_echoed() {
    let line = read(&[("WAHA_API_KEY", "sha512:canary")]).unwrap_err().to_string();
    assert_eq!(line, "WAHA_API_KEY must have 128 hexadecimal characters after sha512:");
    let config = read(&[("WAHA_API_KEY", "canary")]).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn unknown_names_warn_and_those_of_browsers_do_not() {
    let config = read(&[
        ("WAHA_NOPE", "1"),
        ("WAHA_CHROME_ARGS", "--x"),
        ("HOME", "/"),
        ("WHARF_SANDBOX_URL", "ws://127.0.0.1:3900/ws/chat"),
    ])
    .unwrap();
    assert_eq!(config.warnings, ["WAHA_NOPE is not known and has no effect"]);
}

#[test]
fn the_global_webhook_takes_all_its_settings() {
    let config = read(&[
        ("WHATSAPP_HOOK_URL", "https://example.com/hook"),
        ("WHATSAPP_HOOK_EVENTS", "*"),
        ("WHATSAPP_HOOK_HMAC_KEY", "k"),
        ("WHATSAPP_HOOK_CUSTOM_HEADERS", "X-One: 1; X-Two:2"),
        ("WHATSAPP_HOOK_RETRIES_ATTEMPTS", "3"),
    ])
    .unwrap();
    let webhook = config.webhooks.global.unwrap();
    assert!(webhook.events.wants(EventName::MessageAck) && !webhook.events.wants(EventName::EngineEvent));
    assert_eq!(webhook.custom_headers.unwrap().len(), 2);
    assert_eq!(webhook.retries.unwrap().attempts, Some(3));
}

#[test]
fn the_global_webhook_is_checked() {
    let url = ("WHATSAPP_HOOK_URL", "ftp://example.com");
    assert!(read(&[url, ("WHATSAPP_HOOK_EVENTS", "message")]).is_err());
    let events = read(&[("WHATSAPP_HOOK_URL", "http://a.b"), ("WHATSAPP_HOOK_EVENTS", "massage")]);
    assert_eq!(
        events.unwrap_err().to_string(),
        "WHATSAPP_HOOK_EVENTS must be names of events (there is no event 'massage'), but it is 'massage'"
    );
    let alone = read(&[("WHATSAPP_HOOK_URL", "http://a.b")]).unwrap();
    assert_eq!(
        alone.warnings,
        ["WHATSAPP_HOOK_URL has no effect without WHATSAPP_HOOK_EVENTS"]
    );
}

#[test]
fn every_variable_is_documented() {
    let page = document();
    for (_, variables) in AREAS {
        for name in variables.iter().flat_map(|variable| variable.names) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
