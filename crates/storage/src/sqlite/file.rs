//! Opens one database file, or makes it where there was none. Blocks; the thread that uses the file calls it.
//!
//! Never turns a file that is damaged, truncated, missing or not ours into a new empty one: that would silently make a
//! session a new device. A new file is made under another name and renamed when it is whole, so that an empty file under
//! its own name always means damage.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Fault, LocalError};
use super::folder;

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
    pub(super) fn open(&self) -> Result<Connection, Fault> {
        match look(&self.path)? {
            Found::File => {}
            Found::Nothing => self.make()?,
            Found::Damage(cause) => return Err(Fault::corrupt(cause)),
        }
        let opened = self.connect(&self.path).and_then(|connection| {
            verify(&connection)?;
            Ok(connection)
        });
        if let Err(Fault::Unavailable(_)) = opened {
            // All that SQLite says of a folder that may not be written to is that it cannot open the file.
            folder::check_writable(parent(&self.path))?;
        }
        opened
    }

    fn make(&self) -> Result<(), Fault> {
        let unfinished = with_suffix(&self.path, UNFINISHED_SUFFIX);
        start_new(&unfinished)?;
        let connection = self.connect(&unfinished)?;
        connection.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT}; PRAGMA journal_mode = WAL;"
        ))?;
        connection.close().map_err(|(_, error)| error)?;
        fs::File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        folder::sync(parent(&self.path))?;
        Ok(())
    }

    fn connect(&self, path: &Path) -> Result<Connection, Fault> {
        // One thread at a time has the connection, so SQLite's own locks are not needed.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(self.statements_max);
        // What was answered with success must survive a power loss; `synchronous = NORMAL` could roll it back.
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -{}; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;",
            self.page_cache_kib
        ))?;
        Ok(connection)
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
fn verify(connection: &Connection) -> Result<(), Fault> {
    let number = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0));
    let id = number("PRAGMA application_id")?;
    if id != APPLICATION_ID {
        // SQLite keeps 32 bits and reads them as a signed number.
        return Err(Fault::corrupt(LocalError::Foreign(id as u32)));
    }
    let layout = number("PRAGMA user_version")?;
    if layout != LAYOUT {
        return Err(Fault::corrupt(LocalError::Layout {
            found: layout,
            known: LAYOUT,
        }));
    }
    number("SELECT count(*) FROM sqlite_schema")?;
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
