//! What comes in and goes out: kept once, told once, acks in their order.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::json;
use wharf_core::engine::{AckUpdate, EngineError, Signal, Typing};
use wharf_core::message::{Ack, MessageKind};
use wharf_core::store::Batch;

use crate::harness::{ALICE, BOB, Link, Receiver, Wharf, me, text};

fn ack(link: &Link, id: &str, ack: Ack) {
    ack_in(link, ALICE, id, ack);
}

fn ack_in(link: &Link, chat: &str, id: &str, ack: Ack) {
    ack_of(link, chat, None, id, ack);
}

fn ack_of(link: &Link, chat: &str, participant: Option<&str>, id: &str, ack: Ack) {
    link.inbox.signal(Signal::Ack(AckUpdate {
        chat: chat.parse().unwrap(),
        participant: participant.map(|person| person.parse().unwrap()),
        ids: vec![id.to_owned()],
        ack,
        at: Timestamp::from_second(1_790_000_100).unwrap(),
        error: None,
    }));
}

/// A server that tells of acks, and has sent the message `M1` to Alice.
async fn with_a_sent_text() -> (Wharf, Receiver, Link) {
    let (wharf, receiver, link) = Wharf::telling(&["message.ack"]).await;
    wharf
        .post("/api/sendText", json!({"chatId": ALICE, "text": "x", "id": "M1"}))
        .await;
    (wharf, receiver, link)
}

#[tokio::test]
async fn a_message_is_told_as_message_and_as_any() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message", "message.any"]).await;
    link.receive(text(ALICE, "A1", "hello")).await.unwrap();
    let (message, any) = (receiver.post().await.body, receiver.post().await.body);
    assert_eq!(
        (&message["event"], &any["event"]),
        (&json!("message"), &json!("message.any"))
    );
    assert_eq!(message["payload"], any["payload"]);
    assert_ne!(message["id"], any["id"]);
    let payload = &message["payload"];
    assert_eq!(
        (&payload["id"], &payload["body"]),
        (&json!(format!("false_{ALICE}_A1")), &json!("hello"))
    );
    assert_eq!((&payload["fromMe"], &payload["source"]), (&json!(false), &json!("app")));
    assert_eq!(
        (&message["engine"], &message["me"]["pushName"]),
        (&json!("WEBJS"), &json!("Us"))
    );
    assert_eq!(message["environment"]["tier"], "PLUS");
    let activity = &wharf.get("/api/sessions/default").await.json()["timestamps"]["activity"];
    assert_eq!(activity, &json!(1_790_000_000_000_i64));
    wharf.stop().await;
}

#[tokio::test]
async fn a_redelivered_message_is_told_under_the_same_id_and_only_once() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    // What a phone recovers has the time of its recovery, a late redelivery the first one again.
    let once = |late_seconds: i64| {
        let mut message = text(ALICE, "A1", "once");
        message.timestamp += jiff::SignedDuration::from_secs(late_seconds);
        message
    };
    link.inbox.commit(vec![once(0), once(1)], Batch::new()).await.unwrap();
    link.receive(once(2)).await.unwrap();
    let mut wharf = wharf.restart().await;
    let link = wharf.link().await;
    link.work();
    link.receive(once(-3)).await.unwrap();
    link.receive(text(ALICE, "A2", "twice")).await.unwrap();
    let mut bodies = vec![receiver.event("message").await];
    while bodies.last().unwrap()["payload"]["body"] != "twice" {
        bodies.push(receiver.event("message").await);
    }
    let mut ids: Vec<_> = bodies.iter().map(|body| body["id"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "one id per message: {bodies:?}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_that_comes_again_after_a_logout_is_kept_and_not_told_again() {
    let (mut wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    link.receive(text(ALICE, "A1", "once")).await.unwrap();
    assert_eq!(receiver.event("message").await["payload"]["body"], "once");
    wharf.post("/api/sessions/default/logout", json!({})).await;
    let link = wharf.link().await;
    link.work();
    link.receive(text(ALICE, "A1", "once")).await.unwrap();
    link.receive(text(ALICE, "A2", "twice")).await.unwrap();
    assert_eq!(receiver.event("message").await["payload"]["body"], "twice");
    wharf.stop().await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_neither_acknowledged_nor_told() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    wharf.disk_is_full(true);
    link.receive(text(ALICE, "A1", "lost?")).await.unwrap_err();
    wharf.disk_is_full(false);
    link.receive(text(ALICE, "A2", "first")).await.unwrap();
    link.receive(text(ALICE, "A1", "again")).await.unwrap();
    assert_eq!(receiver.event("message").await["payload"]["body"], "first");
    assert_eq!(receiver.event("message").await["payload"]["body"], "again");
    wharf.stop().await;
}

#[tokio::test]
async fn control_messages_and_ignored_chats_are_not_told() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"ignore": {"groups": true}, "webhooks": [receiver.webhook(&["message.any"])]});
    let link = wharf.working("a", config).await;
    let mut control = text(ALICE, "A1", "");
    control.kind = MessageKind::Control;
    link.receive(control).await.unwrap();
    link.receive(text("120363000000000001@g.us", "A2", "in a group"))
        .await
        .unwrap();
    link.receive(text(ALICE, "A3", "told")).await.unwrap();
    assert_eq!(receiver.event("message.any").await["payload"]["body"], "told");
    wharf.stop().await;
}

