//! The messages of a chat, as a caller asks for them.
//!
//! A chat with one person may be kept under the phone number and under the linked identity, where the one was not known for the
//! other at the time; a merged query finds both.

use std::cmp::Reverse;

use jiff::Timestamp;
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::message::Ack;
use wharf_core::store::{Condition, Query, Store, StoreError};

use super::{MESSAGES, StoredMessage, read};

/// The most messages that one query looks at, whatever it filters by.
const SCANNED_MAX: usize = 50_000;
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
        let mut found = Vec::new();
        for chat in &chats {
            found.extend(self.find_in(store, chat).await?);
        }
        let order = |stored: &StoredMessage| (stored.message.timestamp, stored.message.stanza.clone());
        match self.oldest_first {
            true => found.sort_by_key(order),
            false => found.sort_by_key(|stored| Reverse(order(stored))),
        }
        Ok(found.into_iter().skip(self.offset).take(self.limit).collect())
    }

    /// Those of one chat, as many as may be wanted.
    async fn find_in(&self, store: &dyn Store, chat: &ChatId) -> Result<Vec<StoredMessage>, StoreError> {
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
            found.extend(read.filter(|stored| self.takes(stored)));
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
