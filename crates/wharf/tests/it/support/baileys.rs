//! Baileys, an unmodified client of another origin, in a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{CAROL, TestWharf};

/// The longest that anything takes with Baileys: it starts an interpreter, and stretches keys of codes in it.
const BAILEYS_PATIENCE: Duration = Duration::from_secs(60);
/// A Baileys client; `tests/baileys/client.mjs` says what it prints and takes.
pub(crate) struct Baileys {
    child: Child,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
    /// Has the certificate of the network's media hosts.
    _folder: TempDir,
}

impl Baileys {
    /// Starts it; it has a QR code to be scanned soon.
    pub(crate) async fn start(wharf: &TestWharf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.pem");
        std::fs::write(&authority, wharf.sandbox_authority().await).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/baileys/client.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .args([
                "--url",
                &format!("ws://{}/ws/chat", wharf.sandbox_address()),
                "--name",
                "Carol",
            ])
            .env("NODE_EXTRA_CA_CERTS", authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs; `./dev test` installs it and the npm packages");
        let commands = child.stdin.take().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            commands,
            events,
            _folder: folder,
        }
    }

    /// One that is linked to Carol's phone.
    pub(crate) async fn linked_to_carol(wharf: &TestWharf) -> Self {
        let mut baileys = Self::start(wharf).await;
        let qr = baileys.wait_for("a qr code", |event| event["event"] == "qr").await;
        wharf.network.scan(CAROL, qr["qr"].as_str().unwrap()).await.unwrap();
        baileys.wait_for("a connection", |event| event["event"] == "open").await;
        baileys
    }

    /// Ends it.
    pub(crate) async fn quit(mut self) {
        self.command(json!({ "cmd": "quit" })).await;
        patiently("baileys to end", self.child.wait()).await.unwrap();
    }

    /// Has it do something; `tests/baileys/client.mjs` says what there is.
    pub(crate) async fn command(&mut self, command: Value) {
        self.commands
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
    }

    /// Waits for an event of it.
    pub(crate) async fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let line = self.events.next_line().await.unwrap().expect("baileys ended");
                let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("baileys printed {line}"));
                assert_ne!(event["event"], "error", "baileys: {event}");
                if wanted(&event) {
                    return event;
                }
            }
        };
        patiently(&format!("{what} from baileys"), search).await
    }
}

/// Waits for something that Baileys must do.
pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(BAILEYS_PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
