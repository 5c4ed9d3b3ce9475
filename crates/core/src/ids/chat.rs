//! Whom a message is for or from: a person, a group, a channel, the status feed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most digits of an international phone number (ITU-T E.164).
const PHONE_DIGITS_MAX: usize = 15;
/// The most characters of the part before the `@`; WhatsApp's own are under 40.
const USER_CHARS_MAX: usize = 64;

/// The address space that a chat lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChatKind {
    /// A person by phone number: `…@c.us`.
    Phone,
    /// A person by linked identity, which hides the phone number: `…@lid`.
    Lid,
    /// A group: `…@g.us`.
    Group,
    /// A channel: `…@newsletter`.
    Newsletter,
    /// A broadcast list, or the status feed (`status@broadcast`).
    Broadcast,
}

impl ChatKind {
    const ALL: [Self; 5] = [Self::Phone, Self::Lid, Self::Group, Self::Newsletter, Self::Broadcast];

    /// What follows the `@`, as WAHA spells it.
    pub fn server(self) -> &'static str {
        match self {
            Self::Phone => "c.us",
            Self::Lid => "lid",
            Self::Group => "g.us",
            Self::Newsletter => "newsletter",
            Self::Broadcast => "broadcast",
        }
    }
}

/// The address of a chat, of a person in it, or of ourselves, without a device.
///
/// Written as WAHA writes it (`12025550101@c.us`). Parses what people type: `+1 (202) 555-0101`, plain digits,
/// `…@s.whatsapp.net`, a percent-encoded `@`, and drops the device of `…:7@s.whatsapp.net`.
///
/// Deserialization is for what we stored ourselves: it reads back every address that can be written, also one that
/// WhatsApp said and nobody could type. Input of callers is parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct ChatId {
    kind: ChatKind,
    user: String,
}

/// Why a text is not a chat id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatIdError {
    /// There is nothing in it.
    #[error("chat id is empty")]
    Empty,
    /// What follows the `@` is not one of WhatsApp's address spaces.
    #[error("chat id must end with @c.us, @lid, @g.us, @newsletter or @broadcast")]
    Server,
    /// The part before the `@` is not what that address space has.
    #[error("chat id must be a phone number with its country code, digits only, or a whatsapp id")]
    User,
}

impl ChatId {
    /// A chat, if the part before the `@` is one that this address space has; what is made here parses back.
    ///
    /// For addresses in WhatsApp's words: many of them were made up by the sender of a message.
    pub fn checked(kind: ChatKind, user: &str) -> Option<Self> {
        fits(kind, user).then(|| Self::new(kind, user))
    }

    /// A chat whose part before the `@` nobody checks: for literals, and for what was checked before.
    pub fn new(kind: ChatKind, user: impl Into<String>) -> Self {
        Self {
            kind,
            user: user.into(),
        }
    }

    /// The status feed, `status@broadcast`.
    pub fn status() -> Self {
        Self::new(ChatKind::Broadcast, "status")
    }

    /// The address space.
    pub fn kind(&self) -> ChatKind {
        self.kind
    }

    /// The part before the `@`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether this is one person, by phone number or by linked identity.
    pub fn is_person(&self) -> bool {
        matches!(self.kind, ChatKind::Phone | ChatKind::Lid)
    }
}

impl FromStr for ChatId {
    type Err = ChatIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().replace("%40", "@");
        if text.is_empty() {
            return Err(ChatIdError::Empty);
        }
        let Some((user, server)) = text.split_once('@') else {
            return phone(&text).ok_or(ChatIdError::User);
        };
        let kind = match server {
            "c.us" | "s.whatsapp.net" => return phone(without_device(user)).ok_or(ChatIdError::User),
            "lid" => ChatKind::Lid,
            "g.us" => ChatKind::Group,
            "newsletter" => ChatKind::Newsletter,
            "broadcast" => ChatKind::Broadcast,
            _ => return Err(ChatIdError::Server),
        };
        Self::checked(kind, without_device(user)).ok_or(ChatIdError::User)
    }
}

/// A phone number as people write it, or `None` where it is not one.
fn phone(text: &str) -> Option<ChatId> {
    let is_separator = |c: char| matches!(c, ' ' | '-' | '(' | ')' | '.' | '/' | '\u{a0}');
    let digits: String = text
        .strip_prefix('+')
        .unwrap_or(text)
        .chars()
        .filter(|c| !is_separator(*c))
        .collect();
    ChatId::checked(ChatKind::Phone, &digits)
}

/// Drops `:device` and `.agent`, as in `12025550101.0:7@s.whatsapp.net`.
fn without_device(user: &str) -> &str {
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    user.split_once('.').map_or(user, |(user, _)| user)
}

