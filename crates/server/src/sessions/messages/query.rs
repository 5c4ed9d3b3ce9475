//! The messages of a chat, as a caller asks for them.
//!
//! A chat with one person may be kept under the phone number and under the linked identity, where the one was not known for the
//! other at the time; a merged query finds both.

use jiff::Timestamp;
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::message::Ack;
use wharf_core::store::{Condition, Query, Store, StoreError};

use super::{MESSAGES, StoredMessage, known, read};

/// The most messages that one query looks at in a chat, those that it leaves out among them.
const SCANNED_MAX: usize = 110_000;
/// The newest messages of a chat that tell under which other address its person writes.
const LOOKED_AT_FOR_ADDRESSES: usize = 20;

/// Which messages of a chat.
#[derive(Debug, Clone)]
pub(crate) struct MessageQuery {
    /// The chat.
    pub(crate) chat: ChatId,
    /// Whether those under the other address of its person count too.
    pub(crate) merge: bool,
    /// How many at the most.
    pub(crate) limit: usize,
    /// How many of the first to leave out.
    pub(crate) offset: usize,
    /// Whether the oldest come first.
    pub(crate) oldest_first: bool,
    /// Not older than this.
    pub(crate) since: Option<Timestamp>,
    /// Not newer than this.
    pub(crate) until: Option<Timestamp>,
    /// Only ours, or only those of others.
    pub(crate) from_me: Option<bool>,
    /// Only those that have come just so far.
    pub(crate) ack: Option<Ack>,
}

impl MessageQuery {
    fn takes(&self, stored: &StoredMessage) -> bool {
        let message = &stored.message;
        self.from_me.is_none_or(|from_me| message.id.from_me == from_me)
            && self.ack.is_none_or(|ack| message.ack == ack)
    }

    /// The messages, in their order.
    pub(crate) async fn find(&self, store: &dyn Store) -> Result<Vec<StoredMessage>, StoreError> {
        let mut chats = vec![self.chat.clone()];
        if self.merge {
            chats.extend(other_address(store, &self.chat).await?);
        }
        // Their places only: what is left out may be far more than what is wanted.
        let mut places = Vec::new();
        for chat in &chats {
            places.extend(self.places_in(store, chat).await?);
        }
        places.sort_unstable();
        if !self.oldest_first {
            places.reverse();
        }
        let places = places.into_iter().skip(self.offset).take(self.limit);
        let stanzas: Vec<String> = places.map(|(_, stanza)| stanza).collect();
        let mut found = known(store, &stanzas).await?;
        found.sort_by_cached_key(|stored| stanzas.iter().position(|stanza| *stanza == stored.message.stanza));
        Ok(found)
    }

    /// Where those of one chat are, as many as may be wanted.
    async fn places_in(&self, store: &dyn Store, chat: &ChatId) -> Result<Vec<(Timestamp, String)>, StoreError> {
        let wanted = self.offset.saturating_add(self.limit);
        let mut query = Query::all().filter(Condition::Equal("chat", chat.to_string().into()));
        query = match self.oldest_first {
            true => query.ascending("at"),
            false => query.descending("at"),
        };
        if let Some(since) = self.since {
            query = query.filter(Condition::AtLeast("at", since.into()));
        }
        if let Some(until) = self.until {
            query = query.filter(Condition::AtMost("at", until.into()));
        }
        if self.from_me.is_none() && self.ack.is_none() {
            query = query.limit(wanted);
        }
        let (mut found, mut scanned) = (Vec::new(), 0);
        loop {
            let page = store.find(&MESSAGES, query.clone()).await?;
            scanned += page.documents.len();
            let read = page.documents.iter().filter_map(read);
            let taken = read.filter(|stored| self.takes(stored)).map(|stored| stored.message);
            found.extend(taken.map(|message| (message.timestamp, message.stanza)));
            match page.next {
                Some(next) if found.len() < wanted && scanned < SCANNED_MAX => query = query.after(Some(next)),
                _ => break,
            }
        }
        found.truncate(wanted);
        Ok(found)
    }
}

