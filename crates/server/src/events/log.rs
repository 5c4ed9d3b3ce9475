//! The event log: every event with its deliveries, written in one batch before anybody is told.
//!
//! An event that may be told of twice has an id that follows from what it is about, so a repetition finds itself. In which
//! order the log is told is [`super::order`]'s part, reading it [`super::follow`]'s, and how far back it goes
//! [`super::retention`]'s. Never delivers anything itself: that is [`super::delivery`]'s part.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use wharf_core::clock::Clock;
use wharf_core::events::EventName;
use wharf_core::ids::{ChatId, EventId, SessionName};
use wharf_core::random::Random;
use wharf_core::session::Me;
use wharf_core::store::{Batch, Collection, Document, Expect, Field, Query, Store, StoreError};

use super::endpoints::Endpoints;
use super::envelope::{Envelope, ServerEnvironment};
use super::follow::READERS_MAX;
use super::metrics::EventMetrics;
use super::order::{Order, Told};
use super::outbox::{NewDelivery, Outbox};
use super::retention::{Keeper, Retention};
use super::seats::Seats;
use crate::config::{Dialect, EventsConfig};
use crate::sessions::{SessionConfig, Webhook};

/// One document per event, under its id; the body is the envelope as receivers get it. The fields are what it costs to
/// log an event, so there are no more than reading needs.
pub(super) static EVENTS: Collection = Collection {
    name: "events",
    fields: &[
        // Its place in the order of the log. Ids sort by when something happened, which for what was sent while we were
        // offline is long before it was logged.
        Field::integer("seq"),
        // A [`place_in`] its session, so that one index finds a session's events in their order.
        Field::text("in_session"),
    ],
};

/// Where the events of deleted sessions were, under their ids: readers of all sessions go on behind them. Another collection,
/// because a new session of the same name may have the same event again.
pub(super) static FORGOTTEN: Collection = Collection {
    name: "forgotten_events",
    fields: &[Field::integer("seq")],
};

/// The log.
pub(crate) struct EventLog {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    dialect: Dialect,
    environment: ServerEnvironment,
    endpoints: Endpoints,
    outbox: Arc<Outbox>,
    pub(super) order: Order,
    pub(super) retention: Retention,
    /// The pages of it that are being read, and the turns of those who want to.
    pub(super) readings: TaskTracker,
    pub(super) readers: Arc<Semaphore>,
    seats: Arc<Seats>,
    stall_max: Duration,
    metrics: EventMetrics,
}

/// Which session an event is from, and what of it every event carries.
pub(crate) struct EventSource {
    /// Its name.
    pub(crate) session: SessionName,
    /// Its configuration: metadata and webhooks.
    pub(crate) config: Arc<SessionConfig>,
    /// Its account.
    pub(crate) me: Option<Me>,
}

/// An event that is to be logged.
#[derive(Clone)]
pub(crate) struct NewEvent {
    name: EventName,
    /// Written once, also where several events carry it.
    payload: Arc<RawValue>,
    identity: Identity,
    chat: Option<ChatId>,
}

/// What makes an event the same event.
#[derive(Clone)]
pub(crate) enum Identity {
    /// It is told once.
    Fresh,
    /// It may be told again; the same moment and key are the same event.
    Repeatable {
        /// When it happened, by WhatsApp's clock.
        at: Timestamp,
        /// What it is about, unique among the session's events of the same name.
        key: String,
    },
}

/// An event that was logged.
#[derive(Debug)]
pub(crate) struct LoggedEvent {
    /// Unique, and the cursor of whoever was told up to it.
    pub(crate) id: EventId,
    /// Its place in the log.
    pub(super) seq: i64,
    /// What it is.
    pub(crate) name: EventName,
    /// Which session it is from.
    pub(crate) session: SessionName,
    /// When it was logged.
    pub(super) at: Timestamp,
    /// The envelope.
    pub(crate) body: Bytes,
}

/// What the log itself reads of an envelope.
#[derive(Deserialize)]
struct Head {
    id: EventId,
    timestamp: i64,
    event: EventName,
    session: SessionName,
}

impl NewEvent {
    /// An event.
    pub(crate) fn new(name: EventName, payload: &impl Serialize, identity: Identity) -> Result<Self, StoreError> {
        let payload = to_raw_value(payload).map_err(|error| StoreError::Internal(error.into()))?;
        Ok(Self {
            name,
            payload: payload.into(),
            identity,
            chat: None,
        })
    }

    /// The same under another name.
    pub(crate) fn also(&self, name: EventName) -> Self {
        Self { name, ..self.clone() }
    }

