//! The life of a session, as its connection and its callers make it.

use std::pin::pin;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use wharf_core::engine::{Closed, Signal};

use crate::harness::{ALICE, Answer, KEY, Link, Receiver, Wharf, text};

/// Requests after which an earlier one has got where it waits.
const OTHER_REQUESTS: u32 = 20;

#[tokio::test]
async fn pairing_goes_from_starting_over_the_qr_code_to_working() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"metadata": {"user.id": "123"}, "webhooks": [receiver.webhook(&["session.status"])]});
    let made = wharf
        .post("/api/sessions", json!({"name": "default", "config": config}))
        .await;
    assert_eq!((made.status, made.json()["status"].clone()), (201, json!("STARTING")));
    let link = wharf.link().await;
    assert_eq!(
        (link.options.device_name.as_str(), link.options.browser_name.as_str()),
        ("Ubuntu", "Chrome")
    );

    link.show_qr("2@first");
    wharf.until_status("default", "SCAN_QR_CODE").await;
    let raw = wharf.get("/api/default/auth/qr?format=raw").await;
    assert_eq!(raw.json(), json!({"value": "2@first"}));
    assert_eq!(raw.headers["cache-control"], "no-store");
    let picture = wharf.get("/api/default/auth/qr").await;
    assert_eq!(picture.headers["content-type"], "image/png");
    assert!(picture.bytes.starts_with(b"\x89PNG"));
    let request = wharf
        .request(reqwest::Method::GET, "/api/default/auth/qr")
        .header("X-Api-Key", KEY);
    let base64 = wharf.send(request.header("Accept", "application/json")).await.json();
    assert_eq!(base64["mimetype"], "image/png");
    assert_eq!(wharf.server().waiting_for_scan()[0].as_str(), "default");
    assert_eq!(wharf.server().qr_code("default").await.as_deref(), Some("2@first"));
    assert_eq!(wharf.get("/api/sessions/default/me").await.json(), Value::Null);

    link.show_qr("2@second");
    link.inbox.signal(Signal::Linked(crate::harness::me()));
    link.work();
    let session = wharf.until_status("default", "WORKING").await;
    assert_eq!(session["me"]["id"], "12025550100@c.us");
    assert!(wharf.server().waiting_for_scan().is_empty());
    assert_eq!(wharf.server().qr_code("default").await, None);
    let too_late = wharf.get("/api/default/auth/qr").await;
    assert_eq!(
        (too_late.status, too_late.json()["expected"].clone()),
        (422, json!(["SCAN_QR_CODE"]))
    );

    let mut statuses = Vec::new();
    while statuses.last() != Some(&json!("WORKING")) {
        let body = receiver.event("session.status").await;
        assert_eq!(
            (&body["session"], &body["metadata"]),
            (&json!("default"), &json!({"user.id": "123"}))
        );
        statuses.push(body["payload"]["status"].clone());
    }
    let expected = ["STARTING", "SCAN_QR_CODE", "SCAN_QR_CODE", "STARTING", "WORKING"];
    assert_eq!(statuses, expected);
    wharf.stop().await;
}