/// The other address of the person that a chat is with, as far as its newest messages tell.
async fn other_address(store: &dyn Store, chat: &ChatId) -> Result<Option<ChatId>, StoreError> {
    if !matches!(chat.kind(), ChatKind::Phone | ChatKind::Lid) {
        return Ok(None);
    }
    let newest = Query::all()
        .filter(Condition::Equal("chat", chat.to_string().into()))
        .descending("at")
        .limit(LOOKED_AT_FOR_ADDRESSES);
    let messages = super::page(store, newest).await?;
    let mut others = messages.into_iter().filter_map(|stored| {
        let message = stored.message;
        message.sender_alt.filter(|_| !message.id.from_me)
    });
    Ok(others.find(|other| other.kind() != chat.kind() && other.is_person()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sessions::messages::{keep, tests::text};
    use tempfile::TempDir;
    use wharf_core::message::Message;
    use wharf_core::store::{Batch, Storage as _};
    use wharf_storage::sqlite::{LocalConfig, LocalStorage};

    const ALICE: &str = "12025550101@c.us";
    const ALICES_LID: &str = "100000000000101@lid";

    async fn store(messages: &[Message]) -> (Arc<dyn Store>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(LocalConfig::new(folder.path(), "test"));
        let store = storage.await.unwrap().session(&"a".parse().unwrap()).await.unwrap();
        let batch = messages.iter().try_fold(Batch::new(), keep).unwrap();
        store.write(batch).await.unwrap();
        (store, folder)
    }

    fn at(seconds: i64, from_me: bool, chat: &str) -> Message {
        let mut message = text(from_me, chat, &seconds.to_string(), "x");
        message.timestamp = Timestamp::from_second(seconds).unwrap();
        message
    }

    fn query(chat: &str) -> MessageQuery {
        MessageQuery {
            chat: chat.parse().unwrap(),
            merge: false,
            limit: 10,
            offset: 0,
            oldest_first: false,
            since: None,
            until: None,
            from_me: None,
            ack: None,
        }
    }

    async fn ids(store: &dyn Store, query: MessageQuery) -> Vec<String> {
        let found = query.find(store).await.unwrap();
        found.into_iter().map(|stored| stored.message.id.id).collect()
    }

    #[tokio::test]
    async fn messages_come_in_their_order_and_as_many_as_are_wanted() {
        let mut messages: Vec<_> = (1..=2_500).map(|second| at(second, second % 500 == 0, ALICE)).collect();
        messages.push(at(9_999, false, "12025550102@c.us"));
        messages[2_499].ack = Ack::Read;
        let (store, _folder) = store(&messages).await;
        let time = |second| Some(Timestamp::from_second(second).unwrap());
        let with = |change: &dyn Fn(&mut MessageQuery)| {
            let mut query = query(ALICE);
            change(&mut query);
            query
        };
        for (query, expected) in [
            (with(&|query| query.limit = 2), &["2500", "2499"][..]),
            (with(&|query| (query.limit, query.offset) = (2, 2_498)), &["2", "1"]),
            (
                with(&|query| (query.limit, query.oldest_first) = (2, true)),
                &["1", "2"],
            ),
            (with(&|query| query.since = time(2_499)), &["2500", "2499"]),
            (
                with(&|query| (query.since, query.until) = (time(7), time(8))),
                &["8", "7"],
            ),
            (
                with(&|query| (query.from_me, query.limit) = (Some(true), 2)),
                &["2500", "2000"],
            ),
            (
                with(&|query| (query.from_me, query.offset) = (Some(true), 3)),
                &["1000", "500"],
            ),
            (with(&|query| query.ack = Some(Ack::Read)), &["2500"]),
            (with(&|query| query.offset = 9_000), &[]),
        ] {
            assert_eq!(ids(store.as_ref(), query.clone()).await, expected, "{query:?}");
        }
    }

    #[tokio::test]
    async fn a_persons_messages_under_both_addresses_are_one_chat_where_they_are_merged() {
        let (mut by_number, by_lid) = (at(1, false, ALICE), at(2, false, ALICES_LID));
        by_number.sender_alt = Some(ALICES_LID.parse().unwrap());
        let (store, _folder) = store(&[by_number, by_lid, at(3, true, ALICE)]).await;
        assert_eq!(ids(store.as_ref(), query(ALICE)).await, ["3", "1"]);
        let merged = MessageQuery {
            merge: true,
            ..query(ALICE)
        };
        assert_eq!(ids(store.as_ref(), merged).await, ["3", "2", "1"]);
    }
}
