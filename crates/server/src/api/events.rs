//! Events: reading the log in pages, as a stream, and by websocket.
//!
//! All three take the same filter and the same cursor, and none tells a key of one session of any other. Deliveries of
//! events to webhooks are [`super::webhooks`].

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{RawQuery, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::ids::EventId;

use super::AppState;
use super::error::{ApiError, ApiResult};
use super::extract::Id;
use crate::events::{Envelope, Filter, FilterError, Follow, FollowError, LoggedEvent, NoSeat, Opening, Start, Telling};
use crate::keys::Caller;

/// The most events, or deliveries, in an answer.
const LIMIT_MAX: u64 = 1_000;
/// As many are in an answer where the caller does not say.
const LIMIT_DEFAULT: u64 = 100;
/// The longest that an answer waits for events, in seconds. Proxies cut off what is silent for longer than a minute.
const WAIT_SECONDS_MAX: u64 = 50;
/// When a caller who has too many readers may ask again; until then one may have ended.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The most bytes that a client may send at once through a websocket, where it has nothing to say.
const CLIENT_BYTES_MAX: usize = 4 * 1024;
/// What a browser sends when it opens a stream again.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps nginx from collecting a stream before it passes it on.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(stream_events))
        .routes(routes!(get_event))
}

/// Some of the log.
#[derive(Serialize, ToSchema)]
struct EventPage {
    /// In the order of the log.
    #[schema(value_type = Vec<Envelope>)]
    events: Vec<Enveloped>,
    /// Where to go on: the next `after`, also where there were no events.
    #[schema(example = "evt_01ktvc6zt8tc3t0pw2qhmnp8v3")]
    cursor: String,
}

/// An event as it was logged, byte by byte.
struct Enveloped(Arc<LoggedEvent>);

impl Serialize for Enveloped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body: &RawValue = serde_json::from_slice(&self.0.body).map_err(S::Error::custom)?;
        body.serialize(serializer)
    }
}

/// Read the event log.
///
/// Events come in the order in which they were logged, which is not always that of their ids. Go on with `after` set to the
/// `cursor` of the answer before. One answer has a few megabytes at most, and looks through some thousands of events: there may
/// be fewer than `limit`, even none, while there are more behind the cursor.
#[utoipa::path(
    get, path = "/api/events", tag = "📨 Events",
    params(
        ("session" = Option<String>, Query, description = "Only of this session; `*` is all"),
        ("events" = Option<Vec<String>>, Query, description = "Only these, also separated by commas; `*`, and nothing, is all but `engine.event`"),
        ("after" = Option<String>, Query, description = "What comes behind this event; `oldest` is everything that is kept, and what is taken where this is left out; `newest` is what is logged from now on"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "At most so many; 100 where this is left out"),
        ("wait" = Option<u64>, Query, maximum = 50, description = "Waits for so many seconds until there are events")
    ),
    responses(
        (status = 200, description = "Some of the log", body = EventPage),
        (status = 422, description = "`after` is not, or not any more, in the log"),
        (status = 429, description = "Keys of the session have too many readers, or too many wrong keys were sent")
    ),
    security(("api_key" = ["read"]))
)]
async fn list_events(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<EventPage>> {
    let query = query.unwrap_or_default();
    let limit = page_limit(&query)?;
    let wait = number(&query, "wait", 0..=WAIT_SECONDS_MAX)?.unwrap_or_default();
    let start = Start::parse(&query)?.unwrap_or(Start::Oldest);
    let _seat = state.events.seats().take(caller.session())?;
    let mut follow = follow(&state, &caller, &query, &start).await?;
    let page = follow.page(limit, Duration::from_secs(wait));
    let events = unless_over(&caller.revoked(), &state.stop, page).await??;
    Ok(Json(EventPage {
        events: events.into_iter().map(Enveloped).collect(),
        cursor: follow.cursor().to_owned(),
    }))
}

/// What comes of this, unless the caller's key or the server ends before.
async fn unless_over<T>(
    revoked: &CancellationToken,
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> ApiResult<T> {
    tokio::select! {
        // A key that is gone is told nothing, whatever there is.
        biased;
        () = revoked.cancelled() => Err(ApiError::Forbidden { hint: "the key was changed or deleted".to_owned() }),
        () = stop.cancelled() => Err(ApiError::Unavailable("the server stops, ask again".to_owned())),
        done = work => Ok(done),
    }
}

/// Get one event, as receivers got it.
#[utoipa::path(
    get, path = "/api/events/{id}", tag = "📨 Events",
    params(("id" = String, Path, description = "The id of the event, `evt_…`")),
    responses((status = 200, description = "The event", body = Envelope)),
    security(("api_key" = ["read"]))
)]
async fn get_event(State(state): State<AppState>, caller: Caller, Id(id): Id) -> ApiResult<Response> {
    let event = known_event(&state, &caller, &id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], event.body).into_response())
}

/// An event that the caller may see.
pub(super) async fn known_event(state: &AppState, caller: &Caller, id: &str) -> ApiResult<LoggedEvent> {
    let not_found = || ApiError::NotFound(format!("there is no event '{id}'"));
    let known: EventId = id.parse().map_err(|_| not_found())?;
    let event = state.events.get(&known).await?;
    let event = event.filter(|event| caller.session().is_none_or(|own| *own == event.session));
    event.ok_or_else(not_found)
}

