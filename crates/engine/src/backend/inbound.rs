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
//! A row must be on disk wherever something is that lets its message be taken for known: Signal's state that has moved past
//! it, or its mark. Neither its writing nor its removal is worth a sync of its own, so it is kept back and is part of every
//! write of the library's until one has succeeded, and of the hook's own commit ([`Backend::rows`]), which has the mark. It
//! is removed after the hook has told of the message, with the next write. If the process dies before, the row stays, and a
//! redelivery is replayed to the hook, which knows the message by its ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use wacore::store::error::StoreError as LibraryError;
use wacore::store::traits::{PendingInboundKey, PendingInboundRow};
use wacore_binary::Jid;
use wharf_core::store::{Batch, Collection, Condition, Document, Field, StoreError, Value};

use super::{Backend, Result, encode, failed, first_part, join, last_part, older_than, prefix};

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

/// How many rows that are done with wait for a write to join; more than the library hands over at once (400).
const DONE_ROWS_MAX: usize = 512;

/// The largest message whose row is kept back. A larger one gets a write of its own, because it may be too large for any,
/// and would hold up all that is written with it.
const KEPT_BACK_BYTES_MAX: usize = 64 * 1024;

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
    /// Whether a write with it has succeeded.
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
        let open = rows.open.values().filter(|row| !row.is_written);
        Taken {
            open: open.map(|row| row.document.clone()).collect(),
            done: std::mem::take(&mut rows.done),
            state: self,
        }
    }
}

/// What a write takes along. Another one that begins meanwhile takes the same rows: it may be committed first, and may have
/// the state of Signal that has moved past their messages.
struct Taken<'a> {
    state: &'a State,
    open: Vec<Document>,
    done: BTreeSet<String>,
}

impl Taken<'_> {
    fn and(&self, batch: Batch) -> Batch {
        let removals = self
            .done
            .iter()
            .fold(Batch::new(), |batch, id| batch.delete(&PENDING, id.clone()));
        let rows = self
            .open
            .iter()
            .fold(removals, |batch, row| batch.put(&PENDING, row.clone()));
        Batch {
            may_wait: batch.may_wait,
            ..rows.and(batch)
        }
    }

    fn are_written(mut self) {
        self.done.clear();
        let mut rows = self.state.rows();
        for Document { id, .. } in std::mem::take(&mut self.open) {
            match rows.open.get_mut(&id) {
                Some(row) => row.is_written = true,
                // Its removal may have been written before it.
                None => _ = rows.done.insert(id),
            }
        }
    }
}

impl Drop for Taken<'_> {
    /// What was not removed is to be removed yet.
    fn drop(&mut self) {
        if !self.done.is_empty() {
            self.state.rows().done.append(&mut self.done);
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
    pub(super) async fn keep_pending(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let now = self.clock.now();
        for row in rows {
            let id = join([row.chat, row.sender, row.id]);
            let document = Document::new(id.clone(), row.message.to_vec()).with("stored_at", now);
            if document.body.len() > KEPT_BACK_BYTES_MAX {
                self.write_large(document).await?;
                continue;
            }
            let row = Row {
                document,
                is_written: false,
            };
            let mut rows = self.inbound.rows();
            rows.done.remove(&id);
            rows.open.insert(id, row);
        }
        Ok(())
    }

    /// What cannot be written has no row to be replayed from; the session keeps it in a reduced form.
    async fn write_large(&self, row: Document) -> Result<()> {
        let id = row.id.clone();
        self.inbound.rows().done.remove(&id);
        match self.store.write(Batch::new().put(&PENDING, row)).await {
            Err(StoreError::Internal(error)) => {
                tracing::error!(id, error = error.as_ref(), "a message is handed on without a row");
                Ok(())
            }
            outcome => outcome.map_err(failed),
        }
    }

    /// The rows of messages, as far as they are not known to be on disk. The hook writes them with its marks: from then on the
    /// message counts as seen, and only its row says that it was not told of yet.
    pub(crate) fn rows(&self, messages: &[PendingInboundKey<'_>]) -> Batch {
        let rows = self.inbound.rows();
        let open = messages.iter().filter_map(|message| rows.open.get(&key(message)));
        let unwritten = open.filter(|row| !row.is_written);
        unwritten.fold(Batch::new(), |batch, row| batch.put(&PENDING, row.document.clone()))
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
                rows.open.remove(&id);
                rows.done.insert(id);
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
        self.store.write(taken.and(batch)).await?;
        taken.are_written();
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
