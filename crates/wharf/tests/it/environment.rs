//! The settings of the server, from the outside: what each of them changes, and `docs/env.md`, which lists them.

use std::fs::{self, File};
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::sandbox_page::browse;
use crate::support::process::{Process, address, command, sandbox_binary, serve_with_sandbox};
use crate::support::remote::Client;
use crate::support::{ALICE, KEY, Receiver, TestWharf, within};

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/env.md");
    let current = wharf_server::config::document();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &current).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == current,
        "docs/env.md is not what the settings say; `./dev snap` writes it"
    );
}

/// The lines of a JSON log.
fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn messages(log: &Path) -> Vec<String> {
    let message = |line: &Value| line["fields"]["message"].as_str().unwrap_or_default().to_owned();
    lines(log).iter().map(message).collect()
}

#[tokio::test]
async fn the_env_file_of_a_waha_starts() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut serve = serve_with_sandbox(folder.path());
    serve
        .arg("--env-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/waha.env"));
    let mut server = Process::start_logging_to(File::create(&log).unwrap(), serve);
    server.line_with("wharf ").await;
    server.line_with("sandbox network: ").await;
    assert_eq!(server.terminate().await.0, Some(0));
    assert!(folder.path().join(".sessions/all/wharf.sqlite3").is_file());
    assert!(folder.path().join(".sessions/mine").is_dir());
    let said = messages(&log);
    for name in ["WAHA_APPS_ENABLED", "WAHA_DASHBOARD_PASSWORD", "WAHA_DEBUG_MODE"] {
        let expected = format!("{name} belongs to what is not built yet and has no effect");
        assert_eq!(
            said.iter().filter(|line| **line == expected).count(),
            1,
            "{name}: {said:#?}"
        );
    }
    for part in ["is not known", "CHROME", "PUPPETER", "GODEBUG", "word"] {
        let found: Vec<_> = said
            .iter()
            .filter(|line| line.replace("PASSWORD", "").contains(part))
            .collect();
        assert!(found.is_empty(), "{part}: {found:#?}");
    }
}

