//! Files in PostgreSQL, cut into rows of a mebibyte, so that neither this process nor the database has one whole in memory.
//!
//! A file is written in one transaction. It is read a row at a time, each on its own: a reader who is slow holds no connection,
//! and one whose file is replaced meanwhile gets an error, never a mixture.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::try_unfold;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use wharf_core::ids::SessionName;
use wharf_core::media::{
    DiskSpace, MediaBody, MediaFile, MediaKey, MediaMetadata, MediaStorage, MediaStorageError, S3Location,
};

use super::part_of;

/// The size of a row; the last one of a file is smaller.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// The most connections to the database.
const CONNECTIONS_MAX: u32 = 8;
/// The longest wait for one of them, and for one to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The longest that the database may take to answer. Nobody else notices that a connection has gone silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// What PostgreSQL calls our lock for making tables; any number that nobody else has chosen.
const SCHEMA_LOCK: i64 = 0x7768_6172_665f_6d31;

/// Bytes are not compressed a second time, which media are already.
const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS wharf_media_file (
         session text COLLATE \"C\" NOT NULL,
         file text COLLATE \"C\" NOT NULL,
         upload bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
         size bigint NOT NULL,
         mimetype text NOT NULL,
         message_id text NOT NULL,
         filename text,
         PRIMARY KEY (session, file)
     )",
    "CREATE TABLE IF NOT EXISTS wharf_media_chunk (
         upload bigint NOT NULL REFERENCES wharf_media_file (upload) ON DELETE CASCADE,
         number bigint NOT NULL,
         bytes bytea NOT NULL,
         PRIMARY KEY (upload, number)
     )",
    "ALTER TABLE wharf_media_chunk ALTER COLUMN bytes SET STORAGE EXTERNAL",
];

/// A text is not the URL of a PostgreSQL database. Says nothing of it: a password is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL like postgres://user:password@host:5432/database")]
pub struct PostgresUrlError;

/// Files in a database.
pub struct PostgresMedia {
    pool: PgPool,
    schema: OnceCell<()>,
}

impl PostgresMedia {
    /// A storage in this database, which is contacted when the first file comes.
    pub fn new(url: &str) -> Result<Self, PostgresUrlError> {
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = url.parse::<PgConnectOptions>().ok().filter(|_| is_postgres);
        let options = options.ok_or(PostgresUrlError)?.application_name("wharf");
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_WITHIN)
            .idle_timeout(IDLE_TIMEOUT)
            .connect_lazy_with(options.disable_statement_logging());
        Ok(Self {
            pool,
            schema: OnceCell::new(),
        })
    }

    /// The pool, once there are tables.
    async fn ready(&self) -> Result<&PgPool, MediaStorageError> {
        self.schema
            .get_or_try_init(|| answered(make_tables(&self.pool)))
            .await?;
        Ok(&self.pool)
    }
}

