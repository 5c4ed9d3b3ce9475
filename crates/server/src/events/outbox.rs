//! The outbox: one document per event and receiver, until it is delivered.
//!
//! A delivery carries its webhook as it was when the event happened, so that delivering needs no session, and a changed
//! configuration changes only what comes after.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use wharf_core::ids::{ChatId, EventId, SessionName};
use wharf_core::store::{Batch, Collection, Condition, Document, Expect, Field, Query, Store, StoreError, Value};

use crate::sessions::Webhook;

/// One document per event and receiver, under `{event}.{endpoint}`.
static DELIVERIES: Collection = Collection {
    name: "deliveries",
    fields: &[
        // The endpoint, while the delivery is due; gone once it is dead.
        Field::text("queue"),
        Field::text("session"),
        Field::integer("seq"),
        Field::time("due_at"),
        Field::time("logged_at"),
    ],
};

/// Deliveries that are read at a time.
const PAGE_DELIVERIES: usize = 256;
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
    failures: u32,
    last_error: Option<String>,
}

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(super) struct Due {
    document: Document,
    body: Body,
    session: String,
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
            failures: 0,
            last_error: None,
        };
        let document = Document::new(format!("{}.{endpoint}", self.event), encode(&body)?)
            .with("queue", endpoint)
            .with("session", self.session.as_str())
            .with("seq", self.seq)
            .with("due_at", self.now)
            .with("logged_at", self.now);
        Ok(batch.put(&DELIVERIES, document))
    }
}

impl Due {
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
    pub(super) fn lane(&self) -> String {
        let chat = self.body.chat.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{}|{chat}", self.session)
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
        let mut endpoints = Vec::new();
        loop {
            let mut query = Query::all().ascending("queue").limit(1);
            if let Some(last) = endpoints.last() {
                // The next endpoint is the first text behind this one; endpoints have no character above `~`.
                query = query.filter(Condition::AtLeast("queue", Value::Text(format!("{last}~"))));
            }
            let page = self.store.find(&DELIVERIES, query).await?;
            match page.documents.first().and_then(|document| document.field("queue")) {
                Some(Value::Text(endpoint)) => endpoints.push(endpoint.clone()),
                _ => return Ok(endpoints),
            }
        }
    }

    /// The deliveries of an endpoint that are due, in the order of their events.
    pub(super) async fn due(&self, endpoint: &str, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        let query = Query::all()
            .filter(Condition::Equal("queue", endpoint.into()))
            .filter(Condition::AtMost("due_at", now.into()))
            .ascending("seq")
            .limit(PAGE_DELIVERIES);
        let page = self.store.find(&DELIVERIES, query).await?;
        page.documents.into_iter().map(decode).collect()
    }

    /// When the next delivery of an endpoint is due; `None` where it has none.
    pub(super) async fn next_due(&self, endpoint: &str) -> Result<Option<Timestamp>, StoreError> {
        let query = Query::all()
            .filter(Condition::Equal("queue", endpoint.into()))
            .ascending("due_at")
            .limit(1);
        let page = self.store.find(&DELIVERIES, query).await?;
        Ok(page
            .documents
            .first()
            .and_then(|document| match document.field("due_at") {
                Some(Value::Time(at)) => Some(*at),
                _ => None,
            }))
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
        let mut fields: HashMap<&str, _> = due.document.fields.iter().cloned().collect();
        match again_at {
            Some(at) => fields.insert("due_at", at.into()),
            None => fields.remove("queue"),
        };
        let document = Document {
            body: encode(&body)?.into(),
            fields: fields.into_iter().collect(),
            ..due.document.clone()
        };
        // The session may have been deleted meanwhile; then there is nothing to note.
        let expect = Expect::Version(due.document.version);
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

fn decode(document: Document) -> Result<Due, StoreError> {
    let body = serde_json::from_slice(&document.body).map_err(|error| StoreError::Internal(error.into()))?;
    let session = match document.field("session") {
        Some(Value::Text(session)) => session.clone(),
        _ => String::new(),
    };
    Ok(Due {
        document,
        body,
        session,
    })
}
