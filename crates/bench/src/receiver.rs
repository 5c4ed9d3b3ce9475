//! A receiver of webhooks, as fast as one can be: takes every event with 200 and counts.
//!
//! Events are those of texts that the sandbox network sent as traffic: they end with the time at which they were sent.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The first argument of a process that is a receiver; the second one is where it listens.
pub(crate) const MODE: &str = "receiver";
/// A free port of this machine.
pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// What came.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Events.
    pub(crate) events: usize,
    /// Requests with an event that had come before.
    pub(crate) again: usize,
}

#[derive(Default)]
struct Received {
    ids: HashSet<String>,
    again: usize,
    latencies_ms: Vec<f64>,
}

type Shared = Arc<Mutex<Received>>;

/// As much of an event as is looked at.
#[derive(Deserialize)]
struct Event<'e> {
    id: &'e str,
    #[serde(borrow)]
    payload: Payload<'e>,
}

#[derive(Deserialize)]
struct Payload<'e> {
    body: &'e str,
}

/// Listens, says where, and receives until the process is ended.
pub(crate) async fn run(listen: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.context("cannot listen")?;
    writeln!(
        std::io::stdout().lock(),
        "receiving on http://{}/",
        listener.local_addr()?
    )?;
    let router = Router::new()
        .route("/", post(receive))
        .route("/counts", get(counts))
        .route("/latencies", get(latencies))
        .with_state(Shared::default());
    axum::serve(listener, router).await?;
    Ok(())
}

async fn receive(State(received): State<Shared>, body: Bytes) -> StatusCode {
    let now_ms = now_ms();
    let Ok(event) = serde_json::from_slice::<Event<'_>>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut received = lock(&received);
    if !received.ids.insert(event.id.to_owned()) {
        received.again += 1;
        return StatusCode::OK;
    }
    let sent_ms = event
        .payload
        .body
        .rsplit(' ')
        .next()
        .and_then(|at| at.parse::<f64>().ok());
    received.latencies_ms.extend(sent_ms.map(|sent_ms| now_ms - sent_ms));
    StatusCode::OK
}

async fn counts(State(received): State<Shared>) -> Json<Counts> {
    let received = lock(&received);
    Json(Counts {
        events: received.ids.len(),
        again: received.again,
    })
}

/// Those that nobody has asked for yet.
async fn latencies(State(received): State<Shared>) -> Json<Vec<f64>> {
    Json(std::mem::take(&mut lock(&received).latencies_ms))
}

/// The guarded values are plain data, valid even if a holder panicked.
fn lock(received: &Shared) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is compared with the clock of another process on this machine"
)]
fn now_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(f64::NAN, |since| since.as_secs_f64() * 1e3)
}
