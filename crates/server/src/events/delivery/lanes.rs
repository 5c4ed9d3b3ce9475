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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::outbox::Due;

    fn lanes(of: &[(&str, i64)]) -> Lanes {
        let mut lanes = Lanes::default();
        for (chat, seq) in of {
            let chat = (!chat.is_empty()).then(|| format!("{chat}@c.us").parse().unwrap());
            lanes.push(Due::played(chat, *seq));
        }
        lanes
    }

    #[test]
    fn chats_take_turns_and_keep_their_order() {
        let mut lanes = lanes(&[("1", 1), ("1", 2), ("1", 3), ("2", 4), ("", 5), ("", 6)]);
        let mut seqs = Vec::new();
        while let Some(due) = lanes.take() {
            seqs.push(due.seq());
            lanes.free(due.chat());
        }
        assert_eq!(seqs, [1, 4, 5, 2, 6, 3]);
        assert!(lanes.len() == 0 && lanes.by_chat.is_empty());
    }

    #[test]
    fn a_busy_chat_waits_and_the_others_go_on() {
        let mut lanes = lanes(&[("1", 1), ("1", 2), ("2", 3)]);
        let first = lanes.take().unwrap();
        assert_eq!(lanes.take().map(|due| due.seq()), Some(3));
        assert!(lanes.take().is_none() && lanes.is_stuck());
        lanes.push(Due::played(first.chat().cloned(), 4));
        assert!(lanes.is_stuck());
        lanes.free(first.chat());
        assert_eq!(lanes.take().map(|due| due.seq()), Some(2));
    }

    #[test]
    fn what_is_let_go_of_leaves_busy_chats_busy() {
        let mut lanes = lanes(&[("1", 1), ("1", 2), ("2", 3)]);
        let first = lanes.take().unwrap();
        let mut left: Vec<_> = lanes.clear().iter().map(Due::seq).collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3]);
        lanes.push(Due::played(first.chat().cloned(), 2));
        assert!(lanes.take().is_none());
        lanes.free(first.chat());
        assert_eq!(lanes.take().map(|due| due.seq()), Some(2));
    }
}
