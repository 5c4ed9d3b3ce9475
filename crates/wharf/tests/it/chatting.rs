//! The tag "Chatting": texts, quotes, mentions, read marks and typing, both ways.

use serde_json::{Value, json};
use wharf_simulator::{InboxKind, ReceiptKind, TypingState};

use crate::support::{ALICE, BOB, CAROL, ECHO, NOBODY, TestWharf};

fn text(chat: &str, text: &str) -> Value {
    json!({ "session": "default", "chatId": format!("{chat}@c.us"), "text": text })
}

#[tokio::test]
async fn a_text_arrives_and_its_acknowledgements_come_back() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let sent = wharf.post("/api/sendText", text(BOB, "Hi Bob!")).await.expect(201);
    assert_eq!(sent["fromMe"], true);
    assert_eq!(sent["to"], format!("{BOB}@c.us"));
    assert_eq!(sent["body"], "Hi Bob!");
    assert_eq!(sent["source"], "api");
    let id = sent["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with(&format!("true_{BOB}@c.us_")), "{id}");

    let shown = wharf
        .phone_shows(BOB, "the text", |entry| entry.text.as_deref() == Some("Hi Bob!"))
        .await;
    assert_eq!((shown.chat.as_str(), shown.from_me), (ALICE, false));
    let copy = wharf
        .phone_shows(ALICE, "her own text", |entry| entry.text.as_deref() == Some("Hi Bob!"))
        .await;
    assert_eq!(
        (copy.chat.as_str(), copy.from_me),
        (BOB, true),
        "the sender's phone shows what its companion sent"
    );

    wharf
        .network
        .receipt(BOB, ALICE, shown.id.as_deref().unwrap(), ReceiptKind::Read)
        .await
        .unwrap();
    let is_ack = |name: &'static str| {
        let id = id.clone();
        move |event: &Value| {
            event["event"] == "message.ack" && event["payload"]["id"] == id && event["payload"]["ackName"] == name
        }
    };
    for name in ["SERVER", "DEVICE", "READ"] {
        receiver.wait_for(name, is_ack(name)).await;
    }
    let acks: Vec<_> = receiver
        .names()
        .into_iter()
        .filter(|name| name.starts_with("message.ack"))
        .collect();
    assert_eq!(
        acks,
        ["message.ack SERVER", "message.ack DEVICE", "message.ack READ"],
        "each once, in order"
    );
    let any = receiver.wait_for_event("message.any").await;
    assert_eq!(any.event["payload"]["id"], id);
    assert_eq!(any.event["payload"]["source"], "api");
    let plain = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["event"] == "message")
        .count();
    assert_eq!(plain, 0, "our own sends are not `message`");
    wharf.finish().await;
}

#[tokio::test]
async fn a_text_from_a_phone_is_an_event_once() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let id = wharf.network.send(BOB, ALICE, "Hi Alice!", None).await.unwrap();
    let message = receiver.wait_for_event("message").await.event;
    let payload = &message["payload"];
    assert_eq!(payload["id"], format!("false_{BOB}@c.us_{id}"));
    assert_eq!(payload["from"], format!("{BOB}@c.us"));
    assert_eq!(payload["to"], format!("{ALICE}@c.us"));
    assert_eq!(payload["body"], "Hi Alice!");
    assert_eq!(payload["fromMe"], false);
    assert_eq!(payload["hasMedia"], false);
    assert_eq!(payload["_data"]["notifyName"], "Bob");
    let any = receiver.wait_for_event("message.any").await.event;
    assert_eq!(any["payload"]["id"], payload["id"]);
    wharf
        .phone_shows(BOB, "the delivery", |it| it.receipt == Some(ReceiptKind::Delivered))
        .await;
    wharf.finish().await;
}

