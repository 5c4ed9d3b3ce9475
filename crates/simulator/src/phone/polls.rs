//! Votes in polls: options are named by their hashes, and a vote replaces the one before.

use buffa::MessageField;
use wacore::poll::compute_option_hash;
use waproto::whatsapp::Message;
use waproto::whatsapp::message::{PollEncValue, PollUpdateMessage};

use super::Desk;
use super::content::{poll_of, said, unwrapped};
use super::inbox::ChatMessage;
use super::secrets::secret_of;
use crate::error::SandboxError;
use crate::stanza::Malformed;
use crate::views::Poll;

impl Desk<'_> {
    /// A vote for these options of a poll.
    pub(super) fn vote(&self, chat: &str, id: &str, options: &[String]) -> Result<Message, SandboxError> {
        let poll = self.memory.chats.message(chat, id);
        let poll = poll.ok_or_else(|| SandboxError::not_found("message", id))?;
        let (names, multiple) = choices(poll)
            .ok_or_else(|| SandboxError::Invalid(format!("message {id} is no poll, and nobody can vote in it")))?;
        if let Some(unknown) = options.iter().find(|option| !names.contains(option)) {
            return Err(SandboxError::Invalid(format!("the poll has no option {unknown:?}")));
        }
        if options.len() > 1 && !multiple {
            return Err(SandboxError::Invalid("the poll is for one option".to_owned()));
        }
        let hashes: Vec<Vec<u8>> = options
            .iter()
            .map(|option| compute_option_hash(option).to_vec())
            .collect();
        let update = PollUpdateMessage {
            poll_creation_message_key: MessageField::some(self.key_of(chat, poll)),
            vote: MessageField::some(self.seal_vote(chat, poll, &hashes)?),
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
        let (names, _) = choices(poll)?;
        let name = |hash: &Vec<u8>| {
            let mut names = names.iter();
            names.find(|name| compute_option_hash(name)[..] == hash[..]).cloned()
        };
        self.open_vote(chat, poll, by, vote)?.iter().map(name).collect()
    }
}

/// The options of a poll, and whether one can choose several.
fn choices(message: &ChatMessage) -> Option<(Vec<String>, bool)> {
    let poll = said(&message.message()).content.poll?;
    let names = poll.options.into_iter().map(|option| option.name);
    Some((names.collect(), poll.multiple))
}

/// Objects to a poll in which nobody could vote.
///
/// # Errors
/// When a poll came without its secret.
pub(super) fn check(message: &Message) -> Result<(), Malformed> {
    match poll_of(unwrapped(message)).is_some() && secret_of(message).is_none() {
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
