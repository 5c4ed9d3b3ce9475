//! Deliveries in memory, by chat: those of one chat one after the other, chats in turn.

use std::collections::{HashMap, VecDeque};

use wharf_core::ids::ChatId;

use crate::events::outbox::Due;

/// What keeps its order: a chat, or what belongs to none.
type Lane = Option<ChatId>;

/// Deliveries that may be posted, and those that wait for one of their chat.
#[derive(Default)]
pub(super) struct Lanes {
    by_chat: HashMap<Lane, Waiting>,
    /// Chats with something to post and nothing under way, in turn.
    ready: VecDeque<Lane>,
    len: usize,
}

#[derive(Default)]
struct Waiting {
    deliveries: VecDeque<Due>,
    is_busy: bool,
}

impl Lanes {
    /// Adds a delivery behind those of its chat.
    pub(super) fn push(&mut self, due: Due) {
        let lane = due.chat().cloned();
        let waiting = self.by_chat.entry(lane.clone()).or_default();
        if !waiting.is_busy && waiting.deliveries.is_empty() {
            self.ready.push_back(lane);
        }
        waiting.deliveries.push_back(due);
        self.len += 1;
    }

    /// The next delivery to post. Its chat is busy until it is freed.
    pub(super) fn take(&mut self) -> Option<Due> {
        let lane = self.ready.pop_front()?;
        let waiting = self.by_chat.get_mut(&lane)?;
        waiting.is_busy = true;
        self.len -= 1;
        waiting.deliveries.pop_front()
    }

    /// The chat of a delivery that was taken may go on.
    pub(super) fn free(&mut self, chat: Option<&ChatId>) {
        let lane = chat.cloned();
        let Some(waiting) = self.by_chat.get_mut(&lane) else {
            return;
        };
        waiting.is_busy = false;
        match waiting.deliveries.is_empty() {
            true => drop(self.by_chat.remove(&lane)),
            false => self.ready.push_back(lane),
        }
    }

    /// How many deliveries wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing can be taken now.
    pub(super) fn is_stuck(&self) -> bool {
        self.ready.is_empty()
    }

    /// Lets go of everything that was not taken; returns it.
    pub(super) fn clear(&mut self) -> Vec<Due> {
        self.ready.clear();
        self.len = 0;
        let waiting = self.by_chat.values_mut();
        let left = waiting
            .flat_map(|waiting| std::mem::take(&mut waiting.deliveries))
            .collect();
        self.by_chat.retain(|_, waiting| waiting.is_busy);
        left
    }
}