#[tokio::test]
async fn echo_answers_reads_and_is_quoted() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let sent = wharf.post("/api/sendText", text(ECHO, "Hi there!")).await.expect(201);
    let answer = receiver.wait_for_event("message").await.event;
    assert!(
        answer["payload"]["body"].as_str().unwrap().contains("Hi there!"),
        "{answer:#}"
    );
    let own_id = sent["id"].as_str().unwrap().rsplit('_').next().unwrap().to_owned();
    assert_eq!(answer["payload"]["replyTo"]["id"], own_id);
    assert_eq!(answer["payload"]["replyTo"]["body"], "Hi there!");
    receiver
        .wait_for("READ", |event| event["payload"]["ackName"] == "READ")
        .await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_reply_quotes_by_full_and_by_bare_id() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let asked = wharf.network.send(BOB, ALICE, "Shall we?", None).await.unwrap();
    receiver.wait_for_event("message").await;
    for (reply_to, answer) in [
        (format!("false_{BOB}@c.us_{asked}"), "Yes."),
        (asked.clone(), "Yes, I said."),
    ] {
        let mut body = text(BOB, answer);
        body["reply_to"] = json!(reply_to);
        let sent = wharf.post("/api/sendText", body).await.expect(201);
        assert_eq!(sent["replyTo"]["id"], asked);
        let shown = wharf
            .phone_shows(BOB, answer, |entry| entry.text.as_deref() == Some(answer))
            .await;
        assert_eq!(shown.reply_to.as_deref(), Some(asked.as_str()));
    }
    wharf.finish().await;
}

#[tokio::test]
async fn mentions_arrive_as_mentions() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let mut body = text(BOB, "ask @12025550103");
    body["mentions"] = json!([format!("{CAROL}@c.us")]);
    wharf.post("/api/sendText", body).await.expect(201);
    let shown = wharf
        .phone_shows(BOB, "the mention", |entry| !entry.mentions.is_empty())
        .await;
    let carol = wharf.network.phone(CAROL).unwrap();
    let named = &shown.mentions[0];
    assert!(
        named.starts_with(CAROL) || carol.lid.starts_with(named.split('@').next().unwrap()),
        "{named}"
    );
    wharf.finish().await;
}

#[tokio::test]
async fn the_phones_own_messages_are_ours_from_the_app() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    wharf
        .network
        .send(ALICE, BOB, "typed on the phone", None)
        .await
        .unwrap();
    let any = receiver.wait_for_event("message.any").await.event;
    assert_eq!(any["payload"]["fromMe"], true);
    assert_eq!(any["payload"]["source"], "app");
    assert_eq!(any["payload"]["to"], format!("{BOB}@c.us"));
    assert_eq!(any["payload"]["body"], "typed on the phone");
    // Whatever comes next proves that no `message` came before it.
    wharf.network.send(BOB, ALICE, "answer", None).await.unwrap();
    let message = receiver.wait_for_event("message").await.event;
    assert_eq!(message["payload"]["body"], "answer");
    wharf.finish().await;
}

#[tokio::test]
async fn send_seen_shows_the_sender_that_it_was_read() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let id = wharf.network.send(BOB, ALICE, "read me", None).await.unwrap();
    receiver.wait_for_event("message").await;
    wharf
        .post(
            "/api/sendSeen",
            json!({ "session": "default", "chatId": format!("{BOB}@c.us") }),
        )
        .await
        .expect(201);
    wharf
        .phone_shows(BOB, "that it was read", |it| {
            it.id.as_deref() == Some(&id) && it.receipt == Some(ReceiptKind::Read)
        })
        .await;

    let other = wharf.network.send(BOB, ALICE, "and me", None).await.unwrap();
    receiver
        .wait_for("the second text", |event| event["payload"]["body"] == "and me")
        .await;
    let body = json!({
        "session": "default", "chatId": BOB, "messageIds": [format!("false_{BOB}@c.us_{other}")],
    });
    wharf.post("/api/sendSeen", body).await.expect(201);
    wharf
        .phone_shows(BOB, "that both were read", |it| {
            it.id.as_deref() == Some(&other) && it.receipt == Some(ReceiptKind::Read)
        })
        .await;
    wharf.finish().await;
}

