//! The independent check: Baileys, an unmodified client of another origin, on the same sandbox network.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use wharf_simulator::{InboxEntry, InboxKind};

use crate::support::baileys::{Baileys, patiently};
use crate::support::samples::{SOUND_SECONDS, Samples};
use crate::support::{ALICE, CAROL, NOBODY, Receiver, TestWharf, sha256};

/// Baileys' number for a message that was read (`WebMessageInfo.Status`).
const READ: i64 = 4;

#[tokio::test]
async fn baileys_is_linked_by_a_code_that_is_entered_on_the_phone() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut baileys = Baileys::start(&wharf).await;
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
    let mut baileys = Baileys::linked_to_carol(&wharf).await;

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
    let mut baileys = Baileys::linked_to_carol(&wharf).await;
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

/// A file of a request.
fn data(path: &Path, mimetype: &str) -> Value {
    let name = path.file_name().unwrap().to_str().unwrap();
    json!({ "mimetype": mimetype, "filename": name, "data": BASE64.encode(std::fs::read(path).unwrap()) })
}

/// WhatsApp's own part of a full message id.
fn own_id(message: &Value) -> &str {
    message["id"].as_str().unwrap().rsplit('_').next().unwrap()
}

#[tokio::test]
async fn baileys_gets_what_wharf_sends_with_its_bytes() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let (mut baileys, samples) = (Baileys::linked_to_carol(&wharf).await, Samples::make().await);

    let picture = data(&samples.picture(), "image/jpeg");
    let request = json!({ "chatId": format!("{CAROL}@c.us"), "file": picture, "caption": "look" });
    wharf.post("/api/sendImage", request).await.expect(201);
    let came = baileys
        .wait_for("the picture", |it| it["media"]["kind"] == "image")
        .await;
    assert_eq!(came["text"], "look");
    let bytes = std::fs::read(samples.picture()).unwrap();
    assert_eq!(came["media"]["sha256"], sha256(&bytes));
    assert_eq!(came["media"]["hasThumbnail"], true);

    let voice = data(&samples.voice(), "audio/ogg; codecs=opus");
    let request = json!({ "chatId": format!("{CAROL}@c.us"), "file": voice, "convert": false });
    wharf.post("/api/sendVoice", request).await.expect(201);
    let came = baileys
        .wait_for("the voice message", |it| it["media"]["kind"] == "audio")
        .await;
    let bytes = std::fs::read(samples.voice()).unwrap();
    assert_eq!(came["media"]["sha256"], sha256(&bytes));
    assert_eq!(
        (&came["media"]["isVoice"], &came["media"]["seconds"]),
        (&json!(true), &json!(SOUND_SECONDS))
    );
    wharf.settled().await;
    baileys.quit().await;
    wharf.finish().await;
}

#[tokio::test]
async fn wharf_gets_what_baileys_sends_with_its_bytes() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let (mut baileys, samples) = (Baileys::linked_to_carol(&wharf).await, Samples::make().await);
    let to = format!("{ALICE}@s.whatsapp.net");

    let picture = json!({ "cmd": "image", "to": to, "path": samples.picture(), "caption": "look here" });
    baileys.command(picture).await;
    let event = receiver
        .wait_for("the picture", |it| it["payload"]["body"] == "look here")
        .await
        .event;
    assert_eq!(event["payload"]["media"]["mimetype"], "image/jpeg");
    assert_eq!(file_of(&wharf, &event).await, std::fs::read(samples.picture()).unwrap());

    let voice = json!({ "cmd": "voice", "to": to, "path": samples.voice(), "seconds": SOUND_SECONDS });
    baileys.command(voice).await;
    let is_voice = |it: &Value| it["payload"]["media"]["mimetype"] == "audio/ogg; codecs=opus";
    let event = receiver.wait_for("the voice message", is_voice).await.event;
    assert_eq!(file_of(&wharf, &event).await, std::fs::read(samples.voice()).unwrap());
    wharf.settled().await;
    baileys.quit().await;
    wharf.finish().await;
}

/// The file that an event points at.
async fn file_of(wharf: &TestWharf, event: &Value) -> Vec<u8> {
    let url = event["payload"]["media"]["url"].as_str().expect("the file is there");
    let path = &url[url.find("/api/files/").expect("it is served here")..];
    let answer = wharf.get(path).await;
    assert_eq!(answer.status, 200);
    answer.body
}

