//! Files in a folder: `{folder}/{session}/{file}`, as in WAHA.
//!
//! A file is written under another name and moved into its place, so it is there whole or not at all. Folders are entered and
//! files opened one name after the other, never through a link that somebody has put there; what is made is for its owner
//! alone (docs/adr/0011).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::StreamExt;
use futures::stream::try_unfold;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, fstatvfs, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use wharf_core::ids::SessionName;
use wharf_core::media::{
    DiskSpace, MediaBody, MediaFile, MediaKey, MediaMetadata, MediaStorage, MediaStorageError, S3Location,
};

use super::part_of;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// What is being written. No session has a name with a dot.
const INCOMING: &str = ".incoming";
/// What is older there was left behind by a process that died.
const LEFT_BEHIND_SECONDS: i64 = 24 * 60 * 60;

/// Files in a folder.
pub struct LocalMedia(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    /// Tells the files that are being written apart.
    written: AtomicU64,
    cleared: Once,
}

impl LocalMedia {
    /// A storage in this folder, which is made when the first file comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            folder: folder.into(),
            written: AtomicU64::new(0),
            cleared: Once::new(),
        }))
    }

    /// Runs something that waits for the file system where it holds up no task.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, MediaStorageError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(outcome) => outcome.map_err(from_io),
            Err(error) => Err(MediaStorageError::Internal(error.into())),
        }
    }
}

#[async_trait]
impl MediaStorage for LocalMedia {
    async fn put(&self, key: &MediaKey, _: &MediaMetadata, from: &Path) -> Result<(), MediaStorageError> {
        let (key, from) = (key.clone(), from.to_owned());
        self.blocking(move |inner| inner.put(&key, &from)).await
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<MediaFile, MediaStorageError> {
        let wanted = key.clone();
        let (file, size) = self.blocking(move |inner| inner.open(&wanted)).await?;
        let range = part_of(size, range)?;
        let mut file = tokio::fs::File::from_std(file);
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(from_io)?;
        let body = read(file, range.end - range.start);
        Ok(MediaFile { size, range, body })
    }

    async fn delete(&self, key: &MediaKey) -> Result<(), MediaStorageError> {
        let key = key.clone();
        self.blocking(move |inner| absent_is_fine(inner.delete(&key))).await
    }

    async fn delete_session(&self, session: &SessionName) -> Result<(), MediaStorageError> {
        let session = session.clone();
        self.blocking(move |inner| absent_is_fine(inner.delete_session(&session)))
            .await
    }

    async fn signed_url(&self, _: &MediaKey, _: Duration) -> Result<Option<String>, MediaStorageError> {
        Ok(None)
    }

    fn location(&self, _: &MediaKey) -> Option<S3Location> {
        None
    }

    async fn check(&self) -> Result<Option<DiskSpace>, MediaStorageError> {
        let free_bytes = self.blocking(Inner::check).await?;
        Ok(Some(DiskSpace {
            folder: self.0.folder.clone(),
            free_bytes,
        }))
    }

    async fn close(&self) {}
}

/// The next bytes of a file.
fn read(file: tokio::fs::File, bytes: u64) -> MediaBody {
    let chunks = try_unfold(file.take(bytes), |mut rest| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        match rest.read_buf(&mut chunk).await.map_err(from_io)? {
            0 if rest.limit() == 0 => Ok(None),
            0 => Err(MediaStorageError::Internal(
                "the file got shorter while it was read".into(),
            )),
            _ => Ok(Some((chunk.freeze(), rest))),
        }
    });
    chunks.boxed()
}

impl Inner {
    fn put(&self, key: &MediaKey, from: &Path) -> io::Result<()> {
        let root = self.make_root()?;
        let incoming = make_folder(&root, INCOMING)?;
        let session = make_folder(&root, key.session.as_str())?;
        let (name, to) = self.make_incoming(&incoming)?;
        let outcome = write(to, from)
            .and_then(|()| renameat(&incoming, &name, &session, key.file.as_str()).map_err(io::Error::from));
        if outcome.is_err() {
            // What was written is of no use; the first error is the one to tell of.
            let _ = unlinkat(&incoming, &name, AtFlags::empty());
        }
        // After the folder has changed, which tells what is old without a clock.
        self.cleared.call_once(|| clear(&incoming));
        outcome?;
        rustix::fs::fsync(&session).map_err(io::Error::from)
    }

