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
    assert_eq!(config.http.public_url, "http://localhost:3000");
    assert_eq!(config.storage.base_dir.to_str(), Some(".sessions"));
    assert_eq!(config.storage.namespace, "webjs");
    assert_eq!(config.storage.session_namespace, "webjs");
    assert_eq!(config.logging.level, tracing::Level::INFO);
    assert_eq!(config.logging.http_level, Some(tracing::Level::INFO));
    assert_eq!(config.logging.format, LogFormat::Pretty);
    assert!(config.swagger.login.is_none() && !config.swagger.advanced);
    assert!(config.auth.key.is_none() && !config.auth.no_key);
    assert!(config.sessions.restart && config.swagger.enabled);
    assert!(config.webhooks.global.is_none());
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_first_name_wins_and_empty_counts_as_not_set() {
    assert_eq!(read(&[("WHATSAPP_API_PORT", "4000")]).unwrap().http.listen.port(), 4000);
    let both = [("WHATSAPP_API_PORT", "4000"), ("PORT", "5000")];
    assert_eq!(read(&both).unwrap().http.listen.port(), 5000);
    let empty = [("WHATSAPP_API_PORT", "4000"), ("PORT", "")];
    assert_eq!(read(&empty).unwrap().http.listen.port(), 4000);
}

#[test]
fn links_begin_with_what_is_set() {
    let parts = [
        ("WHATSAPP_API_SCHEMA", "https"),
        ("WHATSAPP_API_HOSTNAME", "waha.example.com"),
        ("WHATSAPP_API_PORT", "8443"),
    ];
    let http = read(&parts).unwrap().http;
    assert_eq!(http.base_url, "https://waha.example.com:8443");
    assert_eq!(http.public_url, http.base_url);
    let both = [
        ("WAHA_BASE_URL", "http://waha:3000/"),
        ("WAHA_PUBLIC_URL", "https://example.com/waha/"),
    ];
    let http = read(&both).unwrap().http;
    assert_eq!(http.base_url, "http://waha:3000");
    assert_eq!(http.public_url, "https://example.com/waha");
    for (name, value) in [
        ("WHATSAPP_API_HOSTNAME", "two words"),
        ("WAHA_BASE_URL", "example.com"),
        ("WAHA_PUBLIC_URL", "ftp://example.com"),
    ] {
        assert_eq!(read(&[(name, value)]).unwrap_err().variable, name);
    }
}

#[test]
fn namespaces_are_set_apart() {
    let of = |variables: &[(&str, &str)]| {
        let storage = read(variables).unwrap().storage;
        (storage.namespace, storage.session_namespace)
    };
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(of(&[("WHATSAPP_DEFAULT_ENGINE", "GOWS")]), pair("gows", "gows"));
    assert_eq!(of(&[("WAHA_NAMESPACE", "all")]), pair("all", "webjs"));
    assert_eq!(of(&[("WAHA_SESSION_NAMESPACE", "mine")]), pair("webjs", "mine"));
    assert!(read(&[("WAHA_SESSION_NAMESPACE", "../up")]).is_err());
}

#[test]
fn debug_is_stronger_than_the_level() {
    let level = |variables: &[(&str, &str)]| read(variables).unwrap().logging.level;
    assert_eq!(level(&[("WAHA_LOG_LEVEL", "warn")]), tracing::Level::WARN);
    assert_eq!(level(&[("WAHA_LOG_LEVEL", "fatal")]), tracing::Level::ERROR);
    assert_eq!(
        level(&[("WAHA_LOG_LEVEL", "warn"), ("DEBUG", "1")]),
        tracing::Level::DEBUG
    );
    assert_eq!(
        level(&[("WAHA_LOG_LEVEL", "warn"), ("DEBUG", "false")]),
        tracing::Level::WARN
    );
    let http = |level| read(&[("WAHA_HTTP_LOG_LEVEL", level)]).unwrap().logging.http_level;
    assert_eq!(http("debug"), Some(tracing::Level::DEBUG));
    assert_eq!(http("fatal"), Some(tracing::Level::ERROR));
    assert_eq!(http("silent"), None);
}

#[test]
fn a_connection_may_be_silent_for_as_long_as_a_keepalive_takes() {
    let silence = |seconds| read(&[("WHARF_SESSION_SILENCE_SECONDS", seconds)]);
    assert_eq!(silence("60").unwrap().sessions.silence_max.as_secs(), 60);
    for seconds in ["0", "1", "59", "-60", "a while"] {
        let error = silence(seconds).unwrap_err();
        assert_eq!(error.variable, "WHARF_SESSION_SILENCE_SECONDS", "{seconds}");
    }
}

#[test]
fn an_odd_time_zone_is_said_and_does_not_end_the_start() {
    let config = read(&[("TZ", "Atlantis/Capital")]).unwrap();
    assert_eq!(
        config.warnings,
        ["TZ is not a time zone like Europe/Warsaw, the log has UTC"]
    );
    assert_eq!(
        read(&[("TZ", ":Europe/Warsaw")]).unwrap().warnings,
        Vec::<String>::new()
    );
}