#[tokio::test]
async fn baileys_sees_what_wharf_does_to_messages() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut baileys = Baileys::linked_to_carol(&wharf).await;

    baileys.command(to_alice("react to this")).await;
    let came = receiver
        .wait_for("a text", |it| it["payload"]["body"] == "react to this")
        .await
        .event;
    let reaction = json!({ "messageId": came["payload"]["id"], "reaction": "👍" });
    wharf.put("/api/reaction", reaction).await.expect(200);
    let seen = baileys.wait_for("the reaction", |it| it["event"] == "reaction").await;
    assert_eq!(
        (seen["id"].as_str(), &seen["text"]),
        (Some(own_id(&came["payload"])), &json!("👍"))
    );

    let sent = wharf.post("/api/sendText", to_carol("frist")).await.expect(201);
    baileys.wait_for("the text", |it| it["text"] == "frist").await;
    let path = format!(
        "/api/default/chats/{CAROL}@c.us/messages/{}",
        sent["id"].as_str().unwrap()
    );
    wharf.put(&path, json!({ "text": "first" })).await.expect(200);
    let edited = baileys.wait_for("the edit", |it| it["event"] == "edited").await;
    assert_eq!(
        (edited["id"].as_str(), &edited["text"]),
        (Some(own_id(&sent)), &json!("first"))
    );
    wharf.delete(&path).await.expect(200);
    let revoked = baileys.wait_for("the deletion", |it| it["event"] == "revoked").await;
    assert_eq!(revoked["id"].as_str(), Some(own_id(&sent)));

    let poll =
        json!({ "cmd": "poll", "to": format!("{ALICE}@s.whatsapp.net"), "name": "Tea?", "options": ["Yes", "No"] });
    baileys.command(poll).await;
    let poll = receiver
        .wait_for("the poll", |it| it["payload"]["body"] == "Tea?")
        .await
        .event;
    let vote = json!({
        "chatId": format!("{CAROL}@c.us"), "pollMessageId": poll["payload"]["id"], "votes": ["Yes"],
    });
    wharf.post("/api/sendPollVote", vote).await.expect(201);
    let voted = baileys.wait_for("the vote", |it| it["event"] == "vote").await;
    assert_eq!(
        (voted["id"].as_str(), &voted["options"]),
        (Some(own_id(&poll["payload"])), &json!(["Yes"]))
    );
    wharf.settled().await;
    baileys.quit().await;
    wharf.finish().await;
}

#[tokio::test]
async fn wharf_tells_what_baileys_does_to_messages() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut baileys = Baileys::linked_to_carol(&wharf).await;

    let sent = wharf.post("/api/sendText", to_carol("react to this")).await.expect(201);
    baileys.wait_for("the text", |it| it["text"] == "react to this").await;
    baileys
        .command(json!({ "cmd": "react", "id": own_id(&sent), "text": "🎉" }))
        .await;
    let event = told(&receiver, "message.reaction").await;
    assert_eq!(event["reaction"], json!({ "text": "🎉", "messageId": sent["id"] }));

    baileys.command(to_alice("frist")).await;
    let came = receiver
        .wait_for("a text", |it| it["payload"]["body"] == "frist")
        .await
        .event;
    let id = own_id(&came["payload"]);
    baileys
        .command(json!({ "cmd": "edit", "id": id, "text": "first" }))
        .await;
    let event = told(&receiver, "message.edited").await;
    assert_eq!(
        (event["editedMessageId"].as_str(), &event["body"]),
        (Some(id), &json!("first"))
    );
    baileys.command(json!({ "cmd": "revoke", "id": id })).await;
    let event = told(&receiver, "message.revoked").await;
    assert_eq!(event["revokedMessageId"].as_str(), Some(id));
    wharf.settled().await;
    baileys.quit().await;
    wharf.finish().await;
}

/// The payload of the next event of this name.
async fn told(receiver: &Receiver, name: &str) -> Value {
    let mut event = receiver.wait_for(name, |it| it["event"] == name).await.event;
    event["payload"].take()
}
