//! The media port: where the files of messages are kept, the same on a disk, in S3 and in a database.
//!
//! A file is written whole from a local file, and read as a stream; nobody has it whole in memory. Deliberately absent: lists,
//! expiry and types of what is read. Those are in the records of whoever keeps files here.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::BoxError;
use crate::ids::SessionName;

/// The most bytes of a file's name: every file system takes those, with room for what a storage adds.
pub const FILE_NAME_BYTES_MAX: usize = 128;

/// The name of a file in its session: 1 to [`FILE_NAME_BYTES_MAX`] of A-Z, a-z, 0-9, `@._=+:-`, and first a letter or digit.
///
/// So it is one part of a path, on every file system, in every URL, and never a hidden one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// A text is not a [`FileName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a file's name must be 1 to {FILE_NAME_BYTES_MAX} characters of A-Z, a-z, 0-9 and @._=+:-")]
pub struct FileNameError;

impl FileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"@._=+:-".contains(&b);
        let begins_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        match begins_well && text.len() <= FILE_NAME_BYTES_MAX && text.bytes().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(FileNameError),
        }
    }
}

impl TryFrom<String> for FileName {
    type Error = FileNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MediaKey {
    /// The session that it belongs to.
    pub session: SessionName,
    /// Its name there.
    pub file: FileName,
}

/// As in the path of its URL, and as the key of an object in S3.
impl fmt::Display for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.file)
    }
}

/// What a storage notes about a file, for people who look into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaMetadata {
    /// Its type.
    pub mimetype: String,
    /// The message that it came with.
    pub message_id: String,
    /// What its sender called it.
    pub filename: Option<String>,
}

/// Whether a browser shows a file of this type and runs nothing that is in it, which it does with SVG and HTML. What is not on
/// this list is for download only.
pub fn is_safe_to_show(mimetype: &str) -> bool {
    let essence = mimetype.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some(("audio" | "video", _)) => true,
        Some(("image", kind)) => matches!(kind, "jpeg" | "png" | "gif" | "webp" | "bmp" | "avif" | "heic"),
        _ => false,
    }
}

/// A file, or a part of it, that is being read.
pub struct MediaFile {
    /// How large the whole file is, in bytes.
    pub size: u64,
    /// The part of it that follows.
    pub range: Range<u64>,
    /// The bytes of this part.
    pub body: MediaBody,
}

impl fmt::Debug for MediaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {:?} of {}", self.range, self.size)
    }
}

/// Bytes that are read as somebody takes them.
pub type MediaBody = BoxStream<'static, Result<Bytes, MediaStorageError>>;

/// How much room there is on the disk of a storage that has one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpace {
    /// The folder of the storage.
    pub folder: PathBuf,
    /// What is free there for this process, in bytes.
    pub free_bytes: u64,
}

/// Where a file is in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket.
    pub bucket: String,
    /// The key of the object.
    pub key: String,
}

/// Why a media storage could not do what was asked. Variants are what a caller can do.
#[derive(Debug, thiserror::Error)]
pub enum MediaStorageError {
    /// There is no such file, or no longer.
    #[error("there is no such media file")]
    NotFound,
    /// The file ends before the range begins.
    #[error("the media file has {size} bytes only")]
    OutOfRange {
        /// How many bytes it has.
        size: u64,
    },
    /// It does not answer, or is full; the same call may work later.
    #[error("media storage is unavailable")]
    Unavailable(#[source] BoxError),
    /// It does not let us: credentials, bucket or permissions are wrong. The operator must act, and the same call may work then.
    #[error("media storage refuses")]
    Refused(#[source] BoxError),
    /// Anything else.
    #[error("media storage failed")]
    Internal(#[source] BoxError),
}

/// Files by session and name.
#[async_trait]
pub trait MediaStorage: Send + Sync + 'static {
    /// Stores the local file `from` under a key, instead of what is there. Whoever reads meanwhile gets the one or the other, or an
    /// error; never a mixture.
    async fn put(&self, key: &MediaKey, metadata: &MediaMetadata, from: &Path) -> Result<(), MediaStorageError>;

    /// Reads a file, or the part of it that `range` has; an end behind that of the file is the file's.
    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<MediaFile, MediaStorageError>;

    /// Removes a file; fine where there is none.
    async fn delete(&self, key: &MediaKey) -> Result<(), MediaStorageError>;

    /// Removes every file of a session; fine where there are none.
    async fn delete_session(&self, session: &SessionName) -> Result<(), MediaStorageError>;

    /// A URL that reads the file without a key of ours for so long, where the storage itself serves files.
    async fn signed_url(&self, key: &MediaKey, lifetime: Duration) -> Result<Option<String>, MediaStorageError>;

    /// Where the file is in S3, for a storage that is S3.
    fn location(&self, key: &MediaKey) -> Option<S3Location>;

    /// Whether a file could be stored now, for health checks, and in how much room where that is known.
    async fn check(&self) -> Result<Option<DiskSpace>, MediaStorageError>;

    /// Ends what is open. Later calls fail.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_sound_and_videos_are_shown() {
        for (mimetype, shown) in [
            ("image/jpeg", true),
            ("audio/ogg; codecs=opus", true),
            ("video/mp4", true),
            ("image/svg+xml", false),
            ("text/html", false),
            ("application/pdf", false),
            ("IMAGE/SVG+XML", false),
            ("", false),
        ] {
            assert_eq!(is_safe_to_show(mimetype), shown, "{mimetype}");
        }
    }

    #[test]
    fn a_files_name_is_one_part_of_a_path() {
        for name in [
            "false_12025550101@c.us_3EB0AA.jpg",
            "a",
            "9..b",
            "x=+:-@_.bin",
            &"a".repeat(FILE_NAME_BYTES_MAX),
        ] {
            assert_eq!(name.parse::<FileName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(FILE_NAME_BYTES_MAX + 1);
        for name in [
            "", ".", "..", ".hidden", "-x", "a/b", "../a", "a\\b", "a\0", "a b", "a%2fb", "ä", "a\n", &long,
        ] {
            assert_eq!(name.parse::<FileName>(), Err(FileNameError), "{name:?}");
        }
    }
}
