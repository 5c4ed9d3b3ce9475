//! Who can be written to: asks WhatsApp once whether a number exists, and remembers the answer.
//!
//! Without this, a message to a number that nobody has would be accepted and go nowhere. WhatsApp limits how often it
//! may be asked, so a yes holds for a day; a no for minutes, because people join.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wacore_binary::Jid;
use wharf_core::engine::EngineError;
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::session::Me;
use whatsapp_rust::Client;

use super::within;
use crate::addresses::{chat as named, to_chat, to_jid};

/// How long a number that exists is not asked about again.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a number that does not exist is not asked about again.
const UNKNOWN_FOR: Duration = Duration::from_secs(2 * 60);
/// How long WhatsApp may take to answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// How many answers are remembered. Beyond, all are forgotten: that is rare, and costs one question per number.
const ANSWERS_MAX: usize = 10_000;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    /// WhatsApp's address.
    pub(crate) jid: Jid,
    /// The chat that the message is in, by phone number where known.
    pub(crate) chat: ChatId,
}

/// The answers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Recipients {
    answers: Mutex<HashMap<ChatId, Slot>>,
}

/// The answer about one number. Locked while WhatsApp is asked, so that messages sent together ask once.
type Slot = Arc<tokio::sync::Mutex<Option<Answer>>>;

#[derive(Debug, Clone)]
struct Answer {
    recipient: Option<Recipient>,
    until: Instant,
}

impl Recipients {
    /// Where to send what is meant for `chat`.
    pub(crate) async fn find(&self, client: &Client, me: &Me, chat: &ChatId) -> Result<Recipient, EngineError> {
        let itself = Recipient {
            jid: to_jid(chat),
            chat: chat.clone(),
        };
        match chat.kind() {
            ChatKind::Group | ChatKind::Newsletter => return Ok(itself),
            ChatKind::Broadcast => {
                let hint = format!("chatId: {chat} cannot be written to; send to people, groups or channels");
                return Err(EngineError::Invalid(hint));
            }
            ChatKind::Phone if *chat == me.id => return Ok(itself),
            ChatKind::Lid if Some(chat) == me.lid.as_ref() => {
                return Ok(Recipient {
                    chat: me.id.clone(),
                    ..itself
                });
            }
            ChatKind::Phone | ChatKind::Lid => {}
        }
        let slot = self.slot(chat);
        let mut answer = slot.lock().await;
        let recipient = match answer.as_ref().filter(|answer| Instant::now() < answer.until) {
            Some(known) => known.recipient.clone(),
            None => {
                let found = ask(client, itself).await?;
                *answer = Some(Answer::new(found.clone(), Instant::now()));
                found
            }
        };
        recipient.ok_or_else(|| EngineError::UnknownRecipient(chat.clone()))
    }

    fn slot(&self, chat: &ChatId) -> Slot {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX && !answers.contains_key(chat) {
            answers.clear();
        }
        answers.entry(chat.clone()).or_default().clone()
    }
}

impl Answer {
    fn new(recipient: Option<Recipient>, now: Instant) -> Self {
        let holds = if recipient.is_some() { KNOWN_FOR } else { UNKNOWN_FOR };
        let until = now + holds;
        Self { recipient, until }
    }
}

/// Asks WhatsApp. It may answer with another spelling of the number, which is then the right one.
async fn ask(client: &Client, asked: Recipient) -> Result<Option<Recipient>, EngineError> {
    let jids = [asked.jid.clone()];
    let found = within(QUERY_TIMEOUT, client.contacts().is_on_whatsapp(&jids)).await?;
    let Some(found) = found.into_iter().find(|found| found.is_registered) else {
        return Ok(None);
    };
    let answered = match asked.jid.is_pn() {
        true => found.pn_jid.unwrap_or(found.jid),
        false => asked.jid,
    };
    let jid = if answered.is_pn() || answered.is_lid() {
        answered.to_non_ad()
    } else {
        to_jid(&asked.chat)
    };
    let chat = named(client, &jid, None)
        .await
        .or_else(|| to_chat(&jid))
        .unwrap_or(asked.chat);
    Ok(Some(Recipient { jid, chat }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(text: &str) -> ChatId {
        text.parse().unwrap()
    }

    fn recipient(text: &str) -> Recipient {
        let chat = chat(text);
        Recipient {
            jid: to_jid(&chat),
            chat,
        }
    }

    #[test]
    fn a_yes_holds_for_a_day_and_a_no_for_minutes() {
        let now = Instant::now();
        assert_eq!(Answer::new(Some(recipient("12025550102")), now).until, now + KNOWN_FOR);
        assert_eq!(Answer::new(None, now).until, now + UNKNOWN_FOR);
    }

    #[test]
    fn one_number_has_one_answer() {
        let recipients = Recipients::default();
        let (bob, carol) = (chat("12025550102"), chat("12025550103"));
        assert!(Arc::ptr_eq(&recipients.slot(&bob), &recipients.slot(&bob)));
        assert!(!Arc::ptr_eq(&recipients.slot(&bob), &recipients.slot(&carol)));
    }

    #[test]
    fn answers_do_not_pile_up() {
        let recipients = Recipients::default();
        for number in 0..2 * ANSWERS_MAX {
            recipients.slot(&chat(&number.to_string()));
        }
        assert!(recipients.answers.lock().unwrap().len() <= ANSWERS_MAX);
    }
}
