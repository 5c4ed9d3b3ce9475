//! Reading the log: what is in it, how the documented reader goes on where it was, and what is not kept any more.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use wharf_core::store::Batch;

use crate::support::process::{Process, command};
use crate::support::rigged::{Judge, Verdict};
use crate::support::{ALICE, BOB, KEY, TestWharf, contract, within};

/// Lets everything be written.
struct Nobody;

impl Judge for Nobody {
    fn judge(&self, _: &Batch) -> Verdict {
        Verdict::Pass
    }

    fn written(&self, _: &Batch) {}
}

/// The events of a page, and where to go on.
async fn page(wharf: &TestWharf, query: &str) -> (Vec<Value>, String) {
    let page = wharf.get(&format!("/api/events?{query}")).await.expect(200);
    let events = page["events"].as_array().unwrap().clone();
    (events, page["cursor"].as_str().unwrap().to_owned())
}

fn bodies(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["payload"]["body"].as_str())
        .collect()
}

/// Reads the log in every way that the document declares; returns which.
pub(crate) async fn read_in_every_way(wharf: &TestWharf) -> [(&'static str, &'static str); 3] {
    let (events, _) = page(wharf, "limit=1").await;
    let id = events[0]["id"].as_str().unwrap();
    assert_eq!(wharf.get(&format!("/api/events/{id}")).await.expect(200), events[0]);
    let request = wharf.request(Method::GET, "/api/events/stream?after=oldest");
    let mut stream = request.header("x-api-key", KEY).send().await.unwrap();
    assert_eq!(
        (stream.status().as_u16(), &stream.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let first = within("the first event of the stream", stream.chunk())
        .await
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&first).contains(id), "{first:?}");
    [
        ("get", "/api/events"),
        ("get", "/api/events/{id}"),
        ("get", "/api/events/stream"),
    ]
}

#[tokio::test]
async fn the_log_has_what_webhooks_got() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    wharf.bob_writes(5).await;
    receiver
        .wait_for("the last text", |event| event["payload"]["body"] == "text 4")
        .await;
    let (events, _) = page(&wharf, "session=default").await;
    for event in &events {
        assert_eq!(contract::event_problem(event), None);
    }
    let posted = receiver.deliveries();
    for event in &events {
        let delivered = posted.iter().find(|delivery| delivery.event["id"] == event["id"]);
        assert!(delivered.is_none_or(|delivery| delivery.event == *event));
    }
    let (messages, _) = page(&wharf, "events=message").await;
    assert_eq!(bodies(&messages), ["text 0", "text 1", "text 2", "text 3", "text 4"]);
    wharf.finish().await;
}

#[tokio::test]
async fn the_documented_reader_goes_on_where_it_was() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/how-to/read-events.md");
    let manual = fs::read_to_string(manual).unwrap();
    let code = manual.split("```js\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("reader.mjs"), code).unwrap();
    let read = || {
        let mut command = command(Path::new("node"), folder.path());
        command
            .arg("reader.mjs")
            .env("KEY", KEY)
            .env("WHARF_URL", wharf.url(""));
        Process::start(command)
    };
    wharf
        .network
        .send(BOB, ALICE, "while it ran not yet", None)
        .await
        .unwrap();
    let mut reader = read();
    reader.line_with("while it ran not yet").await;
    wharf.network.send(BOB, ALICE, "while it ran", None).await.unwrap();
    reader.line_with("while it ran").await;
    let cursor = page(&wharf, "events=message").await.1;
    let kept = async {
        let mut looking = tokio::time::interval(Duration::from_millis(10));
        while fs::read_to_string(folder.path().join("cursor")).ok().as_deref() != Some(cursor.as_str()) {
            looking.tick().await;
        }
    };
    within("the reader to keep its cursor", kept).await;
    drop(reader);
    wharf.network.send(BOB, ALICE, "while it was away", None).await.unwrap();
    let mut reader = read();
    let line = reader.line_with("evt_").await;
    assert!(line.ends_with("while it was away"), "{line}");
    wharf.finish().await;
}

#[tokio::test]
async fn what_is_too_old_is_removed_and_who_wanted_it_is_told() {
    let (mut wharf, _receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    wharf.boot_rigged(Arc::new(Nobody)).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.network.send(BOB, ALICE, "long ago", None).await.unwrap();
    let found = async {
        let (mut events, mut cursor) = (Vec::new(), "oldest".to_owned());
        while events.is_empty() {
            (events, cursor) = page(&wharf, &format!("events=message&wait=10&after={cursor}")).await;
        }
        (events, cursor)
    };
    let (events, cursor) = within("the message in the log", found).await;
    assert_eq!(bodies(&events), ["long ago"]);
    let path = format!("/api/events/{}", events[0]["id"].as_str().unwrap());
    let day = Duration::from_secs(24 * 60 * 60);
    wharf.server_time.pass(13 * day);
    wharf.get(&path).await.expect(200);
    wharf.server_time.pass(2 * day);
    let removed = async {
        let mut looking = tokio::time::interval(Duration::from_millis(10));
        while wharf.get(&path).await.status != 404 {
            looking.tick().await;
        }
    };
    within("the event to be removed", removed).await;
    let refused = wharf.get(&format!("/api/events?after={cursor}")).await.expect(422);
    assert_eq!(
        refused,
        json!({
            "statusCode": 422,
            "message": format!("there is no event {cursor}: start with after=oldest or newest"),
            "error": "Unprocessable Entity",
        })
    );
    wharf.network.send(BOB, ALICE, "today", None).await.unwrap();
    let (events, _) = page(&wharf, "events=message&after=oldest&wait=20").await;
    assert_eq!(bodies(&events), ["today"]);
    wharf.finish().await;
}
