//! A companion could not fetch the file of a message: its phone uploads it again and says where it is now, or that it has it
//! no more.
//!
//! Stanzas and encryption as in wacore `media_retry.rs` and whatsmeow `mediaretry.go`, from the other side.

use buffa::Message as _;
use rand::Rng as _;
use wacore::crypto::hkdf_sha256_into;
use wacore::media_retry::decrypt_media_retry_notification;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use wacore_libsignal::crypto::aes_256_gcm_encrypt;
use waproto::whatsapp::media_retry_notification::ResultType;
use waproto::whatsapp::{MediaRetryNotification, ServerErrorReceipt};

use super::content::unwrapped;
use super::{Desk, PhoneError};
use crate::media::{MediaRef, token};
use crate::model::{DeviceRef, Space};
use crate::stanza;

/// What the key of these messages is derived with.
const KEY_INFO: &[u8] = b"WhatsApp Media Retry Notification";
/// Bytes of the nonce of AES-GCM.
const NONCE_BYTES: usize = 12;

impl Desk<'_> {
    /// `<receipt type="server-error">` of a companion.
    pub(super) fn on_media_retry(&mut self, node: &Node, companion: &DeviceRef, id: &str) -> Result<(), PhoneError> {
        let rmr = stanza::child(node, "rmr")?;
        let encrypted = stanza::child(node, "encrypt")?;
        let ciphertext = stanza::required_bytes(stanza::child(encrypted, "enc_p")?)?;
        let nonce = stanza::required_bytes(stanza::child(encrypted, "enc_iv")?)?;
        let answer = match self.file_of(&stanza::required_jid(rmr, "jid")?, id) {
            None => failure(ResultType::NOT_FOUND),
            Some(file) => match decrypt_media_retry_notification(&file.media_key, id, nonce, ciphertext) {
                Ok(plaintext) if names(&plaintext, id) => self.reupload(&file, id)?,
                _ => failure(ResultType::DECRYPTION_ERROR),
            },
        };
        let mut state = self.network.lock();
        let Some(phone) = state.account(self.number).map(|account| account.user_jid(Space::Pn)) else {
            return Ok(());
        };
        let notification = NodeBuilder::new("notification")
            .attr("type", "mediaretry")
            .attr("id", id)
            .attr("from", phone)
            .attr("t", state.now())
            .children([answer, rmr.clone()])
            .build();
        state.enqueue(companion, notification);
        Ok(())
    }

    /// The file of a message in one of the phone's chats.
    fn file_of(&self, chat: &Jid, id: &str) -> Option<MediaRef> {
        let number = self.network.lock().resolve(chat)?.number.clone();
        let message = self.memory.chats.message(&number, id)?.message();
        MediaRef::of(unwrapped(&message))
    }

    /// Uploads a file again; the hosts give it another address.
    fn reupload(&mut self, file: &MediaRef, id: &str) -> Result<Node, PhoneError> {
        let renewed = self.network.media().renew(&token(&file.file_enc_sha256));
        let Some(direct_path) = renewed.map_err(|error| PhoneError::Content(error.to_string()))? else {
            return Ok(failure(ResultType::NOT_FOUND));
        };
        let notification = MediaRetryNotification {
            stanza_id: Some(id.to_owned()),
            direct_path: Some(direct_path),
            result: Some(ResultType::SUCCESS),
            ..Default::default()
        };
        let unusable = |_| PhoneError::Content("the key of a file cannot be used".to_owned());
        let mut key = [0; 32];
        hkdf_sha256_into(&file.media_key, None, KEY_INFO, &mut key).map_err(unusable)?;
        let (mut nonce, mut ciphertext) = ([0; NONCE_BYTES], Vec::new());
        self.rng.fill_bytes(&mut nonce);
        aes_256_gcm_encrypt(
            &key,
            &nonce,
            id.as_bytes(),
            &notification.encode_to_vec(),
            &mut ciphertext,
        )
        .map_err(|error| PhoneError::Content(error.to_string()))?;
        Ok(NodeBuilder::new("encrypt")
            .children([
                stanza::with_bytes("enc_p", ciphertext),
                stanza::with_bytes("enc_iv", nonce),
            ])
            .build())
    }
}

/// Whether the request is about the message that its stanza names.
fn names(request: &[u8], id: &str) -> bool {
    ServerErrorReceipt::decode_from_slice(request).is_ok_and(|request| request.stanza_id.as_deref() == Some(id))
}

fn failure(result: ResultType) -> Node {
    NodeBuilder::new("error").attr("code", result as i32).build()
}
