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
    match new_file(&file) {
        Ok(mut handle) => {
            let key = make();
            handle.write_all(key.as_bytes()).map_err(io)?;
            handle.sync_all().map_err(io)?;
            Ok(StoredKey {
                key,
                file,
                is_new: true,
            })
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let kept = std::fs::read_to_string(&file).map_err(io)?;
            match kept.trim() {
                "" => Err(KeyFileError::Empty(file)),
                key => Ok(StoredKey {
                    key: key.to_owned(),
                    file,
                    is_new: false,
                }),
            }
        }
        Err(error) => Err(io(error)),
    }
}

/// Makes the file, with its mode from the start so that nobody can open it in between.
fn new_file(file: &Path) -> std::io::Result<std::fs::File> {
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
    fn a_master_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let made = keep_generated_master_key(folder.path(), &SystemRandom).unwrap();
        assert_eq!(keep_generated_master_key(folder.path(), &SystemRandom).unwrap(), made);
        let another = tempfile::tempdir().unwrap();
        assert_ne!(keep_generated_master_key(another.path(), &SystemRandom).unwrap(), made);
    }
}
