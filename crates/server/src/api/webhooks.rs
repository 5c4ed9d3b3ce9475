//! Webhooks: which there are, what became of their deliveries, and replays.
//!
//! Of the webhook of all sessions a key of a session learns nothing but what came of its own events. Reading the events
//! themselves is [`super::events`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::events::EventName;
use wharf_core::ids::{EventId, SessionName};

use super::AppState;
use super::error::{ApiError, ApiResult};
use super::events::{known_event, page_limit};
use super::extract::{Body, Id, Input, Known};
use crate::events::{
    DeliveryState, Endpoint, LoggedEvent, Replayed, SetBy, StoredDelivery, Wanted, WantedState, standard_secret,
};
use crate::keys::Caller;
use crate::validate::Fields;

/// Replays of a session in [`REPLAYS_WITHIN`].
const REPLAYS_MAX: u32 = 120;
/// The time for which replays are counted.
const REPLAYS_WITHIN: Duration = Duration::from_secs(60);
/// The most names of events in a request.
const EVENTS_MAX: usize = 64;

/// The routes.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks))
        .routes(routes!(list_dead_deliveries))
        .routes(routes!(list_deliveries))
        .routes(routes!(replay_event))
        .routes(routes!(replay_events))
}

/// The replays of each session in this minute.
#[derive(Default)]
pub(crate) struct Replays(Mutex<BTreeMap<SessionName, (Instant, u32)>>);

impl Replays {
    fn count(&self, session: &SessionName, now: Instant) -> ApiResult<()> {
        let mut replays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is remembered for longer than it matters, so there are never more than sessions that replay.
        replays.retain(|_, (since, _)| now.duration_since(*since) < REPLAYS_WITHIN);
        let (since, count) = replays.entry(session.clone()).or_insert((now, 0));
        *count += 1;
        match *count <= REPLAYS_MAX {
            true => Ok(()),
            false => Err(ApiError::TooOften {
                what: format!("a session's events may be replayed {REPLAYS_MAX} times a minute"),
                retry_after: REPLAYS_WITHIN.saturating_sub(now.duration_since(*since)),
            }),
        }
    }
}

/// A webhook as it is used.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WebhookInfo {
    /// Its id, which its deliveries name.
    id: String,
    /// Whose events it gets.
    session: String,
    /// Where they are posted.
    url: String,
    /// Which events.
    #[schema(value_type = Vec<String>)]
    events: Value,
    /// Whether it is the webhook of all sessions, which the environment sets.
    global: bool,
    /// Who set it: `admin` may name receivers in the server's own network, `session` those of the internet.
    #[schema(value_type = String)]
    set_by: SetBy,
    /// Its `hmac.key` as libraries of Standard Webhooks want it; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Why it gets nothing until it is set anew or asked for a replay; absent while it gets its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<DisabledInfo>,
}

/// Why a webhook gets nothing.
#[derive(Debug, Serialize, ToSchema)]
struct DisabledInfo {
    /// Since when, in milliseconds since 1970.
    timestamp: i64,
    /// What its receiver said.
    reason: String,
}

/// A delivery of an event to a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryInfo {
    /// Its id.
    id: String,
    /// The event.
    event: String,
    /// The webhook.
    webhook: String,
    /// Where it is posted; absent for the webhook of all sessions unless an administrator asks, and where it is not known
    /// any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// What became of it.
    state: DeliveryStateInfo,
    /// When it is tried next, in milliseconds since 1970, while it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
    /// How often it was tried, also before the attempts below.
    attempted: u32,
    /// The last attempts, oldest first.
    attempts: Vec<AttemptInfo>,
}

/// What became of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DeliveryStateInfo {
    /// It is still to be made.
    Due,
    /// It was made.
    Delivered,
    /// It was given up.
    Dead,
}

/// An attempt to deliver.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AttemptInfo {
    /// When, in milliseconds since 1970.
    timestamp: i64,
    /// What the receiver answered; absent where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// What went wrong; absent where the event was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Some dead deliveries.
#[derive(Debug, Serialize, ToSchema)]
struct DeadDeliveries {
    /// By session, then in the order of the log.
    deliveries: Vec<DeliveryInfo>,
    /// Where to go on: the next `after`; absent where there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Which events to replay.
#[derive(Debug, Deserialize, ToSchema)]
struct ReplayRequest {
    /// Only those that were logged at this moment or later, in milliseconds since 1970.
    since: Option<i64>,
    /// Only those that were logged before this moment, in milliseconds since 1970.
    until: Option<i64>,
    /// Only these; all where it is left out.
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<Vec<EventName>>,
    /// To which of its webhooks an event is replayed.
    #[serde(default)]
    state: Option<ReplayState>,
    /// The `cursor` of the answer before.
    #[schema(value_type = Option<String>)]
    after: Option<EventId>,
}

/// To which webhooks: those whose delivery is in this state; `dead` where it is left out.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReplayState {
    /// It was given up.
    #[default]
    Dead,
    /// It failed and waits for its next attempt.
    Failed,
    /// It was made.
    Delivered,
    /// Any of these, also where there never was one.
    Any,
}

