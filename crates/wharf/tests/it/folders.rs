//! Session folders and server files that are damaged, gone or not to be written: said clearly, never papered over with a
//! new device, and no concern of other sessions.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use wharf_core::store::Batch;

use crate::support::process::{Process, address, run, sandbox_alone, serve_on, serve_with_sandbox};
use crate::support::remote::Client;
use crate::support::rigged::{Judge, Verdict, stored};
use crate::support::{ALICE, BOB, CAROL, Receiver, TestWharf};

/// What happens to a database file.
type Damage = fn(&Path);

/// Ways to damage a file, and what they are.
const DAMAGES: [(&str, Damage); 4] = [
    ("garbage", |file| fs::write(file, "no database ".repeat(1_000)).unwrap()),
    ("empty", |file| fs::write(file, "").unwrap()),
    ("truncated", |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("all pages but the first", |file| {
        let mut bytes = fs::read(file).unwrap();
        bytes[4096..].fill(0xff);
        fs::write(file, bytes).unwrap();
    }),
];

/// Waits until the session has failed for this reason, and answers what to do about it.
async fn failed(wharf: &TestWharf, receiver: &Receiver, reason: &str) -> String {
    wharf.wait_for_status("default", "FAILED").await;
    let event = receiver
        .wait_for(reason, |event| event["payload"]["data"]["reason"] == reason)
        .await
        .event;
    event["payload"]["data"]["message"].as_str().unwrap().to_owned()
}

/// A second session, linked to Bob, that must not notice anything.
async fn with_two_sessions() -> (TestWharf, Receiver, Receiver) {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let other = Receiver::start().await;
    wharf.paired("other", BOB, &other).await;
    (wharf, receiver, other)
}

async fn assert_other_works(wharf: &TestWharf, other: &Receiver, text: &str) {
    wharf.wait_for_status("other", "WORKING").await;
    wharf.network.send(CAROL, BOB, text, None).await.unwrap();
    other.wait_for(text, |event| event["payload"]["body"] == text).await;
}

#[tokio::test]
async fn a_damaged_session_fails_alone_and_says_what_to_do() {
    let (mut wharf, receiver, other) = with_two_sessions().await;
    let file = wharf.session_dir("default").join("session.sqlite3");
    wharf.stop().await;
    let whole = fs::read(&file).unwrap();
    for (what, damage) in DAMAGES {
        fs::write(&file, &whole).unwrap();
        damage(&file);
        let damaged = fs::read(&file).unwrap();
        wharf.boot().await;
        let message = failed(&wharf, &receiver, "STORE_CORRUPT").await;
        assert!(
            message.contains("session.sqlite3") && message.contains("backup"),
            "{what}: {message}"
        );
        wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
        wharf.wait_for_status("default", "FAILED").await;
        assert_other_works(&wharf, &other, what).await;
        wharf.stop().await;
        assert_eq!(fs::read(&file).unwrap(), damaged, "{what}: it is left alone");
    }
    fs::write(&file, whole).unwrap();
    wharf.boot().await;
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    wharf.assert_same_device();
    wharf.finish().await;
}

#[tokio::test]
async fn a_damaged_session_can_be_deleted() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    fs::write(wharf.session_dir("default").join("session.sqlite3"), "nonsense").unwrap();
    wharf.boot().await;
    failed(&wharf, &receiver, "STORE_CORRUPT").await;
    wharf.delete("/api/sessions/default").await.expect(200);
    wharf.get("/api/sessions/default").await.expect(404);
    assert!(!wharf.session_dir("default").exists());
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_whose_folder_is_gone_fails_until_it_is_back_or_logged_out() {
    let (mut wharf, receiver, other) = with_two_sessions().await;
    let folder = wharf.session_dir("default");
    wharf.stop().await;
    let elsewhere = folder.with_extension("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    wharf.boot().await;
    let message = failed(&wharf, &receiver, "STORE_MISSING").await;
    assert!(
        message.contains("backup") && message.contains("log the session out"),
        "{message}"
    );
    assert_other_works(&wharf, &other, "as if nothing were").await;

    wharf.stop().await;
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    wharf.boot().await;
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    wharf.assert_same_device();

    wharf.stop().await;
    fs::remove_dir_all(&folder).unwrap();
    wharf.boot().await;
    wharf.wait_for_status("default", "FAILED").await;
    wharf.post("/api/sessions/default/logout", json!({})).await.expect(201);
    wharf.post("/api/sessions/default/start", json!({})).await.expect(201);
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    wharf.finish().await;
}

/// A session file that shows its damage with the next message.
#[derive(Default)]
struct Rot {
    is_there: AtomicBool,
}

impl Judge for Rot {
    fn judge(&self, batch: &Batch) -> Verdict {
        let is_message = stored(batch, "messages").next().is_some();
        match is_message && self.is_there.load(Ordering::SeqCst) {
            true => Verdict::Damaged,
            false => Verdict::Pass,
        }
    }

    fn written(&self, _: &Batch) {}
}

#[tokio::test]
async fn damage_that_shows_while_a_session_runs_fails_it_and_acknowledges_nothing() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let rot = Arc::new(Rot::default());
    wharf.boot_rigged(Arc::clone(&rot) as _).await;
    wharf.wait_for_status("default", "WORKING").await;
    rot.is_there.store(true, Ordering::SeqCst);
    wharf
        .network
        .send(BOB, ALICE, "kept by the network", None)
        .await
        .unwrap();
    failed(&wharf, &receiver, "STORE_CORRUPT").await;

    rot.is_there.store(false, Ordering::SeqCst);
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    receiver
        .wait_for("the text", |event| event["payload"]["body"] == "kept by the network")
        .await;
    wharf.finish().await;
}

/// The program without the right of root to write everywhere, where root runs the tests.
fn without_privileges(command: tokio::process::Command) -> tokio::process::Command {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return command;
    }
    let inner = command.as_std();
    let mut outer = tokio::process::Command::new("setpriv");
    outer.args(["--inh-caps=-all", "--bounding-set=-all"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.current_dir(inner.get_current_dir().unwrap());
    outer.stdin(std::process::Stdio::null()).kill_on_drop(true);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

#[tokio::test]
async fn a_read_only_session_folder_fails_its_session_until_it_may_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let mut sandbox = Process::start(sandbox_alone(folder.path()));
    let page = address(&sandbox.line_with("sandbox network: ").await);
    let start = async || {
        let mut server = Process::start(without_privileges(serve_on(&page, folder.path())));
        let api = address(&server.line_with("wharf ").await);
        (server, Client::new(&api, &page))
    };

    let (server, client) = start().await;
    let webhook = json!({ "url": receiver.url(), "events": ["session.status"] });
    let session = json!({ "name": "default", "config": { "webhooks": [webhook] } });
    client.api("POST", "/api/sessions", session).await;
    let qr = client.api("GET", "/api/default/auth/qr?format=raw", Value::Null).await;
    client
        .admin(&format!("/admin/phones/{ALICE}/scan"), json!({ "qr": qr["value"] }))
        .await;
    receiver
        .wait_for("WORKING", |event| event["payload"]["status"] == "WORKING")
        .await;
    assert_eq!(server.terminate().await.0, Some(0));

    let data = folder.path().join(".sessions/webjs/default");
    let file = data.join("session.sqlite3");
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (path, closed, open) in [(&data, 0o500, 0o700), (&file, 0o400, 0o600)] {
        allow(path, closed);
        let (server, client) = start().await;
        client.status("default", "FAILED").await;
        allow(path, open);
        client.api("POST", "/api/sessions/default/restart", json!({})).await;
        client.status("default", "WORKING").await;
        assert_eq!(server.terminate().await.0, Some(0));
    }
    let reasons: Vec<_> = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["payload"]["status"] == "FAILED")
        .map(|it| it.event["payload"]["data"]["reason"].clone())
        .collect();
    assert_eq!(reasons, ["STORE_DENIED", "STORE_DENIED"]);
}

#[tokio::test]
async fn a_damaged_server_file_ends_the_start_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start(serve_with_sandbox(folder.path()));
    server.line_with("sandbox network: ").await;
    assert_eq!(server.terminate().await.0, Some(0));
    let file = folder.path().join(".sessions/webjs/wharf.sqlite3");
    let whole = fs::read(&file).unwrap();
    for (what, damage) in DAMAGES {
        fs::write(&file, &whole).unwrap();
        damage(&file);
        let mut command = serve_with_sandbox(folder.path());
        command.env("WAHA_LOG_LEVEL", "error");
        let ended = run(command).await;
        assert_eq!(ended.code, Some(2), "{what}: {ended:?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert!(
            lines.len() == 1 && lines[0].starts_with("wharf: ") && lines[0].contains("wharf.sqlite3"),
            "{what}: {lines:#?}"
        );
    }
}
