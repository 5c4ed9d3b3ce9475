//! The receivers of `docs/how-to/receive-webhooks.md`, taken out of it word for word and run: they check our signatures with
//! code that is not ours, refuse forged ones, and handle each event once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::{Sha256, Sha512};
use tempfile::TempDir;
use wharf_core::clock::{Clock, SystemClock};

use crate::support::process::{Process, address, command};
use crate::support::{ALICE, BOB, Receiver, TestWharf};

/// The example of WAHA's documentation: a key, a body, and the signature that this gives.
const KEY: &str = "my-secret-key";
const BODY: &str = r#"{"event":"message","session":"default","engine":"WEBJS"}"#;
const SIGNATURE: &str = "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8\
                         097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89";
/// What a forger has.
const WRONG_KEY: &str = "another-secret-key";
/// Longer ago than any request may have been signed, in seconds.
const TOO_LONG_AGO: i64 = 10 * 60;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A receiver of the page, in a process of its own.
struct Example {
    process: Process,
    url: String,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Example {
    /// The page's code in this language, run by this program.
    async fn start(language: &str, program: &str) -> Self {
        let page = fs::read_to_string(root().join("docs/how-to/receive-webhooks.md")).unwrap();
        let code = page.split(&format!("```{language}\n")).nth(1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Node.js goes by the extension, Python does not care.
        fs::write(folder.path().join("receiver.mjs"), code.split("```").next().unwrap()).unwrap();
        let modules = root().join("tests/webhooks/node_modules");
        assert!(modules.is_dir(), "`./dev test` installs the npm packages");
        symlink(modules, folder.path().join("node_modules")).unwrap();
        let mut command = command(Path::new(program), folder.path());
        command.arg("receiver.mjs").env("WEBHOOK_KEY", KEY).env("PORT", "0");
        let mut process = Process::start(command);
        let url = format!("http://{}/", address(&process.line_with("listening on ").await));
        Self {
            process,
            url,
            client: client(),
            _folder: folder,
        }
    }

    /// Posts the body with these signatures, and answers the status.
    async fn post(&self, id: &str, timestamp: i64, standard: String, hmac: String) -> u16 {
        let request = self.client.post(&self.url).body(BODY);
        let request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", standard)
            .header("x-webhook-hmac", hmac);
        request.send().await.unwrap().status().as_u16()
    }

    /// What it says that it handled, until it has handled this event.
    async fn handled(&mut self, last: &str) -> Vec<String> {
        self.process.lines_until(last).await
    }
}

/// The signature of Standard Webhooks, by its specification.
fn standard(key: &str, id: &str, timestamp: i64) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    let mac = mac.chain_update(format!("{id}.{timestamp}.{BODY}"));
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// WAHA's.
fn hmac(key: &str) -> String {
    let mac = Hmac::<Sha512>::new_from_slice(key.as_bytes()).unwrap();
    hex::encode(mac.chain_update(BODY).finalize().into_bytes())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client of the tests calls a program of the tests"
)]
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// What a receiver must do, whatever it is written in.
async fn check(language: &str, program: &str) {
    let mut example = Example::start(language, program).await;
    let now = SystemClock.now().as_second();

    let (id, good) = ("evt_example", standard(KEY, "evt_example", now));
    for _ in 0..2 {
        let status = example.post(id, now, good.clone(), SIGNATURE.to_owned()).await;
        assert_eq!(status, 204, "{language}: the example of WAHA's documentation");
    }
    let earlier = now - TOO_LONG_AGO;
    let forged = [
        ("wrong HMAC", "evt_1", now, standard(KEY, "evt_1", now), hmac(WRONG_KEY)),
        ("no HMAC", "evt_2", now, standard(KEY, "evt_2", now), String::new()),
        (
            "wrong signature",
            "evt_3",
            now,
            standard(WRONG_KEY, "evt_3", now),
            hmac(KEY),
        ),
        ("no signature", "evt_4", now, String::new(), hmac(KEY)),
        ("signature of another event", "evt_5", now, good, hmac(KEY)),
        (
            "signature of long ago",
            "evt_6",
            earlier,
            standard(KEY, "evt_6", earlier),
            hmac(KEY),
        ),
    ];
    for (what, id, timestamp, standard, hmac) in forged {
        let status = example.post(id, timestamp, standard, hmac).await;
        assert_eq!(status, 401, "{language}: {what}");
    }

    // What the server itself sends, beside a receiver that knows the id.
    let (wharf, receiver) = (TestWharf::start().await, Receiver::start().await);
    let webhook = |url: &str| json!({ "url": url, "events": ["message"], "hmac": { "key": KEY } });
    let webhooks = json!([webhook(&example.url), webhook(&receiver.url())]);
    let session = json!({ "name": "default", "config": { "webhooks": webhooks } });
    wharf.post("/api/sessions", session).await.expect(201);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.network.send(BOB, ALICE, "signed", None).await.unwrap();
    let delivery = receiver.wait_for_event("message").await;
    assert_eq!(delivery.header("webhook-id"), delivery.id());
    let handled = example.handled(&format!("message {}", delivery.id())).await;
    assert_eq!(
        handled,
        ["message evt_example"],
        "{language}: once, and nothing that was forged"
    );

    // A replay comes to both receivers with the same id. The next text proves that it was not handled again.
    let replay = format!("/api/events/{}/replay", delivery.id());
    wharf.post(&replay, json!({})).await;
    receiver.wait_for_count(2).await;
    wharf.network.send(BOB, ALICE, "next", None).await.unwrap();
    let next = receiver
        .wait_for("the next text", |event| event["payload"]["body"] == "next")
        .await;
    let handled = example.handled(&format!("message {}", next.id())).await;
    assert_eq!(handled, Vec::<String>::new(), "{language}: the replay is known");
    wharf.finish().await;
}

#[tokio::test]
async fn a_receiver_in_node_accepts_ours_once_and_refuses_forgeries() {
    check("js", "node").await;
}

#[tokio::test]
async fn a_receiver_in_python_accepts_ours_once_and_refuses_forgeries() {
    check("python", "python3").await;
}
