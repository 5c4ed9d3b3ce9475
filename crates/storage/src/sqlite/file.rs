//! Opens one database file, or makes it where there was none.
//!
//! Never turns a file that is damaged, truncated, missing or not ours into a new empty one: that would silently make a
//! session a new device. A new file is made under another name and renamed when it is whole, so that an empty file under
//! its own name always means damage.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::error::{Fault, LocalError};
use super::folder::{self, blocking};

/// Marks our files (SQLite's `application_id`): "Wrhf".
const APPLICATION_ID: i64 = 0x5772_6866;

/// The layout of our files (SQLite's `user_version`). Collections are added without a new one.
const LAYOUT: i64 = 1;

/// Ends the name of a file that is being made.
const UNFINISHED_SUFFIX: &str = ".new";

/// One database file and how to open it.
#[derive(Debug, Clone)]
pub(super) struct DatabaseFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// How much of it SQLite keeps in memory, in KiB.
    pub(super) page_cache_kib: u32,
    /// How many prepared statements are kept.
    pub(super) statements_max: usize,
    /// How long to wait for another program that holds the file.
    pub(super) busy_timeout: Duration,
}

/// What is there before a file is opened.
enum Found {
    Nothing,
    File,
    Damage(LocalError),
}

impl DatabaseFile {
    /// Opens the file; makes it, and its folder, where the folder has no file at all.
    pub(super) async fn open(&self) -> Result<SqliteConnection, Fault> {
        let path = self.path.clone();
        match blocking(move || look(&path)).await? {
            Found::File => {}
            Found::Nothing => self.make().await?,
            Found::Damage(cause) => return Err(Fault::corrupt(cause)),
        }
        match self.connect().await {
            // All that SQLite says of a folder that may not be written to is that it cannot open the file.
            Err(Fault::Unavailable(cause)) => {
                let path = self.path.clone();
                blocking(move || folder::check_writable(parent(&path))).await?;
                Err(Fault::Unavailable(cause))
            }
            outcome => outcome,
        }
    }

    async fn connect(&self) -> Result<SqliteConnection, Fault> {
        let mut connection = self.options(&self.path).connect().await?;
        match verify(&mut connection).await {
            Ok(()) => Ok(connection),
            Err(fault) => {
                // The file is not used, so how closing it ends changes nothing.
                let _ = connection.close().await;
                Err(fault)
            }
        }
    }

    async fn make(&self) -> Result<(), Fault> {
        let unfinished = with_suffix(&self.path, UNFINISHED_SUFFIX);
        let path = unfinished.clone();
        blocking(move || start_new(&path)).await?;

        let mut connection = self.options(&unfinished).connect().await?;
        let setup = format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT}; PRAGMA journal_mode = WAL;"
        );
        connection.execute(AssertSqlSafe(setup)).await?;
        connection.close().await?;

        let path = self.path.clone();
        blocking(move || {
            fs::File::open(&unfinished)?.sync_all()?;
            fs::rename(&unfinished, &path)?;
            folder::sync(parent(&path))
        })
        .await?;
        Ok(())
    }

    fn options(&self, path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            // What was answered with success must survive a power loss; NORMAL could roll it back.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(self.statements_max)
            .pragma("cache_size", format!("-{}", self.page_cache_kib))
            .pragma("temp_store", "MEMORY")
            .pragma("cell_size_check", "ON")
            .disable_statement_logging()
    }
}

fn look(path: &Path) -> io::Result<Found> {
    match fs::metadata(path) {
        Ok(file) if file.len() == 0 => Ok(Found::Damage(LocalError::Empty)),
        Ok(_) => {
            // What may not be written SQLite would open for reading only. Tried only while SQLite has the file closed here:
            // letting go of a file gives up all locks that the process has on it.
            OpenOptions::new().read(true).write(true).open(path)?;
            Ok(Found::File)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = parent(path);
            folder::make_private(folder)?;
            let unfinished = with_suffix(Path::new(path.file_name().unwrap_or_default()), UNFINISHED_SUFFIX);
            Ok(match folder::find_remains(folder, &unfinished.to_string_lossy())? {
                Some(name) => Found::Damage(LocalError::Missing(name)),
                None => Found::Nothing,
            })
        }
        Err(error) => Err(error),
    }
}

/// Removes what is left of an earlier try and makes the empty file.
fn start_new(unfinished: &Path) -> io::Result<()> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(with_suffix(unfinished, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    folder::make_private_file(unfinished)?;
    Ok(())
}

/// Reads the header and the list of tables, which also shows a file that ends too early.
async fn verify(connection: &mut SqliteConnection) -> Result<(), Fault> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await?;
    if id != APPLICATION_ID {
        // SQLite keeps 32 bits and reads them as a signed number.
        return Err(Fault::corrupt(LocalError::Foreign(id as u32)));
    }
    let layout: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await?;
    if layout != LAYOUT {
        return Err(Fault::corrupt(LocalError::Layout {
            found: layout,
            known: LAYOUT,
        }));
    }
    sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sqlite_schema")
        .fetch_one(connection)
        .await?;
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
