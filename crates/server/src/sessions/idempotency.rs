//! Sends that a caller may repeat: the same key and the same request are one message and one answer.
//!
//! A record in the session's own store says which message belongs to a key. It is written before anything leaves, so that a
//! repeat after a crash sends the same message id again, of which phones show one; the answer is written in the commit that
//! keeps the message. It goes with the session's data when its account is unlinked. What a request is, and whose key it is,
//! the API decides: an [`IdempotencyKey`] comes from there.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use wharf_core::clock::Clock;
use wharf_core::engine::EngineError;
use wharf_core::message::Message;
use wharf_core::store::{Batch, Collection, Condition, Document, Field, Query, Store, StoreError, Value};

use super::connection::{GivenId, SendError};

/// One document per key.
static SENDS: Collection = Collection {
    name: "sends",
    fields: &[
        // When the key was first used.
        Field::time("at"),
        // The chat and the id of its message, where the caller gave that.
        Field::text("given"),
    ],
};

/// Old keys that one send takes away at the most.
const SWEPT_MAX: usize = 100;

/// What tells a send from all others of its session, and its request from another one under the same key.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey {
    id: String,
    request: String,
}

impl IdempotencyKey {
    /// The key of this caller, who sends this request.
    pub(crate) fn new(caller: &str, key: &str, request: &[&[u8]]) -> Self {
        Self {
            id: digest(&[caller.as_bytes(), key.as_bytes()]),
            request: digest(request),
        }
    }
}

/// The digest of some parts, which no other parts have. Keys and requests need not be readable in the store.
fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

/// The answer to a send: the message as JSON, byte for byte the same for every repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The body.
    pub(crate) body: Bytes,
    /// Whether it was given before.
    pub(crate) is_repeated: bool,
}

impl Answer {
    pub(super) fn new(body: &RawValue) -> Self {
        Self {
            body: Bytes::copy_from_slice(body.get().as_bytes()),
            is_repeated: false,
        }
    }
}

/// What is kept of a key.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    request: String,
    /// WhatsApp's own id of the message.
    message_id: String,
    /// Not there until the message has left and is kept.
    answered: Option<Answered>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    /// The message in the words of its stanza, under which it is kept.
    stanza: String,
    body: Box<RawValue>,
}

/// The sends of one connection that have keys.
pub(super) struct Sends {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    kept_for: Duration,
    /// When the connection began.
    since: Timestamp,
    /// The keys, and the ids that callers gave, whose sends are under way. A session has one connection at a time, so nobody else sends under them.
    under_way: Mutex<HashSet<String>>,
}

/// What a key stands for.
pub(super) enum Known {
    /// Nothing that has an answer: who holds the claim may send.
    Open(Claim),
    /// A message that has left.
    Answered {
        /// What the first request was answered.
        answer: Answer,
        /// The message in the words of its stanza.
        stanza: String,
        /// Whether that was on an earlier connection, which may have ended before the message was told of.
        is_older: bool,
    },
}

/// The right to send under a key, which nobody else has until it is dropped.
pub(super) struct Claim {
    place: Place,
    key: IdempotencyKey,
    given: Option<(Place, String)>,
    /// What an earlier request has left behind of which nobody knows whether it has sent.
    before: Option<Reserved>,
}

/// A message id that is on disk for a key, and since when.
struct Reserved {
    at: Timestamp,
    message_id: String,
}

/// A key's place among those under way.
struct Place {
    sends: Arc<Sends>,
    id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sends.under_way().remove(&self.id);
    }
}

