//! Which sessions run when the server starts.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::Wharf;

/// The sessions of the next connections.
async fn next_links(wharf: &mut Wharf, count: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..count {
        names.insert(wharf.link().await.options.session.to_string());
    }
    names
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn those_that_are_named_start_and_are_made_where_they_are_not_there() {
    let mut wharf = Wharf::start_with(&[("WHATSAPP_START_SESSION", "a, b")]).await;
    assert_eq!(next_links(&mut wharf, 2).await, names(&["a", "b"]));
    wharf.post("/api/sessions/a/stop", json!({})).await;
    let update = json!({"config": {"metadata": {"kept": "yes"}}});
    wharf.put("/api/sessions/a", update).await;
    let mut wharf = wharf.restart().await;
    assert_eq!(next_links(&mut wharf, 2).await, names(&["a", "b"]));
    let kept = wharf.get("/api/sessions/a").await.json();
    assert_eq!(kept["config"]["metadata"]["kept"], "yes");
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn all_of_them_start_where_that_is_asked() {
    let mut wharf = Wharf::start_with(&[("WHATSAPP_RESTART_ALL_SESSIONS", "True")]).await;
    wharf.working("ran", json!({})).await;
    wharf
        .post("/api/sessions", json!({"name": "never", "start": false}))
        .await;
    let mut wharf = wharf.restart().await;
    assert_eq!(next_links(&mut wharf, 2).await, names(&["never", "ran"]));
    wharf.stop().await;
}

#[tokio::test]
async fn none_starts_where_that_is_asked() {
    let mut wharf = Wharf::start_with(&[("WAHA_WORKER_RESTART_SESSIONS", "False")]).await;
    wharf.working("ran", json!({})).await;
    let mut wharf = wharf.restart().await;
    assert_eq!(wharf.get("/api/sessions/ran").await.json()["status"], "STOPPED");
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn they_start_with_a_delay_in_between_that_a_command_cuts_short() {
    let settings = [
        ("WHATSAPP_START_SESSION", "a,b,c"),
        ("WAHA_AUTO_START_DELAY_SECONDS", "1"),
    ];
    let started = Instant::now();
    let mut wharf = Wharf::start_with(&settings).await;
    assert_eq!(next_links(&mut wharf, 1).await, names(&["a"]));
    let waits = wharf.get("/api/sessions/c").await.json();
    assert_eq!(waits["status"], "STARTING");
    wharf.post("/api/sessions/c/stop", json!({})).await;
    assert_eq!(next_links(&mut wharf, 1).await, names(&["b"]));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(wharf.get("/api/sessions/c").await.json()["status"], "STOPPED");
    wharf.stop().await;
}

#[tokio::test]
async fn sessions_whose_last_connection_is_not_gone_take_no_place_from_others() {
    /// As many as there are places.
    const WAITING: usize = 32;
    let mut wharf = Wharf::start_with(&[("WHARF_CONNECTS_PER_SECOND", "1000")]).await;
    let gate = wharf.vacating().shut();
    for number in 0..WAITING {
        wharf
            .post("/api/sessions", json!({"name": format!("waits-{number}")}))
            .await;
        gate.reached().await;
    }
    wharf.vacating().open();
    wharf.post("/api/sessions", json!({"name": "other"})).await;
    assert_eq!(wharf.link().await.options.session.to_string(), "other");
    gate.let_one_pass();
    assert_ne!(wharf.link().await.options.session.to_string(), "other");
    wharf.stop().await;
}
