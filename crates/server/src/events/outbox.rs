//! The outbox: one document per event and receiver, until it is delivered.
//!
//! A delivery carries its webhook as it was when the event happened, so that delivering needs no session, and a changed
//! configuration changes only what comes after.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use wharf_core::ids::{ChatId, EventId, SessionName};
use wharf_core::store::{
    Batch, Collection, Condition, Cursor, Document, Expect, Field, Query, Store, StoreError, Value,
};

use crate::sessions::Webhook;

/// One document per event and receiver, under `{event}.{endpoint}`.
static DELIVERIES: Collection = Collection {
    name: "deliveries",
    fields: &[
        // A [`Place`], while the delivery waits; gone once it is dead.
        Field::text("queue"),
        Field::text("session"),
        Field::time("logged_at"),
    ],
};

/// Deliveries that are read at a time.
const PAGE_DELIVERIES: usize = 256;
/// Stands behind everything that a [`Place`] can go on with.
const LAST: char = '~';
/// The endpoint of the webhook of all sessions.
const GLOBAL_ENDPOINT: &str = "global";
/// Hexadecimal digits of an endpoint's digest.
const ENDPOINT_CHARS: usize = 24;

/// Whom a delivery is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Target {
    /// A webhook of the session.
    Session(Box<Webhook>),
    /// The webhook of all sessions, as the environment has it when it is delivered.
    Global,
}

/// A delivery that is to be written.
pub(super) struct NewDelivery<'a> {
    /// What is delivered.
    pub(super) event: &'a EventId,
    /// From which session.
    pub(super) session: &'a SessionName,
    /// In which chat it keeps its order.
    pub(super) chat: Option<&'a ChatId>,
    /// Whom it is for.
    pub(super) target: Target,
    /// The event's place in the log.
    pub(super) seq: i64,
    /// When it is logged, and due for the first time.
    pub(super) now: Timestamp,
}

/// What is stored of a delivery beside its fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    event: EventId,
    chat: Option<ChatId>,
    target: Target,
    seq: i64,
    failures: u32,
    last_error: Option<String>,
}

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(super) struct Due {
    document: Document,
    body: Body,
    endpoint: String,
    lane: String,
}

/// What is due of an endpoint, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct DuePage {
    /// In the order in which they are due, those of the same moment in the order of their events.
    pub(super) deliveries: Vec<Due>,
    /// Where to read on, also for what is due later; `None` where there was nothing.
    pub(super) end: Option<Cursor>,
    /// Whether more was due behind it.
    pub(super) has_more: bool,
}

/// Where a delivery waits: one text that sorts by endpoint, then time, then event, so that one index answers what is
/// due and what is due next.
struct Place<'a> {
    endpoint: &'a str,
    due_at: Timestamp,
    seq: i64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Wide enough for every moment and number that there is; both count from 1970 up.
        let millis = self.due_at.as_millisecond().max(0);
        write!(f, "{}|{millis:015}|{:019}", self.endpoint, self.seq.max(0))
    }
}

/// The endpoint and the moment of a [`Place`].
fn read_place(document: &Document) -> Option<(&str, Timestamp)> {
    let Some(Value::Text(place)) = document.field("queue") else {
        return None;
    };
    let mut parts = place.split('|');
    let (endpoint, millis) = (parts.next()?, parts.next()?);
    let due_at = Timestamp::from_millisecond(millis.parse().ok()?).ok()?;
    Some((endpoint, due_at))
}

/// The outbox.
pub(super) struct Outbox {
    store: Arc<dyn Store>,
    /// Endpoints with news, and who is to hear of it.
    woken: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl NewDelivery<'_> {
    /// What the deliveries to one receiver of one session have in common.
    pub(super) fn endpoint(&self) -> Result<String, StoreError> {
        match &self.target {
            Target::Global => Ok(GLOBAL_ENDPOINT.to_owned()),
            Target::Session(webhook) => {
                let webhook = serde_json::to_vec(webhook).map_err(|error| StoreError::Internal(error.into()))?;
                let digest = Sha256::new()
                    .chain_update(self.session.as_str())
                    .chain_update(b"|")
                    .chain_update(webhook);
                let mut endpoint = hex::encode(digest.finalize());
                endpoint.truncate(ENDPOINT_CHARS);
                Ok(endpoint)
            }
        }
    }

    /// Adds the write that stores it.
    pub(super) fn put(self, batch: Batch) -> Result<Batch, StoreError> {
        let endpoint = self.endpoint()?;
        let body = Body {
            event: self.event.clone(),
            chat: self.chat.cloned(),
            target: self.target,
            seq: self.seq,
            failures: 0,
            last_error: None,
        };
        let place = Place {
            endpoint: &endpoint,
            due_at: self.now,
            seq: self.seq,
        };
        let document = Document::new(format!("{}.{endpoint}", self.event), encode(&body)?)
            .with("queue", place.to_string())
            .with("session", self.session.as_str())
            .with("logged_at", self.now);
        Ok(batch.put(&DELIVERIES, document))
    }
}

impl Due {
    fn new(document: Document, body: Body, endpoint: &str) -> Self {
        let session = match document.field("session") {
            Some(Value::Text(session)) => session.as_str(),
            _ => "",
        };
        let chat = body.chat.as_ref().map(ToString::to_string).unwrap_or_default();
        Self {
            lane: format!("{session}|{chat}"),
            endpoint: endpoint.to_owned(),
            document,
            body,
        }
    }

    /// Unique among all deliveries.
    pub(super) fn id(&self) -> &str {
        &self.document.id
    }

    /// The event to deliver.
    pub(super) fn event(&self) -> &EventId {
        &self.body.event
    }