#[tokio::test]
async fn a_sent_text_is_answered_kept_and_told() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message", "message.any"]).await;
    let sent = wharf
        .post(
            "/api/sendText",
            json!({"chatId": "+1 (202) 555-0101", "text": "Hi there!"}),
        )
        .await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let told = receiver.post().await.body;
    assert_eq!(told["event"], "message.any");
    assert_eq!(told["payload"], sent.json());
    assert_eq!(
        (&told["payload"]["source"], &told["payload"]["ackName"]),
        (&json!("api"), &json!("PENDING"))
    );
    assert_eq!(sent.json()["_data"]["id"]["_serialized"], sent.json()["id"]);

    link.receive(text(ALICE, "Q1", "question")).await.unwrap();
    for (id, reply_to) in [("MINE", "Q1".to_owned()), ("OWN", format!("false_{ALICE}_Q1"))] {
        let body = json!({"chatId": ALICE, "text": "@12025550102", "reply_to": reply_to, "mentions": [BOB], "id": id});
        assert_eq!(wharf.post("/api/sendText", body).await.status, 201);
        let request = link.engine.sent.lock().unwrap().pop().unwrap();
        let quote = request.quote.unwrap();
        assert_eq!((quote.id.id.as_str(), quote.proto.is_empty()), ("Q1", false));
        assert_eq!(
            (request.id.as_str(), request.mentions.people[0].to_string().as_str()),
            (id, BOB)
        );
    }
    wharf.stop().await;
}

#[tokio::test]
async fn bad_requests_to_a_working_session_are_named() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    for (body, problems) in [
        (json!({}), json!(["chatId must be a string", "text must be a string"])),
        (
            json!({"chatId": ALICE, "text": ""}),
            json!(["text should not be empty"]),
        ),
        (json!({"chatId": ALICE, "text": 1}), json!(["text must be a string"])),
        (
            json!({"chatId": "nobody", "text": "x"}),
            json!(["chatId: chat id must be a phone number with its country code, digits only, or a whatsapp id"]),
        ),
        (
            json!({"chatId": ALICE, "text": "x", "mentions": BOB}),
            json!(["mentions must be an array, or all"]),
        ),
    ] {
        let answer = wharf.post("/api/sendText", body).await;
        assert_eq!((answer.status, answer.json()["message"].clone()), (400, problems));
    }
    let two = wharf
        .post("/api/sendText?session=other", json!({"session": "default"}))
        .await;
    assert_eq!(
        two.json()["message"],
        json!(["session must be the same in path, query and body"])
    );
    let unknown = EngineError::UnknownRecipient(BOB.parse().unwrap());
    link.engine.refuses.lock().unwrap().push_back(unknown);
    let refused = wharf.post("/api/sendText", json!({"chatId": BOB, "text": "x"})).await;
    assert_eq!(
        (refused.status, refused.json()["message"].clone()),
        (422, json!(format!("chatId: whatsapp does not know {BOB}")))
    );
    assert!(link.engine.sent.lock().unwrap().is_empty());
    wharf.stop().await;
}

