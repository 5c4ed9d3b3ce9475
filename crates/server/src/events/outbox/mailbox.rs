//! What tells the delivery workers of new deliveries: a box for each worker, with the deliveries themselves as long as there
//! is room.
//!
//! A worker that keeps up is handed what it is to deliver, and reads nothing from the store. Where its box is full, or
//! nobody can say what is new, the box says only that something was missed, and the worker reads the store. So a box can
//! lose nothing, and cannot grow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Due;
use crate::events::endpoints::EndpointId;

/// The most deliveries in one box.
const MAILBOX_MAX: usize = 128;

/// The box of one worker.
#[derive(Default)]
pub(in crate::events) struct Mailbox {
    mail: Mutex<Mail>,
    news: Notify,
}

/// What is in a box.
#[derive(Default)]
pub(in crate::events) struct Mail {
    /// New deliveries with what is to be sent, in the order in which they were logged.
    pub(in crate::events) new: VecDeque<Due>,
    /// There are more, in the store.
    pub(in crate::events) missed: bool,
    /// Somebody wants an endpoint that is left alone to be tried now.
    pub(in crate::events) urgent: bool,
}

/// The boxes of all workers.
#[derive(Default)]
pub(in crate::events) struct Mailboxes {
    boxes: Mutex<HashMap<EndpointId, Arc<Mailbox>>>,
    /// Boxes that no worker has taken.
    untaken: Mutex<Vec<(EndpointId, Arc<Mailbox>)>>,
    news: Notify,
}

impl Mailbox {
    /// Ends when there is news.
    pub(in crate::events) async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether something was missed, and everything has to be read from the store. Afterwards the box is empty.
    pub(in crate::events) fn take_missed(&self) -> bool {
        let mut mail = self.mail();
        if mail.missed {
            mail.new = VecDeque::new();
        }
        std::mem::take(&mut mail.missed)
    }

    /// Whether somebody is in a hurry.
    pub(in crate::events) fn take_urgent(&self) -> bool {
        std::mem::take(&mut self.mail().urgent)
    }

    /// Takes what is new, unless something was missed: that has to be read first.
    pub(in crate::events) fn take_new(&self) -> VecDeque<Due> {
        let mut mail = self.mail();
        match mail.missed {
            true => VecDeque::new(),
            false => std::mem::take(&mut mail.new),
        }
    }

    /// Lets go of everything; returns whether there was something.
    pub(in crate::events) fn empty(&self) -> bool {
        let mut mail = self.mail();
        let was_empty = mail.new.is_empty() && !mail.missed;
        (mail.new, mail.missed) = (VecDeque::new(), false);
        !was_empty
    }

    fn change(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail());
        self.news.notify_one();
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        lock(&self.mail)
    }
}

impl Mailboxes {
    /// Hands a new delivery to the worker of its endpoint.
    pub(in crate::events) fn put(&self, endpoint: &EndpointId, due: Due) {
        self.change(endpoint, |mail| match mail.missed || mail.new.len() >= MAILBOX_MAX {
            true => mail.missed = true,
            false => mail.new.push_back(due),
        });
    }

    /// Tells the worker of an endpoint that there is something to do in the store.
    pub(in crate::events) fn look(&self, endpoint: &EndpointId, urgent: bool) {
        self.change(endpoint, |mail| {
            mail.missed = true;
            mail.urgent |= urgent;
        });
    }

    /// Waits for boxes that no worker has taken, and takes them.
    pub(in crate::events) async fn untaken(&self) -> Vec<(EndpointId, Arc<Mailbox>)> {
        loop {
            let untaken = std::mem::take(&mut *lock(&self.untaken));
            if !untaken.is_empty() {
                return untaken;
            }
            self.news.notified().await;
        }
    }

    /// Gives a box back; `false` where there is something in it, and its worker has to go on.
    pub(in crate::events) fn give_back(&self, endpoint: &EndpointId, mailbox: &Mailbox) -> bool {
        let mut boxes = lock(&self.boxes);
        let mail = mailbox.mail();
        let is_empty = mail.new.is_empty() && !mail.missed && !mail.urgent;
        if is_empty {
            boxes.remove(endpoint);
        }
        is_empty
    }

    fn change(&self, endpoint: &EndpointId, change: impl FnOnce(&mut Mail)) {
        // Changed under the lock of all boxes, so that none is given back with something in it.
        let mut boxes = lock(&self.boxes);
        if let Some(mailbox) = boxes.get(endpoint) {
            return mailbox.change(change);
        }
        let mailbox = Arc::<Mailbox>::default();
        mailbox.change(change);
        boxes.insert(endpoint.clone(), Arc::clone(&mailbox));
        lock(&self.untaken).push((endpoint.clone(), mailbox));
        self.news.notify_one();
    }
}

/// The guarded values are plain data, valid even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