#[tokio::test]
async fn commands_can_be_repeated_and_each_start_makes_one_connection() {
    let mut wharf = Wharf::start().await;
    let first = wharf.working("a", json!({})).await;
    for (command, status) in [("start", "WORKING"), ("stop", "STOPPED"), ("stop", "STOPPED")] {
        let answer = wharf.post(&format!("/api/sessions/a/{command}"), json!({})).await;
        assert_eq!(
            (answer.status, answer.json()["status"].clone()),
            (201, json!(status)),
            "{command}"
        );
    }
    assert!(first.engine.is_disconnected.load(Ordering::SeqCst) && wharf.has_no_link());
    assert_eq!(wharf.get("/api/sessions").await.json(), json!([]));
    assert_eq!(wharf.get("/api/sessions?all=true").await.json()[0]["name"], "a");

    wharf.post("/api/sessions/a/start", json!({})).await;
    let second = wharf.link().await;
    second.work();
    wharf.until_status("a", "WORKING").await;
    wharf.post("/api/sessions/a/restart", json!({})).await;
    let third = wharf.link().await;
    assert!(second.engine.is_disconnected.load(Ordering::SeqCst));
    assert!(!third.engine.is_disconnected.load(Ordering::SeqCst));

    for _ in 0..2 {
        let gone = wharf.delete("/api/sessions/a").await;
        assert_eq!((gone.status, gone.bytes.len()), (200, 0));
    }
    assert!(third.engine.is_disconnected.load(Ordering::SeqCst));
    assert_eq!(wharf.get("/api/sessions/a").await.status, 404);
    assert_eq!(wharf.get("/api/sessions?all=true").await.json(), json!([]));
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_is_made_once_under_its_name_or_a_random_one() {
    let mut wharf = Wharf::start().await;
    let body = json!({"name": "a", "start": false});
    assert_eq!(
        wharf.post("/api/sessions", body.clone()).await.json()["status"],
        "STOPPED"
    );
    let again = wharf.post("/api/sessions", body).await;
    assert_eq!(again.status, 422);
    assert_eq!(
        again.json()["message"],
        "Session 'a' already exists. Use PUT to update it."
    );
    assert!(wharf.has_no_link());
    let random = wharf.post("/api/sessions", json!({"start": false})).await.json();
    let name = random["name"].as_str().unwrap();
    assert!(
        name.starts_with("session_") && name.len() == "session_".len() + 32,
        "{name}"
    );
    wharf.stop().await;
}

#[tokio::test]
async fn an_update_replaces_the_configuration_and_restarts_what_runs() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({"metadata": {"a": "b"}, "debug": true})).await;
    let update = json!({"config": {"client": {"deviceName": "Desk"}, "unknownField": 1}});
    let updated = wharf.put("/api/sessions/a", update).await;
    assert_eq!(
        (updated.status, updated.json()["config"].clone()),
        (200, json!({"client": {"deviceName": "Desk"}}))
    );
    assert_eq!(wharf.link().await.options.device_name, "Desk");
    wharf.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_the_server_only_what_ran_runs_again() {
    let mut wharf = Wharf::start().await;
    wharf.working("runs", json!({"metadata": {"a": "b"}})).await;
    wharf.working("stopped", json!({})).await;
    wharf.post("/api/sessions/stopped/stop", json!({})).await;
    let mut wharf = wharf.restart().await;
    let link = wharf.link().await;
    assert_eq!(link.options.session.as_str(), "runs");
    link.work();
    let session = wharf.until_status("runs", "WORKING").await;
    assert_eq!(session["config"], json!({"metadata": {"a": "b"}}));
    assert_eq!(wharf.get("/api/sessions/stopped").await.json()["status"], "STOPPED");
    assert_eq!(
        wharf.get("/api/sessions/stopped/me").await.json()["id"],
        "12025550100@c.us"
    );
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn logging_out_unlinks_and_comes_back_to_a_qr_code() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({"metadata": {"a": "b"}})).await;
    let answer = wharf.post("/api/sessions/a/logout", json!({})).await;
    assert_eq!(
        (answer.status, answer.json()["status"].clone()),
        (201, json!("STARTING"))
    );
    assert_eq!(
        (answer.json()["me"].clone(), answer.json()["config"].clone()),
        (Value::Null, json!({"metadata": {"a": "b"}}))
    );
    assert!(link.engine.is_logged_out.load(Ordering::SeqCst) && link.engine.is_disconnected.load(Ordering::SeqCst));
    wharf.link().await.show_qr("2@new");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    wharf.stop().await;
}

/// The answer to a send that had to wait until the session worked.
async fn sent_once_it_works(wharf: &Wharf, link: &Link) -> Answer {
    let body = json!({"session": "a", "chatId": "12025550101", "text": "hi"});
    let mut request = pin!(wharf.post("/api/sendText", body));
    tokio::select! {
        biased;
        answer = &mut request => panic!("the request must wait: {answer:?}"),
        () = others_are_served(wharf) => {}
    }
    link.work();
    request.await
}

/// Requests that come later are answered: by then an earlier one is where it has to wait, and a caller that has hung up
/// is known to have done so.
async fn others_are_served(wharf: &Wharf) {
    for _ in 0..OTHER_REQUESTS {
        assert_eq!(wharf.get("/ping").await.status, 200);
    }
}

#[tokio::test]
async fn a_request_waits_for_a_session_that_is_starting() {
    let mut wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    let link = wharf.link().await;
    let answer = sent_once_it_works(&wharf, &link).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_request_right_after_the_scan_waits_for_the_login() {
    let mut wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    let link = wharf.link().await;
    link.show_qr("2@x");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    link.inbox.signal(Signal::Linked(crate::harness::me()));
    let answer = sent_once_it_works(&wharf, &link).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_at_its_qr_code_says_where_to_scan() {
    let mut wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    wharf.link().await.show_qr("2@x");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    let answer = wharf.post("/api/sendText", json!({"session": "a"})).await;
    let body = answer.json();
    assert_eq!(answer.status, 422);
    assert_eq!(
        body["error"],
        "Session status is not as expected. Try again later or restart the session"
    );
    assert_eq!(
        (&body["session"], &body["status"], &body["expected"]),
        (&json!("a"), &json!("SCAN_QR_CODE"), &json!(["WORKING"]))
    );
    assert!(body["hint"].as_str().unwrap().contains("/api/a/auth/qr"));
    assert!(body.get("statusCode").is_none());
    wharf.stop().await;
}

#[tokio::test]
async fn a_deletion_is_finished_though_its_caller_hangs_up() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({})).await;
    let gate = link.engine.disconnecting.shut();
    tokio::select! {
        answer = wharf.delete("/api/sessions/a") => panic!("the deletion must wait: {answer:?}"),
        () = gate.reached() => {}
    }
    others_are_served(&wharf).await;
    gate.let_one_pass();
    // Whoever asks next waits for the first deletion, or finds nothing.
    assert_eq!(wharf.delete("/api/sessions/a").await.status, 200);
    assert_eq!(wharf.get("/api/sessions/a").await.status, 404);
    wharf.working("a", json!({})).await;
    wharf.stop().await;
}

