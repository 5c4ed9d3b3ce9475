//! Asks the phone for files that WhatsApp's hosts have deleted (whatsmeow `mediaretry.go`).
//!
//! The library's own request goes to this device's address instead of the account's, so this one is put together here, of the
//! library's parts.

use std::time::Duration;

use wacore::media_retry::{
    MediaRetryResult, build_media_retry_receipt, encrypt_media_retry_receipt, parse_media_retry_notification,
};
use wharf_core::engine::{EngineError, MediaError};
use wharf_core::ids::MessageId;
use whatsapp_rust::NodeFilter;

use crate::connection::Connection;
use crate::error::failed;

/// How long the phone may take to upload a file again.
const REUPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

impl Connection {
    /// Where the file of a message lies after the phone has uploaded it again.
    pub(super) async fn reuploaded(&self, id: &MessageId, media_key: &[u8]) -> Result<String, MediaError> {
        let own = self.client.pn().ok_or(EngineError::NotLinked)?.to_non_ad();
        let chat = self.wire(&id.chat).await?;
        let author = match &id.participant {
            Some(author) => Some(self.in_chat(&chat, author).await?),
            None => None,
        };
        let (ciphertext, iv) = encrypt_media_retry_receipt(media_key, &id.id).map_err(failed)?;
        let receipt = build_media_retry_receipt(&own, &id.id, &chat, id.from_me, author.as_ref(), &ciphertext, &iv);
        let answers = NodeFilter::tag("notification")
            .attr("type", "mediaretry")
            .attr("id", &id.id);
        // Before it is asked, so that no answer is missed.
        let answer = self.client.wait_for_node(answers);
        self.client.send_node(receipt).await.map_err(failed)?;
        let answer = match tokio::time::timeout(REUPLOAD_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(EngineError::Offline.into()),
            Err(_) => {
                let seconds = REUPLOAD_TIMEOUT.as_secs();
                return Err(EngineError::TimedOut { seconds }.into());
            }
        };
        match parse_media_retry_notification(answer.get(), media_key).map_err(failed)? {
            MediaRetryResult::Success { direct_path } => Ok(direct_path),
            MediaRetryResult::NotFound | MediaRetryResult::DecryptionError => Err(MediaError::Lost),
            MediaRetryResult::GeneralError => {
                let reason = "the phone cannot upload the file now".to_owned();
                Err(EngineError::Refused { reason }.into())
            }
        }
    }
}
