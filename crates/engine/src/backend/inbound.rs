//! Keeps decrypted messages until the durability hook has committed them, and knows which ones never were.
//!
//! The library stores a row before it calls the hook and removes it after (`whatsapp-rust` message/commit_batch.rs
//! commit_inbound_batch). It asks for a row in one place only: a stanza that Signal refuses as a duplicate
//! (message/durability.rs ack_or_replay_to_hook; the callers in message/receive.rs all come from `DuplicatedMessage`). A
//! row means "replay it to the hook", no row means "acknowledge it", an error means "do not acknowledge it". A first
//! delivery never asks. The probe of client/builder.rs (probe_durability_backend) stores its row before it asks, so it
//! needs no rule of its own.
//!
//! What the library misses: on the live path the flush of Signal state (signal_flush.rs, every 25 ms) does not wait for
//! the row of a message that is being processed. If the process dies between the two, the redelivery is a duplicate
//! without a row, and the library would acknowledge a message that nobody ever stored. So the hook marks every message
//! that it is given as seen ([`seen_marks`], in the same batch as the message), and "no row" is only answered for marked
//! ones. Any other is lost: it stays unacknowledged and is reported, so that the session asks its sender again, a few
//! times over a while; then it is given up, because an unacknowledged stanza comes back at every connect for ever: `message.waiting`
//! tells of it, and the mark that is written after that lets its next redelivery be acknowledged. Stanzas that carry
//! nothing for the hook (a bare sender key) have no mark either; a redelivery of one takes the same way.
//!
//! A row must be on disk only where Signal's state is that has moved past its message. So it is kept back and is part of the
//! next write that the library asks for, which is a flush of that state at the earliest; mostly the hook has committed the
//! message before, and the row is never written. Neither is the removal of one worth a sync to the disk: it joins the next
//! write too. If the process dies before, the row stays, and a redelivery is replayed to the hook, which knows the message
//! by its ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use wacore::store::error::StoreError as LibraryError;
use wacore::store::traits::{PendingInboundKey, PendingInboundRow};
use wacore_binary::Jid;
use wharf_core::store::{Batch, Collection, Condition, Document, Field, StoreError, Value};

use super::{Backend, Result, encode, first_part, join, last_part, older_than, prefix};

/// How long a message counts as seen. WhatsApp redelivers at the next connect, so this covers a session that was stopped
/// for two weeks.
const SEEN_RETENTION: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long a message waits for a hook that fails; as long as WhatsApp keeps it for a device that is away.
const PENDING_RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How often a lost message is asked for again before it is given up.
const LOST_TRIES_MAX: u8 = 3;

/// How long after the first try a lost message is given up at the earliest. A session may connect several times within
/// seconds, and who was asked needs time to answer.
const LOST_AGE_MIN: SignedDuration = SignedDuration::from_mins(10);

/// How many rows that are done with wait for a write to join.
const DONE_ROWS_MAX: usize = 256;

/// Messages that the hook has not committed yet.
static PENDING: Collection = Collection {
    name: "wa_pending_inbound",
    fields: &[Field::time("stored_at")],
};

/// Messages that the hook was given.
static SEEN: Collection = Collection {
    name: "wa_seen_inbound",
    fields: &[Field::time("seen_at")],
};

/// Messages that cannot be read and were told of.
static TOLD: Collection = Collection {
    name: "wa_told_inbound",
    fields: &[Field::time("told_at")],
};

/// Messages that were decrypted and never stored; the body is a [`Tries`].
static LOST: Collection = Collection {
    name: "wa_lost_inbound",
    fields: &[Field::time("tried_at")],
};

/// How often a lost message was asked for.
#[derive(serde::Serialize, serde::Deserialize)]
struct Tries {
    count: u8,
    /// The first time, in seconds since the Unix epoch.
    first_s: i64,
}

/// A message that Signal has decrypted before and that was never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostInbound {
    /// The chat, as the stanza names it.
    pub(crate) chat: String,
    /// The sender, as the stanza names them.
    pub(crate) sender: String,
    /// The stanza's id.
    pub(crate) id: String,
    /// When it was asked for last, where asking again did not help. Otherwise ask again.
    pub(crate) given_up: Option<Timestamp>,
}

/// What is remembered between calls.
pub(super) struct State {
    lost: mpsc::Sender<LostInbound>,
    rows: Mutex<Rows>,
}

/// What becomes of rows with the next write.
#[derive(Default)]
struct Rows {
    /// Those of messages that the hook has not committed; the library hands over so many at a time only.
    open: BTreeMap<String, Row>,
    /// The ids of those to remove.
    done: BTreeSet<String>,
}

