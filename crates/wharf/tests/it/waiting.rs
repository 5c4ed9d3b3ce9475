//! `message.waiting`: messages that cannot be read, told of once, and recovered where that is possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::store::{Batch, Collection, StoreError};
use wharf_simulator::Fault;

use crate::failpoints::crashed_with_a_lost_text;
use crate::support::rigged::{Judge, Verdict};
use crate::support::{ALICE, BOB, Receiver, TestWharf, within};

fn fault(fault: Value) -> Fault {
    serde_json::from_value(fault).unwrap()
}

/// Damages the next messages to Alice's devices.
fn garble(wharf: &TestWharf, count: u32) {
    let messages = json!({ "direction": "out", "stanza": "message", "to": ALICE });
    let faults = vec![fault(json!({ "match": messages, "action": "garble", "count": count }))];
    wharf.network.set_faults(faults).unwrap();
}

/// The events of these names, in the order in which they came.
fn events(receiver: &Receiver, names: &[&str]) -> Vec<Value> {
    let all = receiver.deliveries().into_iter().map(|it| it.event);
    all.filter(|event| names.iter().any(|name| event["event"] == *name))
        .collect()
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_waiting_until_it_is_sent_again() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    garble(&wharf, 2);
    let id = wharf.network.send(BOB, ALICE, "once more", None).await.unwrap();
    let message = receiver.wait_for_event("message").await.event;
    assert_eq!(message["payload"]["body"], "once more");
    wharf.settled().await;

    let waiting = events(&receiver, &["message.waiting"]);
    assert_eq!(waiting.len(), 1, "{:?}", receiver.names());
    let payload = &waiting[0]["payload"];
    assert_eq!(payload["id"], format!("false_{BOB}@c.us_{id}"));
    assert_eq!(payload["id"], message["payload"]["id"]);
    assert_eq!(payload["from"], format!("{BOB}@c.us"));
    assert_eq!((&payload["body"], &payload["hasMedia"]), (&json!(""), &json!(false)));
    assert_ne!(waiting[0]["id"], message["id"], "each is an event of its own");
    wharf.finish().await;
}

#[tokio::test]
async fn a_message_that_nobody_sends_again_is_waiting_once_and_holds_nothing_up() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    // Neither Bob nor Alice's own phone hears that it is asked for.
    let lost = |stanza: &str, kind: Value| json!({ "match": { "stanza": stanza, "type": kind }, "action": "drop", "count": 100 });
    let mut faults = vec![
        fault(lost("receipt", json!("retry"))),
        fault(lost("message", Value::Null)),
    ];
    faults.push(fault(
        json!({ "match": { "direction": "out", "stanza": "message" }, "action": "garble" }),
    ));
    wharf.network.set_faults(faults).unwrap();
    wharf.network.send(BOB, ALICE, "never", None).await.unwrap();
    receiver.wait_for_event("message.waiting").await;
    wharf.network.set_faults(Vec::new()).unwrap();

    wharf.network.send(BOB, ALICE, "next", None).await.unwrap();
    receiver
        .wait_for("the next text", |event| event["payload"]["body"] == "next")
        .await;
    wharf.restart().await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.settled().await;
    assert_eq!(
        events(&receiver, &["message.waiting"]).len(),
        1,
        "{:?}",
        receiver.names()
    );
    let texts = events(&receiver, &["message"]);
    assert!(texts.iter().all(|event| event["payload"]["body"] == "next"));
    wharf.finish().await;
}

#[tokio::test]
async fn a_message_that_a_crash_lost_is_recovered_from_the_phone_where_its_sender_does_not_hear() {
    let (mut wharf, receiver) = crashed_with_a_lost_text("lost").await;
    let retries = json!({ "stanza": "receipt", "type": "retry" });
    let faults = vec![fault(json!({ "match": retries, "action": "drop", "count": 100 }))];
    wharf.network.set_faults(faults).unwrap();
    wharf.boot().await;
    receiver
        .wait_for("the lost text", |event| event["payload"]["body"] == "lost")
        .await;
    // The stanza that was lost comes once more, and is known by now.
    wharf.restart().await;
    wharf.wait_for_status("default", "WORKING").await;
    drained(&wharf).await;
    let names = receiver.names();
    assert_eq!(
        names.iter().filter(|name| *name == "message lost").count(),
        1,
        "{names:?}"
    );
    assert!(events(&receiver, &["message.waiting"]).is_empty(), "{names:?}");
    wharf.finish().await;
}

