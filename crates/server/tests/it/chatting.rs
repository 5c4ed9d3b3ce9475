//! The sending operations: what each asks the engine for.

mod mistakes;

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{interval, timeout};
use wharf_core::engine::{ButtonAction, Content};
use wharf_core::ids::ChatId;
use wharf_core::message::{Location, Message, MessageMedia};

use crate::harness::{ALICE, Answer, BOB, KEY, LOOK_EVERY, Link, PATIENCE, Wharf, text};

const GROUP: &str = "120363000000000001@g.us";
/// A GIF of one pixel.
const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

/// An operation, and a body with which it sends.
struct Operation {
    method: Method,
    path: String,
    body: Value,
}

fn operation(method: Method, path: impl Into<String>, body: Value) -> Operation {
    Operation {
        method,
        path: path.into(),
        body,
    }
}

/// All that send something; [`prepared`] has the messages that they name.
fn operations() -> Vec<Operation> {
    let post = |path: &str, body| operation(Method::POST, format!("/api/{path}"), body);
    let put = |path: &str, body| operation(Method::PUT, format!("/api/{path}"), body);
    let one = |id: &str| format!("/api/default/chats/{ALICE}/messages/true_{ALICE}_{id}");
    let gif = json!({"data": GIF, "mimetype": "image/gif"});
    let row = json!({"title": "One", "rowId": "1"});
    let list = json!({"title": "Menu", "button": "Choose", "sections": [{"title": "Main", "rows": [row]}]});
    let theirs = format!("false_{ALICE}_A1");
    vec![
        post("sendText", json!({"chatId": ALICE, "text": "x"})),
        post("reply", json!({"chatId": ALICE, "text": "x", "reply_to": theirs})),
        post(
            "sendLinkPreview",
            json!({"chatId": ALICE, "url": "https://example.com/", "title": "x"}),
        ),
        post("sendImage", json!({"chatId": ALICE, "file": gif})),
        post("sendFile", json!({"chatId": ALICE, "file": {"data": "eA=="}})),
        post(
            "sendLocation",
            json!({"chatId": ALICE, "latitude": 38.5, "longitude": -77, "title": "x"}),
        ),
        post(
            "sendContactVcard",
            json!({"chatId": ALICE, "contacts": [{"fullName": "x", "phoneNumber": "1"}]}),
        ),
        post(
            "sendPoll",
            json!({"chatId": ALICE, "poll": {"name": "x", "options": ["a", "b"]}}),
        ),
        post(
            "sendPollVote",
            json!({"chatId": ALICE, "pollMessageId": theirs, "votes": ["a"]}),
        ),
        post("sendList", json!({"chatId": ALICE, "message": list})),
        post(
            "sendButtons",
            json!({"chatId": ALICE, "body": "x", "buttons": [{"type": "reply", "text": "x"}]}),
        ),
        post(
            "send/buttons/reply",
            json!({"chatId": ALICE, "selectedDisplayText": "x", "selectedButtonID": "1"}),
        ),
        post("forwardMessage", json!({"chatId": BOB, "messageId": theirs})),
        put("reaction", json!({"messageId": theirs, "reaction": "👍"})),
        operation(Method::PUT, one("M1"), json!({"text": "y"})),
        operation(Method::POST, format!("{}/pin", one("M1")), json!({"duration": 86400})),
        operation(Method::POST, format!("{}/unpin", one("M1")), json!({})),
        operation(Method::DELETE, one("M1"), json!({})),
    ]
}

async fn ask(wharf: &Wharf, method: &Method, path: &str, body: &Value) -> Answer {
    let request = wharf.request(method.clone(), path).header("X-Api-Key", KEY);
    wharf.send(request.json(body)).await
}

/// A session with a message of Alice's, `A1`, and one to her, `M1`.
async fn prepared() -> (Wharf, Link) {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    link.receive(text(ALICE, "A1", "hello")).await.unwrap();
    link.receive(ours(ALICE, "M1")).await.unwrap();
    (wharf, link)
}

