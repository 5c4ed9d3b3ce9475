//! What is kept in the background: nothing is said to be done before it is, and what cannot be kept ends the connection.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{interval, timeout};
use wharf_core::engine::{AckUpdate, Signal};
use wharf_core::message::Ack;
use wharf_core::store::{Batch, Collection, Document};

use crate::harness::{ALICE, Link, PATIENCE, Receiver, Wharf, text};

static MARKS: Collection = Collection {
    name: "test_marks",
    fields: &[],
};
static MESSAGES: Collection = Collection {
    name: "messages",
    fields: &[],
};

async fn has(link: &Link, collection: &'static Collection, id: &str) -> bool {
    link.options.store.get(collection, id).await.unwrap().is_some()
}

async fn until(link: &Link, collection: &'static Collection, id: &str) {
    let mut looking = interval(Duration::from_millis(10));
    let there = async {
        while !has(link, collection, id).await {
            looking.tick().await;
        }
    };
    timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("no {id}"));
}

#[tokio::test]
async fn a_recovered_message_is_marked_only_after_it_is_told() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    let gate = wharf.server_writes().shut();
    let message = text(ALICE, "A1", "recovered");
    let stanza = message.stanza.clone();
    link.inbox.signal(Signal::Message {
        message: Box::new(message),
        marks: Batch::new().put(&MARKS, Document::new("A1", "")),
    });
    until(&link, &MESSAGES, &stanza).await;
    gate.reached().await;
    assert!(!has(&link, &MARKS, "A1").await, "a crash now would leave nobody told");
    wharf.server_writes().open();
    gate.let_one_pass();
    assert_eq!(receiver.post().await.body["payload"]["body"], "recovered");
    until(&link, &MARKS, "A1").await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_kept_in_the_background_ends_the_connection() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({})).await;
    wharf.disk_is_full(true);
    link.inbox.signal(Signal::Message {
        message: Box::new(text(ALICE, "A1", "recovered")),
        marks: Batch::new(),
    });
    let again = wharf.link().await;
    wharf.disk_is_full(false);
    again.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn an_ack_that_cannot_be_kept_ends_the_connection() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({})).await;
    let sent = wharf
        .post("/api/sendText", json!({"session": "a", "chatId": ALICE, "text": "Hi"}))
        .await;
    assert_eq!(sent.status, 201);
    let id = link.engine.sent.lock().unwrap()[0].id.clone();
    wharf.disk_is_full(true);
    link.inbox.signal(Signal::Ack(AckUpdate {
        chat: ALICE.parse().unwrap(),
        participant: None,
        ids: vec![id],
        ack: Ack::Read,
        at: Timestamp::from_second(1_790_000_100).unwrap(),
        error: None,
    }));
    wharf.link().await;
    wharf.disk_is_full(false);
    wharf.stop().await;
}