#[tokio::test]
async fn acks_are_told_once_per_state_and_never_backwards() {
    let (wharf, mut receiver, link) = with_a_sent_text().await;
    for state in [
        Ack::Server,
        Ack::Server,
        Ack::Device,
        Ack::Server,
        Ack::Read,
        Ack::Device,
        Ack::Error,
        Ack::Played,
    ] {
        ack(&link, "M1", state);
    }
    let mut names = Vec::new();
    while names.last() != Some(&json!("PLAYED")) {
        let payload = receiver.event("message.ack").await["payload"].clone();
        assert_eq!(payload["id"], format!("true_{ALICE}_M1"));
        names.push(payload["ackName"].clone());
    }
    assert_eq!(names, ["SERVER", "DEVICE", "READ", "PLAYED"]);
    wharf.stop().await;
}

#[tokio::test]
async fn an_ack_that_overtakes_its_message_waits_for_it() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.any", "message.ack"]).await;
    let gate = link.engine.sending.shut();
    let early = async {
        gate.reached().await;
        ack(&link, "M1", Ack::Server);
        gate.let_one_pass();
    };
    let send = wharf.post("/api/sendText", json!({"chatId": ALICE, "text": "x", "id": "M1"}));
    let (sent, ()) = tokio::join!(send, early);
    assert_eq!(sent.status, 201);
    assert_eq!(receiver.post().await.body["event"], "message.any");
    assert_eq!(receiver.post().await.body["payload"]["ackName"], "SERVER");
    wharf.stop().await;
}

#[tokio::test]
async fn a_change_that_overtakes_its_message_waits_for_it() {
    let (wharf, _receiver, link) = Wharf::telling(&["message.any"]).await;
    let gate = link.engine.sending.shut();
    let chat = ALICE.parse().unwrap();
    let early = async {
        gate.reached().await;
        let found = link.inbox.find(&chat, "M1");
        tokio::pin!(found);
        tokio::select! {
            biased;
            _ = &mut found => panic!("it must wait"),
            () = std::future::ready(()) => gate.let_one_pass(),
        }
        found.await.unwrap()
    };
    let send = wharf.post("/api/sendText", json!({"chatId": ALICE, "text": "x", "id": "M1"}));
    let (sent, found) = tokio::join!(send, early);
    assert_eq!(sent.status, 201);
    let found: Vec<_> = found.into_iter().map(|message| message.body).collect();
    assert_eq!(found, ["x"]);
    wharf.stop().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_no_message_untold() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.any"]).await;
    let gate = link.engine.sending.shut();
    {
        let send = wharf.post("/api/sendText", json!({"chatId": ALICE, "text": "x"}));
        tokio::pin!(send);
        tokio::select! {
            _ = &mut send => panic!("the send must wait"),
            () = gate.reached() => {}
        }
    }
    gate.let_one_pass();
    assert_eq!(receiver.event("message.any").await["payload"]["body"], "x");
    wharf.stop().await;
}

#[tokio::test]
async fn seen_without_ids_reads_what_is_unread_and_only_once() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    link.receive(text(ALICE, "A1", "one")).await.unwrap();
    link.receive(text(ALICE, "A2", "two")).await.unwrap();
    link.receive(text(BOB, "B1", "other chat")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(wharf.post("/api/sendSeen", json!({"chatId": ALICE})).await.status, 201);
    }
    wharf
        .post(
            "/api/sendSeen",
            json!({"chatId": BOB, "messageIds": [format!("false_{BOB}_B1"), "B0"]}),
        )
        .await;
    let mut ids: Vec<Vec<String>> = {
        let seen = link.engine.seen.lock().unwrap();
        seen.iter().map(|request| request.ids.clone()).collect()
    };
    ids[0].sort();
    assert_eq!(ids, [vec!["A1", "A2"], vec!["B1", "B0"]]);
    wharf.stop().await;
}

