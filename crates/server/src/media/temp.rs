//! Files that are needed for a moment: what callers send, until it has left.
//!
//! Nobody else can read them (0700 and 0600), each is removed when it is dropped, and what a crash has left goes at the next
//! start. One process owns the folder, as it does the store's, beside which it stands.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use tempfile::{Builder, TempPath};
use tokio::fs::File;

/// Where such files are.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes the folder, or empties it.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        // Absolute, so that no program takes it for anything but a path.
        fs::canonicalize(folder).map(Self)
    }

    /// A new file, which is empty.
    pub(crate) fn path(&self) -> io::Result<TempPath> {
        Ok(self.make()?.into_temp_path())
    }

    /// The same, opened.
    pub(crate) fn file(&self) -> io::Result<(File, TempPath)> {
        let (file, path) = self.make()?.into_parts();
        Ok((File::from_std(file), path))
    }

    fn make(&self) -> io::Result<tempfile::NamedTempFile> {
        Builder::new().prefix("").tempfile_in(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn files_are_private_and_go_with_whoever_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let (left, within) = (folder.path().join("tmp/left"), folder.path().join("tmp"));
        fs::create_dir_all(&within).unwrap();
        fs::write(&left, "from before").unwrap();
        let temp = TempFolder::open(within).unwrap();
        assert!(!left.exists());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (_file, path) = temp.file().unwrap();
        assert_eq!((mode(&temp.0), mode(&path)), (0o700, 0o600));
        let name = path.to_path_buf();
        drop(path);
        assert!(!name.exists());
    }
}