#[async_trait]
impl MediaStorage for PostgresMedia {
    async fn put(&self, key: &MediaKey, metadata: &MediaMetadata, from: &Path) -> Result<(), MediaStorageError> {
        let mut file = tokio::fs::File::open(from).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        let mut transaction = answered(self.ready().await?.begin()).await?;
        let upload = answered(replace(&mut transaction, key, metadata, size)).await?;
        let (mut written, mut number) = (0, 0_i64);
        while written < size {
            let mut chunk = Vec::new();
            (&mut file)
                .take(CHUNK_BYTES.min(size - written))
                .read_to_end(&mut chunk)
                .await
                .map_err(unreadable)?;
            if chunk.is_empty() {
                return Err(MediaStorageError::Internal(
                    "the file got shorter while it was stored".into(),
                ));
            }
            written += chunk.len() as u64;
            let insert = sqlx::query("INSERT INTO wharf_media_chunk (upload, number, bytes) VALUES ($1, $2, $3)")
                .bind(upload)
                .bind(number)
                .bind(chunk)
                .execute(&mut *transaction);
            answered(insert).await?;
            number += 1;
        }
        answered(transaction.commit()).await
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<MediaFile, MediaStorageError> {
        let pool = self.ready().await?;
        let find = sqlx::query_as("SELECT upload, size FROM wharf_media_file WHERE session = $1 AND file = $2")
            .bind(key.session.as_str())
            .bind(key.file.as_str())
            .fetch_optional(pool);
        let found: Option<(i64, i64)> = answered(find).await?;
        let (upload, size) = found.ok_or(MediaStorageError::NotFound)?;
        let size = u64::try_from(size).map_err(|error| MediaStorageError::Internal(error.into()))?;
        let range = part_of(size, range)?;
        let body = read(pool.clone(), upload, range.clone());
        Ok(MediaFile { size, range, body })
    }

    async fn delete(&self, key: &MediaKey) -> Result<(), MediaStorageError> {
        let delete = sqlx::query("DELETE FROM wharf_media_file WHERE session = $1 AND file = $2")
            .bind(key.session.as_str())
            .bind(key.file.as_str())
            .execute(self.ready().await?);
        answered(delete).await.map(drop)
    }

    async fn delete_session(&self, session: &SessionName) -> Result<(), MediaStorageError> {
        let delete = sqlx::query("DELETE FROM wharf_media_file WHERE session = $1")
            .bind(session.as_str())
            .execute(self.ready().await?);
        answered(delete).await.map(drop)
    }

    async fn signed_url(&self, _: &MediaKey, _: Duration) -> Result<Option<String>, MediaStorageError> {
        Ok(None)
    }

    fn location(&self, _: &MediaKey) -> Option<S3Location> {
        None
    }

    async fn check(&self) -> Result<Option<DiskSpace>, MediaStorageError> {
        let pool = self.ready().await?;
        let read_only: String = answered(sqlx::query_scalar("SHOW transaction_read_only").fetch_one(pool)).await?;
        match read_only == "on" {
            true => Err(MediaStorageError::Unavailable("the database takes no writes".into())),
            false => Ok(None),
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes the tables where they are missing. Several servers may do so at the same time.
async fn make_tables(pool: &PgPool) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    // Who may not make tables can use those that are there.
    let there: bool = sqlx::query_scalar(
        "SELECT to_regclass('wharf_media_file') IS NOT NULL AND to_regclass('wharf_media_chunk') IS NOT NULL",
    )
    .fetch_one(&mut *connection)
    .await?;
    if there {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    lock(&mut transaction, SCHEMA_LOCK).await?;
    for statement in SCHEMA {
        sqlx::query(*statement).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Makes room for a file, and answers the number under which its chunks go.
async fn replace(
    transaction: &mut PgConnection,
    key: &MediaKey,
    metadata: &MediaMetadata,
    size: u64,
) -> sqlx::Result<i64> {
    // Two who store the same file do so one after the other.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("wharf_media {key}"))
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM wharf_media_file WHERE session = $1 AND file = $2")
        .bind(key.session.as_str())
        .bind(key.file.as_str())
        .execute(&mut *transaction)
        .await?;
    sqlx::query_scalar(
        "INSERT INTO wharf_media_file (session, file, size, mimetype, message_id, filename)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING upload",
    )
    .bind(key.session.as_str())
    .bind(key.file.as_str())
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .bind(storable(&metadata.mimetype))
    .bind(storable(&metadata.message_id))
    .bind(metadata.filename.as_deref().map(storable))
    .fetch_one(transaction)
    .await
}

async fn lock(transaction: &mut PgConnection, number: i64) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(number)
        .execute(transaction)
        .await
        .map(drop)
}

/// PostgreSQL has no zero byte in a text; what senders write may.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A part of a file, chunk by chunk.
fn read(pool: PgPool, upload: i64, range: Range<u64>) -> MediaBody {
    let chunks = try_unfold((pool, range), move |(pool, rest)| async move {
        if rest.is_empty() {
            return Ok(None);
        }
        let number =
            i64::try_from(rest.start / CHUNK_BYTES).map_err(|error| MediaStorageError::Internal(error.into()))?;
        let find = sqlx::query_scalar("SELECT bytes FROM wharf_media_chunk WHERE upload = $1 AND number = $2")
            .bind(upload)
            .bind(number)
            .fetch_optional(&pool);
        let chunk: Option<Vec<u8>> = answered(find).await?;
        let gone = || MediaStorageError::Internal("the file was replaced or deleted while it was read".into());
        let chunk = Bytes::from(chunk.ok_or_else(gone)?);
        let begin = usize::try_from(rest.start % CHUNK_BYTES).unwrap_or(usize::MAX);
        let left = usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX);
        if begin >= chunk.len() {
            return Err(gone());
        }
        let part = chunk.slice(begin..chunk.len().min(begin.saturating_add(left)));
        let next = rest.start + part.len() as u64..rest.end;
        Ok(Some((part, (pool, next))))
    });
    chunks.boxed()
}

/// What the database answers.
async fn answered<T>(answer: impl Future<Output = sqlx::Result<T>>) -> Result<T, MediaStorageError> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(outcome) => outcome.map_err(from_sql),
        Err(_) => Err(MediaStorageError::Unavailable("the database does not answer".into())),
    }
}

/// The local file that is to be stored, not one that is.
fn unreadable(error: io::Error) -> MediaStorageError {
    MediaStorageError::Internal(error.into())
}

fn from_sql(error: sqlx::Error) -> MediaStorageError {
    use sqlx::Error;
    match &error {
        Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => {
            MediaStorageError::Unavailable(error.into())
        }
        Error::Database(problem) => match problem.code().as_deref().map(|code| code.split_at(2)) {
            // https://www.postgresql.org/docs/current/errcodes-appendix.html
            Some(("28", _) | ("3D", _) | ("42", "501")) => MediaStorageError::Refused(error.into()),
            Some(("08" | "25" | "40" | "53" | "55" | "57" | "58", _)) => MediaStorageError::Unavailable(error.into()),
            _ => MediaStorageError::Internal(error.into()),
        },
        _ => MediaStorageError::Internal(error.into()),
    }
}

#[cfg(test)]
mod tests;