/// What is replayed.
#[derive(Debug, Serialize, ToSchema)]
struct ReplayResult {
    /// How many events.
    events: usize,
    /// How many deliveries of them.
    deliveries: usize,
    /// Where to go on: the next `after`; absent where everything was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

impl Body for ReplayRequest {
    fn check(fields: &mut Fields<'_>) {
        for name in ["since", "until"] {
            let is_moment = |value: &Value| {
                let millis = value.as_i64();
                millis.is_some_and(|millis| Timestamp::from_millisecond(millis).is_ok())
            };
            if fields.get(name).is_some_and(|value| !is_moment(value)) {
                fields.fail(name, "must be a number of milliseconds since 1970");
            }
        }
        fields.strings("events", EVENTS_MAX);
        fields.one_of("state", &["dead", "failed", "delivered", "any"]);
        fields.string("after");
    }
}

impl ReplayRequest {
    fn wanted(self) -> Wanted {
        // Checked.
        let moment = |millis: Option<i64>| millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        Wanted {
            since: moment(self.since),
            until: moment(self.until),
            events: self.events,
            state: match self.state.unwrap_or_default() {
                ReplayState::Dead => WantedState::Dead,
                ReplayState::Failed => WantedState::Failed,
                ReplayState::Delivered => WantedState::Delivered,
                ReplayState::Any => WantedState::Any,
            },
        }
    }
}

impl From<Replayed> for ReplayResult {
    fn from(replayed: Replayed) -> Self {
        Self {
            events: replayed.events,
            deliveries: replayed.deliveries,
            cursor: replayed.next.map(String::from),
        }
    }
}

/// List the webhooks with their secrets, and whether their receivers have switched them off.
///
/// A receiver switches its webhook off by answering 410. It gets no events then, those that are due and those that come are
/// dead, until the session is created or changed with it, or something is replayed to it; the webhook of all sessions also
/// after a restart.
#[utoipa::path(
    get, path = "/api/webhooks", tag = "📨 Events",
    params(("session" = Option<String>, Query, description = "Only of this session; `*` is all")),
    responses((status = 200, description = "The webhooks", body = Vec<WebhookInfo>)),
    security(("api_key" = ["setting"]))
)]
async fn list_webhooks(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Vec<WebhookInfo>>> {
    let wanted = session(query.as_deref().unwrap_or_default(), &caller)?;
    let mut webhooks = Vec::new();
    for session in state.registry.all() {
        if wanted.as_ref().is_none_or(|wanted| wanted == session.name()) {
            let endpoints = state.events.endpoints().of(session.name());
            let shown = endpoints
                .iter()
                .filter(|endpoint| caller.is_admin() || !endpoint.is_global());
            webhooks.extend(shown.map(|endpoint| webhook(endpoint)));
        }
    }
    Ok(Json(webhooks))
}

/// List the deliveries that were given up, in pages.
#[utoipa::path(
    get, path = "/api/webhooks/dead", tag = "📨 Events",
    params(
        ("session" = Option<String>, Query, description = "Only of this session; `*` is all"),
        ("after" = Option<String>, Query, description = "The `cursor` of the answer before"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "At most so many; 100 where this is left out")
    ),
    responses(
        (status = 200, description = "Some of them", body = DeadDeliveries),
        (status = 422, description = "`after` is not known any more")
    ),
    security(("api_key" = ["read"]))
)]
async fn list_dead_deliveries(
    State(state): State<AppState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<DeadDeliveries>> {
    let query = query.unwrap_or_default();
    let session = session(&query, &caller)?;
    let limit = page_limit(&query)?;
    let after = parameter(&query, "after");
    // Of other sessions' deliveries a key does not even learn whether they are there.
    let is_own = |id: &str| caller.session().is_none_or(|own| id.starts_with(&format!("{own}.")));
    let unknown = || ApiError::Refused("after is not a delivery that is known; start without it".to_owned());
    if after.as_deref().is_some_and(|after| !is_own(after)) {
        return Err(unknown());
    }
    let page = state
        .events
        .dead_letters(session.as_ref(), after.as_deref(), limit)
        .await?;
    let (dead, has_more) = page.ok_or_else(unknown)?;
    let cursor = dead.last().filter(|_| has_more).map(|(last, _)| last.id.clone());
    let dead = dead.into_iter();
    Ok(Json(DeadDeliveries {
        deliveries: dead
            .map(|(dead, endpoint)| delivery(dead, endpoint.as_ref(), &caller))
            .collect(),
        cursor,
    }))
}

/// Get what became of an event: its delivery to each webhook with the last attempts.
#[utoipa::path(
    get, path = "/api/events/{id}/deliveries", tag = "📨 Events",
    params(("id" = String, Path, description = "The id of the event, `evt_…`")),
    responses((status = 200, description = "Its deliveries", body = Vec<DeliveryInfo>)),
    security(("api_key" = ["read"]))
)]
async fn list_deliveries(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Json<Vec<DeliveryInfo>>> {
    let event = known_event(&state, &caller, &id).await?;
    let deliveries = state.events.deliveries(&event).await?.into_iter();
    Ok(Json(
        deliveries
            .map(|(stored, endpoint)| delivery(stored, endpoint.as_ref(), &caller))
            .collect(),
    ))
}

/// Deliver an event again, now, to every webhook of its session that wants it.
#[utoipa::path(
    post, path = "/api/events/{id}/replay", tag = "📨 Events",
    params(("id" = String, Path, description = "The id of the event, `evt_…`")),
    responses((status = 201, description = "What is delivered again", body = ReplayResult)),
    security(("api_key" = ["setting"]))
)]
async fn replay_event(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<(StatusCode, Json<ReplayResult>)> {
    let event = known_event(&state, &caller, &id).await?;
    state.replays.count(&event.session, Instant::now())?;
    let replayed = state.events.replay(event).await?;
    Ok((StatusCode::CREATED, Json(replayed.into())))
}

/// Deliver a session's events again, in their order, to those of its webhooks that want them.
///
/// An answer with a `cursor` says that there is more than one call does; ask again with it as `after`.
#[utoipa::path(
    post, path = "/api/sessions/{session}/events/replay", tag = "📨 Events", request_body = ReplayRequest,
    params(("session" = String, Path, description = "The session")),
    responses(
        (status = 201, description = "What is delivered again", body = ReplayResult),
        (status = 422, description = "`after` is not, or not any more, in the log")
    ),
    security(("api_key" = ["setting"]))
)]
async fn replay_events(
    State(state): State<AppState>,
    session: Known,
    Input(request): Input<ReplayRequest>,
) -> ApiResult<(StatusCode, Json<ReplayResult>)> {
    let name = session.0.name();
    state.replays.count(name, Instant::now())?;
    let after: Option<LoggedEvent> = match &request.after {
        None => None,
        Some(id) => {
            let event = state.events.get(id).await?.filter(|event| event.session == *name);
            Some(event.ok_or_else(|| ApiError::Refused(format!("there is no event {id}: start without after")))?)
        }
    };
    let replayed = state
        .events
        .replay_many(name, &request.wanted(), after.as_ref())
        .await?;
    Ok((StatusCode::CREATED, Json(replayed.into())))
}