    /// Keeps the order among the events of a chat.
    #[must_use]
    pub(crate) fn in_chat(mut self, chat: &ChatId) -> Self {
        self.chat = Some(chat.clone());
        self
    }

    fn id(&self, source: &EventSource, now: Timestamp, random: &dyn Random) -> EventId {
        match &self.identity {
            Identity::Fresh => EventId::new(now, random),
            Identity::Repeatable { at, key } => repeatable_id(&source.session, self.name, *at, key),
        }
    }
}

fn repeatable_id(session: &SessionName, name: EventName, at: Timestamp, key: &str) -> EventId {
    let digest = Sha256::digest(format!("{session}|{name}|{key}"));
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    EventId::derived(at, short)
}

impl LoggedEvent {
    /// What is stored of it.
    fn document(&self) -> Document {
        Document::new(self.id.as_str(), self.body.clone())
            .with("seq", self.seq)
            .with("in_session", place_in(&self.session, self.seq))
    }

    /// The event in a document; `None`, and an error in the log, where it cannot be read.
    pub(super) fn read(document: Document) -> Option<Self> {
        let seq = seq_of(&document)?;
        let head: Head = serde_json::from_slice(&document.body)
            .inspect_err(|error| tracing::error!(event = document.id, %error, "a stored event cannot be read"))
            .ok()?;
        Some(Self {
            id: head.id,
            seq,
            name: head.event,
            session: head.session,
            at: Timestamp::from_millisecond(head.timestamp).ok()?,
            body: document.body,
        })
    }
}

/// The place in the log of the event in a document.
pub(super) fn seq_of(document: &Document) -> Option<i64> {
    match document.field("seq") {
        Some(wharf_core::store::Value::Integer(seq)) => Some(*seq),
        _ => None,
    }
}

/// A place among the events of one session: texts sort by session, then by place.
pub(super) fn place_in(session: &SessionName, seq: i64) -> String {
    // Wide enough for every place; places count from 0 up.
    format!("{session}|{seq:019}")
}

