//! The operations that send, as callers use them: each of them, in JSON and in forms, with what is shown of links, and what is
//! kept of a chat. What phones show of each kind is in [`crate::sending`].

use std::fs;
use std::path::Path;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use wharf_simulator::{InboxEntry, InboxKind, MessageView, ReceiptKind};

use crate::support::samples::{PICTURE_SIZE, Samples};
use crate::support::wharf::Answer;
use crate::support::{ALICE, BOB, CAROL, KEY, NOBODY, Receiver, TestWharf, contract};

/// Stands between the parts of a form.
const BOUNDARY: &str = "9c3f1e0b7a";

/// An operation, and a body with which it succeeds.
struct Operation {
    method: Method,
    path: String,
    body: Value,
}

fn post(path: &str, mut body: Value) -> Operation {
    body["session"] = json!("default");
    Operation {
        method: Method::POST,
        path: format!("/api/{path}"),
        body,
    }
}

fn to_bob(path: &str, mut body: Value) -> Operation {
    body["chatId"] = json!(format!("{BOB}@c.us"));
    post(path, body)
}

fn file(path: &Path) -> Value {
    json!({ "data": BASE64_STANDARD.encode(fs::read(path).unwrap()) })
}

/// Those that send, with a message of Bob's, and with a text and a poll of Alice's.
fn operations(samples: &Samples, his: &str, ours: &str, poll: &str) -> Vec<Operation> {
    let preview = json!({ "url": "https://example.com/", "title": "Example", "image": file(&samples.picture()) });
    let row = json!({ "title": "Leek", "rowId": "leek" });
    let list = json!({ "title": "Menu", "button": "Choose", "sections": [{ "title": "Soups", "rows": [row] }] });
    let carol = json!({ "fullName": "Carol", "phoneNumber": "+1 202 555 0103" });
    let message = format!("/api/default/chats/{BOB}%40c.us/messages/{}", ours.replace('@', "%40"));
    let own = |method: Method, what: &str, body: Value| Operation {
        method,
        path: format!("{message}{what}"),
        body,
    };
    let put = |path: &str, body: Value| Operation {
        method: Method::PUT,
        ..post(path, body)
    };
    let get = |path: String| Operation {
        method: Method::GET,
        path,
        body: Value::Null,
    };
    vec![
        to_bob("sendText", json!({ "text": "hi" })),
        get(format!("/api/sendText?session=default&phone={BOB}&text=hi")),
        to_bob("reply", json!({ "text": "hi", "reply_to": his })),
        to_bob(
            "sendLinkPreview",
            json!({ "url": "https://example.com/", "title": "Example" }),
        ),
        to_bob(
            "send/link-custom-preview",
            json!({ "text": "see https://example.com/", "preview": preview }),
        ),
        to_bob("sendImage", json!({ "file": file(&samples.picture()) })),
        to_bob("sendFile", json!({ "file": file(&samples.pdf()) })),
        to_bob("sendVoice", json!({ "file": file(&samples.sound()), "convert": true })),
        to_bob("sendVideo", json!({ "file": file(&samples.video()) })),
        to_bob(
            "sendLocation",
            json!({ "latitude": 38.9, "longitude": -77.1, "title": "here" }),
        ),
        to_bob("sendContactVcard", json!({ "contacts": [carol] })),
        to_bob(
            "sendPoll",
            json!({ "poll": { "name": "Lunch?", "options": ["Soup", "Bread"] } }),
        ),
        to_bob("sendPollVote", json!({ "pollMessageId": poll, "votes": ["Soup"] })),
        to_bob("sendList", json!({ "message": list })),
        to_bob(
            "sendButtons",
            json!({ "body": "What now?", "buttons": [{ "type": "reply", "text": "Yes" }] }),
        ),
        to_bob(
            "send/buttons/reply",
            json!({ "selectedDisplayText": "Yes", "selectedButtonID": "1" }),
        ),
        post("forwardMessage", json!({ "chatId": CAROL, "messageId": his })),
        put("reaction", json!({ "messageId": his, "reaction": "👍" })),
        put(
            "star",
            json!({ "messageId": his, "chatId": format!("{BOB}@c.us"), "star": true }),
        ),
        get(format!("/api/checkNumberStatus?session=default&phone={BOB}")),
        get(format!("/api/messages?session=default&chatId={BOB}&limit=5")),
        own(Method::PUT, "", json!({ "text": "hi again" })),
        own(Method::POST, "/pin", json!({ "duration": 86_400 })),
        own(Method::POST, "/unpin", json!({})),
        own(Method::DELETE, "", json!({})),
    ]
}

