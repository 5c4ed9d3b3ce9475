//! The folders that hold the files: their names, their modes, their lock, their removal.
//!
//! Every function blocks; call them through [`blocking`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wharf_core::store::StoreError;

use super::error::{LocalError, from_io};

/// The lock file of a namespace.
const LOCK_FILE: &str = "wharf.lock";

/// Made and removed to see whether a folder can be written to.
const PROBE_FILE: &str = "writable";

/// Ends the name of a folder that is being removed.
const DELETED_SUFFIX: &str = ".deleted";

/// The most characters of a name that its folder repeats.
const PLAIN_CHARS_MAX: usize = 54;

/// How much of the hash tells two names apart, in bytes.
const HASH_BYTES: usize = 4;

/// Runs something that waits for the file system where it holds up no task.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The folder for a name: the name itself where nothing else can be meant by it, otherwise with a short hash.
///
/// `Alice` and `alice` would be one folder on a file system that ignores case, so a name with capitals carries the hash
/// of its exact spelling. The dot before it is in no session name, so no plain name looks like a hashed one.
pub(super) fn folder_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.is_empty() && name.len() <= PLAIN_CHARS_MAX && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let readable: String = name
        .chars()
        .map(|c| if is_plain(c.to_ascii_lowercase()) { c } else { '_' })
        .take(PLAIN_CHARS_MAX)
        .collect();
    // A folder whose name starts with a dot is hidden.
    let readable = if readable.is_empty() { "_" } else { &readable };
    let hash = Sha256::digest(name.as_bytes());
    format!("{readable}.{}", hex::encode(&hash[..HASH_BYTES]))
}

/// Makes a folder that only its owner may enter, with those above it that are missing, and makes sure that all of them are
/// still there after a power loss.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    make_private_each(folder, &sync)
}

/// `keep` writes the entry of a new folder, which is in the folder above it, to the disk.
fn make_private_each(folder: &Path, keep: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    // The parent of a relative name is the empty path.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    make_private_each(parent, keep)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        // Another session's task was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        outcome => outcome?,
    }
    keep(parent)
}

/// Makes an empty file that only its owner may read. SQLite gives its `-wal` and `-shm` the same mode.
pub(super) fn make_private_file(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// Fails where files cannot be made in a folder, which SQLite must do beside its own.
pub(super) fn check_writable(folder: &Path) -> io::Result<()> {
    let probe = folder.join(PROBE_FILE);
    make_private_file(&probe)?;
    ignore_missing(fs::remove_file(probe))
}

/// Writes the entries of a folder to the disk.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    // The parent of a relative name is the empty path.
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// Removes a folder with everything in it; fine where there is none.
///
/// It gets another name first: what a crash leaves is then never taken for a session whose files went missing.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    let mut doomed = folder.as_os_str().to_owned();
    doomed.push(DELETED_SUFFIX);
    let doomed = PathBuf::from(doomed);
    ignore_missing(fs::remove_dir_all(&doomed))?;
    ignore_missing(fs::rename(folder, &doomed))?;
    if let Some(parent) = folder.parent() {
        sync(parent)?;
    }
    ignore_missing(fs::remove_dir_all(&doomed))
}

/// The names of the folders in a folder that have this file.
pub(super) fn with_file(folder: &Path, file: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().join(file).is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Ends the removals that a crash interrupted.
pub(super) fn finish_removals(namespace: &Path) -> io::Result<()> {
    for entry in fs::read_dir(namespace)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().to_string_lossy().ends_with(DELETED_SUFFIX) {
            ignore_missing(fs::remove_dir_all(entry.path()))?;
        }
    }
    Ok(())
}

/// Names a file in the folder that shows that a database was here, if there is one.
///
/// Neither the lock nor what is left of making a database counts; folders do not either.
pub(super) fn find_remains(folder: &Path, unfinished: &str) -> io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() && name != LOCK_FILE && !name.starts_with(unfinished) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Shows that this process, and no other, uses a namespace. The operating system ends it with the process.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock or says who has it.
    pub(super) fn take(namespace: &Path) -> Result<Self, StoreError> {
        let file = make_private_file(&namespace.join(LOCK_FILE)).map_err(|error| from_io(error, namespace))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => {
                let cause = LocalError::InUse(namespace.to_owned());
                Err(StoreError::Unavailable(Box::new(cause)))
            }
            Err(fs::TryLockError::Error(error)) => Err(from_io(error, namespace)),
        }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_its_own_folder() {
        for name in ["default", "a", "my-session_2", &"x".repeat(PLAIN_CHARS_MAX)] {
            assert_eq!(folder_name(name), name);
        }
    }

    #[test]
    fn names_that_differ_only_in_case_get_folders_that_differ_in_more() {
        let folders: Vec<String> = ["alice", "Alice", "ALICE"]
            .iter()
            .map(|name| folder_name(name))
            .collect();
        assert_eq!(folders[0], "alice");
        assert!(folders[1].starts_with("Alice.") && folders[2].starts_with("ALICE."));
        assert_ne!(folders[1].to_lowercase(), folders[2].to_lowercase());
    }

    #[test]
    fn the_folder_above_each_new_one_is_written_to_the_disk() {
        let base = tempfile::tempdir().expect("a folder for the test");
        let kept = std::cell::RefCell::new(Vec::new());
        let keep = |folder: &Path| {
            kept.borrow_mut().push(folder.to_owned());
            Ok(())
        };
        let deepest = base.path().join("a/b/c");
        for _ in 0..2 {
            make_private_each(&deepest, &keep).expect("it can be made");
        }
        assert!(deepest.is_dir());
        let above = ["", "a", "a/b"].map(|folder| base.path().join(folder));
        let same: Vec<_> = kept
            .borrow()
            .iter()
            .map(|folder| folder.components().collect::<PathBuf>())
            .collect();
        assert_eq!(same, above.map(|folder| folder.components().collect::<PathBuf>()));
    }

    #[test]
    fn only_folders_that_have_the_file_are_named() {
        let base = tempfile::tempdir().expect("a folder for the test");
        for path in ["noweb/wharf.sqlite3", "gows/wharf.sqlite3", "empty/other"] {
            let path = base.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
            fs::write(path, "").expect("it can be written");
        }
        let found = with_file(base.path(), "wharf.sqlite3").expect("it can be read");
        assert_eq!(found, ["gows", "noweb"]);
    }

    #[test]
    fn a_namespace_cannot_leave_its_folder() {
        for name in ["", "..", "../x", "a/b", "a\\b", "ä", &"x".repeat(300)] {
            let folder = folder_name(name);
            assert!(
                !folder.contains(['/', '\\', '\0']) && !folder.starts_with('.'),
                "{folder}"
            );
            assert!(folder.len() <= PLAIN_CHARS_MAX + 1 + 2 * HASH_BYTES, "{folder}");
        }
    }
}
