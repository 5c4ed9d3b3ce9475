//! The files that callers send: from a URL, from base64 or from a part of a form to a checked local file that can be sent.
//!
//! A file is what its bytes say, whatever it is called: a picture must be one. Never whole in memory, but for base64, which the
//! body of the request has anyway.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;
use wharf_core::engine::{MediaKind, OutgoingMedia};

use super::facts;
use super::ffmpeg::{Ffmpeg, FfmpegError};
use super::kinds;
use super::temp::{TempFile, TempFolder};
use crate::config::FilesConfig;
use crate::egress::{Egress, Fetch, FetchError};

/// The most characters of a file's name; file systems take no more.
const FILENAME_CHARS_MAX: usize = 255;
/// What of a file is looked at to tell its type, in bytes.
const HEAD_BYTES: usize = 8 * 1024;
/// What of base64 is decoded at once, in characters; a multiple of four.
const BASE64_CHUNK_CHARS: usize = 256 * 1024;

/// A file as a request names it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct FileInput {
    /// Where it is.
    pub(crate) url: Option<String>,
    /// It, as base64.
    pub(crate) data: Option<String>,
    /// Its type.
    pub(crate) mimetype: Option<String>,
    /// Its name.
    pub(crate) filename: Option<String>,
    /// It, where it came as a part of a form. Nothing that is written in a request can stand here.
    #[serde(skip)]
    pub(crate) part: Option<LocalFile>,
}

/// A file of a caller's, here for as long as somebody has this.
#[derive(Debug)]
pub(crate) struct LocalFile {
    /// Where.
    pub(crate) path: TempPath,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// What those say of its type who had it before.
    pub(crate) mimetype: Option<String>,
    /// What they call it.
    pub(crate) filename: Option<String>,
}

/// A file that can be sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// It, without a caption.
    pub(crate) media: OutgoingMedia,
    /// Keeps it where it is: whoever sends it must have this until it has left.
    pub(crate) guard: LocalFile,
}

