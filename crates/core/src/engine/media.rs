//! Fetching the files of messages.

use std::path::Path;

use async_trait::async_trait;

use super::EngineError;
use crate::message::Message;

/// What can be done about the files of messages.
#[async_trait]
pub trait Media: Send + Sync + 'static {
    /// Fetches the file of a message into `to`, which is made anew, and answers its size in bytes. It is decrypted, and it is
    /// the one that was sent: its hash is checked. Never whole in memory, and never more than `bytes_max`, whatever the
    /// message says of its size.
    async fn download(&self, message: &Message, to: &Path, bytes_max: u64) -> Result<u64, MediaError>;

    /// Asks the phone to upload the file of a message again, and waits for it: the message that says where it is now.
    async fn request_reupload(&self, message: &Message) -> Result<Message, MediaError>;
}

/// Why a file is not there. Variants are what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// There is nothing to fetch: the message has no file, or lacks what it takes.
    #[error("the message has no file that can be fetched")]
    None,
    /// WhatsApp's hosts do not have it any more; the phone may.
    #[error("whatsapp does not have the file any more")]
    Gone,
    /// What came is not what was sent; another try may get it.
    #[error("the file arrived damaged")]
    Damaged,
    /// It is whole, and not what its message says: no other try gets anything else.
    #[error("the file is not what its message says")]
    Forged,
    /// The phone does not have it either.
    #[error("the phone does not have the file any more")]
    Lost,
    /// It is larger than what is fetched.
    #[error("the file has more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// It could not be written.
    #[error("the file cannot be written")]
    Disk(#[source] std::io::Error),
    /// Anything else; the same call may work later.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
