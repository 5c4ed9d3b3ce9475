//! The event log: every event with its deliveries, written in one batch before anybody is told.
//!
//! An event that may be told of twice has an id that follows from what it is about, so a repetition finds itself. Never
//! delivers anything itself: that is [`super::delivery`]'s part for webhooks, and [`super::websocket`]'s.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;
use wharf_core::clock::Clock;
use wharf_core::events::EventName;
use wharf_core::ids::{ChatId, EventId, SessionName};
use wharf_core::random::Random;
use wharf_core::session::Me;
use wharf_core::store::{Batch, Collection, Condition, Document, Expect, Field, Query, Store, StoreError};

use super::envelope::{Envelope, ServerEnvironment};
use super::outbox::{self, Outbox, Target};
use crate::config::Dialect;
use crate::sessions::{SessionConfig, Webhook};

/// One document per event, under its id; the body is the envelope as receivers get it.
static EVENTS: Collection = Collection {
    name: "events",
    fields: &[
        Field::text("session"),
        Field::text("event"),
        // The order of the log. Ids sort by when something happened, which for what was sent while we were offline is
        // long before it was logged.
        Field::integer("seq"),
        Field::time("logged_at"),
    ],
};

/// How long events are kept, delivered or not.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Events that a websocket may be behind before it is closed.
const LIVE_BACKLOG_MAX: usize = 1_024;

/// The log.
pub(crate) struct EventLog {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    dialect: Dialect,
    environment: ServerEnvironment,
    /// The webhook of all sessions.
    global: Option<Webhook>,
    next_seq: AtomicU64,
    outbox: Arc<Outbox>,
    live: broadcast::Sender<Arc<LoggedEvent>>,
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
pub(crate) struct NewEvent {
    name: EventName,
    payload: Value,
    identity: Identity,
    chat: Option<ChatId>,
}

/// What makes an event the same event.
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
    /// What it is.
    pub(crate) name: EventName,
    /// Which session it is from.
    pub(crate) session: SessionName,
    /// The envelope.
    pub(crate) body: Bytes,
}

impl NewEvent {
    /// An event.
    pub(crate) fn new(name: EventName, payload: &impl Serialize, identity: Identity) -> Result<Self, StoreError> {
        let payload = serde_json::to_value(payload).map_err(|error| StoreError::Internal(error.into()))?;
        Ok(Self {
            name,
            payload,
            identity,
            chat: None,
        })
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
            Identity::Repeatable { at, key } => {
                let digest = Sha256::digest(format!("{}|{}|{key}", source.session, self.name));
                let mut short = [0; 16];
                short.copy_from_slice(&digest[..16]);
                EventId::derived(*at, short)
            }
        }
    }
}

