//! Files of messages: the event waits for its file, but not for ever, and is never lost.

use std::time::Duration;

use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use wharf_core::engine::{AckUpdate, EngineError, MediaError, Signal};
use wharf_core::message::{Ack, Change, Message, MessageKind, MessageMedia, ReplyTo};
use wharf_core::store::Batch;

use crate::harness::{ALICE, KEY, Link, Receiver, Wharf, text};

const ALL: [&str; 5] = [
    "message",
    "message.any",
    "message.ack",
    "message.revoked",
    "message.reaction",
];
/// A moment longer than events wait for their files.
pub(crate) const HOLD: Duration = Duration::from_secs(13);

/// A picture of Alice's.
pub(crate) fn picture(id: &str) -> Message {
    file(id, "image/jpeg", None)
}

fn file(id: &str, mimetype: &str, size: Option<u64>) -> Message {
    let mut message = text(ALICE, id, "look");
    message.media = Some(MessageMedia {
        mimetype: Some(mimetype.to_owned()),
        filename: None,
        size,
    });
    message
}

pub(crate) async fn payload(receiver: &mut Receiver, name: &str) -> Value {
    receiver.event(name).await["payload"].take()
}

/// The file that a payload tells of.
pub(crate) async fn file_of(wharf: &Wharf, payload: &Value) -> Vec<u8> {
    let url = payload["media"]["url"]
        .as_str()
        .unwrap_or_else(|| panic!("no url: {payload}"));
    let path = &url[url.find("/api/files").unwrap()..];
    let answer = wharf.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.bytes.to_vec()
}

pub(crate) fn ack(link: &Link, id: &str, ack: Ack) {
    link.inbox.signal(Signal::Ack(AckUpdate {
        chat: ALICE.parse().unwrap(),
        participant: None,
        ids: vec![id.to_owned()],
        ack,
        at: Timestamp::from_second(1_790_000_100).unwrap(),
        error: None,
    }));
}

/// A picture of ours, sent on another device.
pub(crate) fn own_picture(id: &str) -> Message {
    let mut message = picture(id);
    message.id.from_me = true;
    (message.from, message.to) = (message.to, message.from);
    message
}

#[tokio::test]
async fn an_event_comes_with_its_file() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    link.receive(picture("A1")).await.unwrap();
    for name in ["message", "message.any"] {
        let told = payload(&mut receiver, name).await;
        let url = told["media"]["url"].as_str().unwrap();
        assert!(
            url.ends_with(&format!("/api/files/default/false_{ALICE}_A1.jpg")),
            "{url}"
        );
        let media = &told["media"];
        assert_eq!(
            (&media["mimetype"], &media["error"]),
            (&json!("image/jpeg"), &Value::Null)
        );
        assert_eq!((&told["hasMedia"], &told["mediaUrl"]), (&json!(true), &json!(url)));
        assert_eq!(file_of(&wharf, &told).await, b"the file");
    }
    let mut reply = text(ALICE, "A2", "nice");
    reply.reply_to = Some(ReplyTo {
        id: "A1".to_owned(),
        participant: Some(ALICE.parse().unwrap()),
        body: Some("look".to_owned()),
        media: picture("A1").media,
    });
    link.receive(reply).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert!(
        told["replyTo"]["media"]["url"].as_str().unwrap().ends_with("_A1.jpg"),
        "{told}"
    );
    wharf.stop().await;
}

#[tokio::test]
async fn what_comes_later_in_the_chat_does_not_wait_for_a_file() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let gate = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    link.receive(text(ALICE, "A2", "and?")).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "and?");
    gate.let_one_pass();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_that_takes_too_long_comes_after_its_event() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let gate = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    gate.reached().await;
    wharf.pass(HOLD);
    let told = payload(&mut receiver, "message").await;
    let media = &told["media"];
    assert_eq!(
        (&media["url"], &media["mimetype"]),
        (&Value::Null, &json!("image/jpeg"))
    );
    assert!(media["error"]["message"].is_string(), "{told}");
    gate.let_one_pass();
    let path = format!("/api/files/default/false_{ALICE}_A1.jpg");
    wharf.until_served(&path).await;
    link.receive(text(ALICE, "A2", "next")).await.unwrap();
    assert_eq!(
        payload(&mut receiver, "message").await["body"],
        "next",
        "it is told of once"
    );
    wharf.stop().await;
}

