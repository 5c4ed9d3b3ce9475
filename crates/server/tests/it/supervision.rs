//! What becomes of a session whose connection fails, and how its supervisor sees to that.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use wharf_core::engine::{Closed, Signal};
use wharf_core::session::Me;
use wharf_server::config::Config;

use crate::harness::{ALICE, KEY, Link, Receiver, Wharf, me, text};

/// Connections that are set up at the same time.
const CONNECTS_AT_ONCE: usize = 32;
/// How long a connection may be silent in these tests; sooner than any to WhatsApp may be given up. Longer than a busy machine
/// holds up a test.
const SILENCE: Duration = Duration::from_secs(3);
/// Stopping leaves this much of the ten seconds that a container has to closing the storage.
const STOPS_WITHIN: Duration = Duration::from_secs(8);

fn impatient(config: &mut Config) {
    config.sessions.silence_max = SILENCE;
}

/// A session that has logged in. It may be too late to see it work: it is cut off once it was silent.
async fn logged_in(wharf: &mut Wharf, name: &str) -> Link {
    let made = wharf.post("/api/sessions", json!({"name": name})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let link = wharf.link().await;
    link.work();
    link
}

#[tokio::test]
async fn a_lost_connection_is_starting_until_it_is_back() {
    let mut wharf = Wharf::start().await;
    let first = wharf.working("a", json!({})).await;
    let reason = "socket closed".to_owned();
    first.inbox.signal(Signal::Disconnected { reason });
    let second = wharf.link().await;
    assert!(first.engine.is_disconnected.load(Ordering::SeqCst));
    // What the old connection still says means nothing, also once what was said after it is heard.
    first.work();
    let push_name = "heard".to_owned();
    second.inbox.signal(Signal::Renamed(Me { push_name, ..me() }));
    let session = wharf.until("a", "/me/pushName", "heard").await;
    assert_eq!(session["status"], "STARTING");
    second.work();
    wharf.until_status("a", "WORKING").await;
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn a_connection_that_ended_is_made_anew() {
    let mut wharf = Wharf::start().await;
    let first = wharf.working("a", json!({})).await;
    let reason = "storage is full".to_owned();
    first.close(Closed::StoreFailed { reason });
    let second = wharf.link().await;
    assert!(first.engine.is_disconnected.load(Ordering::SeqCst));
    // What the old connection still says means nothing.
    first.close(Closed::Replaced);
    second.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_made_anew_and_one_that_speaks_is_not() {
    let mut wharf = Wharf::start_changed(&[], impatient).await;
    let silent = logged_in(&mut wharf, "silent").await;
    // This test may be held up itself, so it remembers how long it said nothing.
    let (mut spoke, mut pause) = (Instant::now(), Duration::ZERO);
    let speaks = logged_in(&mut wharf, "speaks").await;
    let mut speaking = tokio::time::interval(Duration::from_millis(100));
    let second = loop {
        tokio::select! {
            _ = speaking.tick() => {
                pause = pause.max(spoke.elapsed());
                spoke = Instant::now();
                speaks.inbox.signal(Signal::Alive);
            }
            second = wharf.link() => break second,
        }
    };
    let was_cut = speaks.engine.is_disconnected.load(Ordering::SeqCst);
    let was_held_up = pause.max(spoke.elapsed()) >= SILENCE;
    assert!(!was_cut || was_held_up, "it spoke every {pause:?} at least");
    assert!(was_held_up || second.options.session.as_str() == "silent");
    assert!(was_held_up || silent.engine.is_disconnected.load(Ordering::SeqCst));
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_that_was_unlinked_says_so_and_starts_anew_with_nothing() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["session.status"])]});
    let link = wharf.working("a", config).await;
    link.receive(text(ALICE, "A1", "hi")).await.unwrap();
    let reason = "401".to_owned();
    link.close(Closed::LoggedOut { reason });
    wharf.until_status("a", "FAILED").await;
    let data = loop {
        let body = receiver.event("session.status").await;
        if body["payload"]["status"] == "FAILED" {
            break body["payload"]["data"].clone();
        }
    };
    assert_eq!(
        (&data["reason"], &data["details"]),
        (&json!("LOGGED_OUT"), &json!("401"))
    );
    assert_eq!(wharf.get("/api/sessions/a/me").await.json(), Value::Null);
    let refused = wharf
        .post("/api/sendText", json!({"session": "a", "chatId": "1", "text": "x"}))
        .await;
    assert_eq!(
        (refused.status, refused.json()["status"].clone()),
        (422, json!("FAILED"))
    );
    assert!(
        refused.json()["hint"]
            .as_str()
            .unwrap()
            .contains("/api/sessions/a/restart")
    );

    wharf.post("/api/sessions/a/restart", json!({})).await;
    let link = wharf.link().await;
    link.work();
    wharf.until_status("a", "WORKING").await;
    wharf
        .post("/api/sendSeen", json!({"session": "a", "chatId": ALICE}))
        .await;
    assert!(link.engine.seen.lock().unwrap().is_empty(), "the old messages are gone");
    wharf.stop().await;
}

