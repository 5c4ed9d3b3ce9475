//! Messages that cannot be stored as they come, however often they come.

use std::collections::HashSet;

use serde_json::json;
use wharf_core::store::Batch;

use crate::harness::{ALICE, BOB, Receiver, Wharf, text};

/// More than a document may have on any database.
const TOO_MANY_BYTES: usize = 20 * 1024 * 1024;
/// What a reduced message keeps of its text.
const KEPT_BYTES: usize = 64 * 1024;
/// Messages that come at the same time.
const AT_ONCE: usize = 20;

#[tokio::test]
async fn a_message_that_can_never_be_stored_is_kept_and_told_in_a_reduced_form() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("default", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    let huge = || text(ALICE, "HUGE", &"ü".repeat(TOO_MANY_BYTES / 2));
    let page = vec![text(BOB, "B1", "before"), huge(), text(BOB, "B2", "behind")];
    link.inbox.commit(page, Batch::new()).await.unwrap();
    link.receive(huge()).await.unwrap();
    link.receive(text(ALICE, "A1", "next")).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(receiver.event("message").await["payload"].clone());
    }
    told.sort_by_key(|payload| payload["id"].to_string());
    let ids: Vec<_> = told.iter().map(|payload| payload["id"].as_str().unwrap()).collect();
    let expected = [(ALICE, "A1"), (ALICE, "HUGE"), (BOB, "B1"), (BOB, "B2")];
    assert_eq!(ids, expected.map(|(chat, id)| format!("false_{chat}_{id}")));
    let huge = &told[1];
    assert_eq!(huge["body"].as_str().unwrap(), "ü".repeat(KEPT_BYTES / 2));
    assert!(huge["_data"]["error"].is_string());
    assert_eq!(told[2]["_data"]["body"], "before", "its neighbours are whole");
    // It is kept: read like any other message.
    assert_eq!(wharf.post("/api/sendSeen", json!({"chatId": ALICE})).await.status, 201);
    let mut seen = link.engine.seen.lock().unwrap().pop().unwrap().ids;
    seen.sort();
    assert_eq!(seen, ["A1", "HUGE"]);
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_that_fits_the_store_but_not_the_log_is_told_in_a_reduced_form() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("default", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    // An event has the text twice.
    link.receive(text(ALICE, "BIG", &"x".repeat(TOO_MANY_BYTES / 2)))
        .await
        .unwrap();
    let payload = receiver.event("message").await["payload"].clone();
    assert_eq!(payload["body"].as_str().unwrap().len(), KEPT_BYTES);
    assert!(payload["_data"]["error"].is_string());
    wharf.stop().await;
}

#[tokio::test]
async fn what_comes_at_the_same_time_is_kept_whole_beside_it() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("default", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    let huge = text(ALICE, "HUGE", &"x".repeat(TOO_MANY_BYTES));
    let others = (0..AT_ONCE).map(|number| text(BOB, &format!("B{number}"), "whole"));
    let at_once = others.clone().chain([huge]).chain(others);
    let received = futures::future::join_all(at_once.map(|message| link.receive(message))).await;
    assert!(received.iter().all(Result::is_ok), "{received:?}");
    let mut told = Vec::new();
    for _ in 0..=AT_ONCE {
        told.push(receiver.event("message").await["payload"].clone());
    }
    let (whole, reduced): (Vec<_>, Vec<_>) = told.iter().partition(|payload| payload["body"] == "whole");
    assert_eq!((whole.len(), reduced.len()), (AT_ONCE, 1));
    let ids: HashSet<_> = whole.iter().map(|payload| payload["id"].to_string()).collect();
    assert_eq!(ids.len(), AT_ONCE, "each is told once, though each came twice");
    wharf.stop().await;
}
