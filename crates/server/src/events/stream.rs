//! `/api/events/stream`: the events of the log as Server-Sent Events.
//!
//! The client takes what it can, and only that is read: a slow one holds up nobody and no memory. A stream that cannot go on
//! just ends; the client asks again with `Last-Event-ID`, and that answer says what is wrong.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::follow::{Follow, FollowError};
use super::log::LoggedEvent;

/// How often a stream without events says that it lives, as a comment.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// A stream from here on, until the server stops, the caller's key is `revoked`, or the client leaves. Counts as one of
/// the tasks of `running` for as long.
pub(crate) fn serve(
    follow: Follow,
    revoked: CancellationToken,
    stop: CancellationToken,
    running: TaskTrackerToken,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = unfold((follow, running), move |(mut follow, running)| {
        let (revoked, stop) = (revoked.clone(), stop.clone());
        async move {
            let next = tokio::select! {
                next = follow.next() => next,
                () = revoked.cancelled() => return None,
                () = stop.cancelled() => return None,
            };
            match next {
                Ok(event) => Some((Ok(sent(&event)?), (follow, running))),
                Err(FollowError::Store(error)) => {
                    tracing::error!(%error, "an event stream cannot read the log");
                    None
                }
                Err(_) => None,
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT_EVERY).text("still here"))
}

fn sent(event: &LoggedEvent) -> Option<Event> {
    // Envelopes are JSON, so they are UTF-8 without a line break.
    let body = std::str::from_utf8(&event.body).ok()?;
    Some(
        Event::default()
            .id(event.id.as_str())
            .event(event.name.as_str())
            .data(body),
    )
}
