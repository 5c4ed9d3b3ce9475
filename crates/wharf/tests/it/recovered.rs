//! Messages that a crash lost and that the phone gives back: told under one id and acknowledged, whatever comes in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use wharf_core::store::Batch;

use crate::failpoints::{crashed_with_a_lost_text, tells};
use crate::support::rigged::{Judge, Verdict};
use crate::support::{ALICE, Receiver, TestWharf, within};

/// The text that is lost.
const LOST: &str = "lost";

/// Holds back the event of the lost text, until it is let through.
#[derive(Default)]
struct Untold {
    lets_through: AtomicBool,
    held: watch::Sender<bool>,
}

impl Judge for Untold {
    fn judge(&self, batch: &Batch) -> Verdict {
        match tells(batch, LOST) && !self.lets_through.load(Ordering::SeqCst) {
            true => {
                self.held.send_replace(true);
                Verdict::HoldBack
            }
            false => Verdict::Pass,
        }
    }

    fn written(&self, _: &Batch) {}
}

/// A server that has lost a text with a crash, whose sender does not hear that it is asked for.
async fn lost() -> (TestWharf, Receiver) {
    let (wharf, receiver) = crashed_with_a_lost_text(LOST).await;
    let retries = json!({ "match": { "stanza": "receipt", "type": "retry" }, "action": "drop", "count": 100 });
    let faults = vec![serde_json::from_value(retries).unwrap()];
    wharf.network.set_faults(faults).unwrap();
    (wharf, receiver)
}

/// Everything is acknowledged, and the text was told once.
async fn assert_told_once(wharf: TestWharf, receiver: &Receiver) {
    receiver
        .wait_for("the lost text", |event| event["payload"]["body"] == LOST)
        .await;
    let restarted = wharf.post("/api/sessions/default/restart", json!({})).await;
    restarted.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    let mut changes = wharf.network.changed();
    let acknowledged = async {
        while wharf.network.phone(ALICE).unwrap().devices[0].queued > 0 {
            changes.changed().await.unwrap();
        }
    };
    within("everything to be acknowledged", acknowledged).await;
    let names = receiver.names();
    for name in ["message lost", "message.any lost"] {
        assert_eq!(names.iter().filter(|told| *told == name).count(), 1, "{names:?}");
    }
    assert!(
        !names.iter().any(|name| name.starts_with("message.waiting")),
        "{names:?}"
    );
    wharf.finish().await;
}

#[tokio::test]
async fn a_crash_before_it_is_told_leaves_it_to_be_recovered_again() {
    let (mut wharf, receiver) = lost().await;
    let untold = Arc::new(Untold::default());
    wharf.boot_rigged(Arc::clone(&untold) as _).await;
    let mut held = untold.held.subscribe();
    within("the event to be held back", held.wait_for(|held| *held))
        .await
        .unwrap();
    wharf.crash().await;
    wharf.boot().await;
    assert_told_once(wharf, &receiver).await;
}

#[tokio::test]
async fn an_answer_that_comes_after_a_restart_is_the_same_message() {
    let (mut wharf, receiver) = lost().await;
    // The phone's answer comes with the next connection only, which has not asked for anything yet.
    let answer = json!({ "direction": "out", "stanza": "message", "from": ALICE });
    let mut faults = wharf.network.faults();
    faults.push(serde_json::from_value(json!({ "match": answer, "action": "drop" })).unwrap());
    wharf.network.set_faults(faults).unwrap();
    wharf.boot().await;
    let dropped = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while wharf.network.faults().len() > 1 {
            ticks.tick().await;
        }
    };
    within("the phone's answer to be dropped", dropped).await;
    wharf.restart().await;
    assert_told_once(wharf, &receiver).await;
}
