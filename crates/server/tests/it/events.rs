//! The event log over HTTP: pages, cursors, filters, waiting, and who may read what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{ALICE, Answer, KEY, Link, PATIENCE, Wharf, text};
use crate::websocket::open;

/// A key of one session, which may do everything there.
pub(crate) async fn session_key(wharf: &Wharf, session: &str) -> Value {
    let body = json!({"isAdmin": false, "session": session, "isActive": true, "actions": null});
    let made = wharf.post("/api/keys", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

/// How a key ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Deleted,
    SwitchedOff,
    Moved,
}

impl Ending {
    pub(crate) const ALL: [Self; 3] = [Self::Deleted, Self::SwitchedOff, Self::Moved];

    /// Ends a key of a session.
    pub(crate) async fn end(self, wharf: &Wharf, key: &Value) {
        let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
        let (session, is_active) = match self {
            Self::Deleted => {
                assert_eq!(wharf.delete(&path).await.status, 200);
                return;
            }
            Self::SwitchedOff => (key["session"].as_str().unwrap(), false),
            Self::Moved => ("elsewhere", true),
        };
        let changed = json!({"isAdmin": false, "session": session, "isActive": is_active, "actions": null});
        assert_eq!(wharf.put(&path, changed).await.status, 200);
    }
}

async fn get_with(wharf: &Wharf, key: &Value, path: &str) -> Answer {
    let key = key["key"].as_str().unwrap();
    wharf
        .send(wharf.request(Method::GET, path).header("X-Api-Key", key))
        .await
}

/// Takes in so many messages; each is two events.
pub(crate) async fn receive(link: &Link, name: &str, count: usize) {
    for number in 0..count {
        let id = format!("{name}{number}");
        link.receive(text(ALICE, &id, &format!("{name} {number}")))
            .await
            .unwrap();
    }
}

/// A page of the log, and where to go on.
async fn page(wharf: &Wharf, query: &str) -> (Vec<Value>, String) {
    let answer = wharf.get(&format!("/api/events?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let events = body["events"].as_array().unwrap().clone();
    (events, body["cursor"].as_str().unwrap().to_owned())
}

/// What an event is, in short.
pub(crate) fn short(event: &Value) -> String {
    let what = event.pointer("/payload/body").or(event.pointer("/payload/status"));
    let (session, name) = (event["session"].as_str().unwrap(), event["event"].as_str().unwrap());
    format!("{session} {name} {}", what.and_then(Value::as_str).unwrap_or_default())
}

fn all(events: &[Value]) -> Vec<String> {
    events.iter().map(short).collect()
}

#[tokio::test]
async fn the_log_is_read_in_pages_from_the_first_event_to_the_last() {
    let mut wharf = Wharf::start().await;
    let a = wharf.working("a", json!({})).await;
    receive(&a, "text", 3).await;
    let (mut events, mut cursor) = (Vec::new(), "oldest".to_owned());
    loop {
        let (page, next) = page(&wharf, &format!("limit=2&after={cursor}")).await;
        assert!(page.len() <= 2);
        if page.is_empty() {
            assert_eq!(next, cursor, "a page of nothing stays where it is");
            break;
        }
        assert_eq!(page.last().unwrap()["id"], next.as_str());
        events.extend(page);
        cursor = next;
    }
    assert_eq!(
        all(&events)[events.len() - 6..],
        [
            "a message text 0",
            "a message.any text 0",
            "a message text 1",
            "a message.any text 1",
            "a message text 2",
            "a message.any text 2",
        ]
    );
    assert_eq!(short(&events[0]), "a session.status STARTING");
    assert_eq!(page(&wharf, "").await.0, events, "one page says the same as many");
    let one = wharf
        .get(&format!("/api/events/{}", events[0]["id"].as_str().unwrap()))
        .await;
    assert_eq!(one.json(), events[0]);
    assert_eq!(one.headers["content-type"], "application/json; charset=utf-8");
    wharf.stop().await;
}

#[tokio::test]
async fn filters_and_starts_choose_events() {
    let mut wharf = Wharf::start().await;
    let (a, b) = (wharf.working("a", json!({})).await, wharf.working("b", json!({})).await);
    let (nothing, now) = page(&wharf, "after=newest").await;
    assert!(nothing.is_empty());
    receive(&a, "to a", 1).await;
    receive(&b, "to b", 1).await;
    let of = async |query: &str| all(&page(&wharf, &format!("after={now}&{query}")).await.0);
    assert_eq!(of("session=b").await, ["b message to b 0", "b message.any to b 0"]);
    assert_eq!(of("events=message").await, ["a message to a 0", "b message to b 0"]);
    assert_eq!(
        of("events=message.any,message&session=a").await,
        ["a message to a 0", "a message.any to a 0"]
    );
    assert_eq!(of("events=*&session=*").await.len(), 4);
    let (none, cursor) = page(&wharf, &format!("after={now}&events=call.received")).await;
    assert!(none.is_empty());
    assert_ne!(cursor, now, "what was looked through is not looked through again");
    assert!(page(&wharf, &format!("after={cursor}")).await.0.is_empty());
    wharf.stop().await;
}

#[tokio::test]
async fn a_page_waits_for_events_and_comes_with_the_first() {
    let mut wharf = Wharf::start().await;
    let a = wharf.working("a", json!({})).await;
    let (_, now) = page(&wharf, "after=newest").await;
    let began = Instant::now();
    let query = format!("after={now}&events=message.any&wait=40");
    let waiting = page(&wharf, &query);
    let ((events, cursor), ()) = tokio::join!(waiting, receive(&a, "one", 1));
    assert_eq!(all(&events), ["a message.any one 0"]);
    assert!(began.elapsed() < Duration::from_secs(40), "it does not wait for more");
    // What does not fit does not end the wait.
    let began = Instant::now();
    let query = format!("after={cursor}&events=call.received&wait=1");
    let waiting = page(&wharf, &query);
    let ((events, _), ()) = tokio::join!(waiting, receive(&a, "two", 1));
    assert!(events.is_empty());
    assert!(began.elapsed() >= Duration::from_secs(1));
    wharf.stop().await;
}

#[tokio::test]
async fn wrong_queries_and_unknown_events_are_refused_with_what_to_do() {
    let wharf = Wharf::start().await;
    for (query, status, says) in [
        ("events=massage", 400, "there is no event 'massage'"),
        ("session=a/b", 400, "session name must be"),
        ("after=evt_1", 400, "after must be the id of an event, oldest or newest"),
        ("limit=0", 400, "limit must be a number from 1 to 1000"),
        ("limit=1001", 400, "limit must be a number from 1 to 1000"),
        ("wait=51", 400, "wait must be a number from 0 to 50"),
        ("wait=-1", 400, "wait must be a number from 0 to 50"),
        (
            "after=evt_01ktvc6zt8tc3t0pw2qhmnp8v3",
            422,
            "start with after=oldest or newest",
        ),
    ] {
        for path in ["/api/events", "/api/events/stream"] {
            if path.ends_with("stream") && (query.starts_with("limit") || query.starts_with("wait")) {
                continue;
            }
            let answer = wharf.get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, status, "{path}?{query}");
            let message = answer.json()["message"].to_string();
            assert!(message.contains(says), "{path}?{query}: {message}");
        }
    }
    for id in ["evt_01ktvc6zt8tc3t0pw2qhmnp8v3", "nonsense"] {
        assert_eq!(wharf.get(&format!("/api/events/{id}")).await.status, 404);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_key_of_a_session_learns_of_no_other() {
    let mut wharf = Wharf::start().await;
    let (a, b) = (wharf.working("a", json!({})).await, wharf.working("b", json!({})).await);
    receive(&a, "to a", 2).await;
    receive(&b, "to b", 2).await;
    let key = session_key(&wharf, "a").await;
    let (everything, newest) = page(&wharf, "").await;
    for query in ["", "session=*", "session=a", "session=*&events=*"] {
        let answer = get_with(&wharf, &key, &format!("/api/events?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        let events = body["events"].as_array().unwrap();
        assert!(!events.is_empty() && events.iter().all(|event| event["session"] == "a"));
        assert_eq!(body["cursor"], events.last().unwrap()["id"]);
    }
    assert_eq!(get_with(&wharf, &key, "/api/events?session=b").await.status, 403);
    assert_eq!(get_with(&wharf, &key, "/api/events?session=unknown").await.status, 403);
    // An event of another session looks like one that never was.
    assert_eq!(everything.last().unwrap()["session"], "b");
    let unknown = get_with(&wharf, &key, "/api/events?after=evt_01ktvc6zt8tc3t0pw2qhmnp8v3").await;
    let foreign = get_with(&wharf, &key, &format!("/api/events?after={newest}")).await;
    assert_eq!((unknown.status, foreign.status), (422, 422));
    let one = get_with(&wharf, &key, &format!("/api/events/{newest}")).await;
    assert_eq!(one.status, 404);
    let own = everything.iter().rfind(|event| event["session"] == "a").unwrap();
    let one = get_with(&wharf, &key, &format!("/api/events/{}", own["id"].as_str().unwrap())).await;
    assert_eq!(one.json(), *own);
    wharf.stop().await;
}

#[tokio::test]
async fn keys_of_a_session_have_so_many_readers_and_none_outlives_its_key() {
    const READERS_MAX: usize = 64;
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    wharf.working("b", json!({})).await;
    let (key, other) = (session_key(&wharf, "a").await, session_key(&wharf, "b").await);
    let query = format!("x-api-key={}", key["key"].as_str().unwrap());
    let mut sockets = Vec::new();
    for _ in 1..READERS_MAX {
        sockets.push(open(&wharf, &query).await.unwrap());
    }
    let waiting = get_with(&wharf, &key, "/api/events?after=newest&wait=50");
    let deleting = async {
        // Once there is no room any more, the page waits.
        let full = async {
            loop {
                let answer = get_with(&wharf, &key, "/api/events?limit=1").await;
                if answer.status != 200 {
                    return answer;
                }
            }
        };
        let full = timeout(PATIENCE, full).await.expect("the page does not count");
        assert_eq!(full.status, 429, "{full:?}");
        assert!(
            full.json()["message"].to_string().contains("close one first"),
            "{full:?}"
        );
        let path = format!("/api/events/stream?{query}");
        let stream = wharf.send(wharf.request(Method::GET, &path)).await;
        assert_eq!(stream.status, 429);
        assert!(open(&wharf, &query).await.is_err());
        assert_eq!(get_with(&wharf, &other, "/api/events?limit=1").await.status, 200);
        assert_eq!(wharf.get("/api/events?limit=1").await.status, 200);
        Ending::Deleted.end(&wharf, &key).await;
    };
    let (ended, ()) = tokio::join!(waiting, deleting);
    assert_eq!(ended.status, 403, "{ended:?}");
    wharf.stop().await;
}

#[tokio::test]
async fn events_are_there_after_a_restart_and_gone_with_their_session() {
    let mut wharf = Wharf::start().await;
    let (a, b) = (wharf.working("a", json!({})).await, wharf.working("b", json!({})).await);
    receive(&a, "to a", 2).await;
    receive(&b, "to b", 2).await;
    let (_, cursor) = page(&wharf, "session=a").await;
    let mut wharf = wharf.restart().await;
    let (mut a, mut b) = (wharf.link().await, wharf.link().await);
    if a.options.session.as_str() == "b" {
        (a, b) = (b, a);
    }
    a.work();
    b.work();
    wharf.until_status("a", "WORKING").await;
    receive(&a, "later", 1).await;
    let (events, _) = page(&wharf, &format!("session=a&events=message&after={cursor}")).await;
    assert_eq!(all(&events), ["a message later 0"]);
    assert_eq!(wharf.delete("/api/sessions/a").await.status, 200);
    let (events, _) = page(&wharf, "").await;
    assert!(
        !events.is_empty() && events.iter().all(|event| event["session"] == "b"),
        "{:?}",
        all(&events)
    );
    // Who reads all sessions goes on behind events that are gone.
    assert_eq!(wharf.get(&format!("/api/events?after={cursor}")).await.status, 200);
    wharf.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_misses_nothing_while_sessions_write_at_the_same_time() {
    let mut wharf = Wharf::start().await;
    let mut links = Vec::new();
    for name in ["a", "b", "c", "d"] {
        links.push(Arc::new(wharf.working(name, json!({})).await));
    }
    let each = 60;
    let (_, mut cursor) = page(&wharf, "after=newest").await;
    let mut writing = tokio::task::JoinSet::new();
    for link in links {
        writing.spawn(async move { receive(&link, "text", each).await });
    }
    let mut read = Vec::new();
    while read.len() < 4 * each * 2 {
        let (events, next) = page(&wharf, &format!("limit=7&wait=20&after={cursor}")).await;
        assert!(!events.is_empty(), "only {} came", read.len());
        read.extend(events);
        cursor = next;
    }
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    let mut ids: Vec<_> = read.iter().map(|event| event["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4 * each * 2, "something came twice");
    for name in ["a", "b", "c", "d"] {
        let texts = read
            .iter()
            .filter(|event| event["session"] == name && event["event"] == "message");
        let texts: Vec<_> = texts.map(|event| event["payload"]["body"].clone()).collect();
        let expected: Vec<_> = (0..each).map(|number| json!(format!("text {number}"))).collect();
        assert_eq!(texts, expected);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn the_log_keeps_to_its_size_but_not_at_the_cost_of_what_is_still_to_be_delivered() {
    let mut wharf = Wharf::start_changed(&[], |config| config.events.bytes_max = 64 * 1024).await;
    let a = wharf.working("a", json!({})).await;
    let (first, _) = page(&wharf, "limit=1").await;
    let path = format!("/api/events/{}", first[0]["id"].as_str().unwrap());
    let mut count = 0;
    while wharf.get(&path).await.status == 200 {
        a.receive(text(ALICE, &format!("A{count}"), &"x".repeat(1_000)))
            .await
            .unwrap();
        count += 1;
        assert!(count < 5_000, "the first event is never removed");
    }
    // A receiver that is down keeps its events, and what came after them.
    let nobody = json!({"url": "http://127.0.0.1:9/", "events": ["message"], "retries": {"delaySeconds": 600}});
    let b = wharf.working("b", json!({"webhooks": [nobody]})).await;
    b.receive(text(ALICE, "B", "still to be delivered")).await.unwrap();
    for number in 0..200 {
        a.receive(text(ALICE, &format!("C{number}"), &"x".repeat(1_000)))
            .await
            .unwrap();
    }
    let (of_b, _) = page(&wharf, "session=b&events=message").await;
    assert_eq!(all(&of_b), ["b message still to be delivered"]);
    wharf.stop().await;
}

#[tokio::test]
async fn without_a_key_nothing_is_told() {
    let wharf = Wharf::start().await;
    for path in [
        "/api/events",
        "/api/events/stream",
        "/api/events/evt_01ktvc6zt8tc3t0pw2qhmnp8v3",
    ] {
        assert_eq!(wharf.send(wharf.request(Method::GET, path)).await.status, 401, "{path}");
    }
    let in_query = format!("/api/events?x-api-key={KEY}");
    assert_eq!(wharf.send(wharf.request(Method::GET, &in_query)).await.status, 401);
    wharf.stop().await;
}
