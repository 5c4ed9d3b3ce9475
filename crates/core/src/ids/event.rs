//! The id of an event: `evt_` and a lower-case ULID, so that ids sort by time.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::random::Random;

const PREFIX: &str = "evt_";

/// The id that every delivery of one event carries, on every attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(String);

/// Why a text is not an event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event id must be evt_ and 26 characters")]
pub struct EventIdError;

impl EventId {
    /// A new id for an event that happened at `at`.
    pub fn new(at: Timestamp, random: &dyn Random) -> Self {
        Self::derived(at, random.bytes())
    }

    /// The id of an event that may be told of more than once: the same moment and the same `digest` of what it is about
    /// give the same id. Only the last ten bytes of the digest are used.
    pub fn derived(at: Timestamp, digest: [u8; 16]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
        let ulid = Ulid::from_parts(millis, u128::from_be_bytes(digest));
        Self(format!("{PREFIX}{}", ulid.to_string().to_ascii_lowercase()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ulid = text.strip_prefix(PREFIX).ok_or(EventIdError)?;
        Ulid::from_string(&ulid.to_ascii_uppercase()).map_err(|_| EventIdError)?;
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for EventId {
    type Error = EventIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (older, newer) = (EventId::new(at(1), &SystemRandom), EventId::new(at(2), &SystemRandom));
        assert!(older < newer);
        assert_eq!(older.as_str().len(), 30);
        assert_eq!(older.to_string().parse::<EventId>().unwrap(), older);
    }

    #[test]
    fn a_derived_id_depends_on_moment_and_digest_alone() {
        let at = Timestamp::from_second(1).unwrap();
        assert_eq!(EventId::derived(at, [7; 16]), EventId::derived(at, [7; 16]));
        assert_ne!(EventId::derived(at, [7; 16]), EventId::derived(at, [8; 16]));
    }
}