impl TestWharf {
    async fn ask(&self, operation: &Operation, key: Option<&str>) -> Answer {
        let mut request = self.request(operation.method.clone(), &operation.path);
        request = request.header("x-api-key", KEY);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if !operation.body.is_null() {
            request = request.json(&operation.body);
        }
        self.send(request).await
    }

    async fn says_to_bob(&self, text: &str) -> Value {
        let body = json!({ "session": "default", "chatId": BOB, "text": text });
        self.post("/api/sendText", body).await.expect(201)
    }

    /// A message of Alice's session, once Bob's phone shows it.
    async fn bob_sees(&self, message: &Value) -> MessageView {
        let id = message["id"].as_str().unwrap().rsplit('_').next().unwrap();
        let is_it = |entry: &InboxEntry| entry.kind == InboxKind::Message && entry.id.as_deref() == Some(id);
        self.phone_shows(BOB, id, is_it).await;
        self.network.message(BOB, ALICE, id).unwrap()
    }
}

/// Calls every operation that sends, each twice under one key, which must have one answer; answers which they were.
pub(crate) async fn send_in_every_way(wharf: &TestWharf, receiver: &Receiver) -> Vec<(String, String)> {
    let samples = Samples::make().await;
    let his = wharf.network.send(BOB, ALICE, "Shall we?", None).await.unwrap();
    let his = format!("false_{BOB}@c.us_{his}");
    let is_his = |event: &Value| event["event"] == "message" && event["payload"]["id"] == his;
    receiver.wait_for("Bob's message", is_his).await;
    let ours = wharf.says_to_bob("Let us.").await;
    let poll = to_bob(
        "sendPoll",
        json!({ "poll": { "name": "When?", "options": ["Soon", "Soup"] } }),
    );
    let poll = wharf.ask(&poll, None).await.expect(201);
    let [ours, poll] = [ours, poll].map(|message| message["id"].as_str().unwrap().to_owned());
    let mut seen = Vec::new();
    for operation in operations(&samples, &his, &ours, &poll) {
        let Operation { method, path, .. } = &operation;
        let key = format!("{method}-{}", path.split('?').next().unwrap());
        let first = wharf.ask(&operation, Some(&key)).await;
        let expected = if method == Method::POST { 201 } else { 200 };
        assert_eq!(
            first.status,
            expected,
            "{method} {path}: {}",
            String::from_utf8_lossy(&first.body)
        );
        let again = wharf.ask(&operation, Some(&key)).await;
        let declared = contract::operation(method.as_str(), path).unwrap();
        let parameters = &contract::DOCUMENT["paths"][&declared.path][&declared.method]["parameters"];
        if parameters.to_string().contains("Idempotency-Key") {
            assert_eq!(
                (again.status, &again.body),
                (first.status, &first.body),
                "{method} {path}"
            );
            assert_eq!(again.headers["idempotent-replayed"], "true", "{method} {path}");
        }
        seen.push((declared.method, declared.path));
    }
    for (kind, from) in [("voice", samples.sound()), ("video", samples.video())] {
        let request = wharf.request(Method::POST, &format!("/api/default/media/convert/{kind}"));
        let request = request.header("x-api-key", KEY).header("accept", "application/json");
        let converted = wharf.send(request.json(&file(&from))).await.expect(201);
        assert!(converted["data"].is_string(), "{kind}: {converted}");
        seen.push(("post".to_owned(), format!("/api/{{session}}/media/convert/{kind}")));
    }
    seen
}

