//! The protocol library's store, over Wharf's storage port: one session's keys, sessions and protocol state.
//!
//! Implements the five traits of `wacore::store::traits`, so the databases behind the port know nothing of the library.
//! Binary records stay the bytes that the library hands over. A method that reads before it writes holds the session's
//! lock; that is enough because one process owns a session. Split by the library's own topics: [`signal`], [`appsync`],
//! [`protocol`] (with [`tokens`] and [`inbound`]), [`mod@secrets`], [`device`].
//!
//! The library's periodic sweeps (`keepalive.rs` spawn_retention_cleanup, `tctoken.rs` prune_expired) do nothing here:
//! they would wake every session's closed file every five minutes, at times of their own, for a handful of deletes each.
//! [`Backend::sweep`] does all of it in one batch when the session's supervisor finds it convenient.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use wacore::store::error::StoreError as LibraryError;
use wharf_core::BoxError;
use wharf_core::clock::Clock;
use wharf_core::store::{Batch, Collection, Condition, Document, Query, Store, StoreError};

mod appsync;
mod device;
mod failstop;
mod inbound;
mod protocol;
mod secrets;
mod signal;
#[cfg(test)]
mod tests;
mod tokens;

use failstop::FailStop;
pub(crate) use inbound::{LostInbound, seen_marks, told_marks};
pub(crate) use secrets::secrets;

use crate::ending::Ending;

/// How long a sent message can be asked for again. A phone that was off for days asks when it is back on.
const SENT_RETENTION: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long the base key of a session that is being repaired is remembered; a repair takes minutes.
const BASE_KEY_RETENTION: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a privacy token is kept after its last use. The library's windows end at 182 days at the most
/// (`wacore` iq/tctoken: 26 buckets of 7 days).
const TOKEN_RETENTION: SignedDuration = SignedDuration::from_hours(200 * 24);

/// How many notices about lost messages wait for the session; more are only logged.
const LOST_NOTICES_MAX: usize = 64;

/// What a session's database is called where one of its records is damaged; its path is the storage's own affair.
const SESSION_FILE: &str = "session database";

/// What the library's store traits answer.
type Result<T> = std::result::Result<T, LibraryError>;

/// One session's store, as the library wants it.
pub(crate) struct Backend {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ending: Arc<Ending>,
    /// Held by every method that reads before it writes, and by those that write the same documents.
    turn: tokio::sync::Mutex<()>,
    /// The same for secrets of messages, whose writes take their time.
    secrets_turn: tokio::sync::Mutex<()>,
    inbound: inbound::State,
}

