//! `/ws`: the same events as webhooks get, from the log and then live.
//!
//! A socket starts with what happens from now on, or behind the event that it names. One that reads slowly gets everything,
//! late; one that takes nothing for too long is closed with a reason, and goes on where it was with its next socket. A wrong
//! query closes the socket with code 4001 and a JSON reason, as in WAHA.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures::{Sink, SinkExt, Stream, StreamExt, poll};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::filter::{Filter, FilterError, Start};
use super::follow::{Follow, FollowError};
use super::log::{EventLog, LoggedEvent};
use super::seats::Seat;
use crate::keys::Caller;

/// How often a socket is pinged.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Without any sign of life for this long a socket is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest that a close frame may take to be written, and to be answered.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of the reason in a close frame (RFC 6455, 5.5.1: 125 with the code).
const REASON_BYTES_MAX: usize = 123;
/// The server stops (RFC 6455, 7.4.1: going away).
const CLOSE_GOING_AWAY: u16 = 1001;
/// The store fails (RFC 6455, 7.4.1: internal error).
const CLOSE_INTERNAL: u16 = 1011;
/// The query is wrong; WAHA's code.
const CLOSE_WRONG_QUERY: u16 = 4001;
/// The key was deleted, switched off or changed; ours.
const CLOSE_REVOKED: u16 = 4003;
/// The client is too slow; ours.
const CLOSE_TOO_SLOW: u16 = 4008;

/// What to close a socket with; nothing where the other side has ended it.
type Closing = Option<(u16, Utf8Bytes)>;

/// How long a client may take.
struct Patience {
    /// Between two pings.
    ping_every: Duration,
    /// Until any sign of life.
    silence_max: Duration,
    /// For one frame.
    stall_max: Duration,
}

/// What comes next on a socket.
enum Next {
    /// It is time for a ping.
    Ping,
    /// The client said something, or has left.
    Received(Option<Result<Message, axum::Error>>),
    /// There is something to tell.
    Event(Result<Arc<LoggedEvent>, FollowError>),
}

/// A socket that is about to open. Follows the log since before the handshake, so that its client misses nothing that comes
/// after it.
pub(crate) struct Opening {
    follow: Result<Follow, (u16, Utf8Bytes)>,
    revoked: CancellationToken,
    log: Arc<EventLog>,
    _seat: Seat,
}

impl Opening {
    /// A socket for what the query asks, as far as the caller may read it.
    pub(crate) async fn new(query: &str, caller: &Caller, log: Arc<EventLog>, seat: Seat) -> Self {
        Self {
            revoked: caller.revoked(),
            follow: follow(query, caller, Arc::clone(&log)).await,
            log,
            _seat: seat,
        }
    }

    /// Serves the socket until either side ends it.
    pub(crate) async fn serve(self, mut socket: WebSocket, stop: CancellationToken) {
        let closing = match self.follow {
            Ok(follow) => {
                let patience = Patience {
                    ping_every: PING_EVERY,
                    silence_max: SILENCE_MAX,
                    stall_max: self.log.stall_max(),
                };
                let told = tell(&mut socket, follow, &patience, over(&self.revoked, &stop)).await;
                if told.as_ref().is_some_and(|(code, _)| *code == CLOSE_TOO_SLOW) {
                    self.log.metrics().too_slow();
                }
                told
            }
            Err(closing) => Some(closing),
        };
        if let Some((code, reason)) = closing {
            let frame = CloseFrame { code, reason };
            // The other side may be gone already.
            let _ = timeout(CLOSE_WITHIN, socket.send(Message::Close(Some(frame)))).await;
            // What is on its way would be lost with the socket; the answer says that it was read.
            let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
            let _ = timeout(CLOSE_WITHIN, stop.run_until_cancelled(answered)).await;
        }
    }
}