#[tokio::test]
async fn two_callers_may_read_the_same_chat_at_the_same_time() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    link.receive(text(ALICE, "A1", "one")).await.unwrap();
    let gate = link.engine.seeing.shut();
    let both_at_once = async {
        gate.reached().await;
        gate.reached().await;
        gate.let_one_pass();
        gate.let_one_pass();
    };
    let seen = || wharf.post("/api/sendSeen", json!({"chatId": ALICE}));
    let (first, second, ()) = tokio::join!(seen(), seen(), both_at_once);
    assert_eq!((first.status, second.status), (201, 201), "{first:?} {second:?}");
    link.engine.seeing.open();
    assert_eq!(seen().await.status, 201);
    assert_eq!(link.engine.seen.lock().unwrap().len(), 2, "nothing is unread any more");
    wharf.stop().await;
}

#[tokio::test]
async fn a_receipt_in_another_chat_raises_nothing() {
    let (wharf, mut receiver, link) = with_a_sent_text().await;
    ack_in(&link, BOB, "M1", Ack::Read);
    ack_in(&link, "100000000000101@lid", "M1", Ack::Device);
    let payload = receiver.event("message.ack").await["payload"].clone();
    assert_eq!(payload["ackName"], "DEVICE");
    wharf.stop().await;
}

#[tokio::test]
async fn a_send_that_fails_holds_no_acks_back() {
    let (wharf, mut receiver, link) = with_a_sent_text().await;
    link.engine.sending_panics.store(true, Ordering::SeqCst);
    let cut_off = wharf
        .post("/api/sendText", json!({"chatId": BOB, "text": "x", "id": "M1"}))
        .await;
    assert_eq!(cut_off.status, 504, "{cut_off:?}");
    ack(&link, "M1", Ack::Server);
    assert_eq!(receiver.event("message.ack").await["payload"]["ackName"], "SERVER");
    wharf.stop().await;
}

#[tokio::test]
async fn nothing_is_kept_or_told_of_a_session_that_was_deleted_during_a_send() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let gate = link.engine.sending.shut();
    let deleted = async {
        gate.reached().await;
        assert_eq!(wharf.delete("/api/sessions/default").await.status, 200);
        gate.let_one_pass();
    };
    let send = wharf.post("/api/sendText", json!({"chatId": ALICE, "text": "x"}));
    let (sent, ()) = tokio::join!(send, deleted);
    assert_eq!(sent.status, 504, "{sent:?}");
    assert!(!wharf.folder().join("test").join("default").exists());
    wharf.stop().await;
}

#[tokio::test]
async fn typing_is_shown_and_taken_back() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    for path in ["/api/startTyping", "/api/stopTyping"] {
        let answer = wharf.post(path, json!({"chatId": ALICE})).await;
        assert_eq!((answer.status, answer.bytes.len()), (201, 0));
    }
    assert_eq!(*link.engine.typing.lock().unwrap(), [Typing::Composing, Typing::Paused]);
    wharf.stop().await;
}

#[tokio::test]
async fn each_member_of_a_group_has_acks_of_its_own() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let events = ["message.ack", "message.ack.group"];
    let link = wharf
        .working("default", json!({"webhooks": [receiver.webhook(&events)]}))
        .await;
    let group = "120363000000000001@g.us";
    let sent = wharf.post("/api/sendText", json!({"chatId": group, "text": "Hi all", "id": "M1"}));
    assert_eq!(sent.await.status, 201);
    ack_in(&link, group, "M1", Ack::Server);
    assert_eq!(receiver.event("message.ack").await["payload"]["ackName"], "SERVER");
    for (member, ack, name) in [
        (ALICE, Ack::Device, "DEVICE"),
        (BOB, Ack::Read, "READ"),
        (ALICE, Ack::Played, "PLAYED"),
    ] {
        ack_of(&link, group, Some(member), "M1", ack);
        let event = receiver.event("message.ack.group").await;
        let payload = json!({
            "id": format!("true_{group}_M1"), "from": me().id.to_string(), "to": group, "participant": member,
            "fromMe": true, "ack": ack.number(), "ackName": name,
        });
        assert_eq!(event["payload"], payload);
    }
    wharf.stop().await;
}