/// Why a file cannot be sent. Variants are what a caller can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The request is wrong; names its field.
    #[error("{0}")]
    Invalid(String),
    /// The request may be right, but the file is not to be had or not to be converted; names the field.
    #[error("{0}")]
    Refused(String),
    /// There is no room for it now.
    #[error("there is no room for the file on the server's disk")]
    Full,
    /// Too many files are being converted now.
    #[error("too many files are being converted, try again later")]
    Busy,
    /// Nobody outside can do anything about it.
    #[error("a file cannot be kept")]
    Io(#[source] io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

/// What takes callers' files.
pub(crate) struct Files {
    config: FilesConfig,
    temp: Arc<TempFolder>,
    egress: Arc<Egress>,
    ffmpeg: Ffmpeg,
}

impl Files {
    /// Files are kept in `temp` while they are needed.
    pub(crate) fn new(config: FilesConfig, temp: Arc<TempFolder>, egress: Arc<Egress>) -> Self {
        let ffmpeg = Ffmpeg::new(config.ffmpeg.clone());
        Self {
            config,
            temp,
            egress,
            ffmpeg,
        }
    }

    /// What converts.
    pub(crate) fn ffmpeg(&self) -> &Ffmpeg {
        &self.ffmpeg
    }

    /// What is fetched from addresses that callers name.
    pub(crate) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Where files are that are needed for a moment.
    pub(crate) fn temp(&self) -> &TempFolder {
        &self.temp
    }

    /// The limits.
    pub(crate) fn config(&self) -> &FilesConfig {
        &self.config
    }

    /// A file that is sent as this. `field` is how the request calls it.
    pub(crate) async fn prepare(
        &self,
        field: &str,
        input: FileInput,
        kind: MediaKind,
        convert: bool,
    ) -> Result<Prepared, FileError> {
        // What is converted becomes smaller, most often.
        let kept_as_is = kinds::bytes_max(kind).filter(|_| !convert);
        let mut file = self.take_up_to(kept_as_is, field, input).await?;
        match kind {
            MediaKind::Voice if convert => file = self.to_voice(field, &file).await?,
            MediaKind::Video | MediaKind::VideoNote if convert => file = self.to_video(field, &file).await?,
            _ => {}
        }
        let head = head(&file.path).await?;
        let mimetype = kinds::mimetype(field, kind, &head, &file)?;
        if let Some(max) = kinds::bytes_max(kind)
            && file.size > max
        {
            return Err(too_large_as_this(field, max));
        }
        let facts = match kind {
            MediaKind::Image | MediaKind::Sticker => facts::of_image(&self.ffmpeg, &file.path).await,
            MediaKind::Video | MediaKind::VideoNote => facts::of_video(&self.ffmpeg, &file.path).await,
            MediaKind::Voice | MediaKind::Audio => facts::of_voice(&self.ffmpeg, &file.path).await,
            MediaKind::Document => facts::of_document(&file.path, &mimetype).await,
        };
        let filename = match kind {
            MediaKind::Document => Some(kinds::filename(file.filename.as_deref(), &mimetype)),
            _ => file.filename.clone(),
        };
        Ok(Prepared {
            media: OutgoingMedia {
                kind,
                path: file.path.to_path_buf(),
                mimetype,
                filename,
                caption: None,
                facts,
            },
            guard: file,
        })
    }

    /// The file itself, wherever it comes from.
    pub(crate) async fn take(&self, field: &str, input: FileInput) -> Result<LocalFile, FileError> {
        self.take_up_to(None, field, input).await
    }

    /// The same, without fetching more than can be sent.
    async fn take_up_to(&self, bytes_max: Option<u64>, field: &str, input: FileInput) -> Result<LocalFile, FileError> {
        let FileInput {
            url,
            data,
            mimetype,
            filename,
            part,
        } = input;
        let mut file = match (part, url, data) {
            (Some(part), None, None) => part,
            (None, Some(url), None) => self.fetch(bytes_max, field, &url).await?,
            (None, None, Some(data)) => self.decode(field, &data).await?,
            _ => {
                return Err(FileError::Invalid(format!(
                    "{} must have either url or data",
                    whole(field)
                )));
            }
        };
        if file.size == 0 {
            return Err(FileError::Invalid(format!("{} is empty", whole(field))));
        }
        if mimetype
            .as_deref()
            .is_some_and(|mimetype| !kinds::is_mimetype(mimetype))
        {
            return Err(FileError::Invalid(format!(
                "{field}.mimetype must be a type such as image/jpeg"
            )));
        }
        file.mimetype = mimetype.or(file.mimetype);
        file.filename = filename.or(file.filename).and_then(|name| readable_name(&name));
        Ok(file)
    }

    /// The same as a voice message.
    pub(crate) async fn to_voice(&self, field: &str, from: &LocalFile) -> Result<LocalFile, FileError> {
        let to = self.temp.path()?;
        let done = self.ffmpeg.to_voice(&from.path, &to, self.converted_bytes_max()?).await;
        done.map_err(|error| self.not_converted(field, "has no sound", error))?;
        converted(to, kinds::VOICE, from).await
    }

    /// The same as a video that every phone plays.
    pub(crate) async fn to_video(&self, field: &str, from: &LocalFile) -> Result<LocalFile, FileError> {
        let to = self.temp.path()?;
        let done = self.ffmpeg.to_video(&from.path, &to, self.converted_bytes_max()?).await;
        done.map_err(|error| self.not_converted(field, "is no video", error))?;
        converted(to, kinds::VIDEO, from).await
    }

    /// What may come of a conversion: nobody looks at the disk while a program writes, so each gets its share beforehand.
    fn converted_bytes_max(&self) -> io::Result<u64> {
        let share = self.temp.room()? / self.config.ffmpeg.concurrency as u64;
        Ok(share.min(self.config.file_bytes_max))
    }

    fn not_converted(&self, field: &str, problem: &str, error: FfmpegError) -> FileError {
        let field = whole(field);
        match error {
            FfmpegError::Busy => FileError::Busy,
            FfmpegError::Io(error) => error.into(),
            FfmpegError::Unreadable => FileError::Refused(format!("{field} {problem} that ffmpeg can read")),
            FfmpegError::TooLarge(max) if max < self.config.file_bytes_max => FileError::Full,
            FfmpegError::Missing | FfmpegError::TooSlow(_) | FfmpegError::TooLarge(_) => {
                FileError::Refused(format!("{field} cannot be converted: {error}"))
            }
        }
    }

    async fn fetch(&self, bytes_max: Option<u64>, field: &str, url: &str) -> Result<LocalFile, FileError> {
        let bytes_max = bytes_max.filter(|max| *max < self.config.file_bytes_max);
        let how = Fetch {
            accept: "*/*",
            bytes_max: bytes_max.unwrap_or(self.config.file_bytes_max),
            cuts: false,
            within: self.config.file_within,
            proxy: None,
        };
        let (mut file, path) = self.temp.file()?;
        let fetched = self.egress.fetch(url, &how, &mut file).await;
        let fetched = fetched.map_err(|error| match error {
            FetchError::Write(error) => error.into(),
            FetchError::OutOfReach => FileError::Invalid(format!("{} {error}", named(field, "url"))),
            FetchError::TooLarge(_) => match bytes_max {
                Some(max) => too_large_as_this(field, max),
                None => FileError::Refused(format!("{} {error} (WHARF_FILE_BYTES_MAX)", named(field, "url"))),
            },
            error => FileError::Refused(format!("{} {error}", named(field, "url"))),
        })?;
        Ok(LocalFile {
            size: tokio::fs::metadata(&path).await?.len(),
            path,
            mimetype: content_type(&fetched.headers),
            filename: name_in_headers(&fetched.headers).or_else(|| name_in_url(&fetched.url)),
        })
    }

    async fn decode(&self, field: &str, data: &str) -> Result<LocalFile, FileError> {
        let (mimetype, text) = match data.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((mimetype, text)) => (Some(mimetype.to_owned()).filter(|it| !it.is_empty()), text),
            None => (None, data),
        };
        let (mut file, path) = self.temp.file()?;
        let size = decode(text, &mut file).await.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => FileError::Invalid(format!("{} must be base64", named(field, "data"))),
            _ => error.into(),
        })?;
        Ok(LocalFile {
            path,
            size,
            mimetype,
            filename: None,
        })
    }
}

