//! The program itself: commands, exit codes, and the one line that says what is wrong.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio_tungstenite::connect_async;

use crate::support::process::{
    Process, address, command, run, sandbox_alone, sandbox_binary, serve_on, serve_with_sandbox,
};
use crate::support::remote::Client;
use crate::support::{KEY, Receiver, TestWharf, within};

#[tokio::test]
async fn a_first_start_makes_a_key_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(serve_with_sandbox(folder.path()));
    let api = address(&process.line_with("wharf ").await);
    let line = process.line_with("API key: ").await;
    let key = line.split_whitespace().nth(2).unwrap().to_owned();
    let file = folder.path().join(".sessions/api-key");
    assert_eq!(fs::read_to_string(&file).unwrap(), key);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    process.line_with("sandbox network: http://").await;

    let health = {
        let mut check = command(&sandbox_binary(), folder.path());
        check
            .env("WHATSAPP_API_PORT", api.rsplit(':').next().unwrap())
            .arg("healthcheck");
        run(check).await
    };
    assert_eq!(health.code, Some(0), "{health:?}");
    let (code, _) = process.terminate().await;
    assert_eq!(code, Some(0));

    let mut again = Process::start(serve_with_sandbox(folder.path()));
    let line = again.line_with("API key: ").await;
    assert!(!line.contains(&key), "a kept key is not printed again: {line}");
    again.terminate().await;
}

#[tokio::test]
async fn it_stops_in_time_by_either_signal_with_open_websockets_and_hanging_webhooks() {
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        // Takes connections and never answers.
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut serve = serve_with_sandbox(folder.path());
        serve.env("WAHA_API_KEY", KEY);
        serve.env(
            "WHATSAPP_HOOK_URL",
            format!("http://{}/", hanging.local_addr().unwrap()),
        );
        serve.env("WHATSAPP_HOOK_EVENTS", "*");
        let mut server = Process::start(serve);
        let api = address(&server.line_with("wharf ").await);
        let page = address(&server.line_with("sandbox network: ").await);
        let client = Client::new(&api, &page);
        let (_socket, _) = connect_async(format!("ws://{api}/ws?x-api-key={KEY}")).await.unwrap();
        client.api("POST", "/api/sessions", json!({ "name": "default" })).await;
        let (_webhook, _) = hanging.accept().await.unwrap();
        assert_eq!(server.signal(signal).await.0, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_start_that_hangs_can_be_called_off() {
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        // A pipe in the place of the network's state: whoever reads it waits for whoever writes.
        let state = folder.path().join(".sessions/sandbox/network.json");
        fs::create_dir_all(state.parent().unwrap()).unwrap();
        let mut mkfifo = command(Path::new("mkfifo"), folder.path());
        mkfifo.arg(&state);
        assert_eq!(run(mkfifo).await.code, Some(0));
        let server = Process::start(serve_with_sandbox(folder.path()));
        // Opens once the server does.
        let pipe = spawn_blocking(move || File::options().write(true).open(state));
        let pipe = within("the server to read", pipe).await.unwrap().unwrap();
        assert_eq!(server.signal(signal).await.0, Some(0), "{signal}");
        drop(pipe);
    }
}

#[tokio::test]
async fn what_to_try_can_be_pasted_as_it_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev").canonicalize();
    symlink(dev.unwrap(), folder.path().join("dev")).unwrap();
    let mut server = Process::start(serve_with_sandbox(folder.path()));
    let page = address(&server.line_with("sandbox network: ").await);
    server.line_with("Try it").await;
    let steps = server.lines_until("The API's documentation").await;
    let file = folder.path().join("steps");
    fs::write(&file, steps.join("\n")).unwrap();
    // As at a terminal, where `!` has a meaning.
    let mut shell = command(Path::new("bash"), folder.path());
    shell.args(["-H", "-o", "history", "-euo", "pipefail"]).arg(file);
    let ended = run(shell).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    // Echo answers what it is told.
    Client::new("", &page)
        .phone_shows("12025550101", "Echo: Hi there!")
        .await;
    server.terminate().await;
}