async fn follow(query: &str, caller: &Caller, log: Arc<EventLog>) -> Result<Follow, (u16, Utf8Bytes)> {
    let read = || {
        let filter = Filter::parse(query)?.confined_to(caller.session())?;
        Ok::<_, FilterError>((filter, Start::parse(query)?.unwrap_or(Start::Newest)))
    };
    let (filter, start) = read().map_err(|error| (CLOSE_WRONG_QUERY, json_reason(&error.to_string())))?;
    Follow::new(log, filter, &start).await.map_err(|error| failed(&error))
}

/// Waits until the socket must end whatever its client does.
async fn over(revoked: &CancellationToken, stop: &CancellationToken) -> (u16, Utf8Bytes) {
    tokio::select! {
        () = revoked.cancelled() => (CLOSE_REVOKED, json_reason("the api key was changed or deleted")),
        () = stop.cancelled() => (CLOSE_GOING_AWAY, json_reason("the server stops, go on with after")),
    }
}

/// Tells the client what it asked for, until it is over, the client leaves, or is too slow.
async fn tell<S>(
    socket: &mut S,
    mut follow: Follow,
    patience: &Patience,
    over: impl Future<Output = (u16, Utf8Bytes)>,
) -> Closing
where
    S: Sink<Message> + Stream<Item = Result<Message, axum::Error>> + Unpin,
{
    let mut over = pin!(over);
    let mut pings = interval(patience.ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alive = Instant::now();
    let too_slow = |reason| Some((CLOSE_TOO_SLOW, json_reason(reason)));
    loop {
        // None of these keeps the others waiting.
        let next = async {
            tokio::select! {
                _ = pings.tick() => Next::Ping,
                received = socket.next() => Next::Received(received),
                event = follow.next() => Next::Event(event),
            }
        };
        let next = tokio::select! {
            // A key that is gone is told nothing more, whatever else there is.
            biased;
            closing = &mut over => return Some(closing),
            next = next => next,
        };
        let frame = match next {
            Next::Ping if alive.elapsed() > patience.silence_max => {
                return too_slow("pings were not answered for too long, go on with after");
            }
            Next::Ping => Message::Ping(bytes::Bytes::new()),
            // Whatever it says, it lives; pings are answered by the library.
            Next::Received(Some(Ok(Message::Close(_)) | Err(_)) | None) => return None,
            Next::Received(Some(Ok(_))) => {
                alive = Instant::now();
                continue;
            }
            Next::Event(Ok(event)) => text(&event)?,
            Next::Event(Err(error)) => return Some(failed(&error)),
        };
        let mut sending = socket.send(frame);
        if let Poll::Ready(sent) = poll!(&mut sending) {
            sent.ok()?;
            continue;
        }
        let sent = tokio::select! {
            biased;
            closing = &mut over => return Some(closing),
            sent = timeout(patience.stall_max, sending) => sent,
        };
        match sent {
            // There was no room until the client took something: it lives, though its answers to pings may be a long way
            // behind what it has still to read.
            Ok(sent) => sent.ok()?,
            Err(_) => return too_slow("nothing was read for too long, go on with after"),
        }
        alive = Instant::now();
    }
}

fn text(event: &LoggedEvent) -> Option<Message> {
    // Envelopes are JSON, so they are UTF-8.
    Utf8Bytes::try_from(event.body.clone()).ok().map(Message::Text)
}

fn failed(error: &FollowError) -> (u16, Utf8Bytes) {
    let code = match error {
        FollowError::UnknownEvent(_) => CLOSE_WRONG_QUERY,
        FollowError::Behind => CLOSE_TOO_SLOW,
        FollowError::Store(error) => {
            tracing::error!(%error, "a websocket cannot read the log");
            return (
                CLOSE_INTERNAL,
                json_reason("events cannot be read now, go on with after"),
            );
        }
    };
    (code, json_reason(&error.to_string()))
}

/// `{"error": …}`, cut so that it fits a close frame.
fn json_reason(error: &str) -> Utf8Bytes {
    let mut error = error.to_owned();
    loop {
        let reason = serde_json::json!({ "error": error }).to_string();
        if reason.len() <= REASON_BYTES_MAX || error.pop().is_none() {
            return reason.into();
        }
    }
}

#[cfg(test)]
mod tests;