struct Row {
    document: Document,
    /// Whether a write has taken it along.
    is_written: bool,
}

impl State {
    pub(super) fn new(lost: mpsc::Sender<LostInbound>) -> Self {
        Self {
            lost,
            rows: Mutex::default(),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_along(&self) -> Taken<'_> {
        let mut rows = self.rows();
        let waiting = rows.open.values_mut().filter(|row| !row.is_written);
        let open = waiting.map(|row| {
            row.is_written = true;
            row.document.clone()
        });
        Taken {
            state: self,
            open: open.collect(),
            done: std::mem::take(&mut rows.done),
        }
    }
}

/// What a write takes along. Dropped before it was written, it waits for the next one.
struct Taken<'a> {
    state: &'a State,
    done: BTreeSet<String>,
    open: Vec<Document>,
}

impl Taken<'_> {
    fn removals(&self) -> Batch {
        let ids = self.done.iter();
        ids.fold(Batch::new(), |batch, id| batch.delete(&PENDING, id.clone()))
    }

    fn are_written(mut self) {
        self.done.clear();
        self.open.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut rows = self.state.rows();
        rows.done.append(&mut self.done);
        for document in &self.open {
            if let Some(row) = rows.open.get_mut(&document.id) {
                row.is_written = false;
            }
        }
    }
}