#[tokio::test]
async fn only_what_is_asked_for_is_fetched_and_nothing_waits_for_the_rest() {
    let variables = [
        ("WHATSAPP_FILES_MIMETYPES", "audio,image/png"),
        ("WHARF_MEDIA_BYTES_MAX", "1000"),
    ];
    let mut wharf = Wharf::start_with(&variables).await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["message"])]});
    let link = wharf.working("default", config).await;
    link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!((&told["hasMedia"], &told["media"]["url"]), (&json!(true), &Value::Null));
    assert_eq!(told["media"]["error"], Value::Null);
    // What it says of its size is no matter, only what arrives.
    link.engine.downloading.open();
    link.receive(file("A2", "audio/ogg; codecs=opus", Some(1001)))
        .await
        .unwrap();
    assert!(payload(&mut receiver, "message").await["media"]["url"].is_string());
    let too_large = MediaError::TooLarge { max: 1000 };
    link.engine.undownloadable.lock().unwrap().push_back(too_large);
    link.receive(file("A3", "audio/ogg; codecs=opus", None)).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    let why = told["media"]["error"]["details"].as_str().unwrap();
    assert!(why.contains("1000 bytes"), "{why}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_that_whatsapp_has_lost_comes_from_the_phone() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    link.engine.undownloadable.lock().unwrap().push_back(MediaError::Gone);
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_that_is_lost_is_told_of_as_an_error_at_once() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    link.engine.undownloadable.lock().unwrap().push_back(MediaError::Lost);
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(told["media"]["url"], Value::Null);
    let why = told["media"]["error"]["details"].as_str().unwrap();
    assert!(why.contains("the phone does not have the file"), "{why}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_damaged_download_is_tried_again() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let failures = [MediaError::Damaged, MediaError::Engine(EngineError::Offline)];
    link.engine.undownloadable.lock().unwrap().extend(failures);
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    wharf.stop().await;
}

#[tokio::test]
async fn an_event_that_waits_outlives_the_server() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message", "message.any"]).await;
    let gate = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    gate.reached().await;
    let mut wharf = wharf.restart().await;
    let link = wharf.link().await;
    link.work();
    for name in ["message", "message.any"] {
        let told = payload(&mut receiver, name).await;
        assert_eq!(file_of(&wharf, &told).await, b"the file");
    }
    // WhatsApp was not told, and sends it again.
    link.receive(picture("A1")).await.unwrap();
    link.receive(text(ALICE, "A2", "next")).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "next");
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_that_comes_again_while_its_event_waits_is_told_once() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let gate = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    gate.reached().await;
    link.inbox
        .commit(vec![picture("A1"), text(ALICE, "A2", "and?")], Batch::new())
        .await
        .unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "and?");
    link.engine.downloading.open();
    gate.let_one_pass();
    assert_eq!(payload(&mut receiver, "message").await["body"], "look");
    link.receive(text(ALICE, "A3", "next")).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "next");
    wharf.stop().await;
}

#[tokio::test]
async fn an_event_is_told_in_time_whatever_becomes_of_its_session() {
    for stop in ["stop", "logout"] {
        let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
        let gate = link.engine.downloading.shut();
        link.receive(picture("A1")).await.unwrap();
        gate.reached().await;
        wharf.post(&format!("/api/sessions/default/{stop}"), json!({})).await;
        wharf.pass(HOLD);
        let told = payload(&mut receiver, "message").await;
        assert_eq!(
            (&told["id"], &told["media"]["url"]),
            (&json!(format!("false_{ALICE}_A1")), &Value::Null)
        );
        wharf.stop().await;
    }
}

#[tokio::test]
async fn what_waits_goes_with_a_session_that_is_deleted() {
    let (mut wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let gate = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    gate.reached().await;
    assert_eq!(wharf.delete("/api/sessions/default").await.status, 200);
    let config = json!({"webhooks": [receiver.webhook(&["message"])]});
    let link = wharf.working("default", config).await;
    wharf.pass(HOLD);
    link.receive(text(ALICE, "A2", "of the new session")).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "of the new session");
    let mut wharf = wharf.restart().await;
    let link = wharf.link().await;
    link.work();
    link.receive(text(ALICE, "A3", "next")).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "next");
    wharf.stop().await;
}

#[tokio::test]
async fn what_is_about_a_message_comes_after_it_though_its_file_is_not_there() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    link.engine.downloading.shut();
    let mut revoke = text(ALICE, "D1", "");
    revoke.kind = MessageKind::Change(Change::Revoked {
        target: picture("A1").id,
    });
    link.receive(picture("A1")).await.unwrap();
    link.receive(revoke).await.unwrap();
    let mut reaction = text(ALICE, "R1", "");
    reaction.kind = MessageKind::Change(Change::Reaction {
        target: picture("A2").id,
        text: "👍".to_owned(),
    });
    // Also in one page.
    link.inbox
        .commit(vec![picture("A2"), reaction], Batch::new())
        .await
        .unwrap();
    let mut names = Vec::new();
    for _ in 0..6 {
        let body = receiver.post().await.body;
        names.push(body["event"].as_str().unwrap().to_owned());
    }
    let expected = [
        "message",
        "message.any",
        "message.revoked",
        "message",
        "message.any",
        "message.reaction",
    ];
    assert_eq!(names, expected);
    wharf.stop().await;
}

