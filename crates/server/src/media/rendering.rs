//! Messages as events and answers have them, with where their files are: the one place that puts both together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;
use wharf_core::events::{MediaPayload, MessagePayload, S3Payload};
use wharf_core::ids::{ChatKind, MessageId, SessionName};
use wharf_core::message::{Message, ReplyTo};
use wharf_core::store::StoreError;

use super::library::{Library, StoredMedia};
use crate::config::Dialect;

/// What is said where a file is not there and should be.
const NOT_FETCHED: &str = "The file of the message could not be fetched";

/// What a reduced message says of itself in `_data`.
const REDUCED: &str = "the message cannot be stored as it came, most of it was left out";

/// Renders messages.
#[derive(Clone)]
pub(crate) struct Rendering {
    dialect: Dialect,
    library: Arc<Library>,
}

impl Rendering {
    /// In the words of one of WAHA's engines, with the files of a library.
    pub(crate) fn new(dialect: Dialect, library: Arc<Library>) -> Self {
        Self { dialect, library }
    }

    /// A message, with its file and that of the message that it answers, where they are kept.
    pub(crate) async fn message(&self, session: &SessionName, message: &Message) -> Result<MessagePayload, StoreError> {
        let mut payloads = self.messages(session, std::slice::from_ref(message)).await?;
        // One for each.
        Ok(payloads.pop().unwrap_or_else(|| self.without_files(message)))
    }

    /// The same for many, with one look into the library.
    pub(crate) async fn messages(
        &self,
        session: &SessionName,
        messages: &[Message],
    ) -> Result<Vec<MessagePayload>, StoreError> {
        let mut ids = HashSet::new();
        for message in messages {
            ids.extend(message.media.is_some().then(|| message.id.clone()));
            ids.extend(quoted_file(message).into_iter().flatten());
        }
        let files = match ids.is_empty() {
            true => HashMap::new(),
            false => {
                let ids: Vec<MessageId> = ids.into_iter().collect();
                self.library.find(session, &ids).await?
            }
        };
        Ok(messages
            .iter()
            .map(|message| self.with_files(message, &files))
            .collect())
    }

    /// A message whose file is nowhere yet.
    pub(crate) fn without_files(&self, message: &Message) -> MessagePayload {
        self.dialect.message(message)
    }

    fn with_files(&self, message: &Message, files: &HashMap<MessageId, StoredMedia>) -> MessagePayload {
        let mut payload = self.without_files(message);
        if let (Some(media), Some(file)) = (&mut payload.media, files.get(&message.id)) {
            set_file(media, file);
            payload.media_url.clone_from(&media.url);
        }
        if let Some(media) = payload.reply_to.as_mut().and_then(|reply| reply.media.as_mut())
            && let Some(file) = quoted_file(message).into_iter().flatten().find_map(|id| files.get(&id))
        {
            set_file(media, file);
        }
        payload
    }
}

/// Says in a message's payload that it is not whole.
pub(crate) fn set_reduced(payload: &mut MessagePayload) {
    payload.data = json!({ "error": REDUCED });
}

/// Says in a message's payload why its file is not there.
pub(crate) fn set_error(payload: &mut MessagePayload, why: &str) {
    if let Some(media) = &mut payload.media {
        media.error = Some(json!({ "message": NOT_FETCHED, "details": why }));
    }
}

fn set_file(media: &mut MediaPayload, file: &StoredMedia) {
    media.url = Some(file.url.clone());
    media.s3 = file.s3.as_ref().map(|location| S3Payload {
        bucket: location.bucket.clone(),
        key: location.key.clone(),
    });
}

/// The ids that a quoted message with a file may have: a quote does not say whether it is one of ours.
fn quoted_file(message: &Message) -> Option<[MessageId; 2]> {
    let ReplyTo {
        id,
        participant,
        media: Some(_),
        ..
    } = message.reply_to.as_ref()?
    else {
        return None;
    };
    let chat = &message.id.chat;
    let participant = participant.as_ref().filter(|_| chat.kind() == ChatKind::Group);
    Some([true, false].map(|from_me| MessageId {
        from_me,
        chat: chat.clone(),
        id: id.clone(),
        participant: participant.cloned(),
    }))
}
