//! What a session runs with: its own configuration, and the server's where that says nothing.

use serde_json::{Value, json};
use tokio::time::timeout;
use wharf_core::engine::{EngineError, HistoryDepth, Signal};
use wharf_core::message::Message;

use crate::harness::{ALICE, KEY, Link, PATIENCE, Wharf, me, text};
use crate::websocket::{event, open};

const GROUP: &str = "120363000000000001@g.us";
const CHANNEL: &str = "120363000000000002@newsletter";
const STATUS: &str = "status@broadcast";
const LIST: &str = "1600000000@broadcast";

/// A message that was written on the account's phone.
fn own(chat: &str, id: &str) -> Message {
    let mut message = text(chat, id, "from the phone");
    message.id.from_me = true;
    (message.from, message.to) = (message.to, message.from);
    message
}

/// The chats of which a session tells, and those of which it keeps messages, when one comes in each of them.
async fn told_and_kept(variables: &[(&str, &str)], ignore: Value) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut wharf = Wharf::start_with(variables).await;
    let link = wharf.working("a", json!({"ignore": ignore})).await;
    let query = format!("x-api-key={KEY}&events=message.any");
    let mut socket = open(&wharf, &query).await.unwrap();
    let (mut told, mut kept) = (Vec::new(), Vec::new());
    for chat in [GROUP, CHANNEL, STATUS, LIST, ALICE] {
        link.receive(own(chat, "OWN")).await.unwrap();
        link.receive(text(chat, "THEIRS", "hello")).await.unwrap();
    }
    loop {
        let body = event(&mut socket).await;
        let id = body["payload"]["id"].as_str().unwrap();
        let chat = [GROUP, CHANNEL, STATUS, LIST, ALICE]
            .into_iter()
            .find(|chat| id.contains(chat));
        told.push(chat.unwrap());
        if id.starts_with(&format!("false_{ALICE}")) {
            break;
        }
    }
    for chat in [GROUP, CHANNEL, STATUS, LIST, ALICE] {
        // Without ids it takes the unread messages that are kept.
        let seen = wharf
            .post("/api/sendSeen", json!({"session": "a", "chatId": chat}))
            .await;
        assert_eq!(seen.status, 201, "{seen:?}");
        if !std::mem::take(&mut *link.engine.seen.lock().unwrap()).is_empty() {
            kept.push(chat);
        }
    }
    wharf.stop().await;
    assert_eq!(
        told.len() % 2,
        0,
        "of each chat own messages count as those of others: {told:?}"
    );
    told.dedup();
    (told, kept)
}

#[tokio::test]
async fn ignored_chats_are_neither_told_nor_kept() {
    let by_server = |name: &'static str| (name, "True");
    for (variables, ignore, expected) in [
        (vec![], json!(null), vec![GROUP, CHANNEL, STATUS, LIST, ALICE]),
        (
            vec![by_server("WAHA_SESSION_CONFIG_IGNORE_GROUPS")],
            json!(null),
            vec![CHANNEL, STATUS, LIST, ALICE],
        ),
        (
            vec![by_server("WAHA_SESSION_CONFIG_IGNORE_CHANNELS")],
            json!(null),
            vec![GROUP, STATUS, LIST, ALICE],
        ),
        (
            vec![by_server("WAHA_SESSION_CONFIG_IGNORE_STATUS")],
            json!(null),
            vec![GROUP, CHANNEL, LIST, ALICE],
        ),
        (
            vec![by_server("WAHA_SESSION_CONFIG_IGNORE_BROADCAST")],
            json!(null),
            vec![GROUP, CHANNEL, STATUS, ALICE],
        ),
        (
            vec![by_server("WAHA_SESSION_CONFIG_IGNORE_GROUPS")],
            json!({"broadcast": true}),
            vec![CHANNEL, STATUS, ALICE],
        ),
        (
            vec![by_server("WAHA_SESSION_CONFIG_IGNORE_GROUPS")],
            json!({"groups": false}),
            vec![GROUP, CHANNEL, STATUS, LIST, ALICE],
        ),
    ] {
        let (told, kept) = Box::pin(told_and_kept(&variables, ignore.clone())).await;
        assert_eq!((&told, &kept), (&expected, &expected), "{variables:?} {ignore}");
    }
}

#[tokio::test]
async fn what_is_sent_to_an_ignored_chat_is_told() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({"ignore": {"groups": true}})).await;
    let mut socket = open(&wharf, &format!("x-api-key={KEY}&events=message.any"))
        .await
        .unwrap();
    let body = json!({"session": "a", "chatId": GROUP, "text": "hello"});
    let sent = wharf.post("/api/sendText", body).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    assert_eq!(event(&mut socket).await["payload"]["id"], sent.json()["id"]);
    wharf.stop().await;
}

