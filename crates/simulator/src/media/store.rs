//! The files of the media hosts: encrypted, in a folder, each under the hash of what it holds.
//!
//! Files come in pieces and go out in pieces, never whole. There is a limit for all of them together; the oldest make room.
//! What was left half done by a client can be continued ([`MediaStore::begin`] with an offset) while the process lives.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::token;

/// The largest file, in bytes: WhatsApp takes documents of up to 2 GB.
pub(crate) const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// All files together, in bytes.
pub(crate) const STORE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Uploads that broke off and can be continued.
const PARTS_MAX: usize = 16;
/// Bytes of the checksum in an address.
const CHECK_BYTES: usize = 8;
/// Owner may read and write, nobody else anything.
const FILE_MODE: u32 = 0o600;
/// The same for the folder.
const FOLDER_MODE: u32 = 0o700;

/// The files. Clones share them.
#[derive(Clone)]
pub(crate) struct MediaStore(Arc<Mutex<Shelf>>);

struct Shelf {
    /// Made when the first file comes, where none was named.
    folder: Option<Folder>,
    bytes_max: u64,
    /// Of all files.
    bytes: u64,
    /// Of what comes in now, and of what broke off.
    partial_bytes: u64,
    /// By token.
    files: HashMap<String, Kept>,
    /// Tokens, oldest first.
    order: VecDeque<String>,
    /// What comes in now.
    uploading: HashSet<String>,
    /// What broke off, oldest first.
    parts: VecDeque<Part>,
}

struct Part {
    token: String,
    length: u64,
}

enum Folder {
    Passing(TempDir),
    Lasting(PathBuf),
}

#[derive(Clone)]
struct Kept {
    /// The part of its address that says what kind of file it is.
    kind: String,
    /// How often it was uploaded anew: addresses from before are no good.
    version: u32,
    length: u64,
}

/// Why the hosts do not do what they are asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is no such file.
    #[error("there is no such file")]
    Unknown,
    /// The address is none that was given out.
    #[error("this address was never given out")]
    Mangled,
    /// The file is larger than what is kept.
    #[error("a file has at most {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// What came is not what the token names.
    #[error("the token is not the hash of the file")]
    WrongHash,
    /// The upload goes on somewhere else than where it broke off.
    #[error("the upload broke off at another offset")]
    WrongOffset,
    /// The same file comes in on another connection.
    #[error("the same file is being uploaded")]
    Busy,
    /// What comes in at the same time is more than is kept.
    #[error("there is no room for what is being uploaded")]
    Full,
    /// The folder cannot be used.
    #[error("the folder of the media cannot be used")]
    Io(#[from] io::Error),
}

/// How far the upload of a file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is here, at this address.
    Complete(String),
    /// So many bytes are here.
    Partial(u64),
}

/// A file that comes in. Dropping it keeps what is there, to be continued.
pub(crate) struct Upload {
    store: MediaStore,
    token: String,
    kind: String,
    path: PathBuf,
    file: File,
    hash: Sha256,
    length: u64,
}

