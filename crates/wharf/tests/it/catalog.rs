//! The catalog of events as users meet it: the README, and the lists of names that a session takes.

use std::fs;
use std::path::Path;

use serde_json::json;
use wharf_core::events::{EventName, Stage};

use crate::support::{Receiver, TestWharf};

#[test]
fn the_readme_names_the_events_that_come_and_no_others() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(path).unwrap();
    let row = readme.lines().find(|line| line.starts_with("| Events |")).unwrap();
    let mut columns = row.split(" | ");
    let works = columns.nth(1).unwrap();
    let named: Vec<_> = works.split('`').skip(1).step_by(2).collect();
    for event in EventName::ALL {
        let comes = event.stage() == Stage::Emitted;
        assert_eq!(named.contains(&event.as_str()), comes, "{event} in: {works}");
    }
}

#[tokio::test]
async fn a_session_names_its_events_one_by_one() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    let with = |events: &[&str]| json!({ "config": { "webhooks": [{ "url": receiver.url(), "events": events }] } });
    let all: Vec<_> = EventName::ALL.iter().map(|event| event.as_str()).collect();
    wharf.post("/api/sessions", with(&all)).await.expect(201);
    for wrong in [&["*"][..], &["message", "*"], &["massage"]] {
        let refused = wharf.post("/api/sessions", with(wrong)).await.expect(400);
        let message = refused["message"][0].as_str().unwrap();
        let says =
            "config.webhooks.0.each value in events must be one of the following values: session.status, message, ";
        assert!(message.starts_with(says), "{wrong:?}: {message}");
    }
    wharf.finish().await;
}