fn webhook(endpoint: &Endpoint) -> WebhookInfo {
    let webhook = &endpoint.webhook;
    let key = webhook.hmac.as_ref().and_then(|hmac| hmac.key.as_deref());
    WebhookInfo {
        id: endpoint.id.to_string(),
        session: endpoint.session.to_string(),
        url: webhook.url.clone(),
        events: serde_json::to_value(&webhook.events).unwrap_or_default(),
        global: endpoint.is_global(),
        set_by: endpoint.set_by,
        secret: key.map(standard_secret),
        disabled: endpoint.disabled.as_ref().map(|disabled| DisabledInfo {
            timestamp: disabled.at.as_millisecond(),
            reason: disabled.why.clone(),
        }),
    }
}

fn delivery(stored: StoredDelivery, endpoint: Option<&Arc<Endpoint>>, caller: &Caller) -> DeliveryInfo {
    let shown = endpoint.filter(|endpoint| caller.is_admin() || !endpoint.is_global());
    let attempts = stored.attempts().iter().map(|attempt| AttemptInfo {
        timestamp: attempt.at,
        status: attempt.status,
        duration_ms: attempt.ms,
        error: attempt.error.clone(),
    });
    DeliveryInfo {
        event: stored.event().to_string(),
        webhook: stored.endpoint.to_string(),
        url: shown.map(|endpoint| endpoint.webhook.url.clone()),
        state: match stored.state {
            DeliveryState::Due => DeliveryStateInfo::Due,
            DeliveryState::Delivered => DeliveryStateInfo::Delivered,
            DeliveryState::Dead => DeliveryStateInfo::Dead,
        },
        due_at: stored.due_at.map(|due_at| due_at.as_millisecond()),
        attempted: stored.attempted(),
        attempts: attempts.collect(),
        id: stored.id,
    }
}

/// The session in a query that the caller may see; `None` is all.
fn session(query: &str, caller: &Caller) -> ApiResult<Option<SessionName>> {
    // A key of one session that names another one was refused before.
    if let Some(own) = caller.session() {
        return Ok(Some(own.clone()));
    }
    match parameter(query, "session").as_deref() {
        None | Some("*" | "") => Ok(None),
        Some(name) => name.parse().map(Some).map_err(|_| ApiError::session_not_found()),
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name);
    values.next().map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_are_limited_for_each_session() {
        let (replays, now) = (Replays::default(), Instant::now());
        let (one, other): (SessionName, SessionName) = ("a".parse().unwrap(), "b".parse().unwrap());
        for _ in 0..REPLAYS_MAX {
            replays.count(&one, now).unwrap();
        }
        assert!(matches!(replays.count(&one, now), Err(ApiError::TooOften { .. })));
        assert!(replays.count(&other, now).is_ok());
        assert!(replays.count(&one, now + REPLAYS_WITHIN).is_ok());
    }
}