#[tokio::test]
async fn each_request_is_one_line_at_the_level_that_is_set() {
    for (level, http_level, expected) in [
        ("info", "info", 1),
        ("info", "debug", 0),
        ("error", "error", 1),
        ("info", "silent", 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut serve = serve_with_sandbox(folder.path());
        serve
            .env("WAHA_LOG_FORMAT", "JSON")
            .env("TZ", "Asia/Tokyo")
            .env("WAHA_API_KEY", KEY);
        serve
            .env("WAHA_LOG_LEVEL", level)
            .env("WAHA_HTTP_LOG_LEVEL", http_level);
        let mut server = Process::start_logging_to(File::create(&log).unwrap(), serve);
        let api = address(&server.line_with("wharf ").await);
        Client::new(&api, "")
            .api("GET", "/api/sessions?all=true", Value::Null)
            .await;
        server.terminate().await;
        let requests: Vec<_> = lines(&log)
            .into_iter()
            .filter(|line| line["fields"]["message"] == "request completed")
            .collect();
        assert_eq!(requests.len(), expected, "{level} {http_level}: {requests:#?}");
        for line in requests {
            assert_eq!(line["level"], http_level.to_uppercase());
            assert_eq!(line["fields"]["status"], 200);
            assert_eq!(
                (&line["span"]["method"], &line["span"]["path"]),
                (&json!("GET"), &json!("/api/sessions"))
            );
            assert!(line["timestamp"].as_str().unwrap().ends_with("+09:00"), "{line}");
            assert!(
                !line.to_string().contains("all=true"),
                "a query may carry a key: {line}"
            );
        }
    }
}

#[tokio::test]
async fn a_session_with_debug_logs_more_than_others() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut serve = serve_with_sandbox(folder.path());
    serve.env("WAHA_LOG_FORMAT", "JSON").env("WAHA_API_KEY", KEY);
    let mut server = Process::start_logging_to(File::create(&log).unwrap(), serve);
    let api = address(&server.line_with("wharf ").await);
    let page = address(&server.line_with("sandbox network: ").await);
    let client = Client::new(&api, &page);
    for (name, debug) in [("loud", true), ("quiet", false)] {
        client
            .api(
                "POST",
                "/api/sessions",
                json!({"name": name, "config": {"debug": debug}}),
            )
            .await;
        client
            .api("GET", &format!("/api/{name}/auth/qr?format=raw"), Value::Null)
            .await;
    }
    server.terminate().await;
    let details: Vec<_> = lines(&log)
        .into_iter()
        .filter(|line| line["level"] == "DEBUG")
        .collect();
    let of_library = |line: &&Value| {
        line["target"]
            .as_str()
            .is_some_and(|target| target.starts_with("whatsapp_rust"))
    };
    assert!(details.iter().any(|line| of_library(&line)), "{details:#?}");
    for line in details {
        assert!(line["spans"].to_string().contains(r#""session":"loud""#), "{line}");
    }
}

#[tokio::test]
async fn no_log_has_a_pairing_code() {
    for (level, debug) in [("trace", false), ("info", true)] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut serve = serve_with_sandbox(folder.path());
        serve.env("WAHA_LOG_LEVEL", level).env("WAHA_API_KEY", KEY);
        let mut server = Process::start_logging_to(File::create(&log).unwrap(), serve);
        let api = address(&server.line_with("wharf ").await);
        let client = Client::new(&api, "");
        let session = json!({"name": "default", "config": {"debug": debug}});
        client.api("POST", "/api/sessions", session).await;
        let asked = json!({ "phoneNumber": ALICE });
        let answer = client.api("POST", "/api/default/auth/request-code", asked).await;
        let code = answer["code"].as_str().unwrap().to_owned();
        server.terminate().await;
        let logged = fs::read_to_string(&log).unwrap();
        assert!(logged.contains("DEBUG"), "{level}: {logged}");
        for code in [code.replace('-', ""), code] {
            assert!(!logged.contains(&code), "{level}: {code}");
        }
    }
}

#[tokio::test]
async fn a_port_may_be_named_in_two_ways() {
    for name in ["PORT", "WHATSAPP_API_PORT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut serve = command(&sandbox_binary(), folder.path());
        serve.args([
            "serve",
            "--sandbox",
            "--sandbox-listen",
            "127.0.0.1:0",
            "--sandbox-tls-listen",
            "127.0.0.1:0",
        ]);
        serve.env(name, "0");
        let mut server = Process::start(serve);
        let api = address(&server.line_with("wharf ").await);
        assert!(!api.ends_with(":3000"), "{name}: {api}");
        server.terminate().await;
    }
}

/// What the phone says of the device of a session that was just linked.
async fn device(settings: &[(&str, &str)], config: Value) -> Value {
    let wharf = TestWharf::start_with(settings).await;
    wharf
        .post("/api/sessions", json!({"name": "default", "config": config}))
        .await
        .expect(201);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.settled().await;
    let device = serde_json::to_value(&wharf.network.phone(ALICE).unwrap().devices[0]).unwrap();
    wharf.finish().await;
    device
}

#[tokio::test]
async fn the_phone_shows_the_name_that_is_set() {
    let by_server = [("WAHA_CLIENT_DEVICE_NAME", "Shop")];
    assert_eq!(device(&[], json!({})).await["platform"], "Ubuntu");
    assert_eq!(device(&by_server, json!({})).await["platform"], "Shop");
    let by_session = json!({"client": {"deviceName": "Till"}});
    assert_eq!(device(&by_server, by_session).await["platform"], "Till");
}

#[tokio::test]
async fn the_phone_gives_as_much_history_as_is_asked_for() {
    // Alice has eleven messages in two chats: one half a year old, five of the last week, five of the last day.
    let given = async |settings: &[(&str, &str)], config| device(settings, config).await["history_given"].clone();
    assert_eq!(given(&[], json!({})).await, 10);
    let full = json!({ "noweb": { "store": { "enabled": true, "fullSync": true } } });
    assert_eq!(given(&[], full).await, 11);
    let none = json!({ "gows": { "storage": { "messages": false } } });
    assert_eq!(given(&[], none).await, 2);
    for (name, value, messages) in [
        ("WAHA_GOWS_DEVICE_REQUIRE_FULL_SYNC", "true", 11),
        ("WAHA_GOWS_DEVICE_HISTORY_SYNC_RECENT_SYNC_DAYS_LIMIT", "1", 5),
        (
            "WAHA_GOWS_DEVICE_HISTORY_SYNC_INITIAL_SYNC_MAX_MESSAGES_PER_CHAT",
            "1",
            2,
        ),
    ] {
        assert_eq!(given(&[(name, value)], json!({})).await, messages, "{name}");
    }
}

/// Waits until the phone's companion is shown as online, or not.
async fn until_online(wharf: &TestWharf, online: bool) {
    let reached = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
        while wharf.network.phone(ALICE).unwrap().devices[0].online != online {
            ticks.tick().await;
        }
    };
    within(&format!("the session to be online: {online}"), reached).await;
}

