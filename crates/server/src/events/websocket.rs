//! `/ws`: the same events as webhooks get, from the log and then live.
//!
//! A socket starts with what happens from now on, or behind the event that it names. One that reads slowly gets everything,
//! late; one that takes nothing for too long is closed with a reason, and goes on where it was with its next socket. A wrong
//! query closes the socket with code 4001 and a JSON reason, as in WAHA.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::filter::{Filter, FilterError, Start};
use super::follow::{Follow, FollowError};
use super::log::{EventLog, LoggedEvent};
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

/// A socket that is about to open. Follows the log since before the handshake, so that its client misses nothing that comes
/// after it.
pub(crate) struct Opening {
    follow: Result<Follow, (u16, Utf8Bytes)>,
    revoked: CancellationToken,
    stall_max: Duration,
}

impl Opening {
    /// A socket for what the query asks, as far as the caller may read it.
    pub(crate) async fn new(query: &str, caller: &Caller, log: Arc<EventLog>) -> Self {
        Self {
            revoked: caller.revoked(),
            stall_max: log.stall_max(),
            follow: follow(query, caller, log).await,
        }
    }

    /// Serves the socket until either side ends it.
    pub(crate) async fn serve(self, mut socket: WebSocket, stop: CancellationToken) {
        let closing = match self.follow {
            Ok(follow) => tokio::select! {
                closing = stream(&mut socket, follow, self.stall_max) => closing,
                () = stop.cancelled() => Some((CLOSE_GOING_AWAY, Utf8Bytes::from_static("server stops"))),
                () = self.revoked.cancelled() => {
                    Some((CLOSE_REVOKED, json_reason("the api key was changed or deleted")))
                }
            },
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

async fn stream(socket: &mut WebSocket, mut follow: Follow, stall_max: Duration) -> Closing {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let frame = tokio::select! {
            event = follow.next() => match event {
                Ok(event) => text(&event)?,
                Err(error) => return Some(failed(&error)),
            },
            received = socket.recv() => match received {
                // Whatever it says, it lives; pings are answered by the library.
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
            },
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return None;
                }
                Message::Ping(bytes::Bytes::new())
            }
        };
        match timeout(stall_max, socket.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => {
                return Some((
                    CLOSE_TOO_SLOW,
                    json_reason("nothing was read for too long, go on with after"),
                ));
            }
        }
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
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_a_close_frame() {
        assert_eq!(json_reason("no").as_str(), r#"{"error":"no"}"#);
        assert!(json_reason(&"ü".repeat(200)).len() <= REASON_BYTES_MAX);
        let id = "evt_01ktvc6zt8tc3t0pw2qhmnp8v3".parse().unwrap();
        let (_, reason) = failed(&FollowError::UnknownEvent(id));
        assert!(reason.ends_with(r#"oldest or newest"}"#), "{reason}");
    }
}
