//! The name of a session, which is also part of paths, folders and database names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most characters that a session name may have.
pub const SESSION_NAME_CHARS_MAX: usize = 54;

/// Words that stand in the place of a session name in some of the API's paths.
const RESERVED: &[&str] = &[
    "admin",
    "apps",
    "auth",
    "contacts",
    "dashboard",
    "debug",
    "events",
    "files",
    "health",
    "keys",
    "logout",
    "media",
    "messages",
    "mcp",
    "metrics",
    "ping",
    "reaction",
    "screenshot",
    "send",
    "server",
    "sessions",
    "star",
    "start",
    "stop",
    "version",
    "webhooks",
];

/// A valid session name: `^[A-Za-z0-9_-]{1,54}$` and not a word that the API's paths use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionName(String);

/// Why a text is not a session name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionNameError {
    /// It is empty, too long, or has a character that is not allowed.
    #[error("session name must be 1 to {SESSION_NAME_CHARS_MAX} characters of A-Z, a-z, 0-9, _ and -")]
    Form,
    /// It is a word that the API's paths use.
    #[error("session name '{0}' is reserved, choose another one")]
    Reserved(String),
}

impl SessionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionName {
    type Err = SessionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if text.is_empty() || text.len() > SESSION_NAME_CHARS_MAX || !text.chars().all(allowed) {
            return Err(SessionNameError::Form);
        }
        if RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(SessionNameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SessionName {
    type Error = SessionNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SessionName> for String {
    fn from(name: SessionName) -> Self {
        name.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_waha_accepts() {
        for name in ["default", "a", "A-b_9", &"x".repeat(SESSION_NAME_CHARS_MAX)] {
            assert_eq!(name.parse::<SessionName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_other_characters_and_lengths() {
        for name in [
            "",
            "a b",
            "../x",
            "a/b",
            "ä",
            ".",
            "a\0",
            &"x".repeat(SESSION_NAME_CHARS_MAX + 1),
        ] {
            assert_eq!(name.parse::<SessionName>(), Err(SessionNameError::Form), "{name:?}");
        }
    }

    #[test]
    fn refuses_the_words_of_the_api() {
        for name in ["sessions", "Events", "SERVER"] {
            assert_eq!(
                name.parse::<SessionName>(),
                Err(SessionNameError::Reserved(name.to_owned()))
            );
        }
    }
}
