//! Commands to one session, from many callers at the same time and in any order.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::RwLock;

use crate::support::seeded::{Numbers, seed};
use crate::support::{ALICE, TestWharf};

/// Callers at the same time.
const CALLERS: u64 = 100;
/// What each of them asks for at least, one after the other.
const COMMANDS_EACH: usize = 6;
/// A caller waits for fewer connections than this before it asks for the next thing.
const CONNECTIONS_AWAITED_MAX: u64 = 12;
/// The longest that it waits for them.
const PATIENCE_MS_MAX: u64 = 5_000;
/// Connections in the meantime: until then the commands have only called each other off, so they go on.
const CONNECTIONS_MIN: u64 = 8;
/// How often a phone links the session in the meantime, so that the commands are also given to one that is linked.
const LINKS: usize = 3;
/// How often a caller looks for connections.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The longest that all of them together may take.
const OBEYED_WITHIN: Duration = Duration::from_secs(120);

/// Asks for one thing, which is done or refused, but always answered.
async fn command(wharf: &TestWharf, choice: u64) {
    let session = "/api/sessions/default";
    let answer = match choice {
        0..=2 => wharf.post(&format!("{session}/start"), json!({})).await,
        3 => wharf.post(&format!("{session}/stop"), json!({})).await,
        4..=5 => wharf.post(&format!("{session}/restart"), json!({})).await,
        6 => {
            wharf
                .put(session, json!({ "config": { "metadata": { "n": "1" } } }))
                .await
        }
        7 => wharf.post("/api/sessions", json!({ "name": "default" })).await,
        8 => wharf.post(&format!("{session}/logout"), json!({})).await,
        _ => wharf.delete(session).await,
    };
    let status = answer.status.as_u16();
    // Where there is no session, where there is one already, and where it is deleted right now.
    assert!(matches!(status, 200 | 201 | 404 | 422 | 503), "{choice}: {answer:?}");
}

/// Runs all callers. `choices` says how much of what [`command`] knows they may ask for; all wait while `turn` is held.
async fn storm(wharf: &TestWharf, seed: u64, choices: u64, turn: &RwLock<()>) {
    let before = connections(wharf);
    let callers = (0..CALLERS).map(|caller| async move {
        let mut numbers = Numbers::of(seed.wrapping_add(caller));
        let mut asked = 0;
        while asked < COMMANDS_EACH || connections(wharf) < before + CONNECTIONS_MIN {
            let enough = connections(wharf) + numbers.below(CONNECTIONS_AWAITED_MAX);
            let patience = Duration::from_millis(numbers.below(PATIENCE_MS_MAX));
            let _ = tokio::time::timeout(patience, until_connected(wharf, enough)).await;
            let _turn = turn.read().await;
            command(wharf, numbers.below(choices)).await;
            asked += 1;
        }
    });
    tokio::time::timeout(OBEYED_WITHIN, join_all(callers))
        .await
        .expect("the session is stuck");
}

/// Links the session anew, whatever has become of it.
async fn link(wharf: &TestWharf) {
    let _ = wharf.post("/api/sessions", json!({ "name": "default" })).await;
    wharf.post("/api/sessions/default/logout", json!({})).await.expect(201);
    wharf.post("/api/sessions/default/start", json!({})).await.expect(201);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
}

/// How often a device has connected so far.
fn connections(wharf: &TestWharf) -> u64 {
    let handshakes = wharf.network.metrics().handshakes;
    handshakes.xx + handshakes.xxfallback + handshakes.ik
}

async fn until_connected(wharf: &TestWharf, enough: u64) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while connections(wharf) < enough {
        ticks.tick().await;
    }
}

#[tokio::test]
async fn a_linked_session_obeys_a_hundred_callers_and_never_connects_twice() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    // Without logging out and deleting: the device stays the same, and the network sees who uses it twice.
    storm(&wharf, seed(), 7, &RwLock::default()).await;
    wharf.post("/api/sessions/default/start", json!({})).await.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    assert_eq!(wharf.network.phone(ALICE).unwrap().devices.len(), 1);
    assert_eq!(wharf.network.metrics().replaced, 0, "two connections of one device");
    assert_eq!(wharf.network.metrics().connections, 1);
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_survives_a_hundred_callers_who_also_log_out_and_delete() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let turn = RwLock::default();
    let links = async {
        for _ in 0..LINKS {
            let held = turn.write().await;
            link(&wharf).await;
            drop(held);
            // The others go on where it is linked.
            let more = connections(&wharf) + 1;
            let patience = Duration::from_millis(PATIENCE_MS_MAX);
            let _ = tokio::time::timeout(patience, until_connected(&wharf, more)).await;
        }
    };
    tokio::join!(storm(&wharf, seed(), 10, &turn), links);
    link(&wharf).await;
    assert_eq!(wharf.network.metrics().replaced, 0, "two connections of one device");
    assert_eq!(wharf.network.metrics().connections, 1);
    wharf.finish().await;
}