/// Whether an address space has this part before the `@`.
fn fits(kind: ChatKind, user: &str) -> bool {
    let (chars_max, allowed): (usize, fn(u8) -> bool) = match kind {
        ChatKind::Phone => (PHONE_DIGITS_MAX, |b| b.is_ascii_digit()),
        ChatKind::Lid | ChatKind::Newsletter => (USER_CHARS_MAX, |b| b.is_ascii_digit()),
        // Old groups are `<creator's number>-<time>`.
        ChatKind::Group => (USER_CHARS_MAX, |b| b.is_ascii_digit() || b == b'-'),
        ChatKind::Broadcast => (USER_CHARS_MAX, |b| b.is_ascii_alphanumeric()),
    };
    !user.is_empty() && user.len() <= chars_max && user.bytes().all(allowed)
}

/// An address as [`ChatId`] writes itself.
#[derive(Deserialize)]
struct Written(String);

impl TryFrom<Written> for ChatId {
    type Error = ChatIdError;

    fn try_from(Written(text): Written) -> Result<Self, Self::Error> {
        // No address space has an `@` in its name, so the last one ends the user, whatever that is.
        let (user, server) = text.rsplit_once('@').ok_or(ChatIdError::Server)?;
        let kind = ChatKind::ALL.into_iter().find(|kind| kind.server() == server);
        kind.map(|kind| Self::new(kind, user)).ok_or(ChatIdError::Server)
    }
}

impl From<ChatId> for String {
    fn from(chat: ChatId) -> Self {
        chat.to_string()
    }
}

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.kind.server())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_every_spelling() {
        for (text, expected) in [
            ("12025550101", "12025550101@c.us"),
            ("+12025550101", "12025550101@c.us"),
            ("+1 (202) 555-0101", "12025550101@c.us"),
            ("12025550101@c.us", "12025550101@c.us"),
            ("+12025550101@c.us", "12025550101@c.us"),
            ("12025550101@s.whatsapp.net", "12025550101@c.us"),
            ("12025550101:7@s.whatsapp.net", "12025550101@c.us"),
            ("12025550101.0:7@s.whatsapp.net", "12025550101@c.us"),
            ("12025550101%40c.us", "12025550101@c.us"),
            ("100000000000001@lid", "100000000000001@lid"),
            ("100000000000001:3@lid", "100000000000001@lid"),
            ("120363000000000001@g.us", "120363000000000001@g.us"),
            ("12025550101-1600000000@g.us", "12025550101-1600000000@g.us"),
            ("120363000000000002@newsletter", "120363000000000002@newsletter"),
            ("status@broadcast", "status@broadcast"),
        ] {
            assert_eq!(text.parse::<ChatId>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_no_chat_has() {
        for (text, error) in [
            ("", ChatIdError::Empty),
            ("  ", ChatIdError::Empty),
            ("@c.us", ChatIdError::User),
            ("abc", ChatIdError::User),
            ("abc@c.us", ChatIdError::User),
            ("1+2025550101", ChatIdError::User),
            ("1234567890123456", ChatIdError::User),
            ("12025550101@example.com", ChatIdError::Server),
            ("12025550101@c.us@g.us", ChatIdError::Server),
            ("../../etc@g.us", ChatIdError::User),
            ("@lid", ChatIdError::User),
        ] {
            assert_eq!(text.parse::<ChatId>(), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_checked_parses_back_and_the_rest_is_refused() {
        use ChatKind::{Broadcast, Group, Lid, Newsletter, Phone};
        let longest = "1".repeat(USER_CHARS_MAX);
        for (kind, user) in [
            (Phone, "12025550101"),
            (Lid, "100000000000001"),
            (Group, "12025550101-1600000000"),
            (Newsletter, longest.as_str()),
            (Broadcast, "status"),
        ] {
            let chat = ChatId::checked(kind, user).unwrap();
            assert_eq!((chat.kind(), chat.user()), (kind, user));
            assert_eq!(chat.to_string().parse(), Ok(chat));
        }
        let too_long = "1".repeat(USER_CHARS_MAX + 1);
        for (kind, user) in [
            (Phone, ""),
            (Phone, "abc"),
            (Phone, "+12025550101"),
            (Phone, "1234567890123456"),
            (Lid, "1_2"),
            (Lid, "1:3"),
            (Group, "1@g.us_A"),
            (Newsletter, too_long.as_str()),
            (Broadcast, "sta tus"),
            (Broadcast, "stätus"),
        ] {
            assert_eq!(ChatId::checked(kind, user), None, "{user}");
        }
    }
}
