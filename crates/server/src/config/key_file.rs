//! The keys that are made where none are configured: hexadecimal digits in files that only their owner can read.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use wharf_core::random::Random;

use super::MasterKey;

/// The file of the API key, in the folder that the caller chooses.
const API_KEY_FILE: &str = "api-key";
/// Random bytes in an API key.
const API_KEY_BYTES: usize = 16;
/// The file of the master key.
const MASTER_KEY_FILE: &str = "master-key";
/// Random bytes in a master key.
const MASTER_KEY_BYTES: usize = 32;

/// The key that was kept or made.
pub struct StoredKey {
    /// The key itself, to be printed for the person at the terminal and nowhere else.
    pub key: String,
    /// Where it is kept.
    pub file: PathBuf,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Why no key could be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("cannot keep a key in {}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The file is there but holds no key.
    #[error("{} holds no key, delete it to get a new one", .0.display())]
    Empty(PathBuf),
}

/// The API key in `folder`, made there where there is none yet. Makes the folder too.
pub fn keep_generated_key(folder: &Path, random: &dyn Random) -> Result<StoredKey, KeyFileError> {
    keep(folder, API_KEY_FILE, || hex::encode(random.bytes::<API_KEY_BYTES>()))
}

/// The master key in `folder`, made there where there is none yet. Makes the folder too.
pub fn keep_generated_master_key(folder: &Path, random: &dyn Random) -> Result<MasterKey, KeyFileError> {
    let stored = keep(folder, MASTER_KEY_FILE, || {
        hex::encode(random.bytes::<MASTER_KEY_BYTES>())
    })?;
    Ok(MasterKey::new(&stored.key))
}

fn keep(folder: &Path, name: &str, make: impl FnOnce() -> String) -> Result<StoredKey, KeyFileError> {
    let file = folder.join(name);
    let io = |cause| KeyFileError::Io {
        file: file.clone(),
        cause,
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    match std::fs::read_to_string(&file) {
        Ok(kept) => match kept.trim() {
            "" => Err(KeyFileError::Empty(file)),
            key => Ok(StoredKey {
                key: key.to_owned(),
                file,
                is_new: false,
            }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = make();
            write_whole(&file, &key).map_err(io)?;
            Ok(StoredKey {
                key,
                file,
                is_new: true,
            })
        }
        Err(error) => Err(io(error)),
    }
}

/// Writes a file that is there as a whole or not at all, whenever the machine stops.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    let mut handle = private_file(&unfinished)?;
    handle.write_all(text.as_bytes())?;
    handle.sync_all()?;
    std::fs::rename(&unfinished, file)?;
    match file.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes a file, with its mode from the start so that nobody can open it in between. What a crash has left there goes first.
fn private_file(file: &Path) -> std::io::Result<std::fs::File> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::random::SystemRandom;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let made = keep_generated_key(folder.path(), &SystemRandom).unwrap();
        let kept = keep_generated_key(folder.path(), &SystemRandom).unwrap();
        assert!(made.is_new && !kept.is_new);
        assert_eq!(made.key, kept.key);
        assert_eq!(made.key.len(), 2 * API_KEY_BYTES);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            keep_generated_master_key(folder.path(), &SystemRandom).unwrap();
            for file in [made.file, folder.path().join(MASTER_KEY_FILE)] {
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
    }
    #[test]
    fn what_a_crash_has_left_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("api-key.unfinished"), "half").unwrap();
        let made = keep_generated_key(folder.path(), &SystemRandom).unwrap();
        assert!(made.is_new && made.key.len() == 2 * API_KEY_BYTES);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_master_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let made = keep_generated_master_key(folder.path(), &SystemRandom).unwrap();
        assert_eq!(keep_generated_master_key(folder.path(), &SystemRandom).unwrap(), made);
        let another = tempfile::tempdir().unwrap();
        assert_ne!(keep_generated_master_key(another.path(), &SystemRandom).unwrap(), made);
    }
}
