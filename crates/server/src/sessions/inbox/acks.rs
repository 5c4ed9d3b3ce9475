//! What becomes of messages after they were kept: how far ours have come, and whether we have read those of others.
//!
//! Never keeps a message; what it cannot find it passes over.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::{Instant, timeout_at};
use wharf_core::engine::AckUpdate;
use wharf_core::events::{EventName, MessageAckPayload};
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::message::{Ack, Message};
use wharf_core::store::{Batch, StoreError};

use super::{Record, SessionInbox, lock};
use crate::events::{Identity, NewEvent};
use crate::sessions::messages::{self, StoredMessage};

/// How often a change is tried that somebody else's change has overtaken.
pub(super) const CHANGE_TRIES_MAX: u32 = 3;

/// Messages whose acks are raised at once; a page of the store holds more.
const ACK_IDS_AT_ONCE_MAX: usize = 500;

/// How long after a send began changes wait for its message, which has left by then and is only to be kept. From the beginning
/// on, so that the waits of many changes do not add up: WhatsApp is not told of them meanwhile.
const SENDING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A send under way. When it is dropped, however the send ended, what waited for it goes on.
pub(in crate::sessions) struct Outgoing {
    inbox: Arc<SessionInbox>,
    sending: Arc<Sending>,
}

/// What is being sent, with the acks that came before it was kept.
pub(super) struct Sending {
    chat: ChatId,
    id: String,
    since: Instant,
    waiting: Mutex<Vec<AckUpdate>>,
    is_over: SetOnce<()>,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let is_other = |sending: &Arc<Sending>| !Arc::ptr_eq(sending, &self.sending);
        lock(&self.inbox.outgoing).retain(is_other);
        for update in lock(&self.sending.waiting).drain(..) {
            self.inbox.record(Record::Ack(update));
        }
        // Nobody else sets it.
        let _ = self.sending.is_over.set(());
    }
}

impl SessionInbox {
    /// Announces a send, so that acks that come before its message is kept wait for it, until the send is dropped.
    pub(in crate::sessions) fn begin_send(self: &Arc<Self>, chat: ChatId, id: String) -> Outgoing {
        let sending = Arc::new(Sending {
            chat,
            id,
            since: Instant::now(),
            waiting: Mutex::default(),
            is_over: SetOnce::new(),
        });
        lock(&self.outgoing).push(Arc::clone(&sending));
        Outgoing {
            inbox: Arc::clone(self),
            sending,
        }
    }

    /// Waits until a message that is being sent is kept: what somebody does to it may come first.
    pub(super) async fn sent(&self, chat: &ChatId, id: &str) {
        let is_it = |sending: &&Arc<Sending>| sending.id == id && may_be_in(&sending.chat, chat);
        let sending = lock(&self.outgoing).iter().find(is_it).cloned();
        if let Some(sending) = sending {
            // What takes longer is looked for as if it were not there.
            let _ = timeout_at(sending.since + SENDING_WAIT_MAX, sending.is_over.wait()).await;
        }
    }

    /// Notes that messages to us were read. They are read again, because they may have changed since the caller did.
    pub(in crate::sessions) async fn mark_read(&self, read: &[StoredMessage]) -> Result<(), StoreError> {
        let ids: Vec<String> = read.iter().map(|stored| stored.message.id.id.clone()).collect();
        let is_read = |now: &StoredMessage| read.iter().any(|then| then.message.stanza == now.message.stanza);
        if ids.is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        for _ in 0..CHANGE_TRIES_MAX {
            let mut batch = Batch::new();
            for mut stored in messages::with_own_ids(self.store(), &ids).await? {
                if stored.unread && is_read(&stored) {
                    stored.unread = false;
                    batch = messages::change(batch, &stored)?;
                }
            }
            match self.write(batch).await {
                // Another connection of this session, which is about to end, has overtaken us.
                Err(StoreError::Conflict { .. }) => {}
                outcome => return outcome,
            }
        }
        // The senders were told; all that is left behind is our own mark, which the next "seen" takes away.
        tracing::warn!(session = %self.name, "messages that were read are still marked as unread");
        Ok(())
    }

    /// Takes out the ids whose send is still under way, to wait for it.
    fn without_outgoing(&self, mut update: AckUpdate) -> AckUpdate {
        let outgoing = lock(&self.outgoing);
        for id in std::mem::take(&mut update.ids) {
            let is_it = |sending: &&Arc<Sending>| sending.id == id && may_be_in(&sending.chat, &update.chat);
            match outgoing.iter().find(is_it) {
                None => update.ids.push(id),
                Some(sending) => {
                    let ids = vec![id];
                    lock(&sending.waiting).push(AckUpdate { ids, ..update.clone() });
                }
            }
        }
        update
    }

    /// Raises acks, those of many messages together, and leaves none. Those of messages whose own event is still to come are put
    /// `aside`; without a place for them these events are told first.
    pub(super) async fn raise_acks(
        &self,
        updates: &mut Vec<AckUpdate>,
        mut aside: Option<&mut Vec<AckUpdate>>,
    ) -> Result<(), StoreError> {
        let updates = updates.drain(..).map(|update| self.without_outgoing(update));
        let mut updates = updates.peekable();
        while let Some(first) = updates.next() {
            let (mut ids, mut together) = (first.ids.len(), vec![first]);
            while let Some(next) = updates.next_if(|next| ids + next.ids.len() <= ACK_IDS_AT_ONCE_MAX) {
                ids += next.ids.len();
                together.push(next);
            }
            let waiting = self.raise_together(together, aside.is_some()).await?;
            if let Some(aside) = &mut aside {
                aside.extend(waiting);
            }
        }
        Ok(())
    }

