//! `/api/events/stream`: the events of the log as Server-Sent Events.
//!
//! The client takes what it can, and only that is read: a slow one holds up nobody and no memory. A stream that cannot go on
//! just ends; the client asks again with `Last-Event-ID`, and that answer says what is wrong. What is told runs in a task of
//! its own, because a body whose client takes nothing is asked for nothing, and could not even end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::follow::{Follow, FollowError};
use super::log::{EventLog, LoggedEvent};
use super::seats::Seat;

/// How often a stream without events says that it lives, as a comment.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// A stream that is about to begin.
pub(crate) struct Telling {
    /// What it tells.
    pub(crate) follow: Follow,
    /// Its place among all readers.
    pub(crate) seat: Seat,
    /// Fires with the caller's key.
    pub(crate) revoked: CancellationToken,
    /// Fires when the server stops.
    pub(crate) stop: CancellationToken,
}

impl Telling {
    /// The stream, and what has to run for it: until the server stops, the key is revoked, or the client leaves or takes
    /// nothing for too long.
    pub(crate) fn begin(
        self,
        log: &Arc<EventLog>,
    ) -> (
        Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>,
        impl Future<Output = ()> + use<>,
    ) {
        let (told, mut taken) = mpsc::channel(1);
        let events = stream::poll_fn(move |context| taken.poll_recv(context)).map(Ok);
        // Also what was told already: it is nothing for this key any more.
        let events = events.take_until(self.revoked.clone().cancelled_owned());
        let alive = KeepAlive::new().interval(HEARTBEAT_EVERY).text("still here");
        (Sse::new(events).keep_alive(alive), self.run(told, Arc::clone(log)))
    }

    async fn run(self, told: mpsc::Sender<Event>, log: Arc<EventLog>) {
        let Self {
            mut follow,
            seat: _seat,
            revoked,
            stop,
        } = self;
        let over = async {
            tokio::select! {
                () = revoked.cancelled() => {}
                () = stop.cancelled() => {}
                () = told.closed() => {}
            }
        };
        tokio::select! {
            biased;
            () = over => {}
            () = tell(&mut follow, &told, &log) => {}
        }
    }
}

async fn tell(follow: &mut Follow, told: &mpsc::Sender<Event>, log: &EventLog) {
    loop {
        let event = match follow.next().await {
            Ok(event) => event,
            Err(FollowError::Store(error)) => {
                tracing::error!(%error, "an event stream cannot read the log");
                return;
            }
            Err(_) => return,
        };
        let Some(event) = sent(&event) else {
            return;
        };
        match timeout(log.stall_max(), told.send(event)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                log.metrics().too_slow();
                return;
            }
        }
    }
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

#[cfg(test)]
mod tests;
