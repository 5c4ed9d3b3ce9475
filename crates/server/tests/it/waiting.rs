//! Messages that cannot be read: told of once, and never after they were read.

use serde_json::json;
use wharf_core::engine::Signal;
use wharf_core::store::Batch;

use crate::harness::{ALICE, Link, Receiver, Wharf, text};

fn cannot_be_read(link: &Link, id: &str) {
    link.inbox.signal(Signal::Waiting {
        message: Box::new(text(ALICE, id, "")),
        marks: Batch::new(),
    });
}

#[tokio::test]
async fn a_message_waits_once_and_not_after_it_was_read() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working(
            "a",
            json!({"webhooks": [receiver.webhook(&["message", "message.waiting"])]}),
        )
        .await;
    for _ in 0..2 {
        cannot_be_read(&link, "A1");
    }
    let waiting = receiver.post().await.body;
    link.receive(text(ALICE, "A1", "recovered")).await.unwrap();
    cannot_be_read(&link, "A1");
    cannot_be_read(&link, "A2");
    let (message, next) = (receiver.post().await.body, receiver.post().await.body);

    let expected = json!(format!("false_{ALICE}_A1"));
    assert_eq!(waiting["event"], "message.waiting");
    assert_eq!(message["event"], "message");
    assert_eq!(
        (&waiting["payload"]["id"], &message["payload"]["id"]),
        (&expected, &expected)
    );
    assert_ne!(waiting["id"], message["id"]);
    assert_eq!(next["event"], "message.waiting");
    assert_eq!(next["payload"]["id"], format!("false_{ALICE}_A2"));
    wharf.stop().await;
}

#[tokio::test]
async fn nothing_is_told_of_a_chat_that_is_ignored() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["message.waiting"])], "ignore": {"groups": true}});
    let link = wharf.working("a", config).await;
    let group = "120363000000000001@g.us";
    let message = wharf_core::message::Message {
        participant: Some(ALICE.parse().unwrap()),
        ..text(group, "G1", "")
    };
    link.inbox.signal(Signal::Waiting {
        message: Box::new(message),
        marks: Batch::new(),
    });
    cannot_be_read(&link, "A1");
    let told = receiver.post().await.body;
    assert_eq!(told["payload"]["from"], ALICE, "{told:#}");
    wharf.stop().await;
}
