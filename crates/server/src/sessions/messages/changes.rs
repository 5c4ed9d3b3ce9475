//! What others' messages have made of one that is kept: reactions, votes, a new text, or nothing left of it.
//!
//! The newest of a person wins, by the time that WhatsApp told, so that one that comes late or twice changes nothing. Never
//! checks who may change what: that is the engine's part.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wharf_core::ids::ChatId;
use wharf_core::message::{Change, Message};

/// The most people whose reaction, or vote, is kept for one message; more than the largest group has.
const PEOPLE_MAX: usize = 2_048;

/// What became of a message after it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Changes {
    /// The newest reaction of each person; an empty text where it was taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reactions: Vec<Newest<String>>,
    /// The newest vote of each person in a poll: the names of all options that are chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) votes: Vec<Newest<Vec<String>>>,
    /// When it was edited last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) edited_at: Option<Timestamp>,
    /// When it was deleted for everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked_at: Option<Timestamp>,
}

/// What a person said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newest<T> {
    /// Who.
    pub(crate) by: ChatId,
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) what: T,
}

impl Changes {
    /// Takes a change in: `target` becomes what it makes of it. `false` where nothing follows from it.
    pub(super) fn take(&mut self, target: &mut Message, change: &Message, what: &Change) -> bool {
        let at = change.timestamp;
        if self.revoked_at.is_some() {
            return false;
        }
        match what {
            Change::Reaction { text, .. } => put(&mut self.reactions, change, text.clone()),
            Change::PollVote {
                options: Some(options), ..
            } => put(&mut self.votes, change, options.clone()),
            // The one before still holds as far as is known.
            Change::PollVote { options: None, .. } => false,
            Change::Edited { .. } => {
                if self.edited_at.is_some_and(|edited_at| edited_at > at) {
                    return false;
                }
                self.edited_at = Some(at);
                edit(target, change);
                true
            }
            Change::Revoked { .. } => {
                self.revoked_at = Some(at);
                empty(target);
                true
            }
        }
    }
}

/// Notes what a person said, unless they have said something else since.
fn put<T: PartialEq>(all: &mut Vec<Newest<T>>, change: &Message, what: T) -> bool {
    let by = change.participant.as_ref().unwrap_or(&change.from);
    let is_same = |known: &ChatId| known == by || change.sender_alt.as_ref() == Some(known);
    let newest = Newest {
        by: by.clone(),
        at: change.timestamp,
        what,
    };
    let place = all.iter().position(|known| is_same(&known.by));
    match place {
        Some(place) if all[place].at > newest.at || all[place] == newest => return false,
        Some(place) => all[place] = newest,
        None if all.len() >= PEOPLE_MAX => return false,
        None => all.push(newest),
    }
    true
}

fn edit(target: &mut Message, change: &Message) {
    target.body.clone_from(&change.body);
    target.mentions.clone_from(&change.mentions);
    // An edit of a caption may come without the file that it is about.
    if !change.proto.is_empty() && (target.media.is_none() || change.media.is_some()) {
        target.proto = change.proto.clone();
    }
}

/// Leaves who wrote it, where and when.
fn empty(target: &mut Message) {
    target.body.clear();
    target.media = None;
    target.reply_to = None;
    target.mentions.clear();
    target.location = None;
    target.vcards.clear();
    target.proto.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::messages::tests::text;
    use bytes::Bytes;
    use wharf_core::message::MessageMedia;

    fn changed(target: &Message, at: i64, by: &str, body: &str) -> Message {
        let mut change = text(false, by, "C", body);
        change.id.chat = target.id.chat.clone();
        change.timestamp = Timestamp::from_second(at).unwrap();
        change
    }

    fn react(changes: &mut Changes, target: &mut Message, at: i64, by: &str, emoji: &str) -> bool {
        let what = Change::Reaction {
            target: target.id.clone(),
            text: emoji.to_owned(),
        };
        let change = changed(target, at, by, "");
        changes.take(target, &change, &what)
    }

    #[test]
    fn of_each_person_the_newest_reaction_counts() {
        let (mut target, mut changes) = (text(false, "12025550101@c.us", "A", "x"), Changes::default());
        for (at, by, emoji, counts) in [
            (10, "12025550101@c.us", "👍", true),
            (12, "12025550101@c.us", "", true),
            (11, "12025550101@c.us", "❤", false),
            (11, "12025550102@c.us", "🙏", true),
            (11, "12025550102@c.us", "🙏", false),
            (11, "12025550102@c.us", "😂", true),
        ] {
            assert_eq!(
                react(&mut changes, &mut target, at, by, emoji),
                counts,
                "{at} {by} {emoji}"
            );
        }
        let left: Vec<_> = changes.reactions.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(left, ["", "😂"]);
    }

    #[test]
    fn a_person_is_the_same_under_both_addresses() {
        let (mut target, mut changes) = (text(false, "12025550101@c.us", "A", "x"), Changes::default());
        let what = Change::Reaction {
            target: target.id.clone(),
            text: "👍".to_owned(),
        };
        let by_number = changed(&target, 1, "12025550102@c.us", "");
        let mut by_lid = changed(&target, 2, "100000000000102@lid", "");
        by_lid.sender_alt = Some("12025550102@c.us".parse().unwrap());
        assert!(changes.take(&mut target, &by_number, &what));
        assert!(changes.take(&mut target, &by_lid, &what));
        assert_eq!(changes.reactions.len(), 1);
    }

    #[test]
    fn an_edit_replaces_the_text_and_keeps_the_file() {
        let (mut target, mut changes) = (text(false, "12025550101@c.us", "A", "old"), Changes::default());
        target.media = Some(MessageMedia {
            mimetype: None,
            filename: None,
            size: None,
        });
        target.proto = Bytes::from_static(b"file");
        let what = Change::Edited {
            target: target.id.clone(),
        };
        let (newer, older) = (
            changed(&target, 3, "12025550101@c.us", "new"),
            changed(&target, 2, "12025550101@c.us", "late"),
        );
        assert!(changes.take(&mut target, &newer, &what));
        assert!(!changes.take(&mut target, &older, &what));
        assert_eq!((target.body.as_str(), target.proto.as_ref()), ("new", &b"file"[..]));
        target.media = None;
        assert!(changes.take(&mut target, &newer, &what));
        assert_eq!(target.proto, newer.proto);
    }

    #[test]
    fn nothing_comes_back_of_what_was_deleted_for_everyone() {
        let (mut target, mut changes) = (text(false, "12025550101@c.us", "A", "secret"), Changes::default());
        let revoke = Change::Revoked {
            target: target.id.clone(),
        };
        let edit = Change::Edited {
            target: target.id.clone(),
        };
        let change = changed(&target, 3, "12025550101@c.us", "again");
        assert!(changes.take(&mut target, &change, &revoke));
        assert!(!changes.take(&mut target, &change, &edit));
        assert!(!react(&mut changes, &mut target, 9, "12025550102@c.us", "👍"));
        assert!(target.body.is_empty() && target.proto.is_empty());
    }
}
