//! The id of a message as WAHA writes it: `{fromMe}_{chat}_{id}[_{participant}]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ChatId;

/// The most characters of WhatsApp's own part of a message id; its clients make ids of 16 to 32.
const ID_CHARS_MAX: usize = 128;

/// Which message: the chat it is in, who wrote it, and WhatsApp's id, which is unique only together with those.
///
/// Serialized in its parts, for our own storage: an id that a hostile sender made up may not parse as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// Whether this account wrote it.
    pub from_me: bool,
    /// The chat it is in.
    pub chat: ChatId,
    /// WhatsApp's own id, or the engine's stand-in for one that does not parse; its sender made it up.
    pub id: String,
    /// Who wrote it, in a group or in the status feed.
    pub participant: Option<ChatId>,
}

/// A message as a caller names it: in full, or by WhatsApp's own id alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageRef {
    /// `{fromMe}_{chat}_{id}[_{participant}]`.
    Full(MessageId),
    /// WhatsApp's own id; the chat is known from elsewhere.
    Bare(String),
}

/// Why a text is not a message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message id must be true_<chat>_<id> or false_<chat>_<id>, with _<participant> at the end in groups")]
pub struct MessageIdError;

impl MessageRef {
    /// WhatsApp's own part of the id.
    pub fn id(&self) -> &str {
        match self {
            Self::Full(full) => &full.id,
            Self::Bare(id) => id,
        }
    }
}

impl FromStr for MessageRef {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('_') {
            return text.parse().map(Self::Full);
        }
        is_own_id(text)
            .then(|| Self::Bare(text.to_owned()))
            .ok_or(MessageIdError)
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('_');
        let from_me = match parts.next() {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(MessageIdError),
        };
        let chat = parts.next().and_then(|chat| chat.parse().ok()).ok_or(MessageIdError)?;
        let id = parts
            .next()
            .filter(|id| is_own_id(id))
            .ok_or(MessageIdError)?
            .to_owned();
        let participant = match parts.next() {
            None => None,
            Some(participant) => Some(participant.parse().map_err(|_| MessageIdError)?),
        };
        if parts.next().is_some() {
            return Err(MessageIdError);
        }
        Ok(Self {
            from_me,
            chat,
            id,
            participant,
        })
    }
}

fn is_own_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'=' | b'/' | b'+');
    !text.is_empty() && text.len() <= ID_CHARS_MAX && text.bytes().all(allowed)
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.from_me, self.chat, self.id)?;
        match &self.participant {
            Some(participant) => write!(f, "_{participant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        for text in [
            "true_12025550101@c.us_3EB0AA",
            "false_12025550101@c.us_AAAAAAAAAAAAAAAAAAAA",
            "false_120363000000000001@g.us_3EB0AA_12025550102@c.us",
            "false_status@broadcast_3EB0AA_100000000000001@lid",
        ] {
            assert_eq!(text.parse::<MessageId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bare_id_is_a_reference_but_not_an_id() {
        assert_eq!(
            "3EB0AA".parse::<MessageRef>().unwrap(),
            MessageRef::Bare("3EB0AA".to_owned())
        );
        assert_eq!("3EB0AA".parse::<MessageId>(), Err(MessageIdError));
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "true_",
            "maybe_12025550101@c.us_A",
            "true_x_A",
            "true_12025550101@c.us_",
            "true_1@c.us_A_B@c.us_C",
        ] {
            assert_eq!(text.parse::<MessageRef>(), Err(MessageIdError), "{text}");
        }
    }
}