impl Backend {
    /// The store of one session for one connection, and where it reports messages that it cannot give back.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ending: Arc<Ending>,
    ) -> (Self, mpsc::Receiver<LostInbound>) {
        let (lost, notices) = mpsc::channel(LOST_NOTICES_MAX);
        let backend = Self {
            store: Arc::new(FailStop::new(store, ending.clone())),
            clock,
            ending,
            turn: tokio::sync::Mutex::new(()),
            secrets_turn: tokio::sync::Mutex::new(()),
            inbound: inbound::State::new(lost),
        };
        (backend, notices)
    }

    /// Removes what is past its time, and the inbound rows that are done with.
    pub(crate) async fn sweep(&self, now: Timestamp) -> std::result::Result<(), StoreError> {
        let batch = protocol::sweep(now)
            .and(tokens::sweep(now))
            .and(secrets::sweep(now))
            .and(inbound::sweep(now));
        self.write_with_rows(batch).await
    }

    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>> {
        self.store.get(collection, id).await.map_err(failed)
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>> {
        self.store.get_many(collection, ids).await.map_err(failed)
    }

    /// Every document that fulfils the conditions, page by page.
    async fn get_all(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<Vec<Document>> {
        let mut query = Query {
            conditions,
            ..Query::all()
        };
        let mut documents = Vec::new();
        loop {
            let page = self.store.find(collection, query.clone()).await.map_err(failed)?;
            documents.extend(page.documents);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(documents),
            }
        }
    }

    /// The first document that a query finds.
    async fn first(&self, collection: &'static Collection, query: Query) -> Result<Option<Document>> {
        let page = self.store.find(collection, query.limit(1)).await.map_err(failed)?;
        Ok(page.documents.into_iter().next())
    }

    async fn put(&self, collection: &'static Collection, document: Document) -> Result<()> {
        self.write(Batch::new().put(collection, document)).await
    }

    async fn delete(&self, collection: &'static Collection, id: impl Into<String>) -> Result<()> {
        self.write(Batch::new().delete(collection, id)).await
    }

    async fn write(&self, batch: Batch) -> Result<()> {
        self.write_with_rows(batch).await.map_err(failed)
    }

    /// A small record from JSON.
    fn decode<T: serde::de::DeserializeOwned>(&self, document: &Document) -> Result<T> {
        serde_json::from_slice(&document.body).map_err(|error| self.damaged(document, error))
    }

    /// The number of a record that is kept under [`numbered`].
    fn number(&self, document: &Document) -> Result<u32> {
        let parsed = document.id.parse();
        parsed.map_err(|error: std::num::ParseIntError| self.damaged(document, error))
    }

    /// A record is not what was once written. The library would take that for the fault of whatever it works on, and
    /// refuse that for good; so it ends the connection, as a damaged file does.
    fn damaged(&self, document: &Document, cause: impl Into<BoxError>) -> LibraryError {
        let cause = DamagedRecord {
            id: document.id.clone(),
            cause: cause.into(),
        };
        let error = StoreError::Corrupt {
            file: SESSION_FILE.into(),
            cause: cause.into(),
        };
        self.ending.store_failed(&error);
        failed(error)
    }
}

/// Which record is damaged.
#[derive(Debug, thiserror::Error)]
#[error("its record {id} cannot be read: {cause}")]
struct DamagedRecord {
    id: String,
    cause: BoxError,
}

/// A failure of the store, with its cause for whoever looks for it.
fn failed(error: StoreError) -> LibraryError {
    LibraryError::Database(Box::new(error))
}

/// A small record as JSON.
fn encode<T: serde::Serialize>(record: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|error| LibraryError::Serialization(Box::new(error)))
}

/// One id for several parts. Each but the last carries its length, because the parts come from strangers and may hold any
/// separator.
fn join<const N: usize>(parts: [&str; N]) -> String {
    let mut id = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 < N {
            id.push_str(&prefix(part));
        } else {
            id.push_str(part);
        }
    }
    id
}

/// How every id starts that [`join`] makes with this first part.
fn prefix(part: &str) -> String {
    format!("{}:{part}", part.len())
}

/// The last part of an id, given how it starts.
fn last_part<'a>(id: &'a str, prefix: &str) -> &'a str {
    id.strip_prefix(prefix).unwrap_or(id)
}

/// The first part of an id of two, given the second.
fn first_part<'a>(id: &'a str, last: &str) -> Option<&'a str> {
    let (length, parts) = id.split_once(':')?;
    let (first, rest) = parts.split_at_checked(length.parse().ok()?)?;
    (rest == last).then_some(first)
}

/// The id of a numbered record; in the order of the numbers.
fn numbered(number: u32) -> String {
    format!("{number:010}")
}

/// The condition for documents whose moment is so long ago.
fn older_than(field: &'static str, now: Timestamp, retention: SignedDuration) -> Vec<Condition> {
    let cutoff = now.checked_sub(retention).unwrap_or(Timestamp::MIN);
    vec![Condition::AtMost(field, cutoff.into())]
}

/// A moment that the library gives in seconds; the nearest one that exists for nonsense.
fn moment(seconds: i64) -> Timestamp {
    let nearest = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(nearest)
}