#[tokio::test]
async fn a_damaged_session_folder_is_named_and_never_replaced() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    wharf.post("/api/sessions/a/stop", json!({})).await;
    let folder = wharf.folder().join("test").join("a");
    let wharf = {
        let kept = wharf.stop().await;
        let file = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let file = file
            .into_iter()
            .find(|file| file.extension().is_some_and(|end| end == "sqlite3"))
            .unwrap();
        std::fs::write(&file, b"this is not a database, and it is long enough to be looked at").unwrap();
        Wharf::on(kept).await
    };
    wharf.post("/api/sessions/a/start", json!({})).await;
    wharf.until_status("a", "FAILED").await;
    let refused = wharf
        .post("/api/sendText", json!({"session": "a", "chatId": "1", "text": "x"}))
        .await
        .json();
    assert!(
        refused["hint"].as_str().unwrap().contains("session.sqlite3"),
        "{refused}"
    );
    assert_eq!(wharf.delete("/api/sessions/a").await.status, 200);
    wharf.stop().await;
}

#[tokio::test]
async fn only_so_many_sessions_dial_at_once_and_the_others_wait_without_failing() {
    let mut wharf = Wharf::start().await;
    let mut links = Vec::new();
    for number in 0..CONNECTS_AT_ONCE {
        let made = wharf.post("/api/sessions", json!({"name": format!("n{number}")})).await;
        assert_eq!(made.status, 201, "{made:?}");
        links.push(wharf.link().await);
    }
    wharf.post("/api/sessions", json!({"name": "last"})).await;
    let body = json!({"session": "last", "chatId": ALICE, "text": "x"});
    let waited = wharf.post("/api/sendText", body).await;
    assert_eq!(
        (waited.status, waited.json()["status"].clone()),
        (422, json!("STARTING"))
    );
    assert!(wharf.has_no_link());
    links[0].show_qr("2@x");
    assert_eq!(wharf.link().await.options.session.as_str(), "last");
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_kept_for_too_long_makes_the_connection_anew() {
    let mut wharf = Wharf::start_changed(&[], impatient).await;
    let first = wharf.working("a", json!({})).await;
    wharf.session_writes().shut();
    let mut speaking = tokio::time::interval(Duration::from_millis(100));
    let mut kept = pin!(first.receive(text(ALICE, "A1", "hi")));
    let second = loop {
        tokio::select! {
            kept = &mut kept => panic!("nothing can be kept: {kept:?}"),
            _ = speaking.tick() => first.inbox.signal(Signal::Alive),
            second = wharf.link() => break second,
        }
    };
    assert!(first.engine.is_disconnected.load(Ordering::SeqCst));
    wharf.session_writes().open();
    second.receive(text(ALICE, "A1", "hi")).await.unwrap();
    wharf.stop().await;
}

#[tokio::test]
async fn a_connection_that_never_comes_to_its_login_is_made_anew() {
    let mut wharf = Wharf::start_with(&[("WHARF_SESSION_LOGIN_SECONDS", "3")]).await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    let silent = wharf.link().await;
    let scanned = wharf.link().await;
    assert!(silent.engine.is_disconnected.load(Ordering::SeqCst));
    scanned.show_qr("2@x");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    scanned.inbox.signal(Signal::Linked(me()));
    let works = wharf.link().await;
    assert!(scanned.engine.is_disconnected.load(Ordering::SeqCst));
    works.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn only_stanzas_are_signs_of_life() {
    let mut wharf = Wharf::start_changed(&[], impatient).await;
    let first = logged_in(&mut wharf, "a").await;
    let mut speaking = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = speaking.tick() => first.inbox.signal(Signal::Renamed(me())),
            _ = wharf.link() => break,
        }
    }
    assert!(first.engine.is_disconnected.load(Ordering::SeqCst));
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_that_cannot_reach_whatsapp_says_why() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["session.status"])]});
    let link = wharf.working("a", config).await;
    let reason = "connection reset".to_owned();
    link.inbox.signal(Signal::Disconnected { reason });
    let data = loop {
        let payload = receiver.event("session.status").await["payload"].clone();
        if payload["data"].is_object() {
            break payload["data"].clone();
        }
    };
    assert_eq!(data["reason"], "NOT_CONNECTED");
    assert!(data["message"].as_str().unwrap().contains("connection reset"), "{data}");
    let reason = "no route to host".to_owned();
    wharf.link().await.inbox.signal(Signal::ConnectFailed { reason });
    let body = json!({"session": "a", "chatId": ALICE, "text": "x"});
    let refused = wharf.post("/api/sendText", body).await;
    assert_eq!(
        (refused.status, refused.json()["status"].clone()),
        (422, json!("STARTING"))
    );
    let hint = refused.json()["hint"].clone();
    assert!(hint.as_str().unwrap().contains("no route to host"), "{hint}");
    wharf.stop().await;
}

