//! Fetches the file of a message, decrypts it on the way to the disk, and checks that it is the one that was sent: as
//! whatsmeow `download.go` does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use bytes::{Buf as _, Bytes};
use reqwest::header::{HeaderMap, HeaderValue, ORIGIN};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use url::Url;
use wacore::download::{DownloadUtils, Downloadable, MediaType};
use wacore::net::WHATSAPP_WEB_ORIGIN;
use wharf_core::engine::MediaError;

use super::FILE_BYTES_MAX;
use super::hosts::{Failure, Hosts, refused};
use crate::connection::Connection;
use crate::http::{next_piece, unreachable};

/// Pieces of an answer that wait to be decrypted.
const PIECES_MAX: usize = 8;
/// How much is written at a time, in bytes.
const WRITE_BYTES: usize = 256 * 1024;
/// What encryption adds to a file at most, in bytes: the padding and the MAC.
const OVERHEAD_BYTES_MAX: u64 = 16 + 10;
/// Owner may read and write, nobody else anything.
const FILE_MODE: u32 = 0o600;

/// What a message says of its file.
#[derive(Clone)]
struct Stated {
    direct_path: String,
    media_key: Vec<u8>,
    kind: MediaType,
    file_sha256: Option<Vec<u8>>,
    file_enc_sha256: Vec<u8>,
    /// What is fetched at most. What the message says of its length is no matter (nor is it to whatsmeow): only the hashes are.
    bytes_max: u64,
}

impl Stated {
    fn in_message(file: &dyn Downloadable, bytes_max: u64) -> Option<Self> {
        Some(Self {
            direct_path: file.direct_path().filter(|path| path.starts_with('/'))?.to_owned(),
            media_key: file.media_key()?.to_vec(),
            kind: file.app_info(),
            file_sha256: file.file_sha256().map(<[u8]>::to_vec),
            file_enc_sha256: file.file_enc_sha256()?.to_vec(),
            bytes_max,
        })
    }

    /// Nobody has to be let in: whoever has the path may fetch (whatsmeow `download.go` `DownloadMediaWithPath`).
    fn address(&self, host: &str) -> Result<Url, MediaError> {
        let mut address = Url::parse(&format!("https://{host}{}", self.direct_path)).map_err(|_| MediaError::None)?;
        address
            .query_pairs_mut()
            .append_pair("hash", &BASE64_URL_SAFE.encode(&self.file_enc_sha256))
            .append_pair("mms-type", self.kind.mms_type())
            .append_pair("__wa-mms", "");
        Ok(address)
    }
}

impl Connection {
    /// Fetches an encrypted file into `to`, which is made anew, and answers its size in bytes. Where that fails, there is no
    /// file.
    pub(crate) async fn download_to(
        &self,
        file: &dyn Downloadable,
        to: &Path,
        bytes_max: u64,
    ) -> Result<u64, MediaError> {
        let stated = Stated::in_message(file, bytes_max.min(FILE_BYTES_MAX)).ok_or(MediaError::None)?;
        let fetched = self.fetch(&stated, to).await;
        if fetched.is_err()
            && let Err(error) = fs::remove_file(to)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the rest of a file that did not arrive cannot be removed");
        }
        fetched
    }

    async fn fetch(&self, stated: &Stated, to: &Path) -> Result<u64, MediaError> {
        let mut hosts = Hosts::of(&self.client).await?;
        loop {
            let address = stated.address(hosts.name()?)?;
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))]);
            let attempt = match self.http.send(Method::GET, address, headers, Bytes::new()).await {
                Ok(response) if response.status().is_success() => receive(response, stated.clone(), to).await,
                Ok(response) => Err(refusal(response.status())),
                Err(error) => Err(Failure::Host(unreachable(error).into())),
            };
            match attempt {
                Ok(length) => return Ok(length),
                Err(failure) => hosts.after(failure).await?,
            }
        }
    }
}

/// What was lost and what has run out look alike here: no host has it, but the phone may.
fn refusal(status: StatusCode) -> Failure<MediaError> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
            Failure::Final(MediaError::Gone)
        }
        _ => Failure::Host(refused(status).into()),
    }
}

/// Takes an answer's body apart on a thread of its own, which ends when nothing comes any more.
async fn receive(mut response: Response, stated: Stated, to: &Path) -> Result<u64, Failure<MediaError>> {
    let disk = |error| Failure::Final(MediaError::Disk(error));
    let bytes_max = stated.bytes_max;
    if response
        .content_length()
        .is_some_and(|length| length > bytes_max.saturating_add(OVERHEAD_BYTES_MAX))
    {
        return Err(Failure::Final(MediaError::TooLarge { max: bytes_max }));
    }
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(to);
    let file = options.map_err(disk)?;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let opening = spawn_blocking(move || open(Pieces::new(receiver), file, &stated));
    let broken = loop {
        match next_piece(&mut response).await {
            Ok(None) => break None,
            Ok(Some(piece)) => {
                // Who takes no more has a reason, and tells it below.
                if sender.send(piece).await.is_err() {
                    break None;
                }
            }
            Err(error) => break Some(error),
        }
    };
    drop(sender);
    let opened = opening.await.map_err(|panic| disk(io::Error::other(panic)))?;
    match broken {
        Some(error) => Err(Failure::Host(unreachable(error).into())),
        None => opened,
    }
}

/// Decrypts a file and checks every hash that the message states of it.
fn open(mut pieces: Pieces, file: File, stated: &Stated) -> Result<u64, Failure<MediaError>> {
    let mut plain = Plain {
        file: BufWriter::with_capacity(WRITE_BYTES, file),
        hash: Sha256::new(),
        length: 0,
        bytes_max: stated.bytes_max,
        failure: None,
    };
    let decrypted = DownloadUtils::decrypt_stream_to_writer(&mut pieces, &stated.media_key, stated.kind, &mut plain);
    let flushed = plain.file.flush().map_err(MediaError::Disk);
    if let Some(failure) = plain.failure.or(flushed.err()) {
        return Err(Failure::Final(failure));
    }
    if pieces.hash.finalize().as_slice() != stated.file_enc_sha256 {
        return Err(Failure::Host(MediaError::Damaged));
    }
    // What was uploaded has arrived, so that it would arrive again.
    let said = stated.file_sha256.as_deref();
    let is_said = said.is_none_or(|hash| plain.hash.finalize().as_slice() == hash);
    match decrypted.is_ok() && is_said {
        true => Ok(plain.length),
        false => Err(Failure::Final(MediaError::Forged)),
    }
}

/// What has arrived, as something that can be read.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
    hash: Sha256,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            receiver,
            piece: Bytes::new(),
            hash: Sha256::new(),
        }
    }
}

impl Read for &mut Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let Some(piece) = self.receiver.blocking_recv() else {
                return Ok(0);
            };
            self.hash.update(&piece);
            self.piece = piece;
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The decrypted file.
struct Plain {
    file: BufWriter<File>,
    hash: Sha256,
    length: u64,
    bytes_max: u64,
    /// Why nothing more is written.
    failure: Option<MediaError>,
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        if self.length > self.bytes_max {
            self.failure = Some(MediaError::TooLarge { max: self.bytes_max });
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| {
            let kind = error.kind();
            self.failure = Some(MediaError::Disk(error));
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