#[tokio::test]
async fn a_session_is_online_only_while_it_does_something() {
    let wharf = TestWharf::start_with(&[("WAHA_PRESENCE_AUTO_ONLINE_DURATION_SECONDS", "1")]).await;
    let receiver = Receiver::start().await;
    wharf.paired("default", ALICE, &receiver).await;
    until_online(&wharf, true).await;
    until_online(&wharf, false).await;
    assert_eq!(
        wharf.get("/api/sessions/default").await.expect(200)["presence"],
        "offline"
    );
    let chat = json!({"session": "default", "chatId": "12025550102@c.us", "text": "hello"});
    wharf.post("/api/sendText", chat).await.expect(201);
    until_online(&wharf, true).await;
    until_online(&wharf, false).await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_stays_offline_where_it_is_not_to_be_shown() {
    let wharf = TestWharf::start_with(&[("WAHA_PRESENCE_AUTO_ONLINE", "False")]).await;
    let receiver = Receiver::start().await;
    wharf.paired("default", ALICE, &receiver).await;
    until_online(&wharf, false).await;
    let chat = json!({"session": "default", "chatId": "12025550102@c.us", "text": "hello"});
    wharf.post("/api/sendText", chat).await.expect(201);
    receiver.wait_for_event("message.ack").await;
    assert!(!wharf.network.phone(ALICE).unwrap().devices[0].online);
    wharf.finish().await;
}

#[tokio::test]
async fn what_is_kept_lies_where_the_settings_say() {
    let wharf = TestWharf::start_with(&[("WAHA_NAMESPACE", "all"), ("WAHA_SESSION_NAMESPACE", "mine")]).await;
    let receiver = Receiver::start().await;
    wharf.create("default", &receiver).await;
    wharf.qr("default").await;
    let base = wharf.base_dir();
    assert!(base.join("all/wharf.sqlite3").is_file());
    assert!(base.join("mine/default/session.sqlite3").is_file());
}

#[tokio::test]
async fn the_documentation_has_the_operators_name_and_password() {
    let wharf = TestWharf::start_with(&[
        ("WHATSAPP_SWAGGER_USERNAME", "waha"),
        ("WHATSAPP_SWAGGER_PASSWORD", "s3cret"),
        ("WHATSAPP_SWAGGER_TITLE", "Awesome <CRM>"),
        ("WHATSAPP_SWAGGER_DESCRIPTION", "**Finds** everything"),
        ("WHATSAPP_SWAGGER_EXTERNAL_DOC_URL", "https://example.com/docs"),
        ("WHATSAPP_SWAGGER_CONFIG_ADVANCED", "True"),
        ("WAHA_PUBLIC_URL", "https://w.example.com"),
    ])
    .await;
    for path in ["/", "/-json", "/swagger-ui.css"] {
        wharf.get(path).await.expect(401);
        for (name, password) in [("waha", "wrong"), ("admin", "s3cret"), ("", "")] {
            let request = wharf.request(Method::GET, path).basic_auth(name, Some(password));
            wharf.send(request).await.expect(401);
        }
        let request = wharf.request(Method::GET, path).basic_auth("waha", Some("s3cret"));
        assert_eq!(wharf.send(request).await.status, 200, "{path}");
    }
    let request = wharf.request(Method::GET, "/").basic_auth("waha", Some("s3cret"));
    let page = String::from_utf8(wharf.send(request).await.body).unwrap();
    assert!(page.contains("<title>Awesome &lt;CRM></title>"), "{page}");
    let request = wharf.request(Method::GET, "/-json").basic_auth("waha", Some("s3cret"));
    let document = wharf.send(request).await.expect(200);
    assert_eq!(document["info"]["title"], "Awesome <CRM>");
    assert_eq!(document["info"]["description"], "**Finds** everything");
    assert_eq!(document["externalDocs"]["url"], "https://example.com/docs");
    let variables = &document["servers"][0]["variables"];
    assert_eq!(variables["host"]["default"], "w.example.com");
    assert_eq!(
        (&variables["protocol"]["default"], &variables["port"]["default"]),
        (&json!("https"), &json!("443"))
    );
    // The API has its own key.
    wharf.get("/api/sessions").await.expect(200);
    wharf.send(wharf.request(Method::GET, "/nothing")).await.expect(404);
}

#[tokio::test]
async fn the_documentation_can_be_open_or_not_there() {
    let password = ("WHATSAPP_SWAGGER_PASSWORD", "s3cret");
    let open = TestWharf::start_with(&[password, ("WHATSAPP_SWAGGER_NO_PASSWORD", "True")]).await;
    assert_eq!(open.send(open.request(Method::GET, "/")).await.status, 200);
    let none = TestWharf::start_with(&[("WHATSAPP_SWAGGER_ENABLED", "false")]).await;
    for path in ["/", "/-json"] {
        none.get(path).await.expect(404);
    }
}

#[tokio::test]
async fn the_documentation_works_in_a_browser() {
    let wharf = TestWharf::start_with(&[
        ("WHATSAPP_SWAGGER_PASSWORD", "s3cret"),
        ("WHATSAPP_SWAGGER_TITLE", "AwesomeCRM"),
    ])
    .await;
    let url = wharf.url("/");
    let login = ["--username", "admin", "--password", "s3cret"];
    let arguments = [&["--url", &url, "--key", KEY, "--title", "AwesomeCRM"][..], &login].concat();
    browse("documentation.mjs", &arguments).await;
}