/// Decodes base64 of either alphabet, with its padding or without, and with line breaks in it.
async fn decode(text: &str, into: &mut TempFile) -> io::Result<u64> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = match text.contains(['-', '_']) {
        true => &alphabet::URL_SAFE,
        false => &alphabet::STANDARD,
    };
    let engine = GeneralPurpose::new(alphabet, LENIENT);
    let mut digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let (mut chunk, mut bytes, mut size) = (Vec::with_capacity(BASE64_CHUNK_CHARS), Vec::new(), 0);
    let mut is_over = false;
    loop {
        chunk.clear();
        chunk.extend(digits.by_ref().take(BASE64_CHUNK_CHARS));
        if chunk.is_empty() {
            into.flush().await?;
            return Ok(size);
        }
        bytes.clear();
        let decoded = engine.decode_vec(&chunk, &mut bytes);
        // Padding is the end.
        if is_over || decoded.is_err() {
            return Err(ErrorKind::InvalidData.into());
        }
        is_over = chunk.last() == Some(&b'=') || chunk.len() % 4 != 0;
        size += bytes.len() as u64;
        into.write_all(&bytes).await?;
    }
}

async fn converted(path: TempPath, mimetype: &str, from: &LocalFile) -> Result<LocalFile, FileError> {
    Ok(LocalFile {
        size: tokio::fs::metadata(&path).await?.len(),
        path,
        mimetype: Some(mimetype.to_owned()),
        filename: from.filename.clone(),
    })
}

fn too_large_as_this(field: &str, max: u64) -> FileError {
    FileError::Invalid(format!(
        "{field} must not be larger than {max} bytes to be sent as this"
    ))
}

/// How a request calls a file; one that stands in no field of its own has no name.
fn whole(field: &str) -> &str {
    match field {
        "" => "the file",
        field => field,
    }
}

/// How a request calls a part of what it says about a file.
fn named(field: &str, name: &str) -> String {
    match field {
        "" => name.to_owned(),
        field => format!("{field}.{name}"),
    }
}

/// The beginning of a file.
pub(super) async fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(path).await?;
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).await?;
    Ok(head)
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(CONTENT_TYPE)?.to_str().ok()?.trim().to_owned())
}

/// `attachment; filename="invoice.pdf"`, and the form for other alphabets (RFC 6266).
fn name_in_headers(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let parameter = |name: &str| {
        let mut parameters = text.split(';').skip(1).filter_map(|part| part.trim().split_once('='));
        parameters
            .find(|(own, _)| own.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().trim_matches('"'))
    };
    let extended = parameter("filename*").and_then(|value| {
        let (charset, rest) = value.split_once('\'')?;
        let (_, encoded) = rest.split_once('\'')?;
        charset.eq_ignore_ascii_case("utf-8").then(|| percent_decoded(encoded))
    });
    extended.or_else(|| parameter("filename").map(str::to_owned))
}

fn name_in_url(url: &Url) -> Option<String> {
    Some(percent_decoded(url.path_segments()?.next_back()?))
}

fn percent_decoded(text: &str) -> String {
    // The one decoder that is there for it takes a plus for a space.
    let text = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// A name that can be shown: without folders, and without characters that hide or break something.
fn readable_name(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // Overrides of the direction of writing make `gpj.exe` of `exe.jpg`.
    let hides = |c: &char| {
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    let name: String = name.chars().filter(|c| !hides(c)).take(FILENAME_CHARS_MAX).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