#[test]
fn the_documentation_has_a_password_where_one_is_set() {
    let login = |variables: &[(&str, &str)]| read(variables).unwrap().swagger.login;
    let password = ("WHATSAPP_SWAGGER_PASSWORD", "s3cret");
    let usual = login(&[password]).unwrap();
    assert!(usual.accepts("admin", "s3cret"));
    assert!(!usual.accepts("admin", "admin") && !usual.accepts("waha", "s3cret"));
    assert!(
        login(&[password, ("WHATSAPP_SWAGGER_USERNAME", "waha")])
            .unwrap()
            .accepts("waha", "s3cret")
    );
    assert!(login(&[password, ("WHATSAPP_SWAGGER_NO_PASSWORD", "True")]).is_none());
    let config = read(&[password]).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn limits_of_the_history_may_be_null() {
    let days = |value| read(&[("WAHA_GOWS_DEVICE_HISTORY_SYNC_FULL_SYNC_DAYS_LIMIT", value)]);
    assert_eq!(days("90").unwrap().defaults.history.full_days_max, Some(90));
    assert_eq!(days("null").unwrap().defaults.history.full_days_max, None);
    assert_eq!(
        days("a year").unwrap_err().to_string(),
        "WAHA_GOWS_DEVICE_HISTORY_SYNC_FULL_SYNC_DAYS_LIMIT must be a whole number, or null, but it is 'a year'"
    );
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
fn names_without_effect_warn_once_but_for_those_of_browsers() {
    let config = read(&[
        ("WAHA_NOPE", "1"),
        ("WAHA_CHROME_ARGS", "--x"),
        ("WHATSAPP_HEALTH_MONGODB_TIMEOUT", "5000"),
        ("HOME", "/"),
        ("WHARF_SANDBOX_URL", "ws://127.0.0.1:3900/ws/chat"),
    ])
    .unwrap();
    assert_eq!(
        config.warnings,
        [
            "WAHA_NOPE is not known and has no effect",
            "WHATSAPP_HEALTH_MONGODB_TIMEOUT belongs to what is not built yet and has no effect"
        ]
    );
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
fn the_global_webhook_gets_the_engines_events_only_by_name() {
    for (names, expected) in [("*", false), ("*, engine.event", true), ("message,engine.event", true)] {
        let url = ("WHATSAPP_HOOK_URL", "http://a.example");
        let config = read(&[url, ("WHATSAPP_HOOK_EVENTS", names)]).unwrap();
        let events = config.webhooks.global.unwrap().events;
        assert_eq!(events.wants(EventName::EngineEvent), expected, "{names}");
        assert!(events.wants(EventName::Message), "{names}");
    }
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

#[test]
fn the_delivery_of_webhooks_takes_its_settings_and_refuses_what_makes_no_sense() {
    let usual = read(&[]).unwrap().webhooks.delivery;
    assert!(usual.slow_retries);
    assert_eq!(
        (usual.timeout.as_secs(), usual.endpoint_requests_max, usual.requests_max),
        (30, 8, 256)
    );
    for (variable, value) in [
        ("WHARF_WEBHOOK_SLOW_RETRIES", "sometimes"),
        ("WHARF_WEBHOOK_TIMEOUT_SECONDS", "0"),
        ("WHARF_WEBHOOK_TIMEOUT_SECONDS", "NaN"),
        ("WHARF_WEBHOOK_CONCURRENCY", "0"),
        ("WHARF_WEBHOOK_CONCURRENCY_ALL", "100000"),
        ("WHARF_WEBHOOK_BACKLOG_PER_SECOND", "0"),
        ("WHARF_WEBHOOK_BACKLOG_PER_SECOND", "many"),
    ] {
        let error = read(&[(variable, value)]).unwrap_err();
        assert!(error.to_string().starts_with(variable), "{error}");
    }
}

#[test]
fn the_limits_of_files_are_wahas_and_whatsapps_and_refuse_what_makes_no_sense() {
    let usual = read(&[]).unwrap().files;
    assert_eq!(
        (usual.body_bytes_max, usual.file_bytes_max),
        (50 * 1024 * 1024, 2 * 1024 * 1024 * 1024)
    );
    assert!(usual.ffmpeg.ffmpeg.is_none(), "there is no PATH");
    let allowed = read(&[("WHARF_WEBHOOK_ALLOW", "10.0.0.0/8")]).unwrap().egress.allow;
    assert_eq!(allowed, "10.0.0.0/8".parse().unwrap(), "the name of before");
    for (variable, value) in [
        ("WHARF_BODY_BYTES_MAX", "0"),
        ("WHARF_FILE_BYTES_MAX", "2G"),
        ("WHARF_FILE_SECONDS_MAX", "0"),
        ("WHARF_LINK_PREVIEW_SECONDS", "soon"),
        ("WHARF_FFMPEG", "/nonexistent/ffmpeg"),
        ("WHARF_FFMPEG_SECONDS_MAX", "-1"),
        ("WHARF_FFMPEG_CONCURRENCY", "0"),
        ("WHARF_EGRESS_ALLOW", "10.0.0.0/99"),
    ] {
        let error = read(&[(variable, value)]).unwrap_err();
        assert!(error.to_string().starts_with(variable), "{error}");
    }
}
