//! Changes to messages: reactions, edits, deletions for everyone, votes. Each is told of, also where what it changes is not
//! kept here.
//!
//! The event comes before the effect on the kept message: were it the other way round, a crash in between would leave nothing to
//! tell of what was deleted. Either can be repeated with the same result.

use serde::Serialize;
use wharf_core::events::{
    EventName, MessageEditedPayload, MessageReactionPayload, MessageRevokedPayload, PollVotePayload,
};
use wharf_core::ids::MessageId;
use wharf_core::message::{Change, Message, MessageKind};
use wharf_core::store::{Batch, StoreError};

use super::acks::{CHANGE_TRIES_MAX, may_be_in};
use super::{Received, SessionInbox};
use crate::events::{Identity, NewEvent};
use crate::sessions::messages::{self, StoredMessage};

impl Received {
    /// What it does to another message, where it is such a one.
    pub(super) fn change(&self) -> Option<&Change> {
        match &self.message.kind {
            MessageKind::Change(change) => Some(change),
            MessageKind::Content | MessageKind::Control => None,
        }
    }
}

impl SessionInbox {
    /// The messages that are changed, as far as they are kept.
    pub(super) async fn targets(&self, told: &[Received]) -> Result<Vec<StoredMessage>, StoreError> {
        let mut ids: Vec<String> = told
            .iter()
            .filter_map(|received| Some(received.change()?.target().id.clone()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        match ids.is_empty() {
            true => Ok(Vec::new()),
            false => messages::with_own_ids(self.store(), &ids).await,
        }
    }

    /// The event of a change.
    pub(super) async fn change_event(
        &self,
        message: &Message,
        change: &Change,
        targets: &[StoredMessage],
    ) -> Result<NewEvent, StoreError> {
        let (target, rendering) = (change.target(), self.jobs.rendering());
        let bare_id = Some(target.id.clone());
        let event = match change {
            Change::Reaction { text, .. } => {
                let payload = MessageReactionPayload::new(message, target, text);
                event(EventName::MessageReaction, &payload, message)
            }
            Change::Edited { .. } => {
                let mut edited = rendering.message(&self.name, message).await?;
                let kept = place_of(targets, target).map(|place| &targets[place].message);
                // The file is that of the message that was edited.
                if let Some(kept) = kept.filter(|kept| kept.media.is_some()) {
                    let kept = rendering.message(&self.name, kept).await?;
                    (edited.has_media, edited.media, edited.media_url) = (true, kept.media, kept.media_url);
                }
                let payload = MessageEditedPayload {
                    message: edited,
                    edited_message_id: bare_id,
                };
                event(EventName::MessageEdited, &payload, message)
            }
            Change::Revoked { .. } => {
                let before = place_of(targets, target).map(|place| &targets[place]);
                let before = before.filter(|stored| stored.changes.revoked_at.is_none());
                let before = match before {
                    Some(stored) => Some(rendering.message(&self.name, &stored.message).await?),
                    None => None,
                };
                let payload = MessageRevokedPayload {
                    revoked_message_id: bare_id,
                    after: Some(rendering.message(&self.name, message).await?),
                    before,
                    data: None,
                };
                event(EventName::MessageRevoked, &payload, message)
            }
            Change::PollVote { poll, options } => {
                let name = match options {
                    Some(_) => EventName::PollVote,
                    None => EventName::PollVoteFailed,
                };
                let payload = PollVotePayload::new(message, poll, options.as_deref().unwrap_or_default());
                event(name, &payload, message)
            }
        };
        Ok(event?.in_chat(&message.id.chat))
    }

    /// Keeps what changes make of the messages that are kept. `targets` are these as they were read last.
    pub(super) async fn take_effect(
        &self,
        told: &[Received],
        mut targets: Vec<StoredMessage>,
    ) -> Result<(), StoreError> {
        for tries in 1.. {
            let changed = changed(told, &mut targets);
            match self
                .write(changed.into_iter().try_fold(Batch::new(), messages::change)?)
                .await
            {
                // Another connection of this session, which is about to end, has overtaken us.
                Err(StoreError::Conflict { .. }) if tries < CHANGE_TRIES_MAX => {
                    targets = self.targets(told).await?;
                }
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        // What is left of them has no file.
        for revoked in targets.iter().filter(|target| target.changes.revoked_at.is_some()) {
            self.jobs.give_up(&revoked.message.stanza).await?;
        }
        Ok(())
    }
}

fn event(name: EventName, payload: &impl Serialize, message: &Message) -> Result<NewEvent, StoreError> {
    let identity = Identity::Repeatable {
        at: message.timestamp,
        key: message.stanza.clone(),
    };
    NewEvent::new(name, payload, identity)
}

/// Takes the changes in, one after the other, and answers the messages that are not as they were.
fn changed<'a>(told: &[Received], targets: &'a mut [StoredMessage]) -> Vec<&'a StoredMessage> {
    let mut is_changed = vec![false; targets.len()];
    for received in told {
        if let Some(change) = received.change()
            && let Some(place) = place_of(targets, change.target())
        {
            is_changed[place] |= targets[place].take(&received.message, change);
        }
    }
    let changed = targets.iter().zip(is_changed);
    changed
        .filter_map(|(target, is_changed)| is_changed.then_some(target))
        .collect()
}

/// Where the message is that is meant: the one with this id, or the one that has it under the other address of a person.
fn place_of(targets: &[StoredMessage], id: &MessageId) -> Option<usize> {
    let exact = targets.iter().position(|stored| stored.message.id == *id);
    exact.or_else(|| {
        let mut similar = targets.iter().enumerate().filter(|(_, stored)| {
            let kept = &stored.message.id;
            kept.id == id.id && kept.from_me == id.from_me && may_be_in(&kept.chat, &id.chat)
        });
        match (similar.next(), similar.next()) {
            (Some((place, _)), None) => Some(place),
            _ => None,
        }
    })
}
