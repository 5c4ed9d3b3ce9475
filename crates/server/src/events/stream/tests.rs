//! A stream whose client takes nothing.

use axum::body::BodyDataStream;
use axum::response::IntoResponse;
use tokio_util::task::TaskTracker;

use super::*;
use crate::events::follow::tests::{PATIENCE, Played};

/// A stream that nobody has read from yet.
struct Unread {
    body: BodyDataStream,
    revoked: CancellationToken,
    running: TaskTracker,
}

async fn begun(played: &Played) -> Unread {
    let (revoked, running) = (CancellationToken::new(), TaskTracker::new());
    let telling = Telling {
        follow: played.follow("after=newest").await,
        seat: played.log.seats().take(None).unwrap(),
        revoked: revoked.clone(),
        stop: CancellationToken::new(),
    };
    let (events, run) = telling.begin(&played.log);
    running.spawn(run);
    running.close();
    let body = events.into_response().into_body().into_data_stream();
    Unread { body, revoked, running }
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_seat() {
    let played = Played::new().await;
    let mut unread = begun(&played).await;
    for number in 0..3 {
        played.tell(&number.to_string());
    }
    let ended = timeout(PATIENCE, unread.running.wait()).await;
    ended.expect("it holds its seat for ever");
    assert_eq!(played.log.metrics().too_slow.get(), 1);
    // What it gets of it in the end is whole, and then nothing.
    let first = unread.body.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"id: ") && first.ends_with(b"\n\n"), "{first:?}");
    assert!(unread.body.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_ends_with_its_key_and_tells_nothing_more() {
    let played = Played::new().await;
    let mut unread = begun(&played).await;
    for number in 0..3 {
        played.tell(&number.to_string());
    }
    // So that the first event waits to be taken, and the second for room.
    let first = timeout(PATIENCE, unread.body.next()).await.unwrap();
    assert!(first.is_some());
    unread.revoked.cancel();
    timeout(PATIENCE, unread.running.wait())
        .await
        .expect("it goes on without a key");
    assert!(unread.body.next().await.is_none(), "told after the key was gone");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_seat_at_once() {
    let played = Played::new().await;
    let unread = begun(&played).await;
    drop(unread.body);
    timeout(PATIENCE, unread.running.wait())
        .await
        .expect("nobody is there any more");
}