impl MediaStore {
    /// No files, and a folder that goes with the process.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Shelf {
            folder: None,
            bytes_max: STORE_BYTES_MAX,
            bytes: 0,
            partial_bytes: 0,
            files: HashMap::new(),
            order: VecDeque::new(),
            uploading: HashSet::new(),
            parts: VecDeque::new(),
        })))
    }

    /// Keeps files in this folder from now on, with those that are there, and so many bytes at most.
    pub(crate) fn keep_in(&self, folder: &Path, bytes_max: u64) -> io::Result<()> {
        let mut shelf = self.shelf();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        shelf.folder = Some(Folder::Lasting(folder.to_owned()));
        shelf.bytes_max = bytes_max;
        shelf.load(folder)
    }

    /// Sets how many bytes are kept at most.
    pub(crate) fn limit(&self, bytes_max: u64) {
        self.shelf().bytes_max = bytes_max;
    }

    /// Removes everything.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut shelf = self.shelf();
        while let Some(token) = shelf.order.pop_front() {
            shelf.remove(&token)?;
        }
        while shelf.remove_oldest_part()? {}
        Ok(())
    }

    /// Keeps a file that is whole, and answers its address.
    pub(crate) fn add(&self, kind: &str, token: &str, bytes: &[u8]) -> io::Result<String> {
        let part = self.shelf().folder()?.join(format!("{token}.new"));
        writable(&part, true)?.write_all(bytes)?;
        self.shelf().keep(kind, token, &part, bytes.len() as u64)
    }

    /// A whole file, which phones read. `None` where it is not here.
    pub(crate) fn read(&self, token: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.shelf().path(token)?;
        path.map(fs::read).transpose()
    }

    /// Gives a file another address; the one before is no good any more. `None` where the file is not here.
    pub(crate) fn renew(&self, token: &str) -> io::Result<Option<String>> {
        let mut shelf = self.shelf();
        let Some(old) = shelf.path(token)? else {
            return Ok(None);
        };
        if let Some(kept) = shelf.files.get_mut(token) {
            kept.version += 1;
        }
        if let Some(new) = shelf.path(token)? {
            fs::rename(old, new)?;
        }
        Ok(shelf.address(token))
    }

    /// Removes a file, for phones too.
    pub(crate) fn forget(&self, token: &str) -> io::Result<()> {
        let mut shelf = self.shelf();
        shelf.order.retain(|kept| kept != token);
        shelf.remove(token)
    }

    /// The file at the address `/v/{kind}/{name}?{query}`, and its length.
    pub(crate) fn open(&self, kind: &str, name: &str, query: &str) -> Result<(File, u64), Refusal> {
        let name = name.strip_suffix(".enc").ok_or(Refusal::Mangled)?;
        let (token, version) = name.rsplit_once('.').ok_or(Refusal::Mangled)?;
        let version = version.parse().map_err(|_| Refusal::Mangled)?;
        let mut stated = query.split('&').filter_map(|parameter| parameter.strip_prefix("oh="));
        if stated.next() != Some(check(kind, token, version).as_str()) {
            return Err(Refusal::Mangled);
        }
        let mut shelf = self.shelf();
        let kept = shelf.files.get(token).ok_or(Refusal::Unknown)?.clone();
        if kept.version != version {
            return Err(Refusal::Unknown);
        }
        let path = shelf.path(token)?.ok_or(Refusal::Unknown)?;
        Ok((File::open(path)?, kept.length))
    }

    /// How far the upload of a file is, for a client that asks before it sends (`resume=1`).
    pub(crate) fn progress(&self, token: &str) -> io::Result<Progress> {
        let shelf = self.shelf();
        if let Some(address) = shelf.address(token) {
            return Ok(Progress::Complete(address));
        }
        let part = shelf.parts.iter().find(|part| part.token == token);
        Ok(Progress::Partial(part.map_or(0, |part| part.length)))
    }

    /// Takes a file from its beginning on, or from where it broke off: what is there is read again for its hash.
    pub(crate) fn begin(&self, kind: &str, token: &str, offset: u64) -> Result<Upload, Refusal> {
        let mut upload = self.open_part(kind, token, offset)?;
        if offset > 0 {
            feed(&mut File::open(&upload.path)?, &mut upload.hash)?;
        }
        Ok(upload)
    }

    fn open_part(&self, kind: &str, token: &str, offset: u64) -> Result<Upload, Refusal> {
        let mut shelf = self.shelf();
        if shelf.uploading.contains(token) {
            return Err(Refusal::Busy);
        }
        let broken_off = shelf.parts.iter().position(|part| part.token == token);
        let length = broken_off.map_or(0, |index| shelf.parts[index].length);
        if offset > 0 && offset != length {
            return Err(Refusal::WrongOffset);
        }
        let path = shelf.part(token)?;
        let file = writable(&path, offset == 0)?;
        if let Some(index) = broken_off {
            shelf.parts.remove(index);
        }
        // What is not gone on with is overwritten.
        shelf.partial_bytes -= length - offset;
        shelf.uploading.insert(token.to_owned());
        Ok(Upload {
            store: self.clone(),
            token: token.to_owned(),
            kind: kind.to_owned(),
            path,
            file,
            hash: Sha256::new(),
            length: offset,
        })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Takes the next piece.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let length = piece.len() as u64;
        if self.length + length > FILE_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        self.store.shelf().make_room_for_parts(length)?;
        self.length += length;
        self.hash.update(piece);
        Ok(self.file.write_all(piece)?)
    }

    /// The file is complete: keeps it, if it is the one that its token names, and answers its address.
    pub(crate) fn finish(mut self) -> Result<String, Refusal> {
        let mut shelf = self.store.shelf();
        if token(&std::mem::take(&mut self.hash).finalize()) != self.token {
            fs::remove_file(&self.path)?;
            return Err(Refusal::WrongHash);
        }
        // It is a file from now on.
        shelf.partial_bytes -= self.length;
        let length = std::mem::take(&mut self.length);
        Ok(shelf.keep(&self.kind, &self.token, &self.path, length)?)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut shelf = self.store.shelf();
        shelf.uploading.remove(&self.token);
        shelf.partial_bytes -= self.length;
        // It is there only if it broke off. A write that failed may have left less of it than came.
        if let Ok(meta) = fs::metadata(&self.path) {
            shelf.partial_bytes += meta.len();
            shelf.parts.push_back(Part {
                token: self.token.clone(),
                length: meta.len(),
            });
        }
        if shelf.parts.len() > PARTS_MAX
            && let Err(error) = shelf.remove_oldest_part()
        {
            tracing::warn!(%error, "the rest of an upload cannot be removed");
        }
    }
}