#[tokio::test]
async fn the_server_stops_in_time_whatever_hangs() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["session.status"])]}))
        .await;
    receiver.post().await;
    let uri = format!("ws://{}/ws?x-api-key={KEY}", wharf.address());
    let (_socket, _) = tokio_websockets::ClientBuilder::new()
        .uri(&uri)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let (sending, ending) = (link.engine.sending.shut(), link.engine.disconnecting.shut());
    let send = wharf.post("/api/sendText", json!({"session": "a", "chatId": ALICE, "text": "x"}));
    tokio::select! {
        answer = send => panic!("the send must hang: {answer:?}"),
        () = sending.reached() => {}
    }
    let stopping = wharf.server().shut_down();
    tokio::time::timeout(STOPS_WITHIN, stopping)
        .await
        .expect("it takes too long");
    ending.reached().await;
}

#[tokio::test]
async fn a_panic_of_its_task_does_not_leave_a_session_that_obeys_nobody() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["session.status"])]});
    let first = wharf.working("a", config).await;
    first.engine.disconnecting_panics.store(true, Ordering::SeqCst);
    let cut_off = wharf.post("/api/sessions/a/stop", json!({})).await;
    assert_eq!(cut_off.status, 503, "{cut_off:?}");
    let data = loop {
        let payload = receiver.event("session.status").await["payload"].clone();
        if payload["data"].is_object() {
            break payload["data"].clone();
        }
    };
    assert_eq!(data["reason"], "CRASHED");
    // It was not stopped, so it comes back by itself, and obeys.
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;
    let stopped = wharf.post("/api/sessions/a/stop", json!({})).await;
    assert_eq!(stopped.json()["status"], "STOPPED");
    wharf.post("/api/sessions/a/start", json!({})).await;
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_panic_while_a_panic_is_seen_to_leaves_a_session_that_has_failed_and_obeys() {
    let mut wharf = Wharf::start().await;
    let first = wharf.working("a", json!({})).await;
    wharf.server_store_panics(true);
    let cut_off = wharf.put("/api/sessions/a", json!({})).await;
    assert_eq!(cut_off.status, 503, "{cut_off:?}");
    wharf.until_status("a", "FAILED").await;
    assert!(first.engine.is_disconnected.load(Ordering::SeqCst));
    wharf.server_store_panics(false);
    wharf.post("/api/sessions/a/start", json!({})).await;
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_newer_client_version_is_tried_and_none_to_try_is_told() {
    let mut wharf = Wharf::start().await;
    let first = wharf.working("a", json!({})).await;
    first.close(Closed::Renewed);
    wharf.link().await.close(Closed::Outdated);
    wharf.until_status("a", "FAILED").await;
    let body = json!({"session": "a", "chatId": ALICE, "text": "x"});
    let refused = wharf.post("/api/sendText", body).await.json();
    assert!(refused["hint"].as_str().unwrap().contains("update Wharf"), "{refused}");
    wharf.stop().await;
}

#[tokio::test]
async fn connections_begin_one_after_the_other() {
    const SESSIONS: u32 = 5;
    let mut wharf = Wharf::start_with(&[("WHARF_CONNECTS_PER_SECOND", "10")]).await;
    wharf.working("first", json!({})).await;
    let started = tokio::time::Instant::now();
    for number in 0..SESSIONS {
        wharf.post("/api/sessions", json!({"name": format!("n{number}")})).await;
    }
    for _ in 0..SESSIONS {
        wharf.link().await;
    }
    let passed = started.elapsed();
    assert!(passed >= Duration::from_millis(100) * (SESSIONS - 1), "{passed:?}");
    wharf.stop().await;
}