#[tokio::test]
async fn a_message_that_a_crash_lost_and_nobody_sends_again_is_waiting_before_it_is_acknowledged() {
    let (mut wharf, receiver) = crashed_with_a_lost_text("lost").await;
    let lost = |stanza: &str, kind: Value| json!({ "match": { "stanza": stanza, "type": kind }, "action": "drop", "count": 100 });
    let faults = vec![
        fault(lost("receipt", json!("retry"))),
        fault(lost("message", Value::Null)),
    ];
    wharf.network.set_faults(faults).unwrap();
    let network = wharf.network.clone();
    let tries_left = || network.faults()[0].count;
    let is_told = || !events(&receiver, &["message.waiting"]).is_empty();
    let mut before = tries_left();
    wharf.boot_rigged(Arc::new(Unreadable::default())).await;
    let told = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            // Once it was asked for, the next redelivery is the next try.
            while tries_left() == before && !is_told() {
                ticks.tick().await;
            }
            before = tries_left();
            if is_told() || queued(&wharf) == 0 {
                return receiver.wait_for_event("message.waiting").await;
            }
            wharf.server_time.pass(Duration::from_secs(4 * 60));
            wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
        }
    };
    within("the lost message to be given up", told).await;
    wharf.network.set_faults(Vec::new()).unwrap();
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    drained(&wharf).await;

    let waiting = events(&receiver, &["message.waiting"]);
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["payload"]["from"], format!("{BOB}@c.us"));
    assert!(
        events(&receiver, &["message"])
            .iter()
            .all(|event| event["payload"]["body"] != "lost")
    );
    wharf.finish().await;
}

/// A disk from which no Signal session can be read, while it is so, and how often one was asked for then.
#[derive(Default)]
struct Unreadable {
    is_now: AtomicBool,
    refused: AtomicU32,
}

impl Judge for Unreadable {
    fn judge_read(&self, collection: &'static Collection, _: &str) -> Result<(), StoreError> {
        if collection.name != "wa_sessions" || !self.is_now.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::Unavailable("it cannot be read just now".into()))
    }

    fn judge(&self, _: &Batch) -> Verdict {
        Verdict::Pass
    }

    fn written(&self, _: &Batch) {}
}

#[tokio::test]
async fn a_message_whose_signal_session_cannot_be_read_just_now_is_not_waiting() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.network.send(BOB, ALICE, "before", None).await.unwrap();
    receiver.wait_for_event("message").await;
    wharf.settled().await;
    wharf.stop().await;
    let disk = Arc::new(Unreadable::default());
    wharf.boot_rigged(Arc::clone(&disk) as _).await;
    wharf.wait_for_status("default", "WORKING").await;

    disk.is_now.store(true, Ordering::SeqCst);
    wharf.network.send(BOB, ALICE, "late", None).await.unwrap();
    wharf.wait_for_status("default", "STARTING").await;
    assert!(disk.refused.load(Ordering::SeqCst) > 0);
    disk.is_now.store(false, Ordering::SeqCst);
    receiver
        .wait_for("the text", |event| event["payload"]["body"] == "late")
        .await;
    wharf.settled().await;
    let names = receiver.names();
    assert_eq!(
        names.iter().filter(|name| *name == "message late").count(),
        1,
        "{names:?}"
    );
    assert!(events(&receiver, &["message.waiting"]).is_empty(), "{names:?}");
    wharf.finish().await;
}

/// Stanzas that the network keeps for Alice's device.
fn queued(wharf: &TestWharf) -> usize {
    wharf.network.phone(ALICE).unwrap().devices[0].queued
}

/// Waits until the network keeps nothing for Alice's device.
async fn drained(wharf: &TestWharf) {
    let mut changes = wharf.network.changed();
    let empty = async {
        while queued(wharf) > 0 {
            changes.changed().await.unwrap();
        }
    };
    within("everything to be acknowledged", empty).await;
}