/// Get events as they happen, as Server-Sent Events.
///
/// Each has the event's id as `id`, its name as `event`, and the envelope as `data`; a browser that loses the connection goes
/// on where it was by itself. A comment every ten seconds shows that the stream lives. When it cannot go on, it ends; opened
/// again with `Last-Event-ID` it says why.
#[utoipa::path(
    get, path = "/api/events/stream", tag = "📨 Events",
    params(
        ("session" = Option<String>, Query, description = "Only of this session; `*` is all"),
        ("events" = Option<Vec<String>>, Query, description = "Only these, also separated by commas; `*`, and nothing, is all but `engine.event`"),
        ("after" = Option<String>, Query, description = "What comes behind this event; `oldest` is everything that is kept, `newest`, and nothing, what is logged from now on"),
        ("Last-Event-ID" = Option<String>, Header, description = "Like `after`, and goes before it")
    ),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 422, description = "`after` is not, or not any more, in the log"),
        (status = 429, description = "Keys of the session have too many readers, or too many wrong keys were sent")
    ),
    security(("api_key" = ["read"]), ("api_key_in_query" = ["read"]))
)]
async fn stream_events(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let query = query.unwrap_or_default();
    let start = match headers.get(LAST_EVENT_ID) {
        // What is not text is no event, and is refused as such.
        Some(id) => Start::read(id.to_str().unwrap_or_default())?,
        None => Start::parse(&query)?.unwrap_or(Start::Newest),
    };
    let seat = state.events.seats().take(caller.session())?;
    let telling = Telling {
        follow: follow(&state, &caller, &query, &start).await?,
        seat,
        revoked: caller.revoked(),
        stop: state.stop.clone(),
    };
    let (events, running) = telling.begin(&state.events);
    state.streams.spawn(running);
    Ok(([UNBUFFERED], events).into_response())
}

/// The websocket. What is wrong with its query is said after the handshake: a browser cannot read the body of a refusal.
pub(super) async fn open_websocket(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(error) => {
            return ApiError::Unreadable(format!("/ws is a websocket: {}", error.body_text())).into_response();
        }
    };
    let seat = match state.events.seats().take(caller.session()) {
        Ok(seat) => seat,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let (running, stop) = (state.sockets.token(), state.stop.clone());
    let log = Arc::clone(&state.events);
    let opening = Opening::new(&query.unwrap_or_default(), &caller, log, seat).await;
    let upgrade = upgrade.read_buffer_size(CLIENT_BYTES_MAX);
    let upgrade = upgrade
        .max_frame_size(CLIENT_BYTES_MAX)
        .max_message_size(CLIENT_BYTES_MAX);
    upgrade.on_upgrade(async move |socket| {
        opening.serve(socket, stop).await;
        drop(running);
    })
}

async fn follow(state: &AppState, caller: &Caller, query: &str, start: &Start) -> ApiResult<Follow> {
    let filter = Filter::parse(query)?.confined_to(caller.session())?;
    Ok(Follow::new(Arc::clone(&state.events), filter, start).await?)
}

/// How many the caller wants in an answer.
pub(super) fn page_limit(query: &str) -> ApiResult<usize> {
    let limit = number(query, "limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    // At most LIMIT_MAX, which fits.
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// A whole number in a query; `None` where it is not there.
pub(super) fn number(query: &str, name: &str, allowed: std::ops::RangeInclusive<u64>) -> ApiResult<Option<u64>> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name);
    let Some((_, value)) = values.next() else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) if allowed.contains(&number) => Ok(Some(number)),
        _ => {
            let (first, last) = (allowed.start(), allowed.end());
            Err(ApiError::Invalid(vec![format!(
                "{name} must be a number from {first} to {last}"
            )]))
        }
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::Wrong(problem) => Self::Invalid(vec![problem]),
            FilterError::Foreign(_) => Self::Forbidden {
                hint: error.to_string(),
            },
        }
    }
}

impl From<NoSeat> for ApiError {
    fn from(error: NoSeat) -> Self {
        match error {
            NoSeat::Anywhere => Self::Unavailable(error.to_string()),
            NoSeat::OfSession(_) => Self::TooOften {
                what: error.to_string(),
                retry_after: ASK_AGAIN_AFTER,
            },
        }
    }
}

impl From<FollowError> for ApiError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::UnknownEvent(_) | FollowError::Behind => Self::Refused(error.to_string()),
            FollowError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_is_gone_is_told_nothing() {
        let (revoked, stop) = (CancellationToken::new(), CancellationToken::new());
        assert!(matches!(unless_over(&revoked, &stop, async { 1 }).await, Ok(1)));
        revoked.cancel();
        stop.cancel();
        // Often, because what is ready at the same moment is else taken by chance.
        for _ in 0..32 {
            let refused = unless_over(&revoked, &stop, async { 1 }).await;
            assert!(matches!(refused, Err(ApiError::Forbidden { .. })));
        }
    }
}
