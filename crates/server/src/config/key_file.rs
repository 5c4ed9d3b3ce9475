//! The key that is made where none is configured: 32 hexadecimal digits in a file that only its owner can read.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use wharf_core::random::Random;

/// The name of the file, in the folder that the caller chooses.
const FILE_NAME: &str = "api-key";
/// Random bytes in a key.
const KEY_BYTES: usize = 16;

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
    #[error("cannot keep the api key in {}", file.display())]
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

/// The key in `folder`, made there where there is none yet. Makes the folder too.
pub fn keep_generated_key(folder: &Path, random: &dyn Random) -> Result<StoredKey, KeyFileError> {
    let file = folder.join(FILE_NAME);
    let io = |cause| KeyFileError::Io {
        file: file.clone(),
        cause,
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    let key = hex::encode(random.bytes::<KEY_BYTES>());
    match new_file(&file) {
        Ok(mut handle) => {
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
        assert_eq!(made.key.len(), 2 * KEY_BYTES);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(made.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
