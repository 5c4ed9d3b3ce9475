//! The independent check: Baileys, an unmodified client of another origin, on the same sandbox network.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use wharf_simulator::InboxKind;

use crate::support::{ALICE, CAROL, NOBODY, TestWharf, within};

/// Baileys' number for a message that was read (`WebMessageInfo.Status`).
const READ: i64 = 4;

/// A Baileys client in a process of its own; `tests/baileys/client.mjs` says what it prints and takes.
struct Baileys {
    child: Child,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Baileys {
    fn start(wharf: &TestWharf) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/baileys/client.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .args([
                "--url",
                &format!("ws://{}/ws/chat", wharf.sandbox_address()),
                "--name",
                "Carol",
            ])
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
        }
    }

    async fn command(&mut self, command: Value) {
        self.commands
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let line = self.events.next_line().await.unwrap().expect("baileys ended");
                let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("baileys printed {line}"));
                if wanted(&event) {
                    return event;
                }
            }
        };
        within(&format!("{what} from baileys"), search).await
    }
}

#[tokio::test]
async fn baileys_and_wharf_write_to_each_other_end_to_end_encrypted() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut baileys = Baileys::start(&wharf);
    let qr = baileys.wait_for("a qr code", |event| event["event"] == "qr").await;
    wharf.network.scan(CAROL, qr["qr"].as_str().unwrap()).await.unwrap();
    baileys.wait_for("a connection", |event| event["event"] == "open").await;
    // It comes in pieces, in any order.
    let has_chats = |it: &Value| it["event"] == "history" && it["chats"].as_u64().is_some_and(|chats| chats > 0);
    baileys.wait_for("a piece of history with chats", has_chats).await;

    let text = json!({ "session": "default", "chatId": format!("{CAROL}@c.us"), "text": "from wharf" });
    let sent = wharf.post("/api/sendText", text).await.expect(201);
    let came = baileys
        .wait_for("wharf's text", |it| {
            it["event"] == "message" && it["text"] == "from wharf"
        })
        .await;
    assert!(sent["id"].as_str().unwrap().ends_with(came["id"].as_str().unwrap()));
    let read = json!({ "cmd": "read", "id": came["id"] });
    baileys.command(read).await;
    receiver
        .wait_for("READ", |event| event["payload"]["ackName"] == "READ")
        .await;

    baileys
        .command(json!({ "cmd": "send", "to": format!("{ALICE}@s.whatsapp.net"), "text": "from baileys" }))
        .await;
    let event = receiver
        .wait_for("baileys' text", |event| event["payload"]["body"] == "from baileys")
        .await
        .event;
    assert_eq!(event["payload"]["from"], format!("{CAROL}@c.us"));
    let id = event["payload"]["id"]
        .as_str()
        .unwrap()
        .rsplit('_')
        .next()
        .unwrap()
        .to_owned();
    let seen =
        json!({ "session": "default", "chatId": format!("{CAROL}@c.us"), "messageIds": [event["payload"]["id"]] });
    wharf.post("/api/sendSeen", seen).await.expect(201);
    let is_read = |it: &Value| it["event"] == "receipt" && it["id"] == id.as_str() && it["status"] == READ;
    baileys.wait_for("the read receipt", is_read).await;

    // Once more in both directions, now on the established Signal sessions.
    let text = json!({ "session": "default", "chatId": format!("{CAROL}@c.us"), "text": "again" });
    wharf.post("/api/sendText", text).await.expect(201);
    baileys.wait_for("the second text", |it| it["text"] == "again").await;
    baileys
        .command(json!({ "cmd": "send", "to": format!("{ALICE}@s.whatsapp.net"), "text": "and back" }))
        .await;
    receiver
        .wait_for("the second answer", |event| event["payload"]["body"] == "and back")
        .await;

    let number = |number: &str| json!({ "cmd": "exists", "number": number });
    for (asked, exists) in [(ALICE, true), (NOBODY, false)] {
        baileys.command(number(asked)).await;
        let answer = baileys
            .wait_for("a looked up number", |it| {
                it["event"] == "exists" && it["number"] == asked
            })
            .await;
        assert_eq!(answer["exists"], exists, "{asked}");
    }
    baileys
        .command(json!({ "cmd": "typing", "to": format!("{ALICE}@s.whatsapp.net"), "state": "composing" }))
        .await;
    wharf
        .phone_shows(ALICE, "that Carol types", |it| {
            it.kind == InboxKind::Typing && it.from == CAROL && !it.from_me
        })
        .await;

    // A second connection logs in with what the first one stored, and the conversation goes on.
    baileys.command(json!({ "cmd": "reconnect" })).await;
    baileys
        .wait_for("the second connection", |event| event["event"] == "open")
        .await;
    let text = json!({ "session": "default", "chatId": format!("{CAROL}@c.us"), "text": "after the reconnect" });
    wharf.post("/api/sendText", text).await.expect(201);
    baileys
        .wait_for("the third text", |it| it["text"] == "after the reconnect")
        .await;
    wharf.settled().await;
    baileys.command(json!({ "cmd": "quit" })).await;
    within("baileys to end", baileys.child.wait()).await.unwrap();
}