#[tokio::test]
async fn a_healthcheck_without_a_server_fails() {
    let folder = tempfile::tempdir().unwrap();
    // Bound, so that nobody else gets it, and silent.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = mute.local_addr().unwrap().port();
    let mut check = command(&sandbox_binary(), folder.path());
    check.env("WHATSAPP_API_PORT", port.to_string()).args(["healthcheck"]);
    let ended = run(check).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let settings: &[(&str, String, &str)] = &[
        ("WHATSAPP_API_PORT", "seven".to_owned(), "WHATSAPP_API_PORT"),
        ("WAHA_NO_API_KEY", "maybe".to_owned(), "WAHA_NO_API_KEY"),
        ("WAHA_API_KEY", "sha512:nonsense-of-a-secret".to_owned(), "WAHA_API_KEY"),
        (
            "WHATSAPP_DEFAULT_ENGINE",
            "TELEGRAM".to_owned(),
            "WHATSAPP_DEFAULT_ENGINE",
        ),
        ("WAHA_LOCAL_STORE_BASE_DIR", file.display().to_string(), "file"),
        ("WAHA_MEDIA_STORAGE", "S3".to_owned(), "WAHA_S3_BUCKET"),
        (
            "WHARF_S3_SIGNED_URL_SECONDS",
            "604801".to_owned(),
            "WHARF_S3_SIGNED_URL_SECONDS",
        ),
        ("WHATSAPP_API_PORT", taken.port().to_string(), &taken.port().to_string()),
    ];
    for (name, value, word) in settings {
        let mut command = command(&sandbox_binary(), folder.path());
        command.args([
            "serve",
            "--sandbox",
            "--sandbox-listen",
            "127.0.0.1:0",
            "--sandbox-tls-listen",
            "127.0.0.1:0",
        ]);
        let ended = run({
            command.env(name, value).env("WAHA_LOG_LEVEL", "error");
            command
        })
        .await;
        assert_eq!(ended.code, Some(2), "{name}={value}: {ended:?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{name}={value}: {lines:#?}");
        assert!(
            lines[0].starts_with("wharf: ") && lines[0].contains(word),
            "{name}={value}: {lines:#?}"
        );
        let causes: Vec<_> = lines[0].split(": ").collect();
        assert!(
            causes.windows(2).all(|pair| pair[0] != pair[1]),
            "a cause is said twice: {}",
            lines[0]
        );
        assert!(
            !ended.stderr.contains("nonsense-of-a-secret"),
            "the secret is echoed: {}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn a_database_url_that_is_none_is_not_echoed() {
    for url in [
        "mysql://me:nonsense-of-a-secret@localhost/media",
        "postgres://me:nonsense-of-a-secret@localhost:port/media",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = serve_with_sandbox(folder.path());
        command
            .env("WAHA_MEDIA_STORAGE", "POSTGRESQL")
            .env("WAHA_MEDIA_POSTGRESQL_URL", url);
        let ended = run(command).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("WAHA_MEDIA_POSTGRESQL_URL must be"), "{ended:?}");
        assert!(!ended.stderr.contains("nonsense-of-a-secret"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Process::start(serve_with_sandbox(folder.path()));
    first.line_with("sandbox network").await;
    let ended = run(serve_with_sandbox(folder.path())).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(
        ended.stderr.lines().filter(|line| line.starts_with("wharf: ")).count(),
        1,
        "{}",
        ended.stderr
    );
    first.terminate().await;
}

#[tokio::test]
async fn a_sandbox_build_without_a_sandbox_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&sandbox_binary(), folder.path());
    let ended = run({
        command.args(["serve", "--port", "0"]);
        command
    })
    .await;
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("--sandbox") && ended.stderr.contains("WHARF_SANDBOX_URL"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_server_joins_a_sandbox_that_runs_elsewhere_and_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = {
        let mut command = sandbox_alone(folder.path());
        command.args(["--snapshot", "network.json"]);
        Process::start(command)
    };
    let page = address(&sandbox.line_with("sandbox network: ").await);
    let receiver = Receiver::start().await;
    let server = || Process::start(serve_on(&page, folder.path()));
    let mut first = server();
    let api = address(&first.line_with("wharf ").await);
    let client = Client::new(&api, &page);
    let webhook = json!({ "url": receiver.url(), "events": ["message", "session.status"] });
    client
        .api(
            "POST",
            "/api/sessions",
            json!({ "name": "default", "config": { "webhooks": [webhook] } }),
        )
        .await;
    let qr = client.api("GET", "/api/default/auth/qr?format=raw", Value::Null).await;
    client
        .admin("/admin/phones/12025550101/scan", json!({ "qr": qr["value"] }))
        .await;
    receiver
        .wait_for("WORKING", |event| event["payload"]["status"] == "WORKING")
        .await;

    first.kill().await;
    client
        .admin(
            "/admin/phones/12025550102/send",
            json!({ "to": "12025550101", "text": "while dead" }),
        )
        .await;
    let mut second = server();
    second.line_with("wharf ").await;
    receiver
        .wait_for("the text", |event| event["payload"]["body"] == "while dead")
        .await;
    let scans = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["payload"]["status"] == "SCAN_QR_CODE")
        .count();
    assert_eq!(scans, 1, "no second scan was needed");
    assert_eq!(second.terminate().await.0, Some(0));
    assert_eq!(sandbox.terminate().await.0, Some(0));
    assert!(folder.path().join("network.json").exists());
}

#[tokio::test]
async fn the_sandbox_beside_a_server_survives_a_restart_with_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let start = async || {
        let mut serve = serve_with_sandbox(folder.path());
        serve.env("WAHA_API_KEY", KEY);
        let mut server = Process::start(serve);
        let api = address(&server.line_with("wharf ").await);
        let page = address(&server.line_with("sandbox network: ").await);
        (server, Client::new(&api, &page))
    };
    let (server, client) = start().await;
    let webhook = json!({ "url": receiver.url(), "events": ["message", "session.status"] });
    let session = json!({ "name": "default", "config": { "webhooks": [webhook] } });
    client.api("POST", "/api/sessions", session).await;
    client
        .admin("/admin/phones/12025550101/scan", json!({ "session": "default" }))
        .await;
    receiver
        .wait_for("WORKING", |event| event["payload"]["status"] == "WORKING")
        .await;
    let to_bob = |text: &str| json!({ "session": "default", "chatId": "12025550102", "text": text });
    client.api("POST", "/api/sendText", to_bob("before the restart")).await;
    client.phone_shows("12025550102", "before the restart").await;
    assert_eq!(server.terminate().await.0, Some(0));

    let before = receiver.deliveries().len();
    let (server, client) = start().await;
    receiver.wait_for_count(before + 2).await;
    let body = json!({ "to": "12025550101", "text": "after the restart" });
    client.admin("/admin/phones/12025550102/send", body).await;
    receiver
        .wait_for("the text", |event| event["payload"]["body"] == "after the restart")
        .await;
    let scans = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["payload"]["status"] == "SCAN_QR_CODE")
        .count();
    assert_eq!(scans, 1, "{:?}", receiver.names());
    // The phones have forgotten their Signal sessions, so Bob cannot read this until it is asked for again and sent anew.
    client
        .api("POST", "/api/sendText", to_bob("after the restart too"))
        .await;
    client.phone_shows("12025550102", "after the restart too").await;
    assert_eq!(server.terminate().await.0, Some(0));
}