/// A page with a picture, on this machine.
async fn page(samples: &Samples) -> String {
    let picture = fs::read(samples.picture()).unwrap();
    let html = "<html><head><title>no</title><meta property='og:title' content='A page &amp; more'>\
                <meta property='og:description' content='What it says'><meta property='og:image' content='/picture.jpg'>";
    let pages = Router::new()
        .route("/page", get(move || async move { Html(html) }))
        .route(
            "/picture.jpg",
            get(move || async move { ([("content-type", "image/jpeg")], picture) }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the page is there until the test is over")]
    tokio::spawn(async move { axum::serve(listener, pages).await.unwrap() });
    format!("http://{address}/page")
}

#[tokio::test]
async fn the_first_link_of_a_text_is_shown_with_what_its_page_says() {
    let samples = Samples::make().await;
    let url = page(&samples).await;
    let wharf = TestWharf::start_with(&[("WHARF_EGRESS_ALLOW", "127.0.0.1")]).await;
    let receiver = Receiver::start().await;
    wharf.paired("default", ALICE, &receiver).await;
    for (preview, shown) in [
        (json!({}), Some(false)),
        (json!({ "linkPreviewHighQuality": true }), Some(true)),
        (json!({ "linkPreview": false }), None),
    ] {
        let mut operation = to_bob("sendText", preview);
        operation.body["text"] = json!(format!("see {url}."));
        let sent = wharf.ask(&operation, None).await.expect(201);
        let seen = wharf.bob_sees(&sent).await;
        assert_eq!(seen.text, Some(format!("see {url}.")));
        let found = seen.content.link_preview;
        assert_eq!(found.as_ref().map(|preview| preview.high_quality), shown);
        if let Some(preview) = found {
            assert_eq!(
                (preview.url.as_str(), preview.title.as_deref()),
                (url.as_str(), Some("A page & more"))
            );
            assert_eq!(preview.description.as_deref(), Some("What it says"));
            assert!(preview.thumbnail);
        }
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_page_that_must_not_be_reached_leaves_the_text_without_a_preview() {
    let samples = Samples::make().await;
    let url = page(&samples).await;
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let sent = wharf.says_to_bob(&format!("see {url}")).await;
    assert_eq!(wharf.bob_sees(&sent).await.content.link_preview, None);
    wharf.finish().await;
}

#[tokio::test]
async fn a_link_is_shown_as_the_caller_says() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let samples = Samples::make().await;
    let preview = json!({
        "url": "https://example.com/a", "title": "Mine", "description": "Look", "image": file(&samples.png()),
    });
    for high_quality in [true, false] {
        let body =
            json!({ "text": "see https://example.com/a", "linkPreviewHighQuality": high_quality, "preview": preview });
        let sent = wharf
            .ask(&to_bob("send/link-custom-preview", body), None)
            .await
            .expect(201);
        let shown = wharf.bob_sees(&sent).await.content.link_preview.unwrap();
        assert_eq!(
            (shown.url.as_str(), shown.title.as_deref()),
            ("https://example.com/a", Some("Mine"))
        );
        assert_eq!((shown.description.as_deref(), shown.thumbnail), (Some("Look"), true));
        assert_eq!(shown.high_quality, high_quality);
    }
    for (preview, named) in [
        (
            json!({ "url": "https://example.com/b", "title": "x" }),
            "preview.url must stand in text",
        ),
        (json!({ "url": "https://example.com/a", "title": "" }), "preview.title"),
        (
            json!({ "url": "https://example.com/a", "title": "x", "image": { "data": "PGh0bWw+" } }),
            "preview.image",
        ),
        (
            json!({ "url": "https://example.com/a", "title": "x", "image": { "url": "http://10.0.0.1/" } }),
            "preview.image.url",
        ),
    ] {
        let body = json!({ "text": "see https://example.com/a", "preview": preview });
        let refused = wharf
            .ask(&to_bob("send/link-custom-preview", body), None)
            .await
            .expect(400);
        assert!(refused["message"].to_string().contains(named), "{named}: {refused}");
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_form_sends_the_same_as_json() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let samples = Samples::make().await;
    let picture = fs::read(samples.picture()).unwrap();
    let mut form = Vec::new();
    let mentions = format!("[\"{CAROL}@c.us\"]");
    for (name, value) in [
        ("session", "default"),
        ("chatId", BOB),
        ("caption", "look, @12025550103"),
        ("mentions", mentions.as_str()),
    ] {
        let part = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        form.extend(part.into_bytes());
    }
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"picture.jpg\"\r\n\
         content-type: image/jpeg\r\n\r\n"
    );
    form.extend(head.into_bytes());
    form.extend(&picture);
    form.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
    let request = wharf.request(Method::POST, "/api/sendImage").header("x-api-key", KEY);
    let request = request.header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
    let sent = wharf.send(request.body(form)).await.expect(201);
    let seen = wharf.bob_sees(&sent).await;
    assert_eq!(seen.text.as_deref(), Some("look, @12025550103"));
    let id = seen.id;
    let (media, bytes) = wharf.network.file(BOB, ALICE, &id).await.unwrap();
    assert_eq!(
        (media.width, media.height),
        (Some(PICTURE_SIZE.0), Some(PICTURE_SIZE.1))
    );
    assert!(bytes == picture);
    let is_it = |entry: &InboxEntry| entry.id.as_deref() == Some(id.as_str());
    let entry = wharf.phone_shows(BOB, "the picture", is_it).await;
    assert_eq!(entry.mentions.len(), 1);
    wharf.finish().await;
}

#[tokio::test]
async fn numbers_are_looked_up() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let known = wharf
        .get(&format!("/api/checkNumberStatus?session=default&phone={BOB}"))
        .await;
    assert_eq!(
        known.expect(200),
        json!({ "numberExists": true, "chatId": format!("{BOB}@c.us") })
    );
    let unknown = wharf
        .get(&format!("/api/checkNumberStatus?session=default&phone={NOBODY}"))
        .await;
    assert_eq!(unknown.expect(200), json!({ "numberExists": false }));
    wharf.finish().await;
}

#[tokio::test]
async fn the_messages_of_a_chat_are_answered_in_pages() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    wharf.bob_writes(3).await;
    receiver
        .wait_for("the last text", |event| event["payload"]["body"] == "text 2")
        .await;
    wharf.says_to_bob("ours").await;
    wharf.network.send(CAROL, ALICE, "elsewhere", None).await.unwrap();
    let bodies = async |query: &str| {
        let path = format!("/api/messages?session=default&chatId={BOB}%40c.us{query}");
        let messages = wharf.get(&path).await.expect(200);
        let messages = messages.as_array().unwrap().clone();
        messages
            .iter()
            .map(|message| message["body"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let mut all = bodies("").await;
    all.sort();
    assert_eq!(all, ["ours", "text 0", "text 1", "text 2"]);
    assert_eq!(bodies("&limit=2&filter.fromMe=false&sortOrder=asc").await.len(), 2);
    assert_eq!(bodies("&filter.fromMe=true").await, ["ours"]);
    assert_eq!(bodies("&limit=10&offset=3").await.len(), 1);
    assert_eq!(bodies("&filter.timestamp.lte=1000").await, [""; 0]);
    for (query, named) in [
        ("chatId=x", "chatId"),
        ("", "chatId"),
        ("chatId=1&limit=0x1", "limit"),
        ("chatId=1&sortOrder=up", "sortOrder"),
        ("chatId=1&filter.ack=DONE", "filter.ack"),
        ("chatId=1&filter.fromMe=maybe", "filter.fromMe"),
        ("chatId=1&downloadMedia=perhaps", "downloadMedia"),
    ] {
        let refused = wharf.get(&format!("/api/messages?{query}")).await.expect(400);
        assert!(refused["message"].to_string().contains(named), "{query}: {refused}");
    }
    wharf.finish().await;
}

#[tokio::test]
async fn several_messages_are_read_by_their_ids() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut ids = Vec::new();
    for text in ["one", "two"] {
        ids.push(wharf.network.send(BOB, ALICE, text, None).await.unwrap());
    }
    receiver
        .wait_for("both", |event| event["payload"]["body"] == "two")
        .await;
    let named = json!([format!("false_{BOB}@c.us_{}", ids[0]), ids[1]]);
    let body = json!({ "session": "default", "chatId": BOB, "messageIds": named });
    wharf.post("/api/sendSeen", body).await.expect(201);
    for id in &ids {
        let is_read =
            |entry: &InboxEntry| entry.id.as_deref() == Some(id.as_str()) && entry.receipt == Some(ReceiptKind::Read);
        wharf.phone_shows(BOB, "that it was read", is_read).await;
    }
    wharf.finish().await;
}