/// A text that we wrote.
fn ours(chat: &str, id: &str) -> Message {
    let mut message = text(chat, id, "from us");
    message.id.from_me = true;
    (message.from, message.to) = (message.to, message.from);
    message
}

fn in_group(id: &str, author: &str) -> Message {
    let mut message = text(GROUP, id, "to all");
    let author: ChatId = author.parse().unwrap();
    message.id.participant = Some(author.clone());
    message.participant = Some(author);
    message
}

/// What the engine was asked to send, and forgets it.
fn sent(link: &Link) -> Vec<(String, Content)> {
    let sent = std::mem::take(&mut *link.engine.sent.lock().unwrap());
    sent.into_iter()
        .map(|request| (request.chat.to_string(), request.content))
        .collect()
}

/// Nothing has reached the engine.
#[track_caller]
fn assert_nothing_sent(link: &Link, what: &str) {
    let engine = &link.engine;
    assert!(engine.sent.lock().unwrap().is_empty(), "{what} was sent");
    assert!(engine.seen.lock().unwrap().is_empty(), "{what} was told as read");
    assert!(engine.starred.lock().unwrap().is_empty(), "{what} was starred");
}

fn said(answer: &Answer) -> String {
    answer.json()["message"].to_string()
}

#[tokio::test]
async fn every_operation_sends_once_and_answers_with_wahas_status() {
    let (wharf, link) = prepared().await;
    for Operation { method, path, body } in operations() {
        let answer = ask(&wharf, &method, &path, &body).await;
        let expected = if method == Method::POST { 201 } else { 200 };
        assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
        let done = match path.ends_with("pin") {
            true => answer.json() == json!({"success": true}),
            false => answer.json()["fromMe"] == true && answer.json()["source"] == "api",
        };
        assert!(done, "{method} {path}: {answer:?}");
        assert_eq!(sent(&link).len(), 1, "{method} {path}");
    }
    wharf.stop().await;
}

#[tokio::test]
async fn every_operation_can_be_repeated_under_a_key() {
    let (wharf, link) = prepared().await;
    for Operation { method, path, body } in operations() {
        let once = || {
            let request = wharf.request(method.clone(), &path).header("X-Api-Key", KEY);
            wharf.send(request.header("Idempotency-Key", format!("{method}{path}")).json(&body))
        };
        let (first, again) = (once().await, once().await);
        assert_eq!(
            (first.status, &first.bytes),
            (again.status, &again.bytes),
            "{method} {path}"
        );
        assert_eq!(again.headers["idempotent-replayed"], "true", "{method} {path}");
        assert_eq!(sent(&link).len(), 1, "{method} {path}");
    }
    wharf.stop().await;
}

#[tokio::test]
async fn only_own_texts_can_be_edited_and_only_for_a_quarter_of_an_hour() {
    let (wharf, link) = prepared().await;
    let mut place = ours(ALICE, "PLACE");
    place.location = Some(Location {
        latitude: 0.0,
        longitude: 0.0,
        live: false,
        name: None,
        address: None,
        url: None,
        description: None,
        thumbnail: None,
    });
    let mut voice = ours(ALICE, "VOICE");
    voice.media = Some(MessageMedia {
        mimetype: Some("audio/ogg; codecs=opus".to_owned()),
        filename: None,
        size: None,
    });
    for message in [place, voice] {
        link.receive(message).await.unwrap();
    }
    let edit = async |id: &str| {
        let path = format!("/api/default/chats/{ALICE}/messages/{id}");
        wharf.put(&path, json!({"text": "y"})).await
    };
    for (id, problem) in [
        ("A1", "was not sent by this account"),
        ("PLACE", "no text and no caption"),
        ("VOICE", "no text and no caption"),
    ] {
        let answer = edit(id).await;
        assert_eq!(answer.status, 422, "{id}: {answer:?}");
        assert!(
            said(&answer).contains("messageId: ") && said(&answer).contains(problem),
            "{answer:?}"
        );
    }
    assert_nothing_sent(&link, "an edit");
    assert_eq!(edit("M1").await.status, 200);
    let [
        (
            chat,
            Content::Edit {
                target, proto, text, ..
            },
        ),
    ] = &sent(&link)[..]
    else {
        panic!("no edit was sent");
    };
    assert_eq!(
        (chat.as_str(), target.to_string(), text.as_str()),
        (ALICE, format!("true_{ALICE}_M1"), "y")
    );
    assert!(!proto.is_empty());
    wharf.pass(Duration::from_secs(15 * 60));
    let answer = edit("M1").await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(said(&answer).contains("older than 15 minutes"), "{answer:?}");
    assert_nothing_sent(&link, "an edit");
    wharf.stop().await;
}