#[tokio::test]
async fn acks_of_a_message_of_ours_wait_for_its_event() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    let gate = link.engine.downloading.shut();
    link.receive(own_picture("M1")).await.unwrap();
    ack(&link, "M1", Ack::Server);
    ack(&link, "M1", Ack::Device);
    gate.reached().await;
    link.receive(own_picture("M2")).await.unwrap();
    ack(&link, "M2", Ack::Server);
    gate.reached().await;
    gate.let_one_pass();
    let told = payload(&mut receiver, "message.any").await;
    assert_eq!(
        (&told["id"], &told["ack"]),
        (&json!(format!("true_{ALICE}_M1")), &json!(0))
    );
    assert!(told["media"]["url"].is_string(), "{told}");
    for expected in [1, 2] {
        assert_eq!(payload(&mut receiver, "message.ack").await["ack"], expected);
    }
    // The end of the connection does not lose what waits.
    wharf.post("/api/sessions/default/stop", json!({})).await;
    let told = payload(&mut receiver, "message.any").await;
    assert_eq!(told["id"], format!("true_{ALICE}_M2"));
    assert_eq!(
        payload(&mut receiver, "message.ack").await["id"],
        format!("true_{ALICE}_M2")
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_log_that_takes_nothing_for_a_while_costs_no_event() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let gate = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    gate.reached().await;
    wharf.server_disk_is_full(true);
    wharf.pass(HOLD);
    gate.let_one_pass();
    link.receive(text(ALICE, "A2", "not kept")).await.unwrap_err();
    wharf.server_disk_is_full(false);
    assert_eq!(payload(&mut receiver, "message").await["body"], "look");
    wharf.stop().await;
}

#[tokio::test]
async fn files_are_fetched_a_few_at_a_time() {
    let mut wharf = Wharf::start_with(&[("WHARF_MEDIA_JOBS", "2"), ("WHARF_MEDIA_JOBS_PER_SESSION", "1")]).await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["message"])]});
    let link = wharf.working("default", config).await;
    let gate = link.engine.downloading.shut();
    for id in ["A1", "A2", "A3"] {
        link.receive(picture(id)).await.unwrap();
    }
    for _ in 0..3 {
        gate.reached().await;
        let metrics = String::from_utf8(wharf.get("/metrics").await.bytes.to_vec()).unwrap();
        assert!(metrics.contains("wharf_media_running 1\n"), "{metrics}");
        gate.let_one_pass();
        payload(&mut receiver, "message").await;
    }
    wharf.stop().await;
}

#[tokio::test]
async fn an_answer_fetches_what_is_missing_where_it_is_asked_to() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let lose = || link.engine.undownloadable.lock().unwrap().push_back(MediaError::Lost);
    lose();
    link.receive(picture("A1")).await.unwrap();
    payload(&mut receiver, "message").await;
    let messages = async |download: bool| {
        let path = format!("/api/messages?session=default&chatId={ALICE}&limit=10&downloadMedia={download}");
        let mut all = wharf.get(&path).await.json();
        all[0].take()
    };
    let media = messages(false).await["media"].take();
    assert_eq!((&media["url"], &media["error"]), (&Value::Null, &Value::Null));
    lose();
    let media = messages(true).await["media"].take();
    assert!(media["error"]["details"].is_string(), "{media}");
    let message = messages(true).await;
    assert_eq!(file_of(&wharf, &message).await, b"the file");
    assert_eq!(
        messages(false).await["media"]["url"],
        message["media"]["url"],
        "it is kept"
    );
    wharf.stop().await;
}

#[tokio::test]
async fn nothing_waits_where_nothing_is_to_wait() {
    let mut wharf = Wharf::start_with(&[("WHARF_MEDIA_HOLD_SECONDS", "0")]).await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["message"])]});
    let link = wharf.working("default", config).await;
    let gate = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    let media = payload(&mut receiver, "message").await["media"].take();
    assert_eq!((&media["url"], &media["error"]), (&Value::Null, &Value::Null));
    gate.let_one_pass();
    wharf
        .until_served(&format!("/api/files/default/false_{ALICE}_A1.jpg"))
        .await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_that_a_request_stores_does_not_outlive_its_session() {
    let (mut wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    link.engine.undownloadable.lock().unwrap().push_back(MediaError::Lost);
    link.receive(picture("A1")).await.unwrap();
    payload(&mut receiver, "message").await;
    let file = wharf.folder().join(format!("media/default/false_{ALICE}_A1.jpg"));
    let gate = wharf.server_writes().shut();
    let path = format!("/api/messages?session=default&chatId={ALICE}&limit=10&downloadMedia=true");
    let deletion = async {
        // Until it stands before the write that makes the file known.
        loop {
            gate.reached().await;
            if file.exists() {
                break;
            }
            gate.let_one_pass();
        }
        wharf.server_writes().open();
        let deleted = wharf.delete("/api/sessions/default").await;
        (0..10).for_each(|_| gate.let_one_pass());
        deleted
    };
    let (_, deleted) = tokio::join!(wharf.get(&path), deletion);
    assert_eq!(deleted.status, 200);
    wharf.working("default", json!({})).await;
    // Answered by what is known of the file, which itself is gone in either case.
    let path = format!("/api/files/default/false_{ALICE}_A1.jpg");
    let request = wharf.request(Method::HEAD, &path).header("X-Api-Key", KEY);
    assert_eq!(wharf.send(request).await.status, 404);
    wharf.stop().await;
}