#[tokio::test]
async fn the_engine_is_told_how_to_show_the_device_and_how_much_history_to_ask_for() {
    let mut wharf = Wharf::start_with(&[
        ("WAHA_CLIENT_DEVICE_NAME", "Shop"),
        ("WAHA_CLIENT_BROWSER_NAME", "Edge"),
        ("WAHA_GOWS_DEVICE_HISTORY_SYNC_RECENT_SYNC_DAYS_LIMIT", "30"),
        (
            "WAHA_GOWS_DEVICE_HISTORY_SYNC_INITIAL_SYNC_MAX_MESSAGES_PER_CHAT",
            "100",
        ),
    ])
    .await;
    let shown = |link: &Link| (link.options.device_name.clone(), link.options.browser_name.clone());
    let plain = wharf.working("plain", json!({})).await;
    assert_eq!(shown(&plain), ("Shop".to_owned(), "Edge".to_owned()));
    let limits = HistoryDepth {
        recent_days_max: Some(30),
        messages_per_chat_max: Some(100),
        ..HistoryDepth::default()
    };
    assert_eq!(plain.options.history, limits);
    let config = json!({
        "client": {"deviceName": "Till"},
        "noweb": {"markOnline": true, "store": {"enabled": true, "fullSync": true}},
    });
    let own = wharf.working("own", config).await;
    assert_eq!(shown(&own), ("Till".to_owned(), "Edge".to_owned()));
    let full = HistoryDepth {
        full: Some(true),
        full_days_max: Some(365),
        ..limits
    };
    assert_eq!(own.options.history, full);
    wharf.stop().await;
}

/// Waits until a session has shown this, online or not, and nothing else before.
async fn shows(link: &Link, expected: &[bool]) {
    let mut shown = link.engine.shown.subscribe();
    let reached = shown.wait_for(|shown| shown.len() >= expected.len());
    let reached = timeout(PATIENCE, reached)
        .await
        .expect("nothing more was shown")
        .unwrap()
        .clone();
    assert_eq!(reached[..expected.len()], *expected);
}

async fn presence(wharf: &Wharf) -> Value {
    wharf.get("/api/sessions/a").await.json()["presence"].clone()
}

async fn type_something(wharf: &Wharf) {
    let typed = wharf
        .post("/api/startTyping", json!({"session": "a", "chatId": ALICE}))
        .await;
    assert_eq!(typed.status, 201, "{typed:?}");
}

#[tokio::test]
async fn a_session_is_online_when_it_connects() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({})).await;
    // The engine shows it as online by itself when it connects.
    assert_eq!(presence(&wharf).await, "online");
    let reason = "the socket is gone".to_owned();
    link.inbox.signal(Signal::Disconnected { reason });
    let lost = wharf.until_status("a", "STARTING").await;
    assert_eq!(lost["presence"], Value::Null);
    wharf.link().await.work();
    let back = wharf.until_status("a", "WORKING").await;
    assert_eq!(back["presence"], "online");
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_is_offline_a_while_after_it_connected_or_did_something() {
    let mut wharf = Wharf::start_with(&[("WAHA_PRESENCE_AUTO_ONLINE_DURATION_SECONDS", "1")]).await;
    let link = wharf.working("a", json!({})).await;
    shows(&link, &[false]).await;
    assert_eq!(presence(&wharf).await, "offline");
    type_something(&wharf).await;
    shows(&link, &[false, true, false]).await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_that_could_not_be_shown_as_offline_is_shown_so_at_the_next_try() {
    let mut wharf = Wharf::start_with(&[("WAHA_PRESENCE_AUTO_ONLINE_DURATION_SECONDS", "1")]).await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    let link = wharf.link().await;
    let timed_out = EngineError::TimedOut { seconds: 10 };
    link.engine.refuses.lock().unwrap().push_back(timed_out);
    link.work();
    shows(&link, &[false]).await;
    assert!(
        link.engine.refuses.lock().unwrap().is_empty(),
        "the first try was refused"
    );
    assert_eq!(presence(&wharf).await, "offline");
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_that_is_not_to_be_online_at_the_start_is_online_when_it_does_something() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({"noweb": {"markOnline": false}})).await;
    shows(&link, &[false]).await;
    type_something(&wharf).await;
    shows(&link, &[false, true]).await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_that_is_never_to_be_online_is_not_even_when_its_name_changes() {
    let mut wharf = Wharf::start_with(&[("WAHA_PRESENCE_AUTO_ONLINE", "False")]).await;
    let link = wharf.working("a", json!({})).await;
    shows(&link, &[false]).await;
    type_something(&wharf).await;
    link.inbox.signal(Signal::Renamed(me()));
    shows(&link, &[false, false]).await;
    assert_eq!(presence(&wharf).await, "offline");
    wharf.stop().await;
}

#[tokio::test]
async fn links_for_people_begin_with_the_public_address() {
    let mut wharf = Wharf::start_with(&[
        ("WAHA_BASE_URL", "http://waha:3000"),
        ("WAHA_PUBLIC_URL", "https://w.example.com/"),
    ])
    .await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    wharf.link().await.show_qr("2@code");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    let refused = wharf
        .post(
            "/api/sendText",
            json!({"session": "a", "chatId": ALICE, "text": "hello"}),
        )
        .await;
    let hint = refused.json()["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("https://w.example.com/api/a/auth/qr"), "{hint}");
    wharf.stop().await;
}
