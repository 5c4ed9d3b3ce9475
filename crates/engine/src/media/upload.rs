//! Encrypts a file and uploads it: as whatsapp-rust `upload.rs` and whatsmeow `upload.go` do.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::stream::{self, Stream};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use url::Url;
use wacore::download::MediaType;
use wacore::net::WHATSAPP_WEB_ORIGIN;
use wacore::upload::{EncryptedMediaInfo, encrypt_media_streaming};
use wharf_core::engine::EngineError;

use super::FILE_BYTES_MAX;
use super::hosts::{Failure, Hosts, refused};
use crate::connection::Connection;
use crate::http::{Http, body, unreachable};

/// How much of a file is read at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// From this size on, a host is asked first whether it has the file, or a part of it, in bytes (whatsapp-rust `upload.rs`).
const RESUMABLE_BYTES: u64 = 5 * 1024 * 1024;

/// A file that WhatsApp has: what a message says of it.
#[derive(Clone)]
pub(crate) struct Uploaded {
    pub(crate) url: String,
    pub(crate) direct_path: String,
    pub(crate) media_key: [u8; 32],
    /// When the key was made, in seconds since the Unix epoch.
    pub(crate) media_key_timestamp: i64,
    pub(crate) file_sha256: [u8; 32],
    pub(crate) file_enc_sha256: [u8; 32],
    pub(crate) file_length: u64,
    /// One MAC for every 64 KiB, of sounds and videos.
    pub(crate) streaming_sidecar: Option<Vec<u8>>,
}

/// A file as the hosts get it. It has no name, so nothing is left of it whatever happens.
struct Encrypted {
    file: Arc<File>,
    length: u64,
    info: EncryptedMediaInfo,
}

/// What a host says of a file.
#[derive(Deserialize)]
struct Answer {
    url: Option<String>,
    direct_path: Option<String>,
    /// `complete`, or how many bytes it has.
    resume: Option<String>,
}

/// What a host has of a file.
enum Found {
    All { url: String, direct_path: String },
    Part(u64),
}

impl Connection {
    /// Encrypts a file and uploads it. The encrypted copy is beside the file while that lasts.
    pub(crate) async fn upload(&self, file: &Path, kind: MediaType) -> Result<Uploaded, EngineError> {
        let plain = file.to_owned();
        let encrypted = spawn_blocking(move || encrypt(&plain, kind)).await;
        let encrypted = encrypted.map_err(|panic| EngineError::Internal(panic.into()))??;
        let mut hosts = Hosts::of(&self.client).await?;
        let (url, direct_path) = loop {
            let attempt = Attempt {
                http: &self.http,
                address: address(hosts.name()?, hosts.token(), kind, &encrypted.info)?,
                file: &encrypted,
            };
            match attempt.run().await {
                Ok(found) => break found,
                Err(failure) => hosts.after(failure).await?,
            }
        };
        let EncryptedMediaInfo {
            media_key,
            file_sha256,
            file_enc_sha256,
            file_length,
            streaming_sidecar,
        } = encrypted.info;
        Ok(Uploaded {
            url,
            direct_path,
            media_key,
            media_key_timestamp: self.clock.now().as_second(),
            file_sha256,
            file_enc_sha256,
            file_length,
            streaming_sidecar,
        })
    }
}

