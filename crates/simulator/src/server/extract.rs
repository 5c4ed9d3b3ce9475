//! Parses what requests carry, once, at the edge: bodies, paths, queries, numbers and chats.
//!
//! Whether a number exists is the network's to say; here it is only brought into the network's form.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts};
use serde::Deserialize;

use super::error::ApiError;

/// Digits of the shortest and longest number (E.164 allows 15).
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;
/// Characters of a group id before its `@g.us`.
const GROUP_CHARS_MAX: usize = 40;
/// The longest a long poll waits, in seconds; a longer `wait` is cut to it.
pub(crate) const WAIT_SECONDS_MAX: u64 = 30;

/// A JSON body; refusals are [`ApiError`]s.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub(crate) struct Json<T>(pub(crate) T);

/// Path parameters; refusals are [`ApiError`]s.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(crate) struct Path<T>(pub(crate) T);

/// The query; refusals are [`ApiError`]s.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(crate) struct Query<T>(pub(crate) T);

/// `?after=&wait=` of everything that can be read as it comes.
#[derive(Deserialize)]
pub(crate) struct Poll {
    /// The cursor that the caller has seen.
    #[serde(default)]
    pub(crate) after: u64,
    /// How many seconds to wait for something new.
    #[serde(default)]
    wait: u64,
}

impl Poll {
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait.min(WAIT_SECONDS_MAX))
    }
}

/// A phone number as digits; `+`, `@c.us` and `@s.whatsapp.net` are accepted and dropped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Number(pub(crate) String);

impl TryFrom<String> for Number {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let user = text
            .strip_suffix("@c.us")
            .or_else(|| text.strip_suffix("@s.whatsapp.net"))
            .unwrap_or(&text);
        let digits = user.strip_prefix('+').unwrap_or(user);
        if NUMBER_DIGITS.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(digits.to_owned()))
        } else {
            Err("a number is 5 to 15 digits")
        }
    }
}

/// A chat: a number, or a group id with its `@g.us`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Chat(pub(crate) String);

impl TryFrom<String> for Chat {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let Some(group) = text.strip_suffix("@g.us") else {
            return match Number::try_from(text) {
                Ok(Number(digits)) => Ok(Self(digits)),
                Err(_) => Err("a chat is a number of 5 to 15 digits or a group id that ends in @g.us"),
            };
        };
        let allowed = |byte: u8| byte.is_ascii_digit() || byte == b'-';
        if group.is_empty() || group.len() > GROUP_CHARS_MAX || !group.bytes().all(allowed) {
            return Err("a group id is digits and '-' before @g.us");
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_three_forms() {
        for text in [
            "12025550101",
            "+12025550101",
            "12025550101@c.us",
            "12025550101@s.whatsapp.net",
        ] {
            assert_eq!(
                Number::try_from(text.to_owned()),
                Ok(Number("12025550101".into())),
                "{text}"
            );
        }
        for text in [
            "",
            "1234",
            "1234567890123456",
            "alice",
            "+",
            "1202555o101",
            "12025550101@lid",
            "++12025550101",
        ] {
            assert!(Number::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_chat_is_a_number_or_a_group() {
        assert_eq!(
            Chat::try_from("+12025550101".to_owned()),
            Ok(Chat("12025550101".into()))
        );
        let group = "120363041234567890@g.us";
        assert_eq!(Chat::try_from(group.to_owned()), Ok(Chat(group.into())));
        for text in ["@g.us", "a@g.us", "12025550101@newsletter", "status@broadcast"] {
            assert!(Chat::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn waiting_is_bounded() {
        assert_eq!(
            Poll {
                after: 0,
                wait: u64::MAX
            }
            .wait(),
            Duration::from_secs(WAIT_SECONDS_MAX)
        );
    }
}
