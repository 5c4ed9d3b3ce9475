//! Stanzas for one device, in order, kept until the device acknowledges them.
//!
//! Pure bookkeeping: what counts as an acknowledgement of what is decided by the caller. Stanzas that were delivered and not
//! acknowledged come again on the next connection, and only then.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use wacore_binary::Node;

use crate::stanza;

/// Most stanzas that wait for one device.
pub(crate) const QUEUE_LEN_MAX: usize = 100_000;
/// How many acknowledged stanzas are remembered, so that one more acknowledgement is known to be a repetition.
const ACKED_MAX: usize = 500;

/// The stanzas of one device.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// Delivered on the current connection, not acknowledged.
    delivered: VecDeque<Queued>,
    /// Not delivered on the current connection.
    waiting: VecDeque<Queued>,
    /// Acknowledged lately, without what was in them.
    #[serde(default)]
    answered: VecDeque<Queued>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Queued {
    #[serde(with = "stanza::stored")]
    node: Node,
    id: String,
    #[serde(skip)]
    delivered_at: u64,
}

impl Queued {
    /// Who it is about, which is all that an acknowledgement repeats.
    fn envelope(&self) -> Self {
        let (tag, attrs) = (self.node.tag.clone(), self.node.attrs.clone());
        Self {
            node: Node::new(tag, attrs, None),
            id: self.id.clone(),
            delivered_at: self.delivered_at,
        }
    }
}

/// A stanza that went out and waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Delivered<'q> {
    pub(crate) node: &'q Node,
    pub(crate) id: &'q str,
    /// Seconds since the Unix epoch.
    pub(crate) at: u64,
}

/// What an acknowledgement was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    /// A stanza that waited for it.
    Now,
    /// A stanza that was acknowledged before, in the same words.
    Before,
    /// Nothing that this device was given.
    Never,
}

/// The queue is full.
#[derive(Debug, thiserror::Error)]
#[error("the device's queue is full")]
pub(crate) struct Full;

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.delivered.len() + self.waiting.len()
    }

    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= QUEUE_LEN_MAX
    }

    pub(crate) fn push(&mut self, node: Node) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        let id = stanza::text(&node, "id").unwrap_or_default();
        self.waiting.push_back(Queued {
            node,
            id,
            delivered_at: 0,
        });
        Ok(())
    }

    /// The stanza that goes out next.
    pub(crate) fn next(&self) -> Option<&Node> {
        self.waiting.front().map(|queued| &queued.node)
    }

    /// The next stanza went out.
    pub(crate) fn delivered(&mut self, now: u64) {
        if let Some(mut queued) = self.waiting.pop_front() {
            queued.delivered_at = now;
            self.delivered.push_back(queued);
        }
    }

    /// Removes every stanza of this tag with this id that fits.
    pub(crate) fn ack(&mut self, tag: &str, id: &str, fits: impl Fn(&Node) -> bool) -> Acked {
        let before = self.len();
        let is_meant = |queued: &Queued| queued.id == id && queued.node.tag == tag && fits(&queued.node);
        let answered = &mut self.answered;
        let mut keep = |queued: &Queued| {
            let is_meant = is_meant(queued);
            if is_meant {
                answered.push_back(queued.envelope());
            }
            !is_meant
        };
        // Acknowledgements mostly come in order, so the common case is the front.
        if self.delivered.front().is_some_and(|queued| !keep(queued)) {
            self.delivered.pop_front();
        }
        self.delivered.retain(&mut keep);
        if self.delivered.len() + self.waiting.len() == before {
            // A late acknowledgement of what the connection before delivered.
            self.waiting.retain(&mut keep);
        }
        if self.len() == before {
            return match self.answered.iter().any(is_meant) {
                true => Acked::Before,
                false => Acked::Never,
            };
        }
        let forgotten = self.answered.len().saturating_sub(ACKED_MAX);
        self.answered.drain(..forgotten);
        Acked::Now
    }

    /// The connection is gone: what it delivered without acknowledgement is due again, in the old order.
    pub(crate) fn reconnect(&mut self) {
        while let Some(queued) = self.delivered.pop_back() {
            self.waiting.push_front(queued);
        }
    }

    /// How many stanzas of each tag wait.
    pub(crate) fn waiting_by_tag(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for queued in &self.waiting {
            *counts.entry(queued.node.tag.to_string()).or_default() += 1;
        }
        counts
    }

    /// What was delivered on the current connection and not acknowledged, oldest first.
    pub(crate) fn open(&self) -> impl Iterator<Item = Delivered<'_>> {
        self.delivered.iter().map(|queued| Delivered {
            node: &queued.node,
            id: &queued.id,
            at: queued.delivered_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use wacore_binary::builder::NodeBuilder;

    use super::*;

    fn message(id: &str) -> Node {
        NodeBuilder::new("message").attr("id", id).build()
    }

    fn drain(queue: &mut Queue) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(node) = queue.next() {
            ids.push(stanza::text(node, "id").unwrap());
            queue.delivered(7);
        }
        ids
    }

    #[test]
    fn unacknowledged_stanzas_come_again_in_order_on_the_next_connection_only() {
        let mut queue = Queue::default();
        for id in ["A", "B", "C", "D"] {
            queue.push(message(id)).unwrap();
        }
        queue.delivered(1);
        queue.delivered(1);
        queue.delivered(1);
        assert_eq!(queue.ack("message", "B", |_| true), Acked::Now);
        assert_eq!(drain(&mut queue), ["D"]);
        assert_eq!(drain(&mut queue), Vec::<String>::new());
        queue.reconnect();
        assert_eq!(drain(&mut queue), ["A", "C", "D"]);
    }

    #[test]
    fn an_acknowledgement_names_the_kind_of_stanza() {
        let mut queue = Queue::default();
        queue.push(message("A")).unwrap();
        queue.delivered(1);
        assert_eq!(queue.ack("receipt", "A", |_| true), Acked::Never);
        assert_eq!(queue.ack("message", "A", |_| false), Acked::Never);
        assert_eq!(queue.open().filter(|delivered| delivered.at < 2).count(), 1);
        assert_eq!(queue.ack("message", "A", |_| true), Acked::Now);
        assert_eq!(queue.ack("message", "A", |_| true), Acked::Before);
        assert_eq!(queue.ack("message", "A", |_| false), Acked::Never);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_late_acknowledgement_counts_after_a_reconnect() {
        let mut queue = Queue::default();
        queue.push(message("A")).unwrap();
        queue.delivered(1);
        queue.reconnect();
        assert_eq!(queue.ack("message", "A", |_| true), Acked::Now);
        assert_eq!(queue.waiting_len(), 0);
    }

    #[test]
    fn a_queue_survives_json() {
        let mut queue = Queue::default();
        queue.push(message("A")).unwrap();
        queue.delivered(1);
        queue.push(message("B")).unwrap();
        let mut read: Queue = serde_json::from_slice(&serde_json::to_vec(&queue).unwrap()).unwrap();
        read.reconnect();
        assert_eq!(drain(&mut read), ["A", "B"]);
    }
}
