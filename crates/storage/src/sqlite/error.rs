//! What SQLite and the file system say, sorted by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf_core::BoxError;
use wharf_core::store::StoreError;

/// Why a file or folder is not used, as the cause inside a [`StoreError`].
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error("another process uses the folder {}", .0.display())]
    InUse(PathBuf),
    #[error("the store was closed")]
    Closed,
    #[error("its application id is {0:#010x}, so another program made it")]
    Foreign(u32),
    #[error("its layout is {found}, this version knows {known}; a newer version may have written it")]
    Layout { found: i64, known: i64 },
    #[error("the code that uses the file panicked")]
    Panicked,
    #[error("the file is empty")]
    Empty,
    #[error("the file is missing, but the folder holds {0}")]
    Missing(String),
}

/// A failure of one file that may concern several callers at once, hence the shared cause.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// No room left.
    Full,
    /// May work later.
    Unavailable(Arc<dyn std::error::Error + Send + Sync>),
    /// Will not work until somebody acts: the file is damaged or not ours.
    Corrupt(Arc<dyn std::error::Error + Send + Sync>),
    /// Will not work until somebody acts: the file or its folder may not be read or written.
    Denied(Arc<dyn std::error::Error + Send + Sync>),
    /// Anything else.
    Internal(Arc<dyn std::error::Error + Send + Sync>),
}

impl Fault {
    /// As the port's error, about this file.
    pub(super) fn into_error(self, file: &Path) -> StoreError {
        match self {
            Self::Full => StoreError::Full,
            Self::Unavailable(cause) => StoreError::Unavailable(Box::new(cause)),
            Self::Corrupt(cause) => StoreError::Corrupt {
                file: file.to_owned(),
                cause: Box::new(cause),
            },
            Self::Denied(cause) => StoreError::Denied {
                file: file.to_owned(),
                cause: Box::new(cause),
            },
            Self::Internal(cause) => StoreError::Internal(Box::new(cause)),
        }
    }

    /// A mistake of ours.
    pub(super) fn internal(cause: LocalError) -> Self {
        Self::Internal(Arc::new(cause))
    }

    /// The file is not what it should be.
    pub(super) fn corrupt(cause: LocalError) -> Self {
        Self::Corrupt(Arc::new(cause))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied(Arc::new(error)),
            _ => Self::Unavailable(Arc::new(error)),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
        match error {
            rusqlite::Error::SqliteFailure(code, _) => match primary(code.extended_code) {
                SQLITE_FULL => Self::Full,
                SQLITE_PERM | SQLITE_READONLY => Self::Denied(Arc::new(error)),
                SQLITE_BUSY | SQLITE_LOCKED | SQLITE_NOMEM | SQLITE_INTERRUPT | SQLITE_IOERR | SQLITE_CANTOPEN => {
                    Self::Unavailable(Arc::new(error))
                }
                SQLITE_CORRUPT | SQLITE_NOTADB => Self::Corrupt(Arc::new(error)),
                _ => Self::Internal(Arc::new(error)),
            },
            // The columns are ours, so only a damaged page holds another type.
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..) => {
                Self::Corrupt(Arc::new(error))
            }
            error => Self::Internal(Arc::new(error)),
        }
    }
}

/// The error of a call on a store that was closed, or whose session was deleted.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable(Box::new(LocalError::Closed))
}

/// The error of something that the file system refused.
pub(super) fn from_io(error: io::Error, path: &Path) -> StoreError {
    Fault::from(error).into_error(path)
}

/// A mistake in the code that calls the store.
pub(super) fn misuse(cause: impl Into<BoxError>) -> StoreError {
    StoreError::Internal(cause.into())
}

// The primary result codes of SQLite (sqlite.org/rescode.html); the extended ones hold them in the lowest byte.
const SQLITE_PERM: i32 = 3;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_NOMEM: i32 = 7;
const SQLITE_READONLY: i32 = 8;
const SQLITE_INTERRUPT: i32 = 9;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;

/// What an index in shared memory that cannot grow is called. SQLite says of it that the disk may be full, and on Linux
/// nothing else keeps a few pages from being written.
const SQLITE_IOERR_SHMSIZE: i32 = SQLITE_IOERR | 19 << 8;

/// The primary result code of what happened.
fn primary(extended: i32) -> i32 {
    match extended {
        SQLITE_IOERR_SHMSIZE => SQLITE_FULL,
        extended => extended & 0xff,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let connection = Connection::open_in_memory().expect("a database in memory");
        connection
            .execute_batch("PRAGMA max_page_count = 4; CREATE TABLE t (body BLOB)")
            .expect("there is room for it");
        let error = connection
            .execute("INSERT INTO t VALUES (zeroblob(100000))", ())
            .expect_err("there is no room");
        assert!(matches!(Fault::from(error), Fault::Full));
        assert!(matches!(
            Fault::from(io::Error::from(io::ErrorKind::StorageFull)),
            Fault::Full
        ));
    }

    #[test]
    fn what_may_not_be_written_is_told_apart() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let error = from_io(kind.into(), Path::new("session.sqlite3"));
            assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_disk_without_room_for_the_index_is_full_too() {
        // What a server says that starts on a full disk.
        assert_eq!(primary(4874), SQLITE_FULL);
        assert_eq!(primary(SQLITE_IOERR | 3 << 8), SQLITE_IOERR);
    }

    #[test]
    fn a_mistake_of_ours_is_not_blamed_on_the_file() {
        let connection = Connection::open_in_memory().expect("a database in memory");
        let error = connection
            .execute("SELECT nothing FROM nowhere", ())
            .expect_err("there is no such table");
        assert!(matches!(Fault::from(error), Fault::Internal(_)));
    }
}