impl Sends {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, kept_for: Duration) -> Arc<Self> {
        Arc::new(Self {
            store,
            kept_for,
            since: clock.now(),
            clock,
            under_way: Mutex::default(),
        })
    }

    /// Looks a key up, and claims it where it has no answer; with it the id that the caller gave the message.
    pub(super) async fn claim(
        self: &Arc<Self>,
        key: IdempotencyKey,
        given: Option<&GivenId>,
    ) -> Result<Known, SendError> {
        // Whoever only wants the answer need not wait for others who do.
        if let ControlFlow::Break(known) = self.look(&key).await? {
            return Ok(known);
        }
        let place = self.enter(key.id.clone())?;
        let before = match self.look(&key).await? {
            ControlFlow::Break(known) => return Ok(known),
            ControlFlow::Continue(before) => before,
        };
        let given = match given.and_then(|given| Some((given, given.chat.as_ref()?))) {
            Some((given, chat)) => {
                let name = format!("{chat} {}", given.id);
                let place = self.enter(name.clone())?;
                // Whoever has the id has it for their own request only.
                if before.is_none() && self.has_given(&name).await? {
                    return Err(SendError::IdUsed(given.id.clone()));
                }
                Some((place, name))
            }
            None => None,
        };
        Ok(Known::Open(Claim {
            place,
            key,
            given,
            before,
        }))
    }

    /// The answer that a key has, or else what an earlier request has left behind.
    async fn look(&self, key: &IdempotencyKey) -> Result<ControlFlow<Known, Option<Reserved>>, SendError> {
        Ok(match self.find(&key.id).await? {
            Some((_, record)) if record.request != key.request => return Err(SendError::KeyUsed),
            Some((at, Record { answered: Some(it), .. })) => ControlFlow::Break(it.known(at < self.since)),
            Some((at, Record { message_id, .. })) => ControlFlow::Continue(Some(Reserved { at, message_id })),
            None => ControlFlow::Continue(None),
        })
    }

    fn enter(self: &Arc<Self>, id: String) -> Result<Place, SendError> {
        match self.under_way().insert(id.clone()) {
            true => Ok(Place {
                sends: Arc::clone(self),
                id,
            }),
            false => Err(SendError::UnderWay),
        }
    }

    /// Whether a message that may have left has this id in this chat.
    async fn has_given(&self, name: &str) -> Result<bool, StoreError> {
        let conditions = vec![Condition::Equal("given", name.into())];
        Ok(self.store.count(&SENDS, conditions).await? > 0)
    }

    /// Takes away some of the keys that are forgotten.
    async fn sweep(&self, mut batch: Batch) -> Result<Batch, StoreError> {
        let old = Query::all().filter(Condition::AtMost("at", self.forgotten().into()));
        let old = self.store.find(&SENDS, old.limit(SWEPT_MAX)).await?;
        for document in old.documents {
            batch = batch.delete(&SENDS, document.id);
        }
        Ok(batch)
    }

    async fn find(&self, id: &str) -> Result<Option<(Timestamp, Record)>, StoreError> {
        let Some(document) = self.store.get(&SENDS, id).await? else {
            return Ok(None);
        };
        match document.field("at") {
            Some(Value::Time(at)) if *at > self.forgotten() => {
                let record = serde_json::from_slice(&document.body);
                Ok(Some((*at, record.map_err(|error| StoreError::Internal(error.into()))?)))
            }
            _ => Ok(None),
        }
    }

    /// What was first used then, or before, is forgotten.
    fn forgotten(&self) -> Timestamp {
        // Only calendar units can fail.
        let then = self.clock.now().saturating_sub(self.kept_for);
        then.unwrap_or(Timestamp::MIN)
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<String>> {
        // Plain data, valid even if a holder panicked.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answered {
    fn known(self, is_older: bool) -> Known {
        Known::Answered {
            answer: Answer {
                is_repeated: true,
                ..Answer::new(&self.body)
            },
            stanza: self.stanza,
            is_older,
        }
    }
}

impl Claim {
    /// The id that an earlier request's message has, if there was one.
    pub(super) fn message_id(&self) -> Option<&str> {
        self.before.as_ref().map(|reserved| reserved.message_id.as_str())
    }

    /// Makes sure that the id is on disk before its message leaves, and takes the opportunity to forget old keys.
    pub(super) async fn reserve(&self, message_id: &str) -> Result<Reservation<'_>, StoreError> {
        let sends = &self.place.sends;
        if let Some(before) = &self.before {
            return Ok(Reservation {
                claim: self,
                at: before.at,
                message_id: before.message_id.clone(),
            });
        }
        let reservation = Reservation {
            claim: self,
            at: sends.clock.now(),
            message_id: message_id.to_owned(),
        };
        let batch = sends.sweep(Batch::new()).await?;
        let document = reservation.document(None)?;
        sends.store.write(batch.put(&SENDS, document)).await?;
        Ok(reservation)
    }
}

/// A key whose message may leave.
pub(super) struct Reservation<'a> {
    claim: &'a Claim,
    at: Timestamp,
    message_id: String,
}

impl Reservation<'_> {
    /// When the key was first used, which every repeat has.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// The write that keeps the answer, for the commit that keeps the message.
    pub(super) fn answered(&self, message: &Message, body: &RawValue) -> Result<Batch, StoreError> {
        let document = self.document(Some(Answered {
            stanza: message.stanza.clone(),
            body: body.to_owned(),
        }))?;
        Ok(Batch::new().put(&SENDS, document))
    }

    /// Frees the key where certainly nothing has left: what is wrong with the request may be mended under it.
    pub(super) async fn failed(self, error: &EngineError) {
        let has_left_nothing = match error {
            EngineError::NotLinked
            | EngineError::UnknownRecipient(_)
            | EngineError::Invalid(_)
            | EngineError::Refused { .. }
            | EngineError::TooLarge { .. }
            | EngineError::NotSynced
            | EngineError::Throttled { .. }
            | EngineError::Unavailable { .. } => true,
            EngineError::Offline | EngineError::TimedOut { .. } | EngineError::Store(_) | EngineError::Internal(_) => {
                false
            }
        };
        if !has_left_nothing || self.claim.before.is_some() {
            return;
        }
        let key = &self.claim.key.id;
        let free = Batch::new().delete(&SENDS, key.as_str());
        if let Err(error) = self.claim.place.sends.store.write(free).await {
            // The same request can be repeated all the same; another one under this key is refused.
            tracing::warn!(error = %error, "an idempotency key could not be freed");
        }
    }

    fn document(&self, answered: Option<Answered>) -> Result<Document, StoreError> {
        let record = Record {
            request: self.claim.key.request.clone(),
            message_id: self.message_id.clone(),
            answered,
        };
        let body = serde_json::to_vec(&record).map_err(|error| StoreError::Internal(error.into()))?;
        let document = Document::new(self.claim.key.id.as_str(), body).with("at", self.at);
        Ok(match &self.claim.given {
            Some((_, name)) => document.with("given", name.as_str()),
            None => document,
        })
    }
}
