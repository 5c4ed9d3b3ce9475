//! What is stored of a delivery, and the texts by which it is found.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wharf_core::ids::{ChatId, EventId};
use wharf_core::store::{Batch, Document, Expect, StoreError, Value};

use super::{DELIVERIES, StoredDelivery};
use crate::events::endpoints::{Endpoint, EndpointId};

/// Stands behind everything that a text of ours can go on with.
pub(super) const LAST: char = '~';
/// The attempts that a delivery remembers, the last ones.
const ATTEMPTS_KEPT_MAX: usize = 32;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// It is still to be made.
    Due,
    /// It was made.
    Delivered,
    /// It was given up.
    Dead,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// When, in milliseconds since 1970.
    pub(crate) at: i64,
    /// What the receiver answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// How long it took, in milliseconds.
    pub(crate) ms: u64,
    /// What went wrong; absent where it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// What is stored of a delivery beside its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::events) struct Record {
    /// What is delivered.
    pub(in crate::events) event: EventId,
    /// In which chat it keeps its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::events) chat: Option<ChatId>,
    /// The event's place in the log.
    pub(in crate::events) seq: i64,
    /// Since when it is due, in milliseconds since 1970.
    pub(in crate::events) since: i64,
    /// How often it failed since then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::events) failures: u32,
    /// How often it was attempted ever.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::events) attempted: u32,
    /// The last attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::events) attempts: Vec<Attempt>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A delivery that is to be written.
pub(in crate::events) struct NewDelivery<'a> {
    /// Whom it is for. It is born dead where that one gets nothing.
    pub(in crate::events) endpoint: &'a Endpoint,
    /// What is delivered.
    pub(in crate::events) event: &'a EventId,
    /// In which chat it keeps its order.
    pub(in crate::events) chat: Option<&'a ChatId>,
    /// The event's place in the log.
    pub(in crate::events) seq: i64,
    /// When it is due for the first time.
    pub(in crate::events) now: Timestamp,
}

/// A delivery that is due.
#[derive(Debug, Clone)]
pub(in crate::events) struct Due {
    /// Unique among all deliveries.
    pub(super) id: String,
    version: u64,
    record: Record,
    /// What is sent, once it was read.
    pub(in crate::events) body: Option<Bytes>,
    /// Whether it is a retry, or came faster than it could be sent.
    pub(in crate::events) has_waited: bool,
}

/// What came of a delivery, to be noted.
#[derive(Debug)]
pub(in crate::events) struct Noted {
    /// Which.
    pub(in crate::events) due: Due,
    /// What.
    pub(in crate::events) fate: Fate,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::events) enum Fate {
    /// It was made.
    Delivered,
    /// It is tried again.
    Again(Timestamp),
    /// It is given up.
    Dead,
    /// The log has forgotten its event.
    Gone,
}

/// Where a delivery waits: one text that sorts by endpoint, then time, then event, so that one index answers what is due and
/// what is due next. Its moment is one of the machine's clock: where that was set back, what was stored before waits until it has
/// caught up.
pub(super) struct Place<'a> {
    pub(super) endpoint: &'a EndpointId,
    pub(super) due_at: Timestamp,
    pub(super) seq: i64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Wide enough for every moment and number that there is; both count from 0 up.
        let millis = self.due_at.as_millisecond().max(0);
        write!(f, "{}|{millis:015}|{:019}", self.endpoint, self.seq.max(0))
    }
}

/// The endpoint and the moment of a [`Place`].
pub(super) fn read_place(document: &Document) -> Option<(&str, Timestamp)> {
    let mut parts = text(document, "queue")?.split('|');
    let (endpoint, millis) = (parts.next()?, parts.next()?);
    let due_at = Timestamp::from_millisecond(millis.parse().ok()?).ok()?;
    Some((endpoint, due_at))
}

/// What the field `state` says of a delivery that is due: it sorts by how long.
fn due_state(record: &Record) -> String {
    format!("due|{:015}", record.since.max(0))
}

/// What the field `state` says of a dead delivery: it sorts by session, then event.
pub(super) fn dead_state(session: &str, seq: i64) -> String {
    format!("dead|{session}|{:019}", seq.max(0))
}

/// Since when a delivery is due.
pub(super) fn since(document: &Document) -> Option<Timestamp> {
    let millis = text(document, "state")?.strip_prefix("due|")?;
    Timestamp::from_millisecond(millis.parse().ok()?).ok()
}

fn text<'a>(document: &'a Document, field: &str) -> Option<&'a str> {
    match document.field(field)? {
        Value::Text(text) => Some(text),
        Value::Integer(_) | Value::Time(_) => None,
    }
}

pub(super) fn decode(document: &Document) -> Result<Record, serde_json::Error> {
    serde_json::from_slice(&document.body)
}