impl Shelf {
    fn folder(&mut self) -> io::Result<PathBuf> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => Folder::Passing(tempfile::Builder::new().prefix("wharf-sandbox-").tempdir()?),
        };
        let path = match &folder {
            Folder::Passing(folder) => folder.path().to_owned(),
            Folder::Lasting(folder) => folder.clone(),
        };
        self.folder = Some(folder);
        Ok(path)
    }

    fn part(&mut self, token: &str) -> io::Result<PathBuf> {
        Ok(self.folder()?.join(format!("{token}.part")))
    }

    /// Where a file is that is kept.
    fn path(&mut self, token: &str) -> io::Result<Option<PathBuf>> {
        let folder = self.folder()?;
        let kept = self.files.get(token);
        Ok(kept.map(|kept| folder.join(format!("{token}.{}.{}", kept.kind, kept.version))))
    }

    /// The address of a file that is kept. It has a query, as WhatsApp's have, and whoever changes it is refused.
    fn address(&self, token: &str) -> Option<String> {
        let Kept { kind, version, .. } = self.files.get(token)?;
        let check = check(kind, token, *version);
        Some(format!(
            "/v/{kind}/{token}.{version}.enc?ccb=11-4&oh={check}&_nc_sid=5e03e0"
        ))
    }

    fn keep(&mut self, kind: &str, token: &str, from: &Path, length: u64) -> io::Result<String> {
        if let Some(address) = self.address(token) {
            fs::remove_file(from)?;
            return Ok(address);
        }
        let kept = Kept {
            kind: kind.to_owned(),
            version: 0,
            length,
        };
        self.remember(token, kept);
        if let Some(path) = self.path(token)? {
            fs::rename(from, path)?;
        }
        self.make_room(token)?;
        Ok(self.address(token).unwrap_or_default())
    }

    fn remember(&mut self, token: &str, kept: Kept) {
        self.bytes += kept.length;
        self.files.insert(token.to_owned(), kept);
        self.order.push_back(token.to_owned());
    }

    /// Makes room for more of what comes in.
    fn make_room_for_parts(&mut self, length: u64) -> Result<(), Refusal> {
        while self.partial_bytes + length > self.bytes_max {
            if !self.remove_oldest_part()? {
                return Err(Refusal::Full);
            }
        }
        self.partial_bytes += length;
        Ok(self.make_room("")?)
    }

    /// Removes what broke off longest ago; answers whether there was something.
    fn remove_oldest_part(&mut self) -> io::Result<bool> {
        let Some(Part { token, length }) = self.parts.pop_front() else {
            return Ok(false);
        };
        self.partial_bytes -= length;
        fs::remove_file(self.part(&token)?)?;
        Ok(true)
    }

    /// Removes what broke off, and the oldest files, until all fit, but never the newest.
    fn make_room(&mut self, newest: &str) -> io::Result<()> {
        while self.is_over() && self.remove_oldest_part()? {}
        while self.is_over()
            && let Some(oldest) = self.order.pop_front_if(|oldest| oldest != newest)
        {
            self.remove(&oldest)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.bytes + self.partial_bytes > self.bytes_max
    }

    fn remove(&mut self, token: &str) -> io::Result<()> {
        let path = self.path(token)?;
        if let Some(kept) = self.files.remove(token) {
            self.bytes -= kept.length;
        }
        path.map_or(Ok(()), fs::remove_file)
    }

    /// Finds what another process left here.
    fn load(&mut self, folder: &Path) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = entry.metadata()?;
            match parse(&name, meta.len()) {
                Some((token, kept)) => found.push((meta.modified()?, token, kept)),
                // What was not complete when that process ended.
                None if name.ends_with(".part") || name.ends_with(".new") => fs::remove_file(entry.path())?,
                None => {}
            }
        }
        found.sort_by_key(|(modified, ..)| *modified);
        for (_, token, kept) in found {
            self.remember(&token, kept);
        }
        self.make_room("")
    }
}

/// What the name of a file says.
fn parse(name: &str, length: u64) -> Option<(String, Kept)> {
    let (rest, version) = name.rsplit_once('.')?;
    let (token, kind) = rest.split_once('.')?;
    let kept = Kept {
        kind: kind.to_owned(),
        version: version.parse().ok()?,
        length,
    };
    Some((token.to_owned(), kept))
}

/// A checksum of an address, which stands for the signature in WhatsApp's.
fn check(kind: &str, token: &str, version: u32) -> String {
    let digest = Sha256::digest(format!("{kind}/{token}.{version}"));
    hex::encode(&digest[..CHECK_BYTES])
}

fn writable(path: &Path, afresh: bool) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(afresh)
        .truncate(afresh)
        .append(!afresh)
        .mode(FILE_MODE)
        .open(path)
}

fn feed(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let (mut piece, mut length) = (vec![0; 64 * 1024], 0);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(length),
            read => {
                hash.update(&piece[..read]);
                length += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests;