/// An upload to one host.
struct Attempt<'a> {
    http: &'a Http,
    address: Url,
    file: &'a Encrypted,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<(String, String), Failure<EngineError>> {
        let offset = match self.found().await {
            Some(Found::All { url, direct_path }) => return Ok((url, direct_path)),
            Some(Found::Part(offset)) => offset,
            None => 0,
        };
        let mut address = self.address.clone();
        if offset > 0 {
            address
                .query_pairs_mut()
                .append_pair("file_offset", &offset.to_string());
        }
        let mut headers = headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let pieces = pieces(self.file.file.clone(), offset, self.file.length);
        let sent = self.http.send_file(address, headers, pieces, self.file.length - offset);
        let response = sent.await.map_err(|error| Failure::Host(unreachable(error)))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status));
        }
        match answer(response).await {
            Ok(Answer {
                url: Some(url),
                direct_path: Some(direct_path),
                ..
            }) => Ok((url, direct_path)),
            Ok(_) => Err(Failure::Host(EngineError::Internal(
                "a media host does not say where the file is".into(),
            ))),
            Err(error) => Err(Failure::Host(unreachable(error))),
        }
    }

    /// What the host has of the file, for a file that is worth the question. A host that does not answer it gets everything.
    async fn found(&self) -> Option<Found> {
        if self.file.length < RESUMABLE_BYTES {
            return None;
        }
        let mut address = self.address.clone();
        address.query_pairs_mut().append_pair("resume", "1");
        let asked = self.http.send(Method::POST, address, headers(), Bytes::new()).await;
        let response = asked.ok().filter(|response| response.status().is_success())?;
        let Answer {
            url,
            direct_path,
            resume,
        } = answer(response).await.ok()?;
        match (resume?.as_str(), url, direct_path) {
            ("complete", Some(url), Some(direct_path)) => Some(Found::All { url, direct_path }),
            (offset, ..) => {
                let offset = offset.parse().ok().filter(|offset| *offset < self.file.length);
                offset.map(Found::Part)
            }
        }
    }
}

fn encrypt(plain: &Path, kind: MediaType) -> Result<Encrypted, EngineError> {
    let disk = |error: io::Error| EngineError::Internal(error.into());
    let source = File::open(plain).map_err(disk)?;
    if source.metadata().map_err(disk)?.len() > FILE_BYTES_MAX {
        return Err(EngineError::TooLarge { max: FILE_BYTES_MAX });
    }
    let folder = plain.parent().unwrap_or(Path::new("."));
    let file = tempfile::tempfile_in(folder).map_err(disk)?;
    let encrypting = encrypt_media_streaming(source, BufWriter::with_capacity(PIECE_BYTES, &file), kind);
    let info = encrypting.map_err(|error| EngineError::Internal(error.into()))?;
    let length = file.metadata().map_err(disk)?.len();
    Ok(Encrypted {
        file: Arc::new(file),
        length,
        info,
    })
}

fn address(host: &str, token: &str, kind: MediaType, info: &EncryptedMediaInfo) -> Result<Url, EngineError> {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(info.file_enc_sha256);
    let mut address = Url::parse(&format!("https://{host}{}/{hash}", kind.upload_path()))
        .map_err(|error| EngineError::Internal(error.into()))?;
    address
        .query_pairs_mut()
        .append_pair("auth", token)
        .append_pair("token", &hash);
    Ok(address)
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))])
}

async fn answer(response: reqwest::Response) -> anyhow::Result<Answer> {
    let body = body(response).await?;
    serde_json::from_slice(&body).context("a media host's answer cannot be read")
}

fn refusal(status: StatusCode) -> Failure<EngineError> {
    let refused = refused(status);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Token(refused),
        StatusCode::PAYLOAD_TOO_LARGE => Failure::Final(EngineError::TooLarge { max: FILE_BYTES_MAX }),
        _ => Failure::Host(refused),
    }
}

/// A part of a file, piece by piece. It has a place of its own in the file: one that was given up may still be read.
fn pieces(file: Arc<File>, start: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(start, move |position| {
        let file = file.clone();
        async move {
            let wanted = usize::try_from(end - position).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            if wanted == 0 {
                return Ok(None);
            }
            let read = spawn_blocking(move || {
                let mut piece = vec![0; wanted];
                file.read_exact_at(&mut piece, position).map(|()| piece)
            });
            let piece = read.await.map_err(io::Error::other)??;
            let next = position + piece.len() as u64;
            Ok(Some((Bytes::from(piece), next)))
        }
    })
}