impl EventLog {
    /// Opens the log in the server's store, and goes on counting where it ended.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        dialect: Dialect,
        environment: ServerEnvironment,
        global: Option<Webhook>,
    ) -> Result<Self, StoreError> {
        let newest = store.find(&EVENTS, Query::all().descending("seq").limit(1)).await?;
        let last = newest
            .documents
            .first()
            .and_then(|document| match document.field("seq") {
                Some(wharf_core::store::Value::Integer(seq)) => u64::try_from(*seq).ok(),
                _ => None,
            });
        // Never a number that was used before, also where the newest events have gone with their session.
        let millis = u64::try_from(clock.now().as_millisecond()).unwrap_or_default();
        let next_seq = last.map_or(0, |last| last + 1).max(millis);
        Ok(Self {
            outbox: Arc::new(Outbox::new(Arc::clone(&store))),
            store,
            clock,
            random,
            dialect,
            environment,
            global,
            next_seq: AtomicU64::new(next_seq),
            live: broadcast::Sender::new(LIVE_BACKLOG_MAX),
        })
    }

    /// In which WAHA engine's words events are told.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What serves the API, as events tell it.
    pub(crate) fn environment(&self) -> &ServerEnvironment {
        &self.environment
    }

    /// Where deliveries wait.
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The webhook of all sessions.
    pub(super) fn global_webhook(&self) -> Option<&Webhook> {
        self.global.as_ref()
    }

    /// Every event from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<LoggedEvent>> {
        self.live.subscribe()
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
        self.log(source, &events, along, now).await
    }

    /// Logs events that are hardly in the log yet, and looks only where it turns out that they are.
    pub(crate) async fn append_new(&self, source: &EventSource, events: Vec<NewEvent>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let events = self.identified(source, events, now);
        match self.log(source, &events, Batch::new(), now).await {
            Err(StoreError::Conflict { .. }) => {
                let events = self.without_known(events).await?;
                self.log(source, &events, Batch::new(), now).await
            }
            outcome => outcome,
        }
    }

    async fn log(
        &self,
        source: &EventSource,
        events: &[(EventId, NewEvent)],
        along: Batch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut batch, mut logged, mut endpoints) = (along, Vec::new(), Vec::new());
        for (id, event) in events {
            let seq = self.next_seq.fetch_add(1, Ordering::Relaxed).cast_signed();
            let body = self.render(source, id, event, now)?;
            for target in self.targets(source, event.name) {
                let delivery = outbox::NewDelivery {
                    event: id,
                    session: &source.session,
                    chat: event.chat.as_ref(),
                    target,
                    seq,
                    now,
                };
                endpoints.push(delivery.endpoint()?);
                batch = delivery.put(batch)?;
            }
            // Last: where a batch is not atomic, an event that is there must have all its deliveries.
            let document = Document::new(id.as_str(), body.clone())
                .with("session", source.session.as_str())
                .with("event", event.name.as_str())
                .with("seq", seq)
                .with("logged_at", now);
            batch = batch.put_if(&EVENTS, document, Expect::Absent);
            logged.push(LoggedEvent {
                name: event.name,
                session: source.session.clone(),
                body,
            });
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.store.write(batch).await?;
        self.outbox.wake(endpoints);
        for event in logged {
            // Fails only where nobody listens.
            let _ = self.live.send(Arc::new(event));
        }
        Ok(())
    }

    /// The envelope of an event that is still in the log.
    pub(super) async fn body(&self, id: &EventId) -> Result<Option<Bytes>, StoreError> {
        let document = self.store.get(&EVENTS, id.as_str()).await?;
        Ok(document.map(|document| document.body))
    }

    /// Removes a session's events and deliveries, with `along` in the same batch.
    pub(crate) async fn forget(&self, session: &SessionName, along: Batch) -> Result<(), StoreError> {
        let of_session = || vec![Condition::Equal("session", session.as_str().into())];
        let batch = outbox::forget(Batch::new(), session).delete_where(&EVENTS, of_session());
        self.store.write(batch.and(along)).await
    }

    /// Removes what is older than the log goes back.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let oldest = self.clock.now() - KEPT_FOR;
        let batch = outbox::sweep(Batch::new(), oldest);
        let batch = batch.delete_where(&EVENTS, vec![Condition::AtMost("logged_at", oldest.into())]);
        self.store.write(batch).await
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

    fn render(
        &self,
        source: &EventSource,
        id: &EventId,
        event: &NewEvent,
        now: Timestamp,
    ) -> Result<Bytes, StoreError> {
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
        Ok(body.into())
    }

    fn targets(&self, source: &EventSource, event: EventName) -> Vec<Target> {
        let of_session = source.config.webhooks.iter().flatten();
        let mut targets: Vec<Target> = of_session
            .filter(|webhook| webhook.events.wants(event))
            .map(|webhook| Target::Session(Box::new(webhook.clone())))
            .collect();
        if self.global.as_ref().is_some_and(|webhook| webhook.events.wants(event)) {
            targets.push(Target::Global);
        }
        targets
    }
}
