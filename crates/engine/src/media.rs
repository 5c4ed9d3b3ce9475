//! Files of messages on their way to WhatsApp's media hosts and back, always by stream.
//!
//! The protocol library has transfers of its own. Ours can be called off, tell apart what a caller can act on, check every
//! hash that a message states, and keep addresses with tokens out of the log.

mod download;
mod hosts;
mod reupload;
mod upload;

use std::path::Path;

use async_trait::async_trait;
use waproto::whatsapp as wa;
use wharf_core::engine::{Media, MediaError};
use wharf_core::message::Message;

pub(crate) use upload::Uploaded;

use crate::connection::Connection;
use crate::message::{attachment_inside, relocated};

/// The largest file, in bytes: WhatsApp takes documents of up to 2 GB.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

#[async_trait]
impl Media for Connection {
    async fn download(&self, message: &Message, to: &Path, bytes_max: u64) -> Result<u64, MediaError> {
        self.ready()?;
        let proto = proto(message)?;
        let attachment = attachment_inside(&proto).ok_or(MediaError::None)?;
        self.download_to(attachment.file(), to, bytes_max).await
    }

    async fn request_reupload(&self, message: &Message) -> Result<Message, MediaError> {
        self.ready()?;
        let proto = proto(message)?;
        let attachment = attachment_inside(&proto).ok_or(MediaError::None)?;
        let key = attachment.file().media_key().ok_or(MediaError::None)?;
        let direct_path = self.reuploaded(&message.id, key).await?;
        let moved = relocated(proto, direct_path);
        Ok(Message {
            proto: waproto::codec::message_to_vec(&moved).into(),
            ..message.clone()
        })
    }
}

/// The message in WhatsApp's own encoding, if it is kept whole.
fn proto(message: &Message) -> Result<wa::Message, MediaError> {
    waproto::codec::message_decode(&message.proto).map_err(|_| MediaError::None)
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;