#[tokio::test]
async fn typing_is_shown_and_ends() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    // Nobody is told of typing before there was a message.
    wharf.network.send(BOB, ALICE, "hello", None).await.unwrap();
    receiver.wait_for_event("message").await;
    let chat = json!({ "session": "default", "chatId": format!("{BOB}@c.us") });
    for (path, state) in [
        ("/api/startTyping", TypingState::Composing),
        ("/api/stopTyping", TypingState::Paused),
    ] {
        wharf.post(path, chat.clone()).await.expect(201);
        let wanted = serde_json::to_value(state).unwrap();
        wharf
            .phone_shows(BOB, path, |it| {
                it.kind == InboxKind::Typing && it.state.as_deref() == wanted.as_str() && !it.from_me
            })
            .await;
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_number_that_nobody_has_gets_nothing() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let body = wharf.post("/api/sendText", text(NOBODY, "anybody?")).await.expect(422);
    assert!(body["message"].as_str().unwrap().contains(NOBODY), "{body}");
    wharf.post("/api/sendText", text(BOB, "after")).await.expect(201);
    let any = receiver.wait_for_event("message.any").await.event;
    assert_eq!(any["payload"]["body"], "after", "the refused text left no event");
    wharf.finish().await;
}

#[tokio::test]
async fn bad_requests_say_which_field_and_send_nothing() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    for (field, body) in [
        ("chatId", json!({ "session": "default", "text": "hi" })),
        (
            "chatId",
            json!({ "session": "default", "chatId": "not an id", "text": "hi" }),
        ),
        ("chatId", json!({ "session": "default", "chatId": 5, "text": "hi" })),
        ("text", json!({ "session": "default", "chatId": BOB })),
        ("text", json!({ "session": "default", "chatId": BOB, "text": "" })),
        ("text", json!({ "session": "default", "chatId": BOB, "text": ["hi"] })),
        (
            "reply_to",
            json!({ "session": "default", "chatId": BOB, "text": "hi", "reply_to": "maybe_x" }),
        ),
        (
            "mentions",
            json!({ "session": "default", "chatId": BOB, "text": "hi", "mentions": ["nobody"] }),
        ),
    ] {
        let answer = wharf.post("/api/sendText", body.clone()).await;
        let said = answer.expect(400);
        assert!(said["message"].to_string().contains(field), "{body} -> {said}");
    }
    wharf.post("/api/sendText", text(BOB, "the only one")).await.expect(201);
    wharf
        .phone_shows(BOB, "the only text", |it| it.text.as_deref() == Some("the only one"))
        .await;
    assert_eq!(
        receiver.wait_for_event("message.any").await.event["payload"]["body"],
        "the only one"
    );
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_that_is_not_working_says_what_to_do() {
    let wharf = TestWharf::start().await;
    wharf
        .post("/api/sessions", json!({ "name": "default" }))
        .await
        .expect(201);
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    let body = wharf.post("/api/sendText", text(BOB, "too early")).await.expect(422);
    assert_eq!(body["status"], "SCAN_QR_CODE");
    assert_eq!(body["expected"], json!(["WORKING"]));
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .starts_with("Session status is not as expected"),
        "{body}"
    );
    assert!(
        body.to_string().contains("/auth/qr"),
        "where to scan is missing: {body}"
    );
}

#[tokio::test]
async fn order_is_kept_per_chat() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    const TEXTS: usize = 30;
    wharf.bob_writes(TEXTS).await;
    receiver
        .wait_for("the last text", |event| {
            event["payload"]["body"] == format!("text {}", TEXTS - 1)
        })
        .await;
    let bodies: Vec<String> = receiver
        .deliveries()
        .iter()
        .filter(|it| it.event["event"] == "message")
        .map(|it| it.event["payload"]["body"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (0..TEXTS).map(|number| format!("text {number}")).collect();
    assert_eq!(bodies, expected);
    wharf.finish().await;
}
