//! The storage port: a few operations over documents, the same on every database.
//!
//! A document is opaque bytes under an id, plus the few typed fields that are searched by. A [`Collection`] is declared
//! once, next to the code that owns it. Deliberately absent: joins, partial updates, transactions across calls. What
//! must happen together goes into one [`Batch`]; what cannot must be idempotent and in the right order.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::BoxError;
use crate::ids::SessionName;

/// The most documents that one page of [`Store::find`] holds, whatever the query asks for.
pub const PAGE_DOCUMENTS_MAX: usize = 1_000;

/// A named set of documents and the fields that they are searched by.
///
/// Names are `[a-z][a-z0-9_]*` and at most 40 characters, because every database accepts those.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Collection {
    /// The name of the table or collection.
    pub name: &'static str,
    /// The fields that [`Query`] and [`Write::DeleteWhere`] may name.
    pub fields: &'static [Field],
}

/// One searchable field; each has an index.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The name of the field.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// Text, compared byte by byte.
    Text,
    /// A whole number.
    Integer,
    /// A moment, kept to the millisecond.
    Time,
}

impl Field {
    /// A text field.
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            kind: FieldKind::Text,
        }
    }

    /// A whole-number field.
    pub const fn integer(name: &'static str) -> Self {
        Self {
            name,
            kind: FieldKind::Integer,
        }
    }

    /// A time field.
    pub const fn time(name: &'static str) -> Self {
        Self {
            name,
            kind: FieldKind::Time,
        }
    }
}

/// The value of a field. A document without a field is not found by conditions on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// For [`FieldKind::Text`].
    Text(String),
    /// For [`FieldKind::Integer`].
    Integer(i64),
    /// For [`FieldKind::Time`].
    Time(Timestamp),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

/// One stored thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Unique in its collection; compared byte by byte.
    pub id: String,
    /// What the owner of the collection makes of it.
    pub body: Bytes,
    /// The fields that are set, by name.
    pub fields: Vec<(&'static str, Value)>,
    /// Raised by the store with every write; 0 for a document that was never stored.
    pub version: u64,
}

impl Document {
    /// A document to be stored.
    pub fn new(id: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            id: id.into(),
            body: body.into(),
            fields: Vec::new(),
            version: 0,
        }
    }

    /// Sets a field.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((field, value.into()));
        self
    }

    /// The value of a field, if it is set.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }
}

