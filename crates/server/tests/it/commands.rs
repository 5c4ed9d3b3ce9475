//! Commands to one session from many callers, while its connections do all that connections can do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::timeout;
use wharf_core::engine::{Closed, Signal};

use crate::harness::{Link, Wharf};
use crate::seeded::{Numbers, seed};

/// Callers at the same time.
const CALLERS: u64 = 100;
/// What each of them asks for, one after the other.
const COMMANDS_EACH: usize = 6;
/// The longest that all of them together may take.
const OBEYED_WITHIN: Duration = Duration::from_secs(120);
/// A caller waits for at most so many connections before it asks for the next thing.
const CONNECTIONS_AWAITED_MAX: u64 = 12;
/// The longest that it waits for them.
const PATIENCE_MS_MAX: u64 = 5_000;
/// Connections in the meantime, at least: otherwise the commands would only have called each other off.
const CONNECTIONS_MIN: u64 = 10;

/// Asks for one thing, which is done or refused, but always answered.
async fn command(wharf: &Wharf, choice: u64) {
    let session = "/api/sessions/a";
    let answer = match choice {
        0..=2 => wharf.post(&format!("{session}/start"), json!({})).await,
        3 => wharf.post(&format!("{session}/stop"), json!({})).await,
        4 => wharf.post(&format!("{session}/restart"), json!({})).await,
        5 => wharf.put(session, json!({"config": {"debug": true}})).await,
        6 => wharf.post("/api/sessions/start", json!({"name": "a"})).await,
        7 => wharf.post("/api/sessions", json!({"name": "a"})).await,
        8 => wharf.post(&format!("{session}/logout"), json!({})).await,
        _ => wharf.delete(session).await,
    };
    // Where there is no session, where there is one already, where it is being deleted, and where its task panics.
    assert!(
        matches!(answer.status, 200 | 201 | 404 | 422 | 503),
        "{choice}: {answer:?}"
    );
}

/// Plays whatever a connection may do, for each that is made, and counts them.
async fn play(links: &mut UnboundedReceiver<Link>, mut numbers: Numbers, made: &watch::Sender<u64>) {
    while let Some(link) = links.recv().await {
        let reason = "as the test asked".to_owned();
        match numbers.below(8) {
            0..=2 => link.work(),
            3 => link.show_qr("2@x"),
            4 => link.close(Closed::Unexpected),
            5 => link.inbox.signal(Signal::Disconnected { reason }),
            6 => {
                link.work();
                link.engine.disconnecting_panics.store(true, Ordering::SeqCst);
            }
            // One that says nothing.
            _ => {}
        }
        made.send_modify(|made| *made += 1);
    }
}

#[tokio::test]
async fn a_session_obeys_a_hundred_callers_whatever_its_connections_do_and_never_has_two() {
    let mut wharf = Wharf::start_with(&[("WHARF_CONNECTS_PER_SECOND", "1000")]).await;
    let mut links = wharf.take_links();
    let seed = seed();
    let (made, connections) = watch::channel(0);
    let callers = (1..=CALLERS).map(|caller| {
        let (wharf, mut made) = (&wharf, connections.clone());
        async move {
            let mut numbers = Numbers::of(seed.wrapping_add(caller));
            for _ in 0..COMMANDS_EACH {
                let enough = *made.borrow() + numbers.below(CONNECTIONS_AWAITED_MAX);
                let patience = Duration::from_millis(numbers.below(PATIENCE_MS_MAX));
                let _ = timeout(patience, made.wait_for(|made| *made >= enough)).await;
                command(wharf, numbers.below(10)).await;
            }
        }
    });
    tokio::select! {
        obeyed = timeout(OBEYED_WITHIN, join_all(callers)) => drop(obeyed.expect("the session is stuck")),
        () = play(&mut links, Numbers::of(seed), &made) => panic!("the server is gone"),
    }
    let count = *connections.borrow();
    assert!(count >= CONNECTIONS_MIN, "only {count} connections were made");

    wharf.post("/api/sessions/start", json!({"name": "a"})).await;
    wharf.post("/api/sessions/a/restart", json!({})).await;
    tokio::select! {
        _ = wharf.until_status("a", "WORKING") => {}
        () = async { while let Some(link) = links.recv().await { link.work() } } => panic!("the server is gone"),
    }
    wharf.stop().await;
}