#[tokio::test]
async fn init_writes_secrets_that_only_the_owner_reads_and_never_twice() {
    let folder = tempfile::tempdir().unwrap();
    let init = || {
        let mut command = command(&sandbox_binary(), folder.path());
        command.args(["init", "deploy"]);
        command
    };
    let ended = run(init()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let file = folder.path().join("deploy/.env");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets: Vec<_> = text
        .lines()
        .filter(|it| it.contains("KEY=") || it.contains("PASSWORD="))
        .collect();
    assert!(
        secrets.len() >= 3 && secrets.iter().all(|it| it.split('=').nth(1).unwrap().len() >= 32),
        "{secrets:?}"
    );
    let again = run(init()).await;
    assert_eq!(again.code, Some(2));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn the_env_file_is_read_and_the_environment_wins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join(".env"),
        format!("WAHA_API_KEY={KEY}\nWHATSAPP_DEFAULT_ENGINE=NOWEB\n"),
    )
    .unwrap();
    let mut command = serve_with_sandbox(folder.path());
    command.env("WHATSAPP_DEFAULT_ENGINE", "GOWS");
    let mut process = Process::start(command);
    let api = address(&process.line_with("wharf ").await);
    let client = Client::new(&api, "");
    assert_eq!(
        client.api("GET", "/api/server/version", Value::Null).await["engine"],
        "GOWS"
    );
    process.terminate().await;
}

#[tokio::test]
async fn listen_prints_webhooks_and_checks_their_signature() {
    let folder = tempfile::tempdir().unwrap();
    let mut listen = command(&sandbox_binary(), folder.path());
    listen.args(["listen", "--port", "0", "--hmac-key", "my-secret-key"]);
    let mut listen = Process::start(listen);
    let address = address(&listen.line_with("listening").await);
    let wharf = TestWharf::start().await;
    let webhook = json!({
        "url": format!("http://{address}/"), "events": ["session.status"], "hmac": { "key": "my-secret-key" },
    });
    let body = json!({ "name": "default", "config": { "webhooks": [webhook] } });
    wharf.post("/api/sessions", body).await.expect(201);
    let line = listen.line_with("session.status").await;
    assert!(line.contains("default") && line.contains("signature ok"), "{line}");
    assert_eq!(listen.terminate().await.0, Some(0));
}

#[tokio::test]
async fn openapi_prints_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&sandbox_binary(), folder.path());
    let ended = run({
        command.arg("openapi");
        command
    })
    .await;
    assert_eq!(ended.code, Some(0));
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(document["paths"]["/api/sendText"]["post"].is_object());
}

#[tokio::test]
async fn selftest_says_that_a_sandbox_build_verifies_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&sandbox_binary(), folder.path());
    let ended = run({
        command.arg("selftest");
        command
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("certificate check: off"), "{}", ended.stdout);
}