#[tokio::test]
async fn two_deletions_at_the_same_time_both_succeed() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({})).await;
    let gate = link.engine.disconnecting.shut();
    let go_on = async {
        gate.reached().await;
        others_are_served(&wharf).await;
        gate.let_one_pass();
    };
    let delete = || wharf.delete("/api/sessions/a");
    let (first, second, ()) = tokio::join!(delete(), delete(), go_on);
    assert_eq!((first.status, second.status), (200, 200), "{first:?} {second:?}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_creation_is_finished_though_its_caller_hangs_up() {
    let mut wharf = Wharf::start().await;
    let gate = wharf.server_writes().shut();
    tokio::select! {
        answer = wharf.post("/api/sessions", json!({"name": "a"})) => panic!("the creation must wait: {answer:?}"),
        () = gate.reached() => {}
    }
    others_are_served(&wharf).await;
    wharf.server_writes().open();
    gate.let_one_pass();
    let link = wharf.link().await;
    assert_eq!(link.options.session.as_str(), "a");
    link.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn any_command_calls_off_a_connection_that_is_being_made() {
    let mut wharf = Wharf::start().await;
    let gate = wharf.connecting().shut();
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    gate.reached().await;
    let stopped = wharf.post("/api/sessions/a/stop", json!({})).await;
    assert_eq!(stopped.json()["status"], "STOPPED");
    wharf.post("/api/sessions/a/start", json!({})).await;
    gate.reached().await;
    wharf.post("/api/sessions/a/restart", json!({})).await;
    gate.reached().await;
    assert_eq!(wharf.delete("/api/sessions/a").await.status, 200);
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn deleting_a_session_unlinks_it_from_the_phone() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({})).await;
    assert_eq!(wharf.delete("/api/sessions/a").await.status, 200);
    assert!(link.engine.is_logged_out.load(Ordering::SeqCst) && link.engine.is_disconnected.load(Ordering::SeqCst));
    wharf.stop().await;
}

#[tokio::test]
async fn stopping_a_session_that_does_not_exist_is_fine() {
    let wharf = Wharf::start().await;
    let answer = wharf.post("/api/sessions/nobody/stop", json!({})).await;
    assert_eq!((answer.status, answer.bytes.len()), (201, 0));
    assert_eq!(wharf.get("/api/sessions/nobody").await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn logging_out_leaves_what_is_still_to_be_delivered() {
    const REFUSALS: usize = 15;
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answers(&[500; REFUSALS]);
    let mut webhook = receiver.webhook(&["message"]);
    webhook["retries"] = json!({"policy": "constant", "delaySeconds": 0.1, "attempts": 2 * REFUSALS});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    link.receive(text(ALICE, "A1", "hi")).await.unwrap();
    let first = receiver.event("message").await;
    let out = wharf.post("/api/sessions/a/logout", json!({})).await;
    assert_eq!((out.status, out.json()["me"].clone()), (201, Value::Null));
    // The refused attempts and the one that succeeds.
    for _ in 0..REFUSALS {
        let again = receiver.event("message").await;
        assert_eq!((&again["id"], &again["payload"]["body"]), (&first["id"], &json!("hi")));
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_that_has_failed_runs_again_when_it_is_changed_or_logged_out() {
    let mut wharf = Wharf::start().await;
    let failed = wharf.working("a", json!({})).await;
    failed.close(Closed::Replaced);
    wharf.until_status("a", "FAILED").await;
    let changed = wharf.put("/api/sessions/a", json!({"config": {"debug": false}})).await;
    assert_eq!(changed.json()["status"], "STARTING");
    let failed = wharf.link().await;
    failed.work();
    failed.close(Closed::Replaced);
    wharf.until_status("a", "FAILED").await;
    let out = wharf.post("/api/sessions/a/logout", json!({})).await;
    assert_eq!(out.json()["status"], "STARTING");
    wharf.link().await.show_qr("2@new");
    wharf.until_status("a", "SCAN_QR_CODE").await;

    wharf.post("/api/sessions/a/stop", json!({})).await;
    for answer in [
        wharf.put("/api/sessions/a", json!({"config": {}})).await,
        wharf.post("/api/sessions/a/logout", json!({})).await,
    ] {
        assert_eq!(answer.json()["status"], "STOPPED", "{answer:?}");
    }
    wharf.stop().await;
}