    /// Makes a file that is to be written. One that is there is never touched: another server's process can have our id, in its
    /// own container, and its files here.
    fn make_incoming(&self, incoming: &OwnedFd) -> io::Result<(String, File)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let number = self.written.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", std::process::id());
            match openat(incoming, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok((name, file.into())),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn open(&self, key: &MediaKey) -> io::Result<(File, u64)> {
        let session = open_folder(&self.open_root()?, key.session.as_str())?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&session, key.file.as_str(), flags, Mode::empty())?);
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok((file, metadata.len())),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn delete(&self, key: &MediaKey) -> io::Result<()> {
        let session = open_folder(&self.open_root()?, key.session.as_str())?;
        unlinkat(session, key.file.as_str(), AtFlags::empty()).map_err(io::Error::from)
    }

    fn delete_session(&self, session: &SessionName) -> io::Result<()> {
        let root = self.open_root()?;
        let folder = match open_folder(&root, session.as_str()) {
            // A link, or a file: it is removed, what it leads to is not.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return unlinkat(&root, session.as_str(), AtFlags::empty()).map_err(io::Error::from);
            }
            folder => folder?,
        };
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                absent_is_fine(unlinkat(&folder, name, AtFlags::empty()).map_err(io::Error::from))?;
            }
        }
        unlinkat(&root, session.as_str(), AtFlags::REMOVEDIR).map_err(io::Error::from)
    }

    /// How many bytes are free, once it is known that files can be made.
    fn check(&self) -> io::Result<u64> {
        let root = self.make_root()?;
        let incoming = make_folder(&root, INCOMING)?;
        rustix::fs::accessat(&root, INCOMING, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS)?;
        let space = fstatvfs(incoming)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn make_root(&self) -> io::Result<OwnedFd> {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&self.folder)?;
        self.open_root()
    }

    /// Opens the folder. The operator may have made a link of it, but not where anybody could have made one: there it must be a
    /// folder of ours.
    fn open_root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = openat(CWD, parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        let anybody_writes = Mode::from_raw_mode(fstat(&parent)?.st_mode).contains(Mode::WOTH);
        if !anybody_writes {
            return openat(CWD, &self.folder, flags, Mode::empty()).map_err(io::Error::from);
        }
        let root = openat(CWD, &self.folder, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(io::Error::from)?;
        match fstat(&root)?.st_uid == rustix::process::geteuid().as_raw() {
            true => Ok(root),
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is the folder of another user", self.folder.display()),
            )),
        }
    }
}

/// Copies a local file into a new one, and to the disk.
fn write(mut to: File, from: &Path) -> io::Result<()> {
    // That it is missing is not that a stored file is.
    let mut from = File::open(from).map_err(io::Error::other)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

/// Removes what processes that died have left behind. It is tried once; what stays takes room only.
fn clear(incoming: &OwnedFd) {
    let Ok(now) = fstat(incoming).map(|own| own.st_mtime) else {
        return;
    };
    for entry in Dir::read_from(incoming).into_iter().flatten().flatten() {
        let is_old = statat(incoming, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|one| one.st_mtime < now - LEFT_BEHIND_SECONDS);
        if is_old && let Err(error) = unlinkat(incoming, entry.file_name(), AtFlags::empty()) {
            tracing::debug!(%error, "what an earlier process has left behind cannot be removed");
        }
    }
}

fn make_folder(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_folder(parent, name),
        Err(error) => Err(error.into()),
    }
}

/// Opens a folder; what is no folder, or only a link to one, is none.
fn open_folder(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => Err(io::ErrorKind::NotFound.into()),
        outcome => outcome.map_err(io::Error::from),
    }
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn from_io(error: io::Error) -> MediaStorageError {
    match error.kind() {
        io::ErrorKind::NotFound => MediaStorageError::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => MediaStorageError::Refused(error.into()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::StaleNetworkFileHandle => {
            MediaStorageError::Unavailable(error.into())
        }
        // A link in the place of a file is none of ours.
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => MediaStorageError::NotFound,
        _ => MediaStorageError::Internal(error.into()),
    }
}

#[cfg(test)]
mod tests;
