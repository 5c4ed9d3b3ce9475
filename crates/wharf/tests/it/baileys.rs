//! The independent check: Baileys, an unmodified client of another origin, on the same sandbox network.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use wharf_simulator::{InboxEntry, InboxKind};

use crate::support::{ALICE, CAROL, NOBODY, TestWharf};

/// The longest that anything takes with Baileys: it starts an interpreter, and stretches keys of codes in it.
const BAILEYS_PATIENCE: Duration = Duration::from_secs(60);
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

    async fn quit(mut self) {
        self.command(json!({ "cmd": "quit" })).await;
        patiently("baileys to end", self.child.wait()).await.unwrap();
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
        patiently(&format!("{what} from baileys"), search).await
    }
}

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(BAILEYS_PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A Baileys client that is linked to Carol's phone.
async fn linked_to_carol(wharf: &TestWharf) -> Baileys {
    let mut baileys = Baileys::start(wharf);
    let qr = baileys.wait_for("a qr code", |event| event["event"] == "qr").await;
    wharf.network.scan(CAROL, qr["qr"].as_str().unwrap()).await.unwrap();
    baileys.wait_for("a connection", |event| event["event"] == "open").await;
    baileys
}

#[tokio::test]
async fn baileys_is_linked_by_a_code_that_is_entered_on_the_phone() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut baileys = Baileys::start(&wharf);
    baileys.wait_for("a qr code", |event| event["event"] == "qr").await;
    baileys.command(json!({ "cmd": "code", "number": CAROL })).await;
    let code = baileys.wait_for("a code", |event| event["event"] == "code").await;
    let code = code["code"].as_str().unwrap();
    // Baileys does not wait until the network knows of it.
    let asked = async {
        let mut changed = wharf.network.changed();
        while wharf.network.phone(CAROL).unwrap().wants_code.is_none() {
            changed.changed().await.unwrap();
        }
    };
    patiently("the network to hear of the code", asked).await;
    let wrong = format!("{}{}", &code[..7], if code.ends_with('2') { '3' } else { '2' });
    let refused = wharf.network.enter_code(CAROL, &wrong).await.unwrap_err();
    assert_eq!(refused.to_string(), "the code is wrong");
    wharf.settled().await;
    wharf.network.enter_code(CAROL, code).await.unwrap();
    baileys.wait_for("a connection", |event| event["event"] == "open").await;

    baileys.command(to_alice("linked by code")).await;
    receiver
        .wait_for("baileys' text", |event| event["payload"]["body"] == "linked by code")
        .await;
    wharf.settled().await;
    baileys.quit().await;
    wharf.finish().await;
}

fn to_carol(text: &str) -> Value {
    json!({ "session": "default", "chatId": format!("{CAROL}@c.us"), "text": text })
}

fn to_alice(text: &str) -> Value {
    json!({ "cmd": "send", "to": format!("{ALICE}@s.whatsapp.net"), "text": text })
}

#[tokio::test]
async fn baileys_and_wharf_write_to_each_other_end_to_end_encrypted() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut baileys = linked_to_carol(&wharf).await;

    let sent = wharf.post("/api/sendText", to_carol("from wharf")).await.expect(201);
    let is_text = |it: &Value| it["event"] == "message" && it["text"] == "from wharf";
    let came = baileys.wait_for("wharf's text", is_text).await;
    assert!(sent["id"].as_str().unwrap().ends_with(came["id"].as_str().unwrap()));
    baileys.command(json!({ "cmd": "read", "id": came["id"] })).await;
    receiver
        .wait_for("READ", |event| event["payload"]["ackName"] == "READ")
        .await;

    baileys.command(to_alice("from baileys")).await;
    let event = receiver
        .wait_for("baileys' text", |event| event["payload"]["body"] == "from baileys")
        .await
        .event;
    assert_eq!(event["payload"]["from"], format!("{CAROL}@c.us"));
    let full_id = event["payload"]["id"].as_str().unwrap();
    let id = full_id.rsplit('_').next().unwrap().to_owned();
    let seen = json!({ "session": "default", "chatId": format!("{CAROL}@c.us"), "messageIds": [full_id] });
    wharf.post("/api/sendSeen", seen).await.expect(201);
    let is_read = |it: &Value| it["event"] == "receipt" && it["id"] == id.as_str() && it["status"] == READ;
    baileys.wait_for("the read receipt", is_read).await;

    // Once more in both directions, now on the established Signal sessions.
    wharf.post("/api/sendText", to_carol("again")).await.expect(201);
    baileys.wait_for("the second text", |it| it["text"] == "again").await;
    baileys.command(to_alice("and back")).await;
    receiver
        .wait_for("the second answer", |event| event["payload"]["body"] == "and back")
        .await;
    wharf.settled().await;
    baileys.quit().await;
    wharf.finish().await;
}

#[tokio::test]
async fn baileys_gets_its_history_looks_people_up_types_and_comes_back() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let mut baileys = linked_to_carol(&wharf).await;
    // It comes in pieces, in any order.
    let has_chats = |it: &Value| it["event"] == "history" && it["chats"].as_u64().is_some_and(|chats| chats > 0);
    baileys.wait_for("a piece of history with chats", has_chats).await;

    for (number, exists) in [(ALICE, true), (NOBODY, false)] {
        baileys.command(json!({ "cmd": "exists", "number": number })).await;
        let is_answer = |it: &Value| it["event"] == "exists" && it["number"] == number;
        assert_eq!(
            baileys.wait_for("a looked up number", is_answer).await["exists"],
            exists,
            "{number}"
        );
    }
    let typing = json!({ "cmd": "typing", "to": format!("{ALICE}@s.whatsapp.net"), "state": "composing" });
    baileys.command(typing).await;
    let carol_types = |it: &InboxEntry| it.kind == InboxKind::Typing && it.from == CAROL && !it.from_me;
    wharf.phone_shows(ALICE, "that Carol types", carol_types).await;

    // A second connection logs in with what the first one stored, and the conversation goes on.
    baileys.command(json!({ "cmd": "reconnect" })).await;
    baileys
        .wait_for("the second connection", |event| event["event"] == "open")
        .await;
    wharf
        .post("/api/sendText", to_carol("after the reconnect"))
        .await
        .expect(201);
    baileys
        .wait_for("a text", |it| it["text"] == "after the reconnect")
        .await;
    wharf.settled().await;
    baileys.quit().await;
    wharf.finish().await;
}
