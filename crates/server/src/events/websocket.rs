//! `/ws`: the same events as webhooks get, live.
//!
//! A socket gets what happens from now on. One that reads too slowly is closed with a reason instead of slowing down
//! anybody. Wrong filters close the socket with code 4001 and a JSON reason, as in WAHA.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;
use wharf_core::events::EventName;
use wharf_core::ids::SessionName;

use super::log::{EventLog, LoggedEvent};

/// How often a socket is pinged.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Without any sign of life for this long a socket is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest that one frame may take to be written.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of the reason in a close frame (RFC 6455, 5.5.1: 125 with the code).
const REASON_BYTES_MAX: usize = 123;
/// The filters are wrong; WAHA's code.
const CLOSE_WRONG_FILTER: u16 = 4001;
/// The receiver is too slow; ours.
const CLOSE_TOO_SLOW: u16 = 4008;
/// The server stops (RFC 6455, 7.4.1: going away).
const CLOSE_GOING_AWAY: u16 = 1001;

/// What a socket wants to hear.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Of this session; of all where it is `None`.
    session: Option<SessionName>,
    /// These events; all but `engine.event` where it is `None`.
    events: Option<Vec<EventName>>,
}

impl Filter {
    /// The filter in a query: `session=*|name`, `events=*|name`, each `events` also more than once or with commas. The
    /// error says what is wrong with it.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let (mut session, mut events, mut all) = (None, Vec::new(), false);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "session" if value == "*" => session = None,
                "session" => session = Some(value.parse::<SessionName>().map_err(|error| error.to_string())?),
                "events" => {
                    for event in value.split(',').map(str::trim).filter(|event| !event.is_empty()) {
                        match event {
                            "*" => all = true,
                            event => events.push(event.parse::<EventName>().map_err(|error| error.to_string())?),
                        }
                    }
                }
                _ => {}
            }
        }
        let engine_events = all && events.contains(&EventName::EngineEvent);
        Ok(Self {
            session,
            events: match (all || events.is_empty(), engine_events) {
                (true, true) => Some(EventName::ALL.to_vec()),
                (true, false) => None,
                (false, _) => Some(events),
            },
        })
    }

    fn wants(&self, event: &LoggedEvent) -> bool {
        let session = self.session.as_ref().is_none_or(|session| *session == event.session);
        let name = match &self.events {
            Some(events) => events.contains(&event.name),
            None => event.name != EventName::EngineEvent,
        };
        session && name
    }
}

/// Serves one socket until either side ends it.
pub(crate) async fn serve(mut socket: WebSocket, query: String, log: Arc<EventLog>, stop: CancellationToken) {
    // Subscribed before anything is written, so that a client misses nothing that follows its handshake.
    let events = log.subscribe();
    let close = match Filter::parse(&query) {
        Ok(filter) => stream(&mut socket, &filter, events, stop).await,
        Err(error) => Some((CLOSE_WRONG_FILTER, json_reason(&error))),
    };
    if let Some((code, reason)) = close {
        let frame = CloseFrame { code, reason };
        // The other side may be gone already.
        let _ = timeout(WRITE_WITHIN, socket.send(Message::Close(Some(frame)))).await;
    }
}

/// Returns the code and reason to close with, or nothing where the other side has ended it.
async fn stream(
    socket: &mut WebSocket,
    filter: &Filter,
    mut events: Receiver<Arc<LoggedEvent>>,
    stop: CancellationToken,
) -> Option<(u16, Utf8Bytes)> {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let frame = tokio::select! {
            () = stop.cancelled() => return Some((CLOSE_GOING_AWAY, Utf8Bytes::from_static("server stops"))),
            event = events.recv() => match event {
                Ok(event) if filter.wants(&event) => text(&event)?,
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => {
                    return Some((CLOSE_TOO_SLOW, json_reason("events came faster than they were read")));
                }
                Err(RecvError::Closed) => return Some((CLOSE_GOING_AWAY, Utf8Bytes::from_static("server stops"))),
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
        match timeout(WRITE_WITHIN, socket.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return None,
        }
    }
}

fn text(event: &LoggedEvent) -> Option<Message> {
    // Envelopes are JSON, so they are UTF-8.
    Utf8Bytes::try_from(event.body.clone()).ok().map(Message::Text)
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

    fn event(session: &str, name: EventName) -> LoggedEvent {
        LoggedEvent {
            name,
            session: session.parse().unwrap(),
            body: bytes::Bytes::new(),
        }
    }

    #[test]
    fn no_filter_is_everything_but_engine_events() {
        for query in ["", "session=*&events=*", "x-api-key=k"] {
            let filter = Filter::parse(query).unwrap();
            assert!(filter.wants(&event("a", EventName::Message)), "{query}");
            assert!(!filter.wants(&event("a", EventName::EngineEvent)), "{query}");
        }
    }

    #[test]
    fn events_may_be_named_more_than_once_or_with_commas() {
        for query in [
            "session=a&events=message&events=message.ack",
            "session=a&events=message,message.ack",
        ] {
            let filter = Filter::parse(query).unwrap();
            assert!(filter.wants(&event("a", EventName::MessageAck)), "{query}");
            assert!(!filter.wants(&event("b", EventName::MessageAck)), "{query}");
            assert!(!filter.wants(&event("a", EventName::MessageAny)), "{query}");
        }
        let with_engine = Filter::parse("events=*&events=engine.event").unwrap();
        assert!(with_engine.wants(&event("a", EventName::EngineEvent)));
    }

    #[test]
    fn wrong_filters_say_what_is_wrong_and_fit_a_close_frame() {
        assert_eq!(
            Filter::parse("events=massage").unwrap_err(),
            "there is no event 'massage'"
        );
        assert!(Filter::parse("session=a/b").is_err());
        assert!(json_reason(&"ü".repeat(200)).len() <= REASON_BYTES_MAX);
    }
}
