//! The messages that left and that WhatsApp has not acknowledged yet.
//!
//! The library handles acks and receipts in tasks of their own, so a recipient's receipt may overtake the server's ack.
//! Who gets a receipt of a message in this list knows that the server has it, and says so first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How many are remembered; the oldest are forgotten. Acks take milliseconds.
const UNACKNOWLEDGED_MAX: usize = 1_000;

/// Ids of messages, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Unacknowledged(Mutex<VecDeque<String>>);

impl Unacknowledged {
    /// A message is about to leave.
    pub(crate) fn add(&self, id: &str) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= UNACKNOWLEDGED_MAX {
            ids.pop_front();
        }
        ids.push_back(id.to_owned());
    }

    /// WhatsApp has a message, or it did not leave. Answers whether that was not known yet.
    pub(crate) fn take(&self, id: &str) -> bool {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ids.iter().position(|known| known == id);
        found.and_then(|at| ids.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_acknowledged_once() {
        let sent = Unacknowledged::default();
        sent.add("A");
        assert!(sent.take("A"));
        assert!(!sent.take("A"));
        assert!(!sent.take("B"));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let sent = Unacknowledged::default();
        for number in 0..=UNACKNOWLEDGED_MAX {
            sent.add(&number.to_string());
        }
        assert!(!sent.take("0"));
        assert!(sent.take("1"));
    }
}
