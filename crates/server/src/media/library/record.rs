//! What is noted of a file.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wharf_core::ids::SessionName;
use wharf_core::media::{MediaKey, MediaMetadata};
use wharf_core::store::{Collection, Document, Field};

use super::KeptFile;

/// The records, by session and name without extension.
pub(super) static FILES: Collection = Collection {
    name: "media_files",
    fields: &[Field::text("session"), Field::text("stem"), Field::time("expires_at")],
};

/// What is noted of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Where it is in the storage.
    pub(super) key: MediaKey,
    /// The message that it came with.
    pub(super) message_id: String,
    /// Its type, fit for a header.
    pub(super) mimetype: String,
    /// What its sender called it.
    pub(super) filename: Option<String>,
    /// How large it is, in bytes.
    pub(super) size: u64,
    /// When it was stored; until then nobody is told of it.
    pub(super) stored_at: Option<Timestamp>,
    /// When it is removed, also where it was never stored.
    pub(super) expires_at: Option<Timestamp>,
}

/// The id of a record.
pub(super) fn id(session: &SessionName, stem: &str) -> String {
    format!("{session}/{stem}")
}

impl Record {
    /// What is stored under this id; `None` where it cannot be read, which is of no use to anybody.
    pub(super) fn read(document: &Document) -> Option<Self> {
        serde_json::from_slice(&document.body).ok()
    }

    /// What is stored.
    pub(super) fn document(&self, stem: &str) -> Document {
        // Structs of texts and numbers have JSON.
        let body = serde_json::to_vec(self).unwrap_or_default();
        let document = Document::new(id(&self.key.session, stem), body)
            .with("session", self.key.session.as_str())
            .with("stem", stem);
        match self.expires_at {
            Some(moment) => document.with("expires_at", moment),
            None => document,
        }
    }

    /// Whether the file can be read now.
    pub(super) fn is_there(&self, now: Timestamp) -> bool {
        self.stored_at.is_some() && self.expires_at.is_none_or(|moment| now < moment)
    }

    /// What the storage notes of the file.
    pub(super) fn metadata(&self) -> MediaMetadata {
        MediaMetadata {
            mimetype: self.mimetype.clone(),
            message_id: self.message_id.clone(),
            filename: self.filename.clone(),
        }
    }

    /// The file as it is served, once it is stored.
    pub(super) fn kept(self) -> Option<KeptFile> {
        Some(KeptFile {
            key: self.key,
            mimetype: self.mimetype,
            filename: self.filename,
            size: self.size,
            stored_at: self.stored_at?,
        })
    }
}
