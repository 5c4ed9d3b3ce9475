//! What survives: restarts, crashes, and a full disk. Damage is in [`super::folders`], `kill -9` in [`super::kill`],
//! crashes between two steps of one message in [`super::failpoints`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::watch;
use wharf_core::store::{Batch, Write};
use wharf_simulator::KillMode;

use crate::support::rigged::{Judge, Verdict};
use crate::support::{ALICE, BOB, Receiver, TestWharf, within};

#[tokio::test]
async fn a_restart_needs_no_new_scan_and_loses_nothing() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    for number in 0..5 {
        wharf
            .network
            .send(BOB, ALICE, &format!("while away {number}"), None)
            .await
            .unwrap();
    }
    wharf.boot().await;
    wharf.wait_for_status("default", "WORKING").await;
    receiver
        .wait_for("the last text", |event| event["payload"]["body"] == "while away 4")
        .await;
    let bodies: Vec<_> = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["event"] == "message")
        .map(|it| it.event["payload"]["body"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        bodies,
        [
            "while away 0",
            "while away 1",
            "while away 2",
            "while away 3",
            "while away 4"
        ]
    );
    wharf.assert_same_device();
    let scans = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["payload"]["status"] == "SCAN_QR_CODE")
        .count();
    assert_eq!(scans, 1, "only the first pairing showed a QR code");
    wharf.finish().await;
}

#[tokio::test]
async fn a_stopped_session_stays_stopped_after_a_restart() {
    let (mut wharf, _receiver) = TestWharf::with_alice().await;
    wharf.post("/api/sessions/default/stop", json!({})).await.expect(201);
    wharf.restart().await;
    let session = wharf.get("/api/sessions/default").await.expect(200);
    assert_eq!(session["status"], "STOPPED");
    assert_eq!(session["me"]["id"], format!("{ALICE}@c.us"));
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_may_be_called_as_folders_of_ours_are() {
    let mut wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    wharf.paired("tmp", ALICE, &receiver).await;
    wharf.restart().await;
    wharf.wait_for_status("tmp", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_broken_connection_is_dialled_again() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let jid = wharf.network.phone(ALICE).unwrap().devices[0].jid.clone();
    for mode in [KillMode::Close, KillMode::StreamError { code: 503 }] {
        wharf.network.kill(&jid, mode).await.unwrap();
        let text = format!("after {mode:?}");
        wharf.network.send(BOB, ALICE, &text, None).await.unwrap();
        receiver.wait_for(&text, |event| event["payload"]["body"] == text).await;
        wharf.wait_for_status("default", "WORKING").await;
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_webhook_that_was_down_gets_its_events_after_a_restart() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    receiver.answer_next(std::iter::repeat_n(axum::http::StatusCode::SERVICE_UNAVAILABLE, 3));
    wharf.network.send(BOB, ALICE, "held up", None).await.unwrap();
    receiver
        .wait_for("the first attempt", |event| event["payload"]["body"] == "held up")
        .await;
    wharf.restart().await;
    let delivered = async {
        loop {
            let attempts: Vec<_> = receiver
                .deliveries()
                .into_iter()
                .filter(|it| it.event["payload"]["body"] == "held up")
                .collect();
            // `message` and `message.any`, of which three attempts at most were refused.
            if attempts.len() >= 4 {
                return attempts;
            }
            receiver.wait_for_count(receiver.deliveries().len() + 1).await;
        }
    };
    let attempts = crate::support::within("the webhooks to succeed", delivered).await;
    for name in ["message", "message.any"] {
        let mut ids: Vec<_> = attempts
            .iter()
            .filter(|it| it.event["event"] == name)
            .map(|it| it.event["id"].clone())
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "every attempt of {name} has the same id: {ids:?}");
    }
    wharf.finish().await;
}

/// A disk without room, while it is so.
#[derive(Default)]
struct Disk {
    is_full: AtomicBool,
}

impl Judge for Disk {
    fn judge(&self, _: &Batch) -> Verdict {
        match self.is_full.load(Ordering::SeqCst) {
            true => Verdict::Full,
            false => Verdict::Pass,
        }
    }

    fn written(&self, _: &Batch) {}
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_recovers_when_there_is_room() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let disk = Arc::new(Disk::default());
    wharf.boot_rigged(Arc::clone(&disk) as _).await;
    wharf.wait_for_status("default", "WORKING").await;

    disk.is_full.store(true, Ordering::SeqCst);
    let texts: Vec<_> = (0..5).map(|number| format!("no room {number}")).collect();
    for text in &texts {
        wharf.network.send(BOB, ALICE, text, None).await.unwrap();
    }
    wharf.wait_for_status("default", "STARTING").await;
    wharf.get("/health").await.expect(503);
    let waiting = wharf.network.phone(ALICE).unwrap().devices[0].queued;
    assert!(waiting >= texts.len(), "{waiting} stanzas are kept by the network");

    disk.is_full.store(false, Ordering::SeqCst);
    wharf.wait_for_status("default", "WORKING").await;
    receiver
        .wait_for("the last text", |event| event["payload"]["body"] == texts[4])
        .await;
    wharf.settled().await;
    let told: Vec<_> = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["event"] == "message")
        .map(|it| it.event["payload"]["body"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, texts, "each once, in order");
    wharf.get("/health").await.expect(200);
    wharf.finish().await;
}

/// Whether a batch notes that a delivery was made: it is not due any more.
fn notes_success(batch: &Batch) -> bool {
    batch.writes.iter().any(|write| match write {
        Write::Put {
            collection, document, ..
        } => collection.name == "deliveries" && document.field("queue").is_none(),
        _ => false,
    })
}

/// A disk that is full whenever it is to be noted that a delivery was made, and counts how often that was tried.
#[derive(Default)]
struct Clogged {
    is_full: AtomicBool,
    tries: watch::Sender<u32>,
}

impl Judge for Clogged {
    fn judge(&self, batch: &Batch) -> Verdict {
        match notes_success(batch) && self.is_full.load(Ordering::SeqCst) {
            true => {
                self.tries.send_modify(|tries| *tries += 1);
                Verdict::Full
            }
            false => Verdict::Pass,
        }
    }

    fn written(&self, _: &Batch) {}
}

#[tokio::test]
async fn a_full_disk_does_not_make_webhooks_repeat_themselves() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let clogged = Arc::new(Clogged::default());
    wharf.boot_rigged(Arc::clone(&clogged) as _).await;
    wharf.wait_for_status("default", "WORKING").await;
    clogged.is_full.store(true, Ordering::SeqCst);
    wharf.network.send(BOB, ALICE, "once", None).await.unwrap();
    let mut tries = clogged.tries.subscribe();
    // Both events of the text, `message` and `message.any`, together or one after the other, and once more at least.
    within("another try", tries.wait_for(|tries| *tries >= 3))
        .await
        .unwrap();
    clogged.is_full.store(false, Ordering::SeqCst);
    wharf.network.send(BOB, ALICE, "next", None).await.unwrap();
    receiver
        .wait_for("the next text", |event| event["payload"]["body"] == "next")
        .await;
    let once = |name: &&String| name.ends_with(" once");
    assert_eq!(
        receiver.names().iter().filter(once).count(),
        2,
        "{:?}",
        receiver.names()
    );
    wharf.finish().await;
}
