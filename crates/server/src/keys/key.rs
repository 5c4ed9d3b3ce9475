//! One key: what it opens, and what is stored of it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use tokio_util::sync::CancellationToken;
use wharf_core::ids::SessionName;
use wharf_core::store::{Document, StoreError};

use super::Actions;

/// SHA-512 of a key.
pub(super) type Digest = [u8; 64];

/// One key.
pub(crate) struct Key {
    /// Names it in the API; not a secret.
    pub(crate) id: String,
    /// What it opens.
    pub(crate) grant: Grant,
    /// Whether it opens anything now.
    pub(crate) is_active: bool,
    /// What it is looked up by.
    pub(super) digest: Digest,
    /// The key, encrypted.
    pub(super) sealed: Option<Vec<u8>>,
    /// Fires when this is not how the key is any more.
    pub(super) changed: CancellationToken,
}

/// What a key opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Grant {
    /// Everything.
    Admin,
    /// One session.
    Session {
        /// Which.
        name: SessionName,
        /// What it may do there; WAHA's defaults where that was not chosen.
        actions: Option<Actions>,
    },
}

/// A key of which each session has at most one, so that asking for it again gives the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Downloads the session's files.
    Media,
    /// Opens its QR code in a browser.
    Control,
}

/// What is stored of a key.
#[derive(Serialize, Deserialize)]
struct KeyDocument {
    /// SHA-512, base64.
    digest: String,
    /// The key, encrypted, base64.
    sealed: Option<String>,
    grant: Grant,
    is_active: bool,
}

impl Purpose {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Media, Self::Control];

    /// The id of the key of a session.
    pub(super) fn id(self, session: &SessionName) -> String {
        match self {
            Self::Media => format!("key_id_media_{session}"),
            Self::Control => format!("key_id_control_{session}"),
        }
    }

    /// What it opens.
    pub(super) fn grant(self, session: &SessionName) -> Grant {
        let control = self == Self::Control;
        Grant::Session {
            name: session.clone(),
            actions: Some(Actions {
                control,
                ..Actions::NONE
            }),
        }
    }
}

impl Key {
    /// Whether it is one of those that each session has at most one of.
    pub(super) fn is_for_purpose(&self) -> bool {
        match &self.grant {
            Grant::Admin => false,
            Grant::Session { name, .. } => Purpose::ALL.iter().any(|purpose| purpose.id(name) == self.id),
        }
    }

    /// The key that is stored in a document.
    pub(super) fn read(document: &Document) -> Option<Self> {
        let KeyDocument {
            digest,
            sealed,
            grant,
            is_active,
        } = serde_json::from_slice(&document.body).ok()?;
        Some(Self {
            id: document.id.clone(),
            grant,
            is_active,
            digest: BASE64_STANDARD.decode(digest).ok()?.try_into().ok()?,
            sealed: sealed.and_then(|sealed| BASE64_STANDARD.decode(sealed).ok()),
            changed: CancellationToken::new(),
        })
    }

    /// The document that stores it.
    pub(super) fn document(&self) -> Result<Document, StoreError> {
        let document = KeyDocument {
            digest: BASE64_STANDARD.encode(self.digest),
            sealed: self.sealed.as_ref().map(|sealed| BASE64_STANDARD.encode(sealed)),
            grant: self.grant.clone(),
            is_active: self.is_active,
        };
        let body = serde_json::to_vec(&document).map_err(|error| StoreError::Internal(error.into()))?;
        Ok(Document::new(&self.id, body))
    }
}

/// What a key is looked up by.
pub(super) fn digest(text: &str) -> Digest {
    Sha512::digest(text.as_bytes()).into()
}
