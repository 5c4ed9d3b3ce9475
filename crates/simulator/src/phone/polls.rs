//! Votes in polls: options are named by their hashes, and a vote replaces the one before.

use buffa::MessageField;
use wacore::poll::compute_option_hash;
use waproto::whatsapp::Message;
use waproto::whatsapp::message::PollUpdateMessage;

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
}

/// The options that somebody voted for.
///
/// # Errors
/// Where the poll has no such options, or is for one only: the apps let nobody choose these.
pub(super) fn chosen(poll: &ChatMessage, hashes: &[Vec<u8>]) -> Result<Vec<String>, Malformed> {
    let id = &poll.id;
    let (names, multiple) = choices(poll).ok_or_else(|| Malformed::new(format!("a vote in {id}, which is no poll")))?;
    if hashes.len() > 1 && !multiple {
        return Err(Malformed::new(format!(
            "a vote for several options of {id}, which is for one"
        )));
    }
    let name = |hash: &Vec<u8>| {
        let name = names.iter().find(|name| compute_option_hash(name)[..] == hash[..]);
        name.cloned()
            .ok_or_else(|| Malformed::new(format!("a vote for an option that {id} has not")))
    };
    hashes.iter().map(name).collect()
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

#[cfg(test)]
mod tests {
    use waproto::whatsapp::message::PollCreationMessage;
    use waproto::whatsapp::message::poll_creation_message::Option as PollOption;

    use super::*;

    fn poll(selectable: u32) -> ChatMessage {
        let options = ["Soup", "Salad"].map(|name| PollOption {
            option_name: Some(name.to_owned()),
            ..Default::default()
        });
        let poll = PollCreationMessage {
            name: Some("Lunch?".to_owned()),
            options: options.to_vec(),
            selectable_options_count: Some(selectable),
            ..Default::default()
        };
        let message = Message {
            poll_creation_message_v3: MessageField::some(poll),
            ..Default::default()
        };
        ChatMessage::new("P", true, None, &message, 0)
    }

    fn vote(options: &[&str]) -> Vec<Vec<u8>> {
        options.iter().map(|name| compute_option_hash(name).to_vec()).collect()
    }

    #[test]
    fn a_vote_is_for_what_the_poll_offers() {
        let (several, one) = (poll(0), poll(1));
        assert_eq!(chosen(&several, &vote(&["Salad", "Soup"])).unwrap(), ["Salad", "Soup"]);
        assert_eq!(chosen(&one, &vote(&["Soup"])).unwrap(), ["Soup"]);
        assert_eq!(chosen(&one, &vote(&[])).unwrap(), [""; 0]);
        assert!(chosen(&several, &vote(&["Cake"])).is_err());
        assert!(chosen(&one, &vote(&["Salad", "Soup"])).is_err());
        let text = ChatMessage::text("T", true, "Lunch?", 0);
        assert!(chosen(&text, &vote(&[])).is_err());
    }
}