/// What a document must fulfil. All bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The field has this value.
    Equal(&'static str, Value),
    /// The field has one of these values.
    In(&'static str, Vec<Value>),
    /// The field is this or more.
    AtLeast(&'static str, Value),
    /// The field is this or less.
    AtMost(&'static str, Value),
    /// The id starts with this text.
    IdPrefix(String),
}

/// Which documents to find, in which order, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// The field to order by, with the id as tie-breaker; by id alone where it is `None`. Documents without the field
    /// are left out.
    pub order_by: Option<&'static str>,
    /// Largest first.
    pub descending: bool,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// At most so many; [`PAGE_DOCUMENTS_MAX`] caps it.
    pub limit: usize,
}

/// A place between two documents of one ordered query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The value of the field that the query is ordered by.
    pub value: Option<Value>,
    /// The id of the last document before this place.
    pub id: String,
}

impl Query {
    /// Every document, by id.
    pub fn all() -> Self {
        Self {
            conditions: Vec::new(),
            order_by: None,
            descending: false,
            after: None,
            limit: PAGE_DOCUMENTS_MAX,
        }
    }

    /// Adds a condition.
    #[must_use]
    pub fn filter(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Orders by a field, smallest first.
    #[must_use]
    pub fn ascending(mut self, field: &'static str) -> Self {
        (self.order_by, self.descending) = (Some(field), false);
        self
    }

    /// Orders by a field, largest first.
    #[must_use]
    pub fn descending(mut self, field: &'static str) -> Self {
        (self.order_by, self.descending) = (Some(field), true);
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.after = cursor;
        self
    }

    /// At most so many documents.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// Part of what a query finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The documents, in the query's order.
    pub documents: Vec<Document>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// What a write expects of the document that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the write wins.
    Anything,
    /// There is none with this id.
    Absent,
    /// It has this version.
    Version(u64),
}

/// One change.
#[derive(Debug, Clone)]
pub enum Write {
    /// Stores a document, whole.
    Put {
        /// Where.
        collection: &'static Collection,
        /// What.
        document: Document,
        /// Fails the batch with [`StoreError::Conflict`] where it does not hold.
        expect: Expect,
    },
    /// Removes a document; fine where there is none.
    Delete {
        /// Where.
        collection: &'static Collection,
        /// Which.
        id: String,
    },
    /// Removes every document that fulfils all conditions; never all documents by an empty list.
    DeleteWhere {
        /// Where.
        collection: &'static Collection,
        /// All must hold; not empty.
        conditions: Vec<Condition>,
    },
}

/// Changes that are made together, in order.
///
/// Atomic on SQLite and PostgreSQL. On MongoDB without a replica set it stops at the first failure, so a batch must be
/// safe to repeat.
#[derive(Debug, Clone, Default)]
#[must_use = "a batch does nothing until it is written"]
pub struct Batch {
    /// The changes.
    pub writes: Vec<Write>,
    /// Whether the store may take a moment, for others to share a commit with.
    pub may_wait: bool,
}

impl Batch {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Stores a document, whatever is there.
    pub fn put(self, collection: &'static Collection, document: Document) -> Self {
        self.put_if(collection, document, Expect::Anything)
    }

    /// Stores a document if `expect` holds.
    pub fn put_if(mut self, collection: &'static Collection, document: Document, expect: Expect) -> Self {
        self.writes.push(Write::Put {
            collection,
            document,
            expect,
        });
        self
    }

    /// Removes a document.
    pub fn delete(mut self, collection: &'static Collection, id: impl Into<String>) -> Self {
        self.writes.push(Write::Delete {
            collection,
            id: id.into(),
        });
        self
    }

    /// Removes the documents that fulfil all conditions.
    pub fn delete_where(mut self, collection: &'static Collection, conditions: Vec<Condition>) -> Self {
        self.writes.push(Write::DeleteWhere { collection, conditions });
        self
    }

    /// Adds the changes of another batch behind these.
    pub fn and(mut self, other: Batch) -> Self {
        self.writes.extend(other.writes);
        self.may_wait &= other.may_wait;
        self
    }

    /// Says that nobody is kept waiting by it: the call returns when it is on disk, as always, but a few milliseconds later
    /// where nothing else is written that could share its commit.
    pub fn when_convenient(mut self) -> Self {
        self.may_wait = true;
        self
    }
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A [`Write::Put`] expected something else; nothing of its batch was written. Read again and decide.
    #[error("document {id} of {collection} was changed by somebody else")]
    Conflict {
        /// Of which collection.
        collection: &'static str,
        /// Which document.
        id: String,
    },
    /// There is no room left; nothing was written. The operator must act, and the same call may work later.
    #[error("storage is full")]
    Full,
    /// The database does not answer; the same call may work later.
    #[error("storage is unavailable")]
    Unavailable(#[source] BoxError),
    /// The file is not, or no longer, a database of ours. The operator must act.
    #[error("storage file {} is damaged or not ours", file.display())]
    Corrupt {
        /// Which file.
        file: PathBuf,
        /// What the database said.
        #[source]
        cause: BoxError,
    },
    /// The file, or its folder, may not be read or written by this process. The operator must act.
    #[error("storage file {} may not be read or written", file.display())]
    Denied {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: BoxError,
    },
    /// Anything else.
    #[error("storage failed")]
    Internal(#[source] BoxError),
}

/// A file of the store that stays of no use until somebody acts. What is left of a [`StoreError`] where many are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: Defect,
    /// What the database or the system said.
    pub cause: String,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// It is not, or no longer, a database of ours.
    Corrupt,
    /// It may not be read or written.
    Denied,
}

impl StoreError {
    /// The file that somebody must see to, where the same call would only fail again.
    pub fn unusable(&self) -> Option<Unusable> {
        let (file, why, cause) = match self {
            Self::Corrupt { file, cause } => (file, Defect::Corrupt, cause),
            Self::Denied { file, cause } => (file, Defect::Denied, cause),
            Self::Conflict { .. } | Self::Full | Self::Unavailable(_) | Self::Internal(_) => return None,
        };
        Some(Unusable {
            file: file.clone(),
            why,
            cause: cause.to_string(),
        })
    }
}

impl From<Unusable> for StoreError {
    fn from(Unusable { file, why, cause }: Unusable) -> Self {
        let cause = cause.into();
        match why {
            Defect::Corrupt => Self::Corrupt { file, cause },
            Defect::Denied => Self::Denied { file, cause },
        }
    }
}

/// Documents in collections. A call that returned `Ok` is on disk.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The document with this id.
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError>;

    /// The documents that exist among these ids, in no particular order.
    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError>;

    /// A page of the documents that a query finds.
    async fn find(&self, collection: &'static Collection, query: Query) -> Result<Page, StoreError>;

    /// How many documents fulfil all conditions.
    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError>;

    /// Makes the changes of a batch, in order. Where the caller stops waiting, they are made or not, and every call that begins
    /// afterwards sees which.
    async fn write(&self, batch: Batch) -> Result<(), StoreError>;
}

/// Every store of one server: its own, and one for each session.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The server's own documents: session configurations, keys, the event log.
    fn server(&self) -> Arc<dyn Store>;

    /// The documents of one session, made where there are none yet.
    async fn session(&self, name: &SessionName) -> Result<Arc<dyn Store>, StoreError>;

    /// Removes every document of one session; fine where there are none, also where they are corrupt.
    async fn delete_session(&self, name: &SessionName) -> Result<(), StoreError>;

    /// Whether a write would work now, for health checks.
    async fn check(&self) -> Result<(), StoreError>;

    /// Ends what is open after the writes under way. Later calls fail.
    async fn close(&self);
}
