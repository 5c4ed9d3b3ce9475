//! Votes: encrypted with the secret of the poll, readable only by who has the poll.
//!
//! The key is made of the addresses of the poll's author and of the voter, both in the same space (WhatsApp Web
//! `WAWebAddonEncryption`, wacore `poll.rs`). A vote names options by their hash, and replaces the one before.

use buffa::MessageField;
use wacore::poll::{
    PollVoteCiphertext, compute_option_hash, decrypt_poll_vote_with_secret, encrypt_poll_vote_with_secret,
};
use waproto::whatsapp::Message;
use waproto::whatsapp::message::{PollEncValue, PollUpdateMessage};

use super::Desk;
use super::content::{poll_of, said, unwrapped};
use super::inbox::ChatMessage;
use crate::error::SandboxError;
use crate::model::Space;
use crate::stanza::Malformed;
use crate::views::Poll;

impl Desk<'_> {
    /// A vote for these options of a poll.
    pub(super) fn vote(&self, chat: &str, id: &str, options: &[String]) -> Result<Message, SandboxError> {
        let poll = self.memory.chats.message(chat, id);
        let poll = poll.ok_or_else(|| SandboxError::not_found("message", id))?;
        let message = poll.message();
        let (names, multiple) = choices(&message)
            .ok_or_else(|| SandboxError::Invalid(format!("message {id} is no poll, and nobody can vote in it")))?;
        if let Some(unknown) = options.iter().find(|option| !names.contains(option)) {
            return Err(SandboxError::Invalid(format!("the poll has no option {unknown:?}")));
        }
        if options.len() > 1 && !multiple {
            return Err(SandboxError::Invalid("the poll is for one option".to_owned()));
        }
        let secret =
            secret(&message).ok_or_else(|| SandboxError::Refused("the poll came without its secret".to_owned()))?;
        let author = self.address(self.author(chat, poll), Space::Lid);
        let voter = self.address(self.number, Space::Lid);
        let hashes: Vec<Vec<u8>> = options
            .iter()
            .map(|option| compute_option_hash(option).to_vec())
            .collect();
        let (payload, iv) = encrypt_poll_vote_with_secret(&hashes, secret, id, &author, &voter)
            .map_err(|error| SandboxError::Refused(format!("the vote cannot be encrypted: {error}")))?;
        let vote = PollEncValue {
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
        };
        let update = PollUpdateMessage {
            poll_creation_message_key: MessageField::some(self.key_of(chat, poll)),
            vote: MessageField::some(vote),
            sender_timestamp_ms: i64::try_from(self.network.env().clock.now_ms()).ok(),
            ..Default::default()
        };
        Ok(Message {
            poll_update_message: MessageField::some(update),
            ..Default::default()
        })
    }

    /// What somebody voted for; nothing where it cannot be read.
    pub(super) fn read_vote(
        &self,
        chat: &str,
        poll: &ChatMessage,
        by: &str,
        vote: &PollEncValue,
    ) -> Option<Vec<String>> {
        let message = poll.message();
        let (names, _) = choices(&message)?;
        let ciphertext = PollVoteCiphertext {
            enc_payload: vote.enc_payload.as_deref()?,
            enc_iv: vote.enc_iv.as_deref()?,
        };
        let author = self.author(chat, poll);
        let hashes = [Space::Lid, Space::Pn].into_iter().find_map(|space| {
            let (author, voter) = (self.address(author, space), self.address(by, space));
            decrypt_poll_vote_with_secret(ciphertext, secret(&message)?, &poll.id, &author, &voter).ok()
        })?;
        let name = |hash: &Vec<u8>| {
            names
                .iter()
                .find(|name| compute_option_hash(name)[..] == hash[..])
                .cloned()
        };
        hashes.iter().map(name).collect()
    }

    fn author<'a>(&'a self, chat: &'a str, message: &ChatMessage) -> &'a str {
        if message.from_me { self.number } else { chat }
    }

    /// The address of an account; its number where it is gone, which fits nothing.
    fn address(&self, number: &str, space: Space) -> String {
        let state = self.network.lock();
        let account = state.account(number);
        account.map_or_else(|| number.to_owned(), |account| account.user_jid(space).to_string())
    }
}

/// The options of a poll, and whether one can choose several.
fn choices(message: &Message) -> Option<(Vec<String>, bool)> {
    let poll = said(message).content.poll?;
    Some((
        poll.options.into_iter().map(|option| option.name).collect(),
        poll.multiple,
    ))
}

fn secret(message: &Message) -> Option<&[u8]> {
    let context = [message, unwrapped(message)]
        .into_iter()
        .find_map(|message| message.message_context_info.as_option());
    context?.message_secret.as_deref()
}

/// Objects to a poll in which nobody could vote.
///
/// # Errors
/// When a poll came without its secret.
pub(super) fn check(message: &Message) -> Result<(), Malformed> {
    match poll_of(unwrapped(message)).is_some() && secret(message).is_none() {
        true => Err(Malformed::new("a poll without its message secret")),
        false => Ok(()),
    }
}

/// Puts the votes where they belong.
pub(super) fn count(poll: &mut Poll, message: &ChatMessage) {
    for option in &mut poll.options {
        let votes = message.marks.votes.iter();
        let voters = votes.filter(|(_, chosen)| chosen.contains(&option.name));
        option.votes = voters.map(|(voter, _)| voter.clone()).collect();
    }
}
