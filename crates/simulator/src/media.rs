//! What the media hosts keep, and how phones encrypt and open it.
//!
//! WhatsApp's hosts keep encrypted files under the hash of what they keep, and know none of their keys; so does
//! [`MediaStore`]. The file format (AES-256-CBC, a MAC of ten bytes at the end) is wacore's `upload.rs` and `download.rs`.

mod auth;
mod store;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use wacore::download::{DownloadUtils, Downloadable, MediaType};
use wacore::upload::encrypt_media;
use waproto::whatsapp::Message;

pub(crate) use auth::MediaAuths;
pub(crate) use store::{FILE_BYTES_MAX, MediaStore, Progress, Refusal, STORE_BYTES_MAX};

/// The host in the addresses that clients are told, as WhatsApp's own have it. Clients that ask for a `media_conn` take
/// the path, and the host from there.
const PUBLIC_HOST: &str = "https://mmg.whatsapp.net";

/// A file as a message refers to it: where it is, and what it takes to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaRef {
    pub(crate) kind: MediaType,
    pub(crate) direct_path: String,
    pub(crate) media_key: Vec<u8>,
    pub(crate) file_sha256: Vec<u8>,
    pub(crate) file_enc_sha256: Vec<u8>,
    pub(crate) file_length: u64,
    /// One MAC for every 64 KiB, of sounds and videos.
    pub(crate) sidecar: Option<Vec<u8>>,
}

/// Why a phone cannot open a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    /// The hosts do not keep it any more.
    #[error("the media hosts do not have the file any more")]
    Gone,
    /// It is not what the message says.
    #[error("the file is not the one that was sent: {0}")]
    Damaged(String),
    /// The hosts cannot read or write it.
    #[error("the media hosts cannot use their folder")]
    Io(#[from] std::io::Error),
}

impl MediaRef {
    /// The file that a message carries, if it carries one, where it has no wrapper any more.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        fn named(file: &impl Downloadable) -> Option<MediaRef> {
            Some(MediaRef {
                kind: file.app_info(),
                direct_path: file.direct_path()?.to_owned(),
                media_key: file.media_key()?.to_vec(),
                file_sha256: file.file_sha256()?.to_vec(),
                file_enc_sha256: file.file_enc_sha256()?.to_vec(),
                file_length: file.file_length()?,
                sidecar: None,
            })
        }
        let video = message.video_message.as_option().or(message.ptv_message.as_option());
        let image = message.image_message.as_option().and_then(named);
        image
            .or_else(|| video.and_then(named))
            .or_else(|| message.audio_message.as_option().and_then(named))
            .or_else(|| message.document_message.as_option().and_then(named))
            .or_else(|| message.sticker_message.as_option().and_then(named))
    }

    /// The address that goes with the path.
    pub(crate) fn url(&self) -> String {
        url(&self.direct_path)
    }
}

impl MediaStore {
    /// Encrypts a file with a key of its own and keeps it, as a phone does before it sends a message.
    pub(crate) fn put(&self, kind: MediaType, plaintext: &[u8]) -> Result<MediaRef, MediaError> {
        let encrypted = encrypt_media(plaintext, kind).map_err(|error| MediaError::Damaged(error.to_string()))?;
        let direct_path = self.add(
            kind.mms_type(),
            &token(&encrypted.file_enc_sha256),
            &encrypted.data_to_upload,
        )?;
        Ok(MediaRef {
            kind,
            direct_path,
            media_key: encrypted.media_key.to_vec(),
            file_sha256: encrypted.file_sha256.to_vec(),
            file_enc_sha256: encrypted.file_enc_sha256.to_vec(),
            file_length: plaintext.len() as u64,
            sidecar: encrypted.streaming_sidecar,
        })
    }

    /// Opens a file of a message: every hash that the message states must be right. Its length need not be: no client looks
    /// at it (whatsmeow `download.go`).
    pub(crate) fn get(&self, file: &MediaRef) -> Result<Vec<u8>, MediaError> {
        let mut bytes = self.read(&token(&file.file_enc_sha256))?.ok_or(MediaError::Gone)?;
        DownloadUtils::verify_and_decrypt_in_place(&mut bytes, &file.media_key, file.kind)
            .map_err(|error| MediaError::Damaged(error.to_string()))?;
        match Sha256::digest(&bytes).as_slice() == file.file_sha256 {
            true => Ok(bytes),
            false => Err(MediaError::Damaged("its hash is another one".to_owned())),
        }
    }
}

/// The name of an encrypted file: its hash, as it stands in addresses.
pub(crate) fn token(file_enc_sha256: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(file_enc_sha256)
}

/// The full address of a path.
pub(crate) fn url(direct_path: &str) -> String {
    format!("{PUBLIC_HOST}{direct_path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_opens_what_another_one_put_there() {
        let store = MediaStore::new();
        for (kind, length) in [
            (MediaType::Image, 0),
            (MediaType::Video, 70_000),
            (MediaType::Sticker, 16),
        ] {
            let plaintext: Vec<u8> = (0..length).map(|byte: u32| byte.to_le_bytes()[0]).collect();
            let file = store.put(kind, &plaintext).unwrap();
            assert_eq!(store.get(&file).unwrap(), plaintext);
            assert_eq!(file.sidecar.is_some(), kind == MediaType::Video);
        }
    }

    #[test]
    fn a_phone_opens_nothing_that_is_not_what_the_message_says() {
        let store = MediaStore::new();
        let file = store.put(MediaType::Image, b"picture").unwrap();
        let damaged = |file: MediaRef| matches!(store.get(&file), Err(MediaError::Damaged(_)));
        assert!(damaged(MediaRef {
            media_key: vec![0; 32],
            ..file.clone()
        }));
        assert!(damaged(MediaRef {
            kind: MediaType::Video,
            ..file.clone()
        }));
        assert!(damaged(MediaRef {
            file_sha256: vec![0; 32],
            ..file.clone()
        }));
        let boast = MediaRef {
            file_length: 1 << 40,
            ..file.clone()
        };
        assert_eq!(store.get(&boast).unwrap(), b"picture", "the length is no matter");
        let gone = MediaRef {
            file_enc_sha256: vec![0; 32],
            ..file
        };
        assert!(matches!(store.get(&gone), Err(MediaError::Gone)));
    }
}
