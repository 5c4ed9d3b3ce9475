//! Who may upload: the tokens that `media_conn` gave out.

use std::collections::HashMap;

use crate::model::DeviceRef;

/// Tokens that are good at a time; as many devices would have asked within the hour that one is good for.
const AUTHS_MAX: usize = 100_000;

/// The tokens that are good.
#[derive(Debug, Default)]
pub(crate) struct MediaAuths(HashMap<String, Auth>);

#[derive(Debug)]
struct Auth {
    who: DeviceRef,
    /// Seconds since the Unix epoch.
    good_until: u64,
}

impl MediaAuths {
    /// Gives out a token; answers whether there was room for it.
    pub(crate) fn issue(&mut self, token: String, who: DeviceRef, now: u64, good_until: u64) -> bool {
        if self.0.len() >= AUTHS_MAX {
            self.0.retain(|_, auth| auth.good_until > now);
        }
        let has_room = self.0.len() < AUTHS_MAX;
        if has_room {
            self.0.insert(token, Auth { who, good_until });
        }
        has_room
    }

    /// Whose token this is, while it is good.
    pub(crate) fn owner(&self, token: &str, now: u64) -> Option<&DeviceRef> {
        self.0
            .get(token)
            .filter(|auth| auth.good_until > now)
            .map(|auth| &auth.who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_and_its_device() {
        let (alice, mut auths) = (DeviceRef::new("12025550101", 1), MediaAuths::default());
        assert!(auths.issue("a".to_owned(), alice.clone(), 0, 10));
        assert_eq!(auths.owner("a", 9), Some(&alice));
        assert_eq!(auths.owner("a", 10), None);
        assert_eq!(auths.owner("b", 0), None);
    }
}
