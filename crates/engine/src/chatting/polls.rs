//! Polls, and votes in them.

use buffa::MessageField;
use wacore::poll;
use wacore_binary::{Jid, JidExt as _};
use waproto::whatsapp as wa;
use wharf_core::engine::EngineError;
use wharf_core::ids::MessageId;
use wharf_core::session::Me;

use super::own_address;
use crate::connection::Connection;
use crate::error::failed;
use crate::message::{secret, unwrapped};

/// A poll, in the version that WhatsApp's clients take for it: another one where only one option can be chosen (Baileys
/// `messages.ts`, whatsapp-rust `features/polls.rs`). Its secret comes with every message's.
pub(super) fn creation(name: &str, options: &[String], multiple: bool) -> wa::Message {
    let option = |name: &String| wa::message::poll_creation_message::Option {
        option_name: Some(name.clone()),
        ..Default::default()
    };
    let poll = MessageField::some(wa::message::PollCreationMessage {
        name: Some(name.to_owned()),
        options: options.iter().map(option).collect(),
        // None stands for any number.
        selectable_options_count: Some(if multiple { 0 } else { 1 }),
        ..Default::default()
    });
    if multiple {
        wa::Message {
            poll_creation_message: poll,
            ..Default::default()
        }
    } else {
        wa::Message {
            poll_creation_message_v3: poll,
            ..Default::default()
        }
    }
}

impl Connection {
    /// A vote in a poll of `chat`, whose address is the one that stanzas carry.
    ///
    /// It is encrypted with the poll's secret and the addresses of who asked and who votes, both of the same space: whoever
    /// reads it tries one space and then the other, never a mixture (wacore `poll.rs`).
    pub(super) async fn vote(
        &self,
        poll: &MessageId,
        proto: &[u8],
        options: &[String],
        chat: &Jid,
        me: &Me,
    ) -> Result<wa::Message, EngineError> {
        let kept = waproto::codec::message_decode(proto).map_err(failed)?;
        let secret = ballot(&kept, options)?;
        let key = self.key(poll, chat, me).await?;
        let creator = match poll.from_me {
            true => self.own_in(chat, me).await?,
            false if chat.is_group() => self.author(poll, me).await?,
            false => chat.clone(),
        };
        let vote = encrypted(secret, &poll.id, &creator, &own_address(me, creator.is_lid()), options)?;
        Ok(wa::Message {
            poll_update_message: MessageField::some(wa::message::PollUpdateMessage {
                poll_creation_message_key: MessageField::some(key),
                vote: MessageField::some(vote),
                sender_timestamp_ms: Some(self.clock.now().as_millisecond()),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}

/// The secret of a poll that can be voted in like this.
fn ballot<'a>(kept: &'a wa::Message, chosen: &[String]) -> Result<&'a [u8], EngineError> {
    let invalid = |hint: &str| EngineError::Invalid(hint.to_owned());
    let poll = crate::message::poll(unwrapped(kept)).ok_or_else(|| invalid("pollMessageId: the message is no poll"))?;
    let has = |name: &String| {
        poll.options
            .iter()
            .any(|option| option.option_name.as_ref() == Some(name))
    };
    if let Some(unknown) = chosen.iter().find(|name| !has(name)) {
        return Err(invalid(&format!("votes: the poll has no option {unknown:?}")));
    }
    // None stands for any number.
    let at_most = poll.selectable_options_count.filter(|count| *count > 0);
    if at_most.is_some_and(|count| chosen.len() > usize::try_from(count).unwrap_or(usize::MAX)) {
        return Err(invalid("votes: the poll takes fewer options at a time"));
    }
    secret(kept).ok_or_else(|| {
        invalid(
            "pollMessageId: the secret of this poll is not known here, so nobody can vote in it through this session",
        )
    })
}

fn encrypted(
    secret: &[u8],
    poll: &str,
    creator: &Jid,
    voter: &Jid,
    options: &[String],
) -> Result<wa::message::PollEncValue, EngineError> {
    let hashes: Vec<Vec<u8>> = options
        .iter()
        .map(|name| poll::compute_option_hash(name).to_vec())
        .collect();
    let (creator, voter) = (creator.to_non_ad().to_string(), voter.to_non_ad().to_string());
    let (payload, iv) = poll::encrypt_poll_vote_with_secret(&hashes, secret, poll, &creator, &voter).map_err(failed)?;
    Ok(wa::message::PollEncValue {
        enc_payload: Some(payload),
        enc_iv: Some(iv.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_poll_for_one_answer_is_of_another_version() {
        let one = creation("Lunch?", &options(&["Soup", "Bread"]), false);
        assert!(one.poll_creation_message.is_unset());
        let poll = one.poll_creation_message_v3.as_option().unwrap();
        assert_eq!(poll.selectable_options_count, Some(1));
        assert_eq!(poll.name.as_deref(), Some("Lunch?"));
        let names: Vec<_> = poll
            .options
            .iter()
            .filter_map(|option| option.option_name.as_deref())
            .collect();
        assert_eq!(names, ["Soup", "Bread"]);

        let many = creation("Lunch?", &options(&["Soup", "Bread"]), true);
        assert!(many.poll_creation_message_v3.is_unset());
        assert_eq!(
            many.poll_creation_message.as_option().unwrap().selectable_options_count,
            Some(0)
        );
    }

    #[test]
    fn only_a_poll_takes_votes_and_only_for_its_options() {
        let kept = |multiple, secret: Option<Vec<u8>>| wa::Message {
            message_context_info: MessageField::some(wa::MessageContextInfo {
                message_secret: secret,
                ..Default::default()
            }),
            ..creation("Lunch?", &options(&["Soup", "Bread"]), multiple)
        };
        let known = kept(false, Some(vec![3; 32]));
        assert_eq!(ballot(&known, &options(&["Soup"])).unwrap(), [3; 32]);
        assert!(ballot(&known, &[]).is_ok(), "a vote can be taken back");
        assert!(ballot(&kept(true, Some(vec![3; 32])), &options(&["Soup", "Bread"])).is_ok());
        for (kept, chosen, field) in [
            (wa::Message::default(), &["Soup"][..], "pollMessageId: "),
            (kept(false, None), &["Soup"], "pollMessageId: "),
            (known.clone(), &["Cake"], "votes: "),
            (known, &["Soup", "Bread"], "votes: "),
        ] {
            let error = ballot(&kept, &options(chosen)).unwrap_err();
            assert!(
                matches!(&error, EngineError::Invalid(hint) if hint.starts_with(field)),
                "{error}"
            );
        }
    }

    #[test]
    fn who_asked_can_read_the_vote() {
        let (bob, alice) = (Jid::pn("12025550102"), Jid::pn("12025550101"));
        let vote = encrypted(&[3; 32], "3EB0AA", &bob, &alice, &options(&["Soup"])).unwrap();
        let chosen = poll::decrypt_poll_vote_with_fallback(
            poll::PollVoteCiphertext {
                enc_payload: vote.enc_payload.as_deref().unwrap(),
                enc_iv: vote.enc_iv.as_deref().unwrap(),
            },
            &[3; 32],
            "3EB0AA",
            poll::PollVoteAddressing {
                poll_creator_jid: "12025550102@s.whatsapp.net",
                voter_jid: "12025550101@s.whatsapp.net",
            },
            None,
        );
        assert_eq!(chosen.unwrap(), [poll::compute_option_hash("Soup")]);
    }
}
