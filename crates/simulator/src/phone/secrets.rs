//! What is encrypted once more, with the secret of the message that it is about: votes, and edits of newer clients.
//!
//! The key is made of the addresses of the message's author and of who votes or edits, both in the same space, never mixed
//! (WhatsApp Web `WAWebAddonEncryption`, wacore `secret_enc_addon.rs`).

use buffa::MessageField;
use wacore::message_edit::{MessageEditContext, decrypt_message_edit, encrypt_message_edit};
use wacore::poll::{PollVoteCiphertext, decrypt_poll_vote_with_secret, encrypt_poll_vote_with_secret};
use waproto::whatsapp::message::secret_encrypted_message::SecretEncType;
use waproto::whatsapp::message::{PollEncValue, SecretEncryptedMessage};
use waproto::whatsapp::{Message, MessageKey};

use super::Desk;
use super::content::unwrapped;
use super::inbox::ChatMessage;
use crate::error::SandboxError;
use crate::model::Space;

/// The secret that came with a message.
pub(super) fn secret_of(message: &Message) -> Option<&[u8]> {
    let context = [message, unwrapped(message)]
        .into_iter()
        .find_map(|message| message.message_context_info.as_option());
    context?.message_secret.as_deref()
}

/// The edit of an unwrapped message that is encrypted once more.
pub(super) fn sealed_edit(message: &Message) -> Option<&SecretEncryptedMessage> {
    let sealed = message.secret_encrypted_message.as_option();
    sealed.filter(|sealed| sealed.secret_enc_type == Some(SecretEncType::MESSAGE_EDIT))
}

impl Desk<'_> {
    /// A vote of this account, by the hashes of the options.
    pub(super) fn seal_vote(
        &self,
        chat: &str,
        poll: &ChatMessage,
        hashes: &[Vec<u8>],
    ) -> Result<PollEncValue, SandboxError> {
        let (author, voter) = self.parties(chat, poll, self.number, Space::Lid);
        let sealed = encrypt_poll_vote_with_secret(hashes, known(poll)?, &poll.id, &author, &voter);
        let (payload, iv) =
            sealed.map_err(|error| SandboxError::Refused(format!("the vote cannot be sealed: {error}")))?;
        Ok(PollEncValue {
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
        })
    }

    /// The hashes of the options that somebody voted for; nothing where they cannot be read.
    pub(super) fn open_vote(
        &self,
        chat: &str,
        poll: &ChatMessage,
        by: &str,
        vote: &PollEncValue,
    ) -> Option<Vec<Vec<u8>>> {
        let sealed = PollVoteCiphertext {
            enc_payload: vote.enc_payload.as_deref()?,
            enc_iv: vote.enc_iv.as_deref()?,
        };
        [Space::Lid, Space::Pn].into_iter().find_map(|space| {
            let (author, voter) = self.parties(chat, poll, by, space);
            decrypt_poll_vote_with_secret(sealed, poll.secret()?, &poll.id, &author, &voter).ok()
        })
    }

    /// An edit of this account as newer clients send it.
    pub(super) fn seal_edit(
        &self,
        chat: &str,
        target: &ChatMessage,
        key: MessageField<MessageKey>,
        edit: &Message,
    ) -> Result<Message, SandboxError> {
        let (author, editor) = self.parties(chat, target, self.number, Space::Lid);
        let context = MessageEditContext {
            original_msg_id: &target.id,
            original_sender_jid: &author,
            editor_jid: &editor,
        };
        let sealed = encrypt_message_edit(edit, known(target)?, &context);
        let (payload, iv) =
            sealed.map_err(|error| SandboxError::Refused(format!("the edit cannot be sealed: {error}")))?;
        let sealed = SecretEncryptedMessage {
            target_message_key: key,
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
            secret_enc_type: Some(SecretEncType::MESSAGE_EDIT),
            ..Default::default()
        };
        Ok(Message {
            secret_encrypted_message: MessageField::some(sealed),
            ..Default::default()
        })
    }

    /// The edit that a newer client sent; nothing where it cannot be read.
    pub(super) fn open_edit(&self, chat: &str, by: &str, sealed: &SecretEncryptedMessage) -> Option<Message> {
        let id = sealed.target_message_key.as_option()?.id.as_deref()?;
        let target = self.memory.chats.message(chat, id)?;
        let (payload, iv) = (sealed.enc_payload.as_deref()?, sealed.enc_iv.as_deref()?);
        [Space::Lid, Space::Pn].into_iter().find_map(|space| {
            let (author, editor) = self.parties(chat, target, by, space);
            let context = MessageEditContext {
                original_msg_id: id,
                original_sender_jid: &author,
                editor_jid: &editor,
            };
            decrypt_message_edit(payload, iv, target.secret()?, &context).ok()
        })
    }

    /// The addresses of who wrote a message and of who votes or edits.
    fn parties(&self, chat: &str, message: &ChatMessage, by: &str, space: Space) -> (String, String) {
        let author = if message.from_me { self.number } else { chat };
        (self.address(author, space), self.address(by, space))
    }

    /// The address of an account; its number where it is gone, which fits nothing.
    fn address(&self, number: &str, space: Space) -> String {
        let state = self.network.lock();
        let account = state.account(number);
        account.map_or_else(|| number.to_owned(), |account| account.user_jid(space).to_string())
    }
}

fn known(message: &ChatMessage) -> Result<&[u8], SandboxError> {
    let secret = message.secret();
    secret.ok_or_else(|| SandboxError::Refused(format!("message {} came without a secret", message.id)))
}