fn document(id: &str, record: &Record, fate: Fate) -> Result<Document, StoreError> {
    let body = serde_json::to_vec(record).map_err(|error| StoreError::Internal(error.into()))?;
    let document = Document::new(id, body).with("seq", record.seq);
    let endpoint = id.rsplit_once('.').unwrap_or_default().0;
    Ok(match fate {
        Fate::Delivered | Fate::Gone => document,
        Fate::Dead => {
            let session = endpoint.split_once('.').unwrap_or_default().0;
            document.with("state", dead_state(session, record.seq))
        }
        Fate::Again(due_at) => {
            let place = Place {
                endpoint: &EndpointId::stored(endpoint),
                due_at,
                seq: record.seq,
            };
            document
                .with("queue", place.to_string())
                .with("state", due_state(record))
        }
    })
}

impl Record {
    fn note(&mut self, attempt: Attempt) {
        self.failures += u32::from(attempt.error.is_some());
        self.attempted += 1;
        let surplus = (self.attempts.len() + 1).saturating_sub(ATTEMPTS_KEPT_MAX);
        self.attempts.drain(..surplus);
        self.attempts.push(attempt);
    }
}

impl NewDelivery<'_> {
    /// Its id.
    pub(in crate::events) fn id(&self) -> String {
        format!("{}.{}", self.endpoint.id, self.event)
    }

    fn record(&self) -> Record {
        Record {
            event: self.event.clone(),
            chat: self.chat.cloned(),
            seq: self.seq,
            since: self.now.as_millisecond(),
            failures: 0,
            attempted: 0,
            attempts: Vec::new(),
        }
    }

    /// Adds the write that stores it. Returns it where it is due.
    pub(in crate::events) fn put(&self, batch: Batch) -> Result<(Batch, Option<Due>), StoreError> {
        let (id, mut record) = (self.id(), self.record());
        let fate = match &self.endpoint.disabled {
            None => Fate::Again(self.now),
            Some(disabled) => {
                record.attempts.push(Attempt::not_made(self.now, &disabled.why));
                Fate::Dead
            }
        };
        let batch = batch.put(&DELIVERIES, document(&id, &record, fate)?);
        // The store gives the first version to what is new.
        let due = (fate != Fate::Dead).then(|| Due::new(id, 1, record));
        Ok((batch, due))
    }

    /// The write that makes it due again, with what is remembered of it.
    pub(in crate::events) fn again(&self, known: Option<&StoredDelivery>) -> Result<Batch, StoreError> {
        let mut record = self.record();
        let mut expect = Expect::Absent;
        if let Some(known) = known {
            let before = &known.record;
            (record.attempted, record.attempts) = (before.attempted, before.attempts.clone());
            // It keeps its order with those of its chat.
            record.chat.clone_from(&before.chat);
            expect = Expect::Version(known.version);
        }
        let document = document(&self.id(), &record, Fate::Again(self.now))?;
        Ok(Batch::new().put_if(&DELIVERIES, document, expect))
    }
}

impl Attempt {
    /// The note that there was none, and why.
    pub(in crate::events) fn not_made(now: Timestamp, why: &str) -> Self {
        Self {
            at: now.as_millisecond(),
            status: None,
            ms: 0,
            error: Some(why.to_owned()),
        }
    }
}

impl Due {
    pub(super) fn new(id: String, version: u64, record: Record) -> Self {
        Self {
            id,
            version,
            record,
            body: None,
            has_waited: false,
        }
    }

    /// One for tests that look at chats and order only.
    #[cfg(test)]
    pub(in crate::events) fn played(chat: Option<ChatId>, seq: i64) -> Self {
        let record = Record {
            event: EventId::derived(Timestamp::UNIX_EPOCH, u128::from(seq.unsigned_abs()).to_be_bytes()),
            chat,
            seq,
            since: 0,
            failures: 0,
            attempted: 0,
            attempts: Vec::new(),
        };
        Self::new(format!("a.x.{}", record.event), 1, record)
    }

    /// With what is to be sent.
    pub(in crate::events) fn with_body(self, body: &Bytes) -> Self {
        Self {
            body: Some(body.clone()),
            ..self
        }
    }

    /// The event to deliver.
    pub(in crate::events) fn event(&self) -> &EventId {
        &self.record.event
    }

    /// What keeps its order.
    pub(in crate::events) fn chat(&self) -> Option<&ChatId> {
        self.record.chat.as_ref()
    }

    /// The event's place in the log.
    pub(in crate::events) fn seq(&self) -> i64 {
        self.record.seq
    }

    /// Since when it is due.
    pub(in crate::events) fn since(&self) -> Timestamp {
        Timestamp::from_millisecond(self.record.since).unwrap_or_default()
    }

    /// How often it failed since then.
    pub(in crate::events) fn failures(&self) -> u32 {
        self.record.failures
    }

    /// Remembers an attempt.
    pub(in crate::events) fn note(&mut self, attempt: Attempt) {
        self.record.note(attempt);
    }
}

impl Noted {
    /// Adds the write that notes it.
    pub(super) fn add_to(&self, batch: Batch) -> Result<Batch, StoreError> {
        let Due {
            id, version, record, ..
        } = &self.due;
        Ok(match self.fate {
            Fate::Gone => batch.delete(&DELIVERIES, id),
            fate => batch.put_if(&DELIVERIES, document(id, record, fate)?, Expect::Version(*version)),
        })
    }
}
