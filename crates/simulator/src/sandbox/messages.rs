//! What people do with messages: send one, change one, look at one, open its file.

use tokio::task::spawn_blocking;
use wacore::download::MediaType;

use super::{Sandbox, digits};
use crate::error::SandboxError;
use crate::media::{MediaError, MediaRef};
use crate::views::{Change, MediaKind, MediaView, MessageView, NewContent, NewMedia, NewMessage};

impl Sandbox {
    /// The phone sends a text and answers the message's id. `to` is digits.
    ///
    /// # Errors
    /// When phone, chat or quoted message do not exist, or the text is empty or too long.
    pub async fn send(
        &self,
        number: &str,
        to: &str,
        text: &str,
        reply_to: Option<&str>,
    ) -> Result<String, SandboxError> {
        let message = NewMessage {
            reply_to: reply_to.map(str::to_owned),
            ..NewContent::Text(text.to_owned(), None).into()
        };
        self.send_message(number, to, message).await
    }

    /// The phone sends a message of any kind and answers its id; media is uploaded first.
    ///
    /// # Errors
    /// When phone, chat or quoted message do not exist, or the message is not one that the official apps would send.
    pub async fn send_message(
        &self,
        number: &str,
        to: &str,
        message: impl Into<NewMessage>,
    ) -> Result<String, SandboxError> {
        let (phone, to, message) = (self.find(number)?, digits(to)?, message.into());
        self.find(&to)?;
        let (file, message) = match message.content {
            NewContent::Media(media) => {
                let (file, media) = self.upload(media).await?;
                let content = NewContent::Media(media);
                (Some(file), NewMessage { content, ..message })
            }
            content => (None, NewMessage { content, ..message }),
        };
        phone.send(&self.0, &to, &message, file.as_ref())
    }

    async fn upload(&self, media: NewMedia) -> Result<(MediaRef, NewMedia), SandboxError> {
        let network = self.0.clone();
        // Encrypting a large file takes long enough to matter to everyone else on this thread.
        let uploaded = spawn_blocking(move || {
            let file = network.media().put(media_type(media.kind), &media.data)?;
            Ok::<_, MediaError>((
                file,
                NewMedia {
                    data: Vec::new(),
                    ..media
                },
            ))
        });
        let uploaded = uploaded
            .await
            .map_err(|error| SandboxError::Refused(error.to_string()))?;
        uploaded.map_err(|error| SandboxError::Refused(error.to_string()))
    }

    /// The phone reacts to a message, edits, deletes or pins it, or votes in it; answers the id of the message that says so.
    ///
    /// # Errors
    /// When phone, chat or message do not exist, or this cannot be done with this message.
    pub async fn change(&self, number: &str, chat: &str, id: &str, change: Change) -> Result<String, SandboxError> {
        self.find(number)?.change(&self.0, &digits(chat)?, id, &change)
    }

    /// The messages of a chat as the phone shows them now, oldest first.
    ///
    /// # Errors
    /// When there is no such phone.
    pub fn messages(&self, number: &str, chat: &str) -> Result<Vec<MessageView>, SandboxError> {
        Ok(self.find(number)?.messages(&self.0, &digits(chat)?))
    }

    /// A message as the phone shows it now.
    ///
    /// # Errors
    /// When phone or message do not exist.
    pub fn message(&self, number: &str, chat: &str, id: &str) -> Result<MessageView, SandboxError> {
        self.find(number)?.message(&self.0, &digits(chat)?, id)
    }

    /// The phone downloads the file of a message, and answers what the message says of it and the bytes.
    ///
    /// # Errors
    /// When phone or message do not exist, the message has no file, or the file is gone or not the one that was sent.
    pub async fn file(&self, number: &str, chat: &str, id: &str) -> Result<(MediaView, Vec<u8>), SandboxError> {
        let (file, view) = self.find(number)?.file(&digits(chat)?, id)?;
        let network = self.0.clone();
        let opened = spawn_blocking(move || network.media().get(&file)).await;
        let opened = opened.map_err(|error| SandboxError::Refused(error.to_string()))?;
        let bytes = opened.map_err(|error| SandboxError::Refused(error.to_string()))?;
        Ok((view, bytes))
    }

    /// The small picture in a message.
    ///
    /// # Errors
    /// When phone or message do not exist, or the message has no picture.
    pub fn thumbnail(&self, number: &str, chat: &str, id: &str) -> Result<Vec<u8>, SandboxError> {
        self.find(number)?.thumbnail(&digits(chat)?, id)
    }
}

/// What decides over the keys of a file and where it is uploaded (wacore `download.rs`).
fn media_type(kind: MediaKind) -> MediaType {
    match kind {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video | MediaKind::Note => MediaType::Video,
        MediaKind::Audio | MediaKind::Voice => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    }
}
