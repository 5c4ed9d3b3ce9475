//! A disk that really has no room: nothing is acknowledged, and everything comes once there is some.
//!
//! The system limits how long a file of the server may get (`RLIMIT_FSIZE`), so that SQLite's own writes fail, of the
//! server's file and of the session's. Needs `prlimit`, which is a part of every usual Linux.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::process::{Process, address, sandbox_alone, serve_on};
use crate::support::remote::Client;
use crate::support::{ALICE, BOB, Receiver, within};

/// How long files may get while there is no room, in bytes: less than one page of a database.
const NO_ROOM: &str = "1024";
/// Texts that come while there is no room.
const TEXTS: usize = 5;

/// The program, with failing writes instead of the signal that would end it.
fn outliving_a_full_disk(page: &str, folder: &Path) -> Command {
    let serve = serve_on(page, folder);
    let mut command = crate::support::process::command(Path::new("sh"), folder);
    command.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]);
    command
        .arg(serve.as_std().get_program())
        .args(serve.as_std().get_args());
    command.env("WAHA_LOG_LEVEL", "warn");
    for (name, value) in serve.as_std().get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

async fn limit_files(server: &Process, bytes: &str) {
    let limited = Command::new("prlimit")
        .args([format!("--pid={}", server.id()), format!("--fsize={bytes}:")])
        .status();
    assert!(limited.await.unwrap().success());
}

async fn queued(client: &Client) -> u64 {
    let phone = client.look(&format!("/admin/phones/{ALICE}")).await;
    phone["devices"][0]["queued"].as_u64().unwrap()
}

/// Waits until the network keeps as many stanzas for the session.
async fn until_queued(client: &Client, what: &str, is_so: impl Fn(u64) -> bool) {
    let reached = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !is_so(queued(client).await) {
            ticks.tick().await;
        }
    };
    within(what, reached).await;
}

#[tokio::test]
async fn a_database_without_room_acknowledges_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Process::start(sandbox_alone(folder.path()));
    let page = address(&sandbox.line_with("sandbox network: ").await);
    let mut server = Process::start(outliving_a_full_disk(&page, folder.path()));
    let client = Client::new(&address(&server.line_with("wharf ").await), &page);
    let receiver = Receiver::start().await;
    let webhook = json!({ "url": receiver.url(), "events": ["message", "message.waiting"] });
    let session = json!({ "name": "default", "config": { "webhooks": [webhook] } });
    client.api("POST", "/api/sessions", session).await;
    let qr = client.api("GET", "/api/default/auth/qr?format=raw", Value::Null).await;
    let scan = format!("/admin/phones/{ALICE}/scan");
    client.admin(&scan, json!({ "qr": qr["value"] })).await;
    client.status("default", "WORKING").await;
    until_queued(&client, "everything to be acknowledged", |queued| queued == 0).await;

    limit_files(&server, NO_ROOM).await;
    let texts: Vec<_> = (0..TEXTS).map(|number| format!("no room {number}")).collect();
    for text in &texts {
        let body = json!({ "to": ALICE, "text": text });
        client.admin(&format!("/admin/phones/{BOB}/send"), body).await;
    }
    client.status("default", "STARTING").await;
    assert!(client.try_api("GET", "/health", Value::Null).await.is_err());
    let kept = queued(&client).await;
    assert!(kept >= TEXTS as u64, "{kept} stanzas are kept by the network");
    assert_eq!(receiver.names(), Vec::<String>::new());

    limit_files(&server, "unlimited").await;
    client.status("default", "WORKING").await;
    receiver
        .wait_for("the last text", |event| event["payload"]["body"] == texts[TEXTS - 1])
        .await;
    until_queued(&client, "everything to be acknowledged", |queued| queued == 0).await;
    let told: Vec<_> = texts.iter().map(|text| format!("message {text}")).collect();
    assert_eq!(receiver.names(), told, "each once, in order, and none as waiting");
    client.api("GET", "/health", Value::Null).await;
    assert_eq!(server.terminate().await.0, Some(0));
    assert_eq!(sandbox.terminate().await.0, Some(0));
}