    /// Raises these acks but those that it returns: if they `may_wait`, these are of messages whose own events are still to come.
    async fn raise_together(&self, updates: Vec<AckUpdate>, may_wait: bool) -> Result<Vec<AckUpdate>, StoreError> {
        let ids: BTreeSet<&String> = updates.iter().flat_map(|update| &update.ids).collect();
        let ids: Vec<String> = ids.into_iter().cloned().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.turn.lock().await;
        let mut kept: HashMap<String, Vec<Kept>> = HashMap::new();
        for stored in messages::with_own_ids(self.store(), &ids).await? {
            let Message { id, stanza, .. } = &stored.message;
            // Asked once, because it may be told while these are raised, and they would pass each other.
            let is_held = id.from_me && self.jobs.is_held(stanza);
            if is_held && !may_wait {
                self.jobs.tell_now(stanza).await?;
            }
            kept.entry(id.id.clone()).or_default().push(Kept {
                waits: is_held && may_wait,
                stored,
                is_changed: false,
            });
        }
        let (mut events, mut aside) = (Vec::new(), Vec::new());
        for update in &updates {
            for id in &update.ids {
                for message in kept.get_mut(id).into_iter().flatten() {
                    if message.waits && may_be_in(&message.stored.message.id.chat, &update.chat) {
                        let ids = vec![id.clone()];
                        aside.push(AckUpdate { ids, ..update.clone() });
                        continue;
                    }
                    events.extend(message.raise(update)?);
                }
            }
        }
        let changed = kept.values().flatten().filter(|kept| kept.is_changed);
        let batch = changed
            .map(|kept| &kept.stored)
            .try_fold(Batch::new(), messages::change)?;
        // The events first: were the state kept first, a crash in between would leave it risen and nobody told.
        self.events.append(&self.source(), events, Batch::new()).await?;
        self.write(batch).await?;
        Ok(aside)
    }
}

/// A message that is kept, and what became of it.
struct Kept {
    stored: StoredMessage,
    /// Its own event is still to come.
    waits: bool,
    is_changed: bool,
}

impl Kept {
    /// Takes an ack in, and answers the event of that, if it says anything new.
    fn raise(&mut self, update: &AckUpdate) -> Result<Option<NewEvent>, StoreError> {
        let message = &mut self.stored.message;
        if !may_be_in(&message.id.chat, &update.chat) {
            // Ids are unique within a chat only, and whoever knows one of ours must not move it from elsewhere.
            return Ok(None);
        }
        if !message.id.from_me {
            // Another device of ours has read what somebody wrote to us.
            if self.stored.unread && update.ack >= Ack::Read {
                self.stored.unread = false;
                self.is_changed = true;
            }
            return Ok(None);
        }
        if update.participant.is_some() {
            return ack_event(EventName::MessageAckGroup, message, update).map(Some);
        }
        if !comes_further(message.ack, update.ack) {
            return Ok(None);
        }
        message.ack = update.ack;
        self.is_changed = true;
        ack_event(EventName::MessageAck, message, update).map(Some)
    }
}

fn ack_event(name: EventName, message: &Message, update: &AckUpdate) -> Result<NewEvent, StoreError> {
    let participant = update.participant.as_ref().map(ToString::to_string);
    let key = format!(
        "{}|{}|{}",
        message.stanza,
        participant.as_deref().unwrap_or_default(),
        update.ack.number()
    );
    let mut payload = MessageAckPayload::new(message, participant, update.ack);
    payload.data = update.error.as_ref().map(|error| serde_json::json!({ "error": error }));
    let event = NewEvent::new(name, &payload, Identity::Repeatable { at: update.at, key })?;
    Ok(event.in_chat(&message.id.chat))
}

/// Whether what is told of one chat may be about a message in another: in the same one, or in a chat with one person of
/// which one side knows the phone number and the other the linked identity. The engine has made both the same where it
/// knows that they are.
pub(in crate::sessions) fn may_be_in(kept: &ChatId, told: &ChatId) -> bool {
    let is_one_person = |chat: &ChatId| matches!(chat.kind(), ChatKind::Phone | ChatKind::Lid);
    kept == told || (is_one_person(kept) && is_one_person(told) && kept.kind() != told.kind())
}

/// An error is news only as long as WhatsApp has not taken the message.
fn comes_further(now: Ack, next: Ack) -> bool {
    match next {
        Ack::Error => now == Ack::Pending,
        next => next > now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_counts_only_in_the_chat_of_its_message() {
        let (alice, bob) = ("12025550101@c.us", "12025550102@c.us");
        let (lid, other_lid) = ("100000000000101@lid", "100000000000102@lid");
        let (group, other_group) = ("120363000000000001@g.us", "120363000000000002@g.us");
        for (kept, told, counts) in [
            (alice, alice, true),
            (alice, bob, false),
            (alice, lid, true),
            (lid, alice, true),
            (lid, other_lid, false),
            (group, group, true),
            (group, other_group, false),
            (group, alice, false),
            (alice, group, false),
        ] {
            let (kept, told): (ChatId, ChatId) = (kept.parse().unwrap(), told.parse().unwrap());
            assert_eq!(may_be_in(&kept, &told), counts, "{kept} {told}");
        }
    }

    #[test]
    fn acks_never_go_backwards() {
        for (now, next, news) in [
            (Ack::Pending, Ack::Server, true),
            (Ack::Server, Ack::Read, true),
            (Ack::Read, Ack::Device, false),
            (Ack::Read, Ack::Read, false),
            (Ack::Pending, Ack::Error, true),
            (Ack::Server, Ack::Error, false),
        ] {
            assert_eq!(comes_further(now, next), news, "{now:?} {next:?}");
        }
    }
}