impl EventLog {
    /// Opens the log in the server's store, and goes on where it ended.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        dialect: Dialect,
        environment: ServerEnvironment,
        global: Option<Webhook>,
        config: &EventsConfig,
    ) -> Result<(Arc<Self>, Keeper), StoreError> {
        let last = async |collection| {
            let query = Query::all().descending("seq").limit(1);
            store
                .find(collection, query)
                .await
                .map(|page| page.documents.into_iter().next())
        };
        let (newest, forgotten) = (last(&EVENTS).await?, last(&FORGOTTEN).await?);
        let ends = [newest.as_ref(), forgotten.as_ref()];
        let (order, unsettled) = Order::new(Told {
            seq: ends.into_iter().flatten().filter_map(seq_of).max().unwrap_or_default(),
            newest: newest.and_then(|document| document.id.parse().ok()),
        });
        let endpoints = Endpoints::open(Arc::clone(&store), global).await?;
        let log = Arc::new(Self {
            outbox: Arc::new(Outbox::new(Arc::clone(&store))),
            store,
            clock,
            random,
            dialect,
            environment,
            endpoints,
            order,
            retention: Retention::new(config),
            readings: TaskTracker::new(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            seats: Arc::default(),
            stall_max: config.stall_max,
            metrics: EventMetrics::default(),
        });
        let keeper = Keeper::new(Arc::clone(&log), unsettled);
        Ok((log, keeper))
    }

    /// What serves the API, as events tell it.
    pub(crate) fn environment(&self) -> &ServerEnvironment {
        &self.environment
    }

    /// The longest that a reader may take for one event.
    pub(super) fn stall_max(&self) -> Duration {
        self.stall_max
    }

    /// Who reads it.
    pub(crate) fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// What is counted of events.
    pub(crate) fn metrics(&self) -> &EventMetrics {
        &self.metrics
    }

    /// Where deliveries wait.
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Who gets events.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Logs events in this order, with `along` in the same batch. Events that are in the log already are left out.
    ///
    /// The caller sees to it that one chat's events are appended one call after the other.
    pub(crate) async fn append(
        &self,
        source: &EventSource,
        events: Vec<NewEvent>,
        along: Batch,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let events = self.without_known(self.identified(source, events, now)).await?;
        self.log(source, &events, along).await
    }

    /// Logs events that are hardly in the log yet; a conflict where one is, or where `along` meets one.
    pub(crate) async fn append_new(
        &self,
        source: &EventSource,
        events: Vec<NewEvent>,
        along: Batch,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let events = self.identified(source, events, now);
        self.log(source, &events, along).await
    }

    /// Whether the event of this name about this is in the log.
    pub(crate) async fn has(
        &self,
        session: &SessionName,
        name: EventName,
        at: Timestamp,
        key: &str,
    ) -> Result<bool, StoreError> {
        let id = repeatable_id(session, name, at, key);
        Ok(self.store.get(&EVENTS, id.as_str()).await?.is_some())
    }

    async fn log(&self, source: &EventSource, events: &[(EventId, NewEvent)], along: Batch) -> Result<(), StoreError> {
        if events.is_empty() {
            return match along.is_empty() {
                true => Ok(()),
                false => self.store.write(along).await,
            };
        }
        // With nothing to wait for until they have their places: both are in the same order, but for what the clock is set.
        let now = self.clock.now();
        let rendered = events.iter().map(|(id, event)| self.render(source, id, event, now));
        let places = self.order.reserve(rendered.collect::<Result<_, _>>()?);
        let (mut batch, mut deliveries) = (along, Vec::new());
        for ((id, event), logged) in events.iter().zip(places.events()) {
            for endpoint in self.endpoints.wanting(&source.session, event.name) {
                let delivery = NewDelivery {
                    endpoint: &endpoint,
                    event: id,
                    chat: event.chat.as_ref(),
                    seq: logged.seq,
                    now,
                };
                let (more, due) = delivery.put(batch)?;
                batch = more;
                deliveries.extend(due.map(|due| (endpoint.id.clone(), due.with_body(&logged.body))));
            }
            // Last: where a batch is not atomic, an event that is there must have all its deliveries.
            batch = batch.put_if(&EVENTS, logged.document(), Expect::Absent);
        }
        let began = Instant::now();
        match self.store.write(batch).await {
            Ok(()) => {
                self.metrics
                    .appended(events.iter().map(|(_, event)| event.name), began.elapsed());
                places.written();
                self.retention.note_growth(self.order.told().seq);
                for (endpoint, due) in deliveries {
                    self.outbox.mailboxes.put(&endpoint, due);
                }
                Ok(())
            }
            Err(error @ StoreError::Conflict { .. }) => {
                places.failed();
                Err(error)
            }
            // It may have been written all the same, also on a full disk. Letting go of the places has the keeper look.
            Err(error) => Err(error),
        }
    }

    /// An event that is still in the log.
    pub(crate) async fn get(&self, id: &EventId) -> Result<Option<LoggedEvent>, StoreError> {
        let document = self.store.get(&EVENTS, id.as_str()).await?;
        Ok(document.and_then(LoggedEvent::read))
    }

    /// The envelopes of those of these events that are still in the log, by id.
    pub(super) async fn bodies(&self, ids: &[String]) -> Result<HashMap<String, Bytes>, StoreError> {
        let documents = self.store.get_many(&EVENTS, ids).await?.into_iter();
        Ok(documents.map(|document| (document.id, document.body)).collect())
    }

    /// The events under their ids. One page of redelivered stanzas may have the same one twice.
    fn identified(&self, source: &EventSource, events: Vec<NewEvent>, now: Timestamp) -> Vec<(EventId, NewEvent)> {
        let mut ids = HashSet::new();
        let events = events.into_iter();
        let events = events.map(|event| (event.id(source, now, self.random.as_ref()), event));
        events.filter(|(id, _)| ids.insert(id.clone())).collect()
    }

    async fn without_known(
        &self,
        mut events: Vec<(EventId, NewEvent)>,
    ) -> Result<Vec<(EventId, NewEvent)>, StoreError> {
        let repeatable: Vec<String> = events
            .iter()
            .filter(|(_, event)| matches!(event.identity, Identity::Repeatable { .. }))
            .map(|(id, _)| id.to_string())
            .collect();
        if !repeatable.is_empty() {
            let known = self.store.get_many(&EVENTS, &repeatable).await?;
            events.retain(|(id, _)| !known.iter().any(|document| document.id == id.as_str()));
        }
        Ok(events)
    }

    /// The event with its envelope, which has no place yet.
    fn render(
        &self,
        source: &EventSource,
        id: &EventId,
        event: &NewEvent,
        now: Timestamp,
    ) -> Result<LoggedEvent, StoreError> {
        let envelope = Envelope {
            id,
            timestamp: now.as_millisecond(),
            event: event.name,
            session: &source.session,
            metadata: source.config.metadata.as_ref(),
            me: source.me.as_ref(),
            payload: &event.payload,
            engine: self.dialect.as_str(),
            environment: &self.environment,
        };
        let body = serde_json::to_vec(&envelope).map_err(|error| StoreError::Internal(error.into()))?;
        Ok(LoggedEvent {
            id: id.clone(),
            seq: 0,
            name: event.name,
            session: source.session.clone(),
            at: now,
            body: body.into(),
        })
    }
}