/// Marks messages as seen; the hook writes this with the messages themselves. The parts are those of the library's
/// `MessageInfo`: `source.chat`, `source.sender` and `id`, as text.
pub(crate) fn seen_marks(messages: &[PendingInboundKey<'_>], now: Timestamp) -> Batch {
    messages.iter().fold(Batch::new(), |batch, message| {
        batch.put(&SEEN, Document::new(key(message), "").with("seen_at", now))
    })
}

/// Marks a message that cannot be read as told of.
pub(crate) fn told_marks(message: &PendingInboundKey<'_>, now: Timestamp) -> Batch {
    Batch::new().put(&TOLD, Document::new(key(message), "").with("told_at", now))
}

/// Removes marks and rows past their time.
pub(super) fn sweep(now: Timestamp) -> Batch {
    Batch::new()
        .delete_where(&SEEN, older_than("seen_at", now, SEEN_RETENTION))
        .delete_where(&PENDING, older_than("stored_at", now, PENDING_RETENTION))
        .delete_where(&TOLD, older_than("told_at", now, PENDING_RETENTION))
        .delete_where(&LOST, older_than("tried_at", now, PENDING_RETENTION))
}

impl Backend {
    pub(super) fn keep_pending(&self, rows: &[PendingInboundRow<'_>]) {
        let now = self.clock.now();
        let mut kept = self.inbound.rows();
        for row in rows {
            let id = join([row.chat, row.sender, row.id]);
            let document = Document::new(id.clone(), row.message.to_vec()).with("stored_at", now);
            kept.open.insert(
                id,
                Row {
                    document,
                    is_written: false,
                },
            );
        }
    }

    pub(super) async fn find_pending(&self, message: PendingInboundKey<'_>) -> Result<Option<Vec<u8>>> {
        let id = key(&message);
        {
            let rows = self.inbound.rows();
            if let Some(row) = rows.open.get(&id) {
                return Ok(Some(row.document.body.to_vec()));
            }
            // The library removes a row when the hook has committed it, or when it cannot be read.
            if rows.done.contains(&id) {
                return Ok(None);
            }
        }
        if let Some(row) = self.get(&PENDING, &id).await? {
            return Ok(Some(row.body.into()));
        }
        if self.get(&SEEN, &id).await?.is_some() {
            return Ok(None);
        }
        self.report_lost(message, id).await
    }

    pub(super) async fn drop_pending(&self, messages: &[PendingInboundKey<'_>]) -> Result<()> {
        let is_full = {
            let mut rows = self.inbound.rows();
            for id in messages.iter().map(key) {
                let open = rows.open.remove(&id);
                if open.is_none_or(|row| row.is_written) {
                    rows.done.insert(id);
                }
            }
            rows.done.len() >= DONE_ROWS_MAX
        };
        match is_full {
            true => self.write(Batch::new()).await,
            false => Ok(()),
        }
    }

    /// Writes a batch behind the rows that were kept back, and behind the removal of those that are done with.
    pub(super) async fn write_with_rows(&self, batch: Batch) -> std::result::Result<(), StoreError> {
        let taken = self.inbound.take_along();
        let spare = (!taken.open.is_empty()).then(|| batch.clone());
        let rows = taken.open.iter();
        let rows = rows.fold(taken.removals(), |batch, row| batch.put(&PENDING, row.clone()));
        let all = Batch {
            may_wait: batch.may_wait,
            ..rows.and(batch)
        };
        match (self.store.write(all).await, spare) {
            // One of them can never be stored, and would hold up all that is written with it.
            (Err(StoreError::Internal(_)), Some(batch)) => {
                self.write_rows_one_by_one(&taken.open).await?;
                self.store.write(taken.removals().and(batch)).await?;
            }
            (outcome, _) => outcome?,
        }
        taken.are_written();
        Ok(())
    }

    /// Writes what can be written. What cannot has no row to be replayed from; the session keeps it in a reduced form.
    async fn write_rows_one_by_one(&self, rows: &[Document]) -> std::result::Result<(), StoreError> {
        for row in rows {
            match self.store.write(Batch::new().put(&PENDING, row.clone())).await {
                Err(StoreError::Internal(error)) => {
                    let id = &row.id;
                    tracing::error!(id, error = error.as_ref(), "a message is handed on without a row");
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Notes that the sender of a lost message was asked for it. What could not be asked is no try: else a message would
    /// be given up because the network was down.
    pub(crate) async fn count_try(&self, lost: &LostInbound) -> Result<()> {
        let _turn = self.turn.lock().await;
        let id = join([&lost.chat, &lost.sender, &lost.id]);
        let (now, before) = (self.clock.now(), self.get(&LOST, &id).await?);
        let mut tries = match before {
            Some(document) => self.decode(&document)?,
            None => Tries {
                count: 0,
                first_s: now.as_second(),
            },
        };
        tries.count = tries.count.saturating_add(1);
        let document = Document::new(id, encode(&tries)?);
        self.put(&LOST, document.with("tried_at", now)).await
    }

    /// Whether a message was given to the session, or told of.
    pub(crate) async fn was_seen(&self, message: &PendingInboundKey<'_>) -> Result<bool> {
        Ok(self.get(&SEEN, &key(message)).await?.is_some())
    }

    /// The lost messages that may be this one: with its id, in one of these chats, from one of these people. The phone,
    /// when it is asked for a message, names people in its own way and without their devices.
    pub(crate) async fn lost(&self, chats: &[Jid], senders: &[Jid], id: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for chat in chats {
            let chat = chat.to_string();
            let start = prefix(&chat);
            for document in self.get_all(&LOST, vec![Condition::IdPrefix(start.clone())]).await? {
                let Some(sender) = first_part(last_part(&document.id, &start), id) else {
                    continue;
                };
                let is_sender = |jid: Jid| senders.contains(&jid.to_non_ad());
                if sender.parse().is_ok_and(is_sender) {
                    found.push((chat.clone(), sender.to_owned()));
                }
            }
        }
        Ok(found)
    }

    /// Whether a message that cannot be read was told of.
    pub(crate) async fn was_told(&self, message: &PendingInboundKey<'_>) -> Result<bool> {
        Ok(self.get(&TOLD, &key(message)).await?.is_some())
    }

    /// Writes marks alone.
    pub(crate) async fn mark(&self, marks: Batch) -> Result<()> {
        match marks.is_empty() {
            true => Ok(()),
            false => self.write(marks).await,
        }
    }

    /// When a lost message was asked for last, if that is to be given up.
    async fn given_up(&self, id: &str) -> Result<Option<Timestamp>> {
        let Some(document) = self.get(&LOST, id).await? else {
            return Ok(None);
        };
        let tries: Tries = self.decode(&document)?;
        let age_s = self.clock.now().as_second().saturating_sub(tries.first_s);
        if tries.count < LOST_TRIES_MAX || age_s < LOST_AGE_MIN.as_secs() {
            return Ok(None);
        }
        Ok(match document.field("tried_at") {
            Some(Value::Time(at)) => Some(*at),
            _ => None,
        })
    }

    async fn report_lost(&self, message: PendingInboundKey<'_>, id: String) -> Result<Option<Vec<u8>>> {
        let given_up = self.given_up(&id).await?;
        let notice = LostInbound {
            chat: message.chat.to_owned(),
            sender: message.sender.to_owned(),
            id: message.id.to_owned(),
            given_up,
        };
        if self.inbound.lost.try_send(notice).is_err() {
            // It is not acknowledged, so it is reported again after the next connect.
            tracing::warn!(
                message = message.id,
                "too many messages are lost to ask for all of them now"
            );
        }
        Err(LibraryError::Validation(format!(
            "message {} was decrypted before but never stored",
            message.id
        )))
    }
}

fn key(message: &PendingInboundKey<'_>) -> String {
    join([message.chat, message.sender, message.id])
}
