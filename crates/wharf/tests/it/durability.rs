//! What survives: restarts, crashes, and damage.

use serde_json::json;
use wharf_simulator::KillMode;

use crate::support::{ALICE, BOB, TestWharf};

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
    assert_eq!(
        wharf.network.phone(ALICE).unwrap().devices.len(),
        1,
        "it is the same device"
    );
    let scans = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["payload"]["status"] == "SCAN_QR_CODE")
        .count();
    assert_eq!(scans, 1, "only the first pairing showed a QR code");
    wharf.settled().await;
}

#[tokio::test]
async fn a_stopped_session_stays_stopped_after_a_restart() {
    let (mut wharf, _receiver) = TestWharf::with_alice().await;
    wharf.post("/api/sessions/default/stop", json!({})).await.expect(201);
    wharf.restart().await;
    let session = wharf.get("/api/sessions/default").await.expect(200);
    assert_eq!(session["status"], "STOPPED");
    assert_eq!(session["me"]["id"], format!("{ALICE}@c.us"));
    wharf.settled().await;
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
    wharf.settled().await;
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
    wharf.settled().await;
}

#[tokio::test]
async fn a_damaged_session_folder_is_an_error_and_never_a_new_device() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let folder = wharf.session_dir("default");
    let file = folder.join("session.sqlite3");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path != file {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::write(
        &file,
        "this is not a database, and it is long enough to look like a page of one".repeat(100),
    )
    .unwrap();
    wharf.boot().await;
    wharf.wait_for_status("default", "FAILED").await;
    let failed = receiver
        .wait_for("FAILED", |event| event["payload"]["status"] == "FAILED")
        .await
        .event;
    assert!(
        failed["payload"]["data"].to_string().contains("session.sqlite3"),
        "{failed:#}"
    );
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.wait_for_status("default", "FAILED").await;
    assert_eq!(wharf.network.phone(ALICE).unwrap().devices.len(), 1);
    wharf.delete("/api/sessions/default").await.expect(200);
    wharf.get("/api/sessions/default").await.expect(404);
    wharf.settled().await;
}