#[tokio::test]
async fn messages_are_deleted_for_everyone_by_who_may_and_for_two_and_a_half_days() {
    let (wharf, link) = prepared().await;
    link.receive(in_group("G1", BOB)).await.unwrap();
    let delete = async |chat: &str, id: &str| wharf.delete(&format!("/api/default/chats/{chat}/messages/{id}")).await;
    let theirs = delete(ALICE, "A1").await;
    assert_eq!(theirs.status, 422, "{theirs:?}");
    assert!(said(&theirs).contains("was not sent by this account"), "{theirs:?}");
    let elsewhere = delete(BOB, "M1").await;
    assert_eq!(elsewhere.status, 404, "it is not in that chat: {elsewhere:?}");
    assert_nothing_sent(&link, "a deletion");
    assert_eq!(delete(ALICE, "M1").await.status, 200);
    assert_eq!(delete(GROUP, "G1").await.status, 200);
    let targets: Vec<_> = sent(&link)
        .into_iter()
        .map(|(chat, content)| match content {
            Content::Revoke { target } => (chat, target.to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (ALICE, format!("true_{ALICE}_M1")),
        (GROUP, format!("false_{GROUP}_G1_{BOB}")),
    ];
    assert_eq!(targets, expected.map(|(chat, id)| (chat.to_owned(), id)));
    wharf.pass(Duration::from_secs(60 * 60 * 60));
    let late = delete(ALICE, "M1").await;
    assert_eq!(late.status, 422, "{late:?}");
    assert!(said(&late).contains("two days and twelve hours"), "{late:?}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_pin_lasts_one_seven_or_thirty_days() {
    let (wharf, link) = prepared().await;
    let pin = format!("/api/default/chats/{ALICE}/messages/A1/pin");
    for seconds in [
        json!(0),
        json!(3600),
        json!(86401),
        json!("86400"),
        json!(-1),
        Value::Null,
    ] {
        let answer = wharf.post(&pin, json!({ "duration": seconds })).await;
        assert_eq!(answer.status, 400, "{seconds}: {answer:?}");
        assert!(said(&answer).contains("duration must be one of"), "{answer:?}");
    }
    assert_nothing_sent(&link, "a pin");
    for seconds in [86_400, 604_800, 2_592_000] {
        assert_eq!(wharf.post(&pin, json!({ "duration": seconds })).await.status, 201);
        let [(_, Content::Pin { pinned_for, .. })] = &sent(&link)[..] else {
            panic!("no pin was sent");
        };
        assert_eq!(*pinned_for, Some(Duration::from_secs(seconds)));
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_is_found_by_either_id_and_either_address() {
    let (wharf, link) = prepared().await;
    let lid = "100000000000101@lid";
    for id in [format!("false_{ALICE}_A1"), format!("false_{lid}_A1"), "A1".to_owned()] {
        let answer = wharf
            .put("/api/reaction", json!({"messageId": id, "reaction": "👍"}))
            .await;
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        let [(chat, Content::Reaction { target, .. })] = &sent(&link)[..] else {
            panic!("no reaction was sent");
        };
        assert_eq!(
            (chat.as_str(), target.to_string()),
            (ALICE, format!("false_{ALICE}_A1"))
        );
    }
    // The same id in two chats is nobody's alone.
    link.receive(text(BOB, "A1", "another")).await.unwrap();
    let answer = wharf
        .put("/api/reaction", json!({"messageId": "A1", "reaction": "👍"}))
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(said(&answer).contains("name one in full"), "{answer:?}");
    let answer = wharf
        .put("/api/star", json!({"messageId": "A1", "chatId": BOB, "star": true}))
        .await;
    assert_eq!((answer.status, answer.bytes.len()), (200, 0), "{answer:?}");
    let starred = link.engine.starred.lock().unwrap().clone();
    assert_eq!(
        starred.iter().map(|(id, on)| (id.to_string(), *on)).collect::<Vec<_>>(),
        [(format!("false_{BOB}_A1"), true)]
    );
    wharf.stop().await;
}

#[tokio::test]
async fn what_is_not_kept_whole_cannot_be_forwarded() {
    let (wharf, link) = prepared().await;
    let mut bare = text(ALICE, "A2", "reduced");
    bare.proto = Bytes::new();
    link.receive(bare).await.unwrap();
    let answer = wharf
        .post("/api/forwardMessage", json!({"chatId": BOB, "messageId": "A2"}))
        .await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(said(&answer).contains("messageId"), "{answer:?}");
    assert_nothing_sent(&link, "a forward");
    wharf.stop().await;
}

#[tokio::test]
async fn everybody_can_be_mentioned() {
    let (wharf, link) = prepared().await;
    for mentions in [json!("all"), json!(["all"]), json!(["all", BOB])] {
        let body = json!({"chatId": GROUP, "text": "@all", "mentions": mentions});
        assert_eq!(wharf.post("/api/sendText", body).await.status, 201);
        let request = link.engine.sent.lock().unwrap().pop().unwrap();
        assert!(request.mentions.everyone);
        let people: Vec<_> = request.mentions.people.iter().map(ToString::to_string).collect();
        assert_eq!(
            people,
            if mentions.as_array().is_some_and(|all| all.len() > 1) {
                vec![BOB]
            } else {
                vec![]
            }
        );
    }
    wharf.stop().await;
}

#[tokio::test]
async fn buttons_do_what_their_type_says() {
    let (wharf, link) = prepared().await;
    let buttons = json!([
        {"text": "Yes", "type": null, "id": null},
        {"type": "url", "text": "Look", "url": "https://example.com/"},
        {"type": "call", "text": "Call", "phoneNumber": "+12025550101"},
        {"type": "copy", "text": "Copy", "copyCode": "4321"},
    ]);
    let body = json!({"chatId": ALICE, "header": "H", "body": "B", "footer": "F", "headerImage": {"data": GIF}, "buttons": buttons});
    let answer = wharf.post("/api/sendButtons", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let [(_, Content::Buttons(sent))] = &sent(&link)[..] else {
        panic!("no buttons were sent");
    };
    let actions: Vec<_> = sent.buttons.iter().map(|button| button.action.clone()).collect();
    assert_eq!(
        actions,
        [
            ButtonAction::Reply { id: "1".to_owned() },
            ButtonAction::Url("https://example.com/".to_owned()),
            ButtonAction::Call("+12025550101".to_owned()),
            ButtonAction::Copy("4321".to_owned()),
        ]
    );
    let picture = sent.picture.as_ref().unwrap();
    assert_eq!((picture.mimetype.as_str(), picture.facts.width), ("image/gif", Some(1)));
    assert!(!picture.path.exists(), "it is gone when it was sent");
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_stays_until_it_has_left_though_its_caller_hangs_up() {
    let (wharf, link) = prepared().await;
    let gate = link.engine.sending.shut();
    {
        let send = wharf.post("/api/sendImage", json!({"chatId": ALICE, "file": {"data": GIF}}));
        tokio::pin!(send);
        tokio::select! {
            answer = &mut send => panic!("it must wait: {answer:?}"),
            () = gate.reached() => {}
        }
    }
    let [(_, Content::Media(media))] = &sent(&link)[..] else {
        panic!("no picture was sent");
    };
    // By the next answer the server has seen that nobody waits any more.
    assert_eq!(wharf.get("/ping").await.status, 200);
    assert!(media.path.exists());
    link.engine.sending.open();
    gate.let_one_pass();
    let mut looking = interval(LOOK_EVERY);
    let gone = async {
        while media.path.exists() {
            looking.tick().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the file is left behind");
    wharf.stop().await;
}

#[tokio::test]
async fn seen_takes_the_newest_unread_of_a_week() {
    let (wharf, link) = prepared().await;
    let week = 7 * 24 * 60 * 60;
    let mut old = text(BOB, "OLD", "long ago");
    old.timestamp = Timestamp::from_second(1_790_000_000 - week).unwrap();
    link.receive(old).await.unwrap();
    for number in 0..101 {
        let later = Timestamp::from_second(1_790_000_000 + number).unwrap();
        for mut message in [
            text(BOB, &format!("B{number}"), "x"),
            in_group(&format!("G{number}"), BOB),
        ] {
            message.timestamp = later;
            link.receive(message).await.unwrap();
        }
    }
    for (chat, newest, count) in [(BOB, "B100", 30), (GROUP, "G100", 100)] {
        assert_eq!(wharf.post("/api/sendSeen", json!({ "chatId": chat })).await.status, 201);
        let seen = link.engine.seen.lock().unwrap().pop().unwrap();
        assert_eq!((seen.ids[0].as_str(), seen.ids.len()), (newest, count));
        let author = (chat == GROUP).then(|| BOB.parse().unwrap());
        assert_eq!(seen.participant, author);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn seen_by_id_needs_the_author_in_a_group() {
    let (wharf, link) = prepared().await;
    link.receive(in_group("G1", BOB)).await.unwrap();
    let seen = async |body: Value| wharf.post("/api/sendSeen", body).await;
    let nobody = seen(json!({"chatId": GROUP, "messageIds": ["G0"]})).await;
    assert_eq!(nobody.status, 400, "{nobody:?}");
    assert!(said(&nobody).contains("participant"), "{nobody:?}");
    let own = seen(json!({"chatId": ALICE, "messageId": format!("true_{ALICE}_M1")})).await;
    assert_eq!(own.status, 400, "{own:?}");
    assert!(said(&own).contains("messageId"), "{own:?}");
    assert_nothing_sent(&link, "a receipt");
    let ids = json!(["G1", "G0", format!("false_{GROUP}_G2_{ALICE}")]);
    let body = json!({"chatId": GROUP, "messageIds": ids, "participant": BOB});
    assert_eq!(seen(body).await.status, 201);
    let mut told: Vec<_> = std::mem::take(&mut *link.engine.seen.lock().unwrap())
        .into_iter()
        .flat_map(|request| {
            let author = request.participant.unwrap().to_string();
            request.ids.into_iter().map(move |id| (author.clone(), id))
        })
        .collect();
    told.sort();
    let expected = [(ALICE, "G2"), (BOB, "G0"), (BOB, "G1")];
    assert_eq!(told, expected.map(|(author, id)| (author.to_owned(), id.to_owned())));
    wharf.stop().await;
}

#[tokio::test]
async fn older_operations_take_their_fields_from_the_query() {
    let (wharf, link) = prepared().await;
    let answer = wharf
        .get("/api/sendText?phone=12025550101&text=hello%20there&session=default")
        .await;
    assert_eq!(
        (answer.status, answer.json()["body"].clone()),
        (200, json!("hello there")),
        "{answer:?}"
    );
    assert_eq!(sent(&link).len(), 1);
    for (query, named) in [
        ("text=x", "phone"),
        ("phone=1", "text"),
        ("phone=nobody&text=x", "phone"),
    ] {
        let answer = wharf.get(&format!("/api/sendText?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert!(said(&answer).contains(named), "{query}: {answer:?}");
    }
    assert_nothing_sent(&link, "a text");
    let answer = wharf.get("/api/checkNumberStatus?phone=12025550101").await;
    assert_eq!(answer.json(), json!({"numberExists": true, "chatId": ALICE}));
    let answer = wharf.get(&format!("/api/checkNumberStatus?phone={GROUP}")).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    wharf.stop().await;
}
