//! Files that are needed for a moment: what callers send, until it has left.
//!
//! Nobody else can read them (0700 and 0600), each is removed when it is dropped, and what a crash has left goes at the next
//! start. One process owns the folder, as it does the store's, beside which it stands; so they leave a part of the disk to that.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::fs::statvfs;
use tempfile::{Builder, TempPath};
use tokio::fs::File;
use tokio::io::AsyncWrite;

/// How much is written until the disk is looked at again, in bytes.
const STEP_BYTES: usize = 8 * 1024 * 1024;

/// Where such files are.
#[derive(Debug)]
pub(crate) struct TempFolder(Arc<Room>);

#[derive(Debug)]
struct Room {
    folder: PathBuf,
    reserve_bytes: u64,
}

/// A file that is being written, while there is room.
#[derive(Debug)]
pub(crate) struct TempFile {
    file: File,
    room: Arc<Room>,
    unchecked_bytes: usize,
}

impl TempFolder {
    /// Makes the folder, or empties it. Its files leave so much of the disk free.
    pub(crate) fn open(folder: PathBuf, reserve_bytes: u64) -> io::Result<Self> {
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
        let folder = fs::canonicalize(folder)?;
        Ok(Self(Arc::new(Room { folder, reserve_bytes })))
    }

    /// How many bytes the files may still take; an error where it is none.
    pub(crate) fn room(&self) -> io::Result<u64> {
        self.0.left()
    }

    /// A new file, which is empty.
    pub(crate) fn path(&self) -> io::Result<TempPath> {
        Ok(self.make()?.into_temp_path())
    }

    /// The same, opened.
    pub(crate) fn file(&self) -> io::Result<(TempFile, TempPath)> {
        let (file, path) = self.make()?.into_parts();
        let file = TempFile {
            file: File::from_std(file),
            room: Arc::clone(&self.0),
            unchecked_bytes: 0,
        };
        Ok((file, path))
    }

    fn make(&self) -> io::Result<tempfile::NamedTempFile> {
        self.room()?;
        Builder::new().prefix("").tempfile_in(&self.0.folder)
    }
}

impl Room {
    fn left(&self) -> io::Result<u64> {
        let disk = statvfs(&self.folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        match free.checked_sub(self.reserve_bytes) {
            None | Some(0) => Err(ErrorKind::StorageFull.into()),
            Some(left) => Ok(left),
        }
    }
}

impl AsyncWrite for TempFile {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.unchecked_bytes >= STEP_BYTES {
            self.room.left()?;
            self.unchecked_bytes = 0;
        }
        let written = Pin::new(&mut self.file).poll_write(context, bytes);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.unchecked_bytes += bytes;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn files_are_private_and_go_with_whoever_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let (left, within) = (folder.path().join("tmp/left"), folder.path().join("tmp"));
        fs::create_dir_all(&within).unwrap();
        fs::write(&left, "from before").unwrap();
        let temp = TempFolder::open(within, 0).unwrap();
        assert!(!left.exists());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (_file, path) = temp.file().unwrap();
        assert_eq!((mode(&temp.0.folder), mode(&path)), (0o700, 0o600));
        let name = path.to_path_buf();
        drop(path);
        assert!(!name.exists());
    }

    #[tokio::test]
    async fn files_leave_a_part_of_the_disk_free() {
        let folder = tempfile::tempdir().unwrap();
        let open = |reserve_bytes| TempFolder::open(folder.path().join("tmp"), reserve_bytes).unwrap();
        let full = open(u64::MAX);
        assert_eq!(full.path().unwrap_err().kind(), ErrorKind::StorageFull);
        // One that was begun before.
        let (mut file, path) = open(0).file().unwrap();
        file.room = full.0;
        let chunk = vec![0; 1024 * 1024];
        let error = loop {
            if let Err(error) = file.write_all(&chunk).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(fs::metadata(&path).unwrap().len() < (STEP_BYTES + 2 * chunk.len()) as u64);
    }
}