    /// Whom it is for.
    pub(super) fn target(&self) -> &Target {
        &self.body.target
    }

    /// How often it failed.
    pub(super) fn failures(&self) -> u32 {
        self.body.failures
    }

    /// What keeps its order: the chat of a session, or the session itself.
    pub(super) fn lane(&self) -> &str {
        &self.lane
    }
}

impl Outbox {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            woken: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Tells the delivery workers of these endpoints that there is something to do.
    pub(super) fn wake(&self, endpoints: Vec<String>) {
        if endpoints.is_empty() {
            return;
        }
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(endpoints);
        self.news.notify_one();
    }

    /// Waits until there is news, and takes it.
    pub(super) async fn news(&self) -> BTreeSet<String> {
        loop {
            let woken = std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
            if !woken.is_empty() {
                return woken;
            }
            self.news.notified().await;
        }
    }

    /// Every endpoint that has deliveries, however long they still wait.
    pub(super) async fn endpoints(&self) -> Result<Vec<String>, StoreError> {
        let mut endpoints: Vec<String> = Vec::new();
        loop {
            let mut query = Query::all().ascending("queue").limit(1);
            if let Some(endpoint) = endpoints.last() {
                // The next endpoint is the first text behind the places of this one.
                query = query.filter(Condition::AtLeast("queue", format!("{endpoint}|{LAST}").into()));
            }
            let page = self.store.find(&DELIVERIES, query).await?;
            match page.documents.first().and_then(read_place) {
                Some((endpoint, _)) => endpoints.push(endpoint.to_owned()),
                None => return Ok(endpoints),
            }
        }
    }

    /// A page of the deliveries of an endpoint that are due, from the first or where a page ended.
    pub(super) async fn due(
        &self,
        endpoint: &str,
        now: Timestamp,
        after: Option<Cursor>,
    ) -> Result<DuePage, StoreError> {
        let (due_at, seq) = (now, i64::MAX);
        let query = Query::all()
            .filter(Condition::AtLeast("queue", format!("{endpoint}|").into()))
            .filter(Condition::AtMost(
                "queue",
                Place { endpoint, due_at, seq }.to_string().into(),
            ))
            .ascending("queue")
            .after(after)
            .limit(PAGE_DELIVERIES);
        let page = self.store.find(&DELIVERIES, query).await?;
        let has_more = page.next.is_some();
        let end = page.documents.last().map(|document| Cursor {
            value: document.field("queue").cloned(),
            id: document.id.clone(),
        });
        let mut deliveries = Vec::with_capacity(page.documents.len());
        for document in page.documents {
            match decode(&document) {
                Ok(body) => deliveries.push(Due::new(document, body, endpoint)),
                // It stays for whoever looks into it, but not in the way of those behind it.
                Err(error) => {
                    tracing::error!(delivery = document.id, error = %error, "a stored delivery cannot be read");
                    self.rewrite(without_place(document)).await?;
                }
            }
        }
        Ok(DuePage {
            deliveries,
            end,
            has_more,
        })
    }

    /// When the next delivery of an endpoint is due; `None` where it has none.
    pub(super) async fn next_due(&self, endpoint: &str) -> Result<Option<Timestamp>, StoreError> {
        let query = Query::all()
            .filter(Condition::AtLeast("queue", format!("{endpoint}|").into()))
            .filter(Condition::AtMost("queue", format!("{endpoint}|{LAST}").into()))
            .ascending("queue")
            .limit(1);
        let page = self.store.find(&DELIVERIES, query).await?;
        Ok(page.documents.first().and_then(read_place).map(|(_, due_at)| due_at))
    }

    /// Forgets a delivery that has arrived, or has nothing to deliver any more.
    pub(super) async fn done(&self, due: &Due) -> Result<(), StoreError> {
        self.store.write(Batch::new().delete(&DELIVERIES, due.id())).await
    }

    /// Notes that a delivery failed: it is due again at `again_at`, or dead.
    pub(super) async fn failed(&self, due: &Due, error: &str, again_at: Option<Timestamp>) -> Result<(), StoreError> {
        let body = Body {
            failures: due.body.failures + 1,
            last_error: Some(error.to_owned()),
            ..due.body.clone()
        };
        let mut document = without_place(due.document.clone());
        document.body = encode(&body)?.into();
        if let Some(due_at) = again_at {
            let place = Place {
                endpoint: &due.endpoint,
                due_at,
                seq: body.seq,
            };
            document = document.with("queue", place.to_string());
        }
        self.rewrite(document).await
    }

    async fn rewrite(&self, document: Document) -> Result<(), StoreError> {
        // The session may have been deleted meanwhile; then there is nothing to note.
        let expect = Expect::Version(document.version);
        match self
            .store
            .write(Batch::new().put_if(&DELIVERIES, document, expect))
            .await
        {
            Err(StoreError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Adds the write that removes a session's deliveries.
pub(super) fn forget(batch: Batch, session: &SessionName) -> Batch {
    batch.delete_where(&DELIVERIES, vec![Condition::Equal("session", session.as_str().into())])
}

/// Adds the write that removes deliveries of events from before `oldest`.
pub(super) fn sweep(batch: Batch, oldest: Timestamp) -> Batch {
    batch.delete_where(&DELIVERIES, vec![Condition::AtMost("logged_at", oldest.into())])
}

fn encode(body: &Body) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(body).map_err(|error| StoreError::Internal(error.into()))
}

fn decode(document: &Document) -> Result<Body, serde_json::Error> {
    serde_json::from_slice(&document.body)
}

fn without_place(mut document: Document) -> Document {
    document.fields.retain(|(field, _)| *field != "queue");
    document
}

#[cfg(test)]
mod tests;
