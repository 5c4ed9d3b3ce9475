//! Takes in what a connection reports: keeps messages, raises acks, appends events, and passes on the rest.
//!
//! The order is what makes it safe (each step can be repeated with the same result): the message with the engine's marks
//! in the session's store, then the event with its deliveries in the log, then the engine may tell WhatsApp. Never calls
//! the engine: it is called from inside it. What nobody waits for is kept in [`records`], what becomes of a message after it was
//! kept is in [`acks`] and [`changes`], the events of messages in [`telling`].

mod acks;
mod changes;
mod records;
mod telling;
mod together;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wharf_core::engine::{Inbox, Signal};
use wharf_core::ids::{ChatId, SessionName};
use wharf_core::message::{Message, MessageKind, Source};
use wharf_core::store::{Batch, Store, StoreError};

use super::config::IgnoreConfig;
use super::connection::{GivenId, SendError};
use super::counters::Counters;
use super::messages;
use super::state::View;
use crate::events::{EventLog, EventSource};
use crate::media::SessionJobs;
pub(super) use acks::may_be_in;
pub(super) use records::Record;
use together::Wanted;

/// What a connection reports to.
pub(crate) struct SessionInbox {
    name: SessionName,
    store: Arc<dyn Store>,
    events: Arc<EventLog>,
    /// What fetches the files of messages.
    jobs: Arc<SessionJobs>,
    view: watch::Receiver<View>,
    /// One commit at a time, so that events are logged in the order in which messages were kept.
    turn: tokio::sync::Mutex<()>,
    /// What waits for its turn, in that order.
    waiting: Mutex<Vec<Arc<Wanted>>>,
    /// Unbounded because [`Inbox::signal`] may neither wait nor lose anything; a signal is small, and the engine makes
    /// few of them.
    lifecycle: mpsc::UnboundedSender<Signal>,
    /// As above; what arrives here was sent by WhatsApp stanza by stanza, and is kept as fast as the store can.
    records: Mutex<Option<mpsc::UnboundedSender<Record>>>,
    /// Sends under way.
    outgoing: Mutex<Vec<Arc<acks::Sending>>>,
    /// Whether something was not kept, or was kept and not told.
    has_failed: AtomicBool,
    /// When the commits began that are not finished.
    commits: Mutex<Vec<Instant>>,
    born: Instant,
    /// The last stanza, in milliseconds since `born`.
    alive_ms: AtomicU64,
    counters: Arc<Counters>,
    /// Which chats are neither kept nor told.
    ignore: IgnoreConfig,
}

/// A message on its way into the store and the log.
#[derive(Clone)]
struct Received {
    message: Message,
    is_reduced: bool,
}

impl Received {
    fn whole(message: Message) -> Self {
        Self {
            message,
            is_reduced: false,
        }
    }

    fn reduced(self) -> Self {
        Self {
            message: messages::reduced(self.message),
            is_reduced: true,
        }
    }
}

/// The receiving ends of an inbox.
pub(super) struct Reports {
    /// For the supervisor.
    pub(super) lifecycle: mpsc::UnboundedReceiver<Signal>,
    /// For [`SessionInbox::keep_records`].
    pub(super) records: mpsc::UnboundedReceiver<Record>,
}

impl SessionInbox {
    /// The inbox of a new connection.
    pub(super) fn new(
        name: SessionName,
        store: Arc<dyn Store>,
        events: Arc<EventLog>,
        jobs: Arc<SessionJobs>,
        view: watch::Receiver<View>,
        counters: Arc<Counters>,
        ignore: IgnoreConfig,
    ) -> (Arc<Self>, Reports) {
        let (lifecycle, lifecycle_receiver) = mpsc::unbounded_channel();
        let (records, records_receiver) = mpsc::unbounded_channel();
        let inbox = Self {
            name,
            store,
            events,
            jobs,
            view,
            turn: tokio::sync::Mutex::new(()),
            waiting: Mutex::default(),
            lifecycle,
            records: Mutex::new(Some(records)),
            outgoing: Mutex::default(),
            has_failed: AtomicBool::new(false),
            commits: Mutex::default(),
            born: Instant::now(),
            alive_ms: AtomicU64::new(0),
            counters,
            ignore,
        };
        let reports = Reports {
            lifecycle: lifecycle_receiver,
            records: records_receiver,
        };
        (Arc::new(inbox), reports)
    }

    /// Ignore rules are about what is received, also from the account's other devices; what was sent through the API is
    /// always kept, because its caller waits for its acks.
    fn ignores(&self, message: &Message) -> bool {
        message.source != Source::Api && self.ignore.covers(&message.id.chat)
    }

    /// The session's store.
    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Since when the connection gets nowhere: since its last stanza, or since its oldest commit that is not finished.
    /// Stanzas go on coming while one that cannot be kept holds up its whole chat.
    pub(super) fn stalled_since(&self) -> Instant {
        let alive = self.born + Duration::from_millis(self.alive_ms.load(Ordering::Relaxed));
        lock(&self.commits).iter().copied().fold(alive, Instant::min)
    }

    fn begin_commit(&self) -> Committing<'_> {
        let since = Instant::now();
        lock(&self.commits).push(since);
        Committing { inbox: self, since }
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        match batch.is_empty() {
            true => Ok(()),
            false => self.store.write(batch).await,
        }
    }

    /// Keeps and tells what the session does not ignore. `marks` are written with the messages, `last` when all is told.
    async fn keep(&self, messages: Vec<Message>, marks: Batch, last: Batch) -> Result<(), StoreError> {
        let _committing = self.begin_commit();
        let told = messages
            .into_iter()
            .filter(|message| message.kind != MessageKind::Control && !self.ignores(message))
            .map(Received::whole)
            .collect();
        let kept = self.keep_in_turn(told, marks, last).await;
        kept.inspect_err(|_| self.has_failed.store(true, Ordering::Release))
    }

    /// Keeps messages and marks, then logs the events, then keeps what changes make of what is kept. Can be repeated.
    async fn take_in(&self, told: &mut [Received], marks: Batch) -> Result<(), StoreError> {
        // Nearly all are new, so they are not looked for first.
        let are_new = match self.keep_new(told, marks.clone()).await {
            Err(StoreError::Conflict { .. }) => {
                self.keep_unknown(told, marks).await?;
                false
            }
            outcome => outcome.map(|()| true)?,
        };
        if let Some(newest) = told.iter().map(|received| received.message.timestamp).max() {
            self.counters.active(newest);
        }
        let targets = self.targets(told).await?;
        self.tell(told, &targets, are_new).await?;
        self.take_effect(told, targets).await
    }

    async fn keep_new(&self, told: &[Received], marks: Batch) -> Result<(), StoreError> {
        let contents = told.iter().filter(|received| received.change().is_none());
        let mut messages = contents.map(|received| &received.message);
        self.write(messages.try_fold(marks, messages::keep_new)?).await
    }

    /// What is known keeps its ack and its unread mark; only its events are made sure of.
    async fn keep_unknown(&self, told: &mut [Received], marks: Batch) -> Result<(), StoreError> {
        let mut known: HashMap<String, Timestamp> = HashMap::new();
        let mut batch = marks;
        let contents = told.iter_mut().filter(|received| received.change().is_none());
        let contents: Vec<&mut Message> = contents.map(|received| &mut received.message).collect();
        let stanzas: Vec<_> = contents.iter().map(|message| message.stanza.clone()).collect();
        for stored in messages::known(self.store(), &stanzas).await? {
            known.insert(stored.message.stanza, stored.message.timestamp);
        }
        for message in contents {
            match known.entry(message.stanza.clone()) {
                // A repetition may carry another time, but it is the same event.
                Entry::Occupied(entry) => message.timestamp = *entry.get(),
                Entry::Vacant(entry) => {
                    entry.insert(message.timestamp);
                    batch = messages::keep(batch, message)?;
                }
            }
        }
        self.write(batch).await
    }

    /// Takes in messages of which at least one can never be stored as it is: that one in a reduced form, because
    /// WhatsApp would send it again for ever and nothing behind it would arrive.
    async fn take_in_one_by_one(&self, told: Vec<Received>, marks: Batch) -> Result<(), StoreError> {
        let mut refused = None;
        for mut received in told {
            let error = match self.take_in(std::slice::from_mut(&mut received), Batch::new()).await {
                Err(StoreError::Internal(error)) => error,
                outcome => {
                    outcome?;
                    continue;
                }
            };
            let id = &received.message.id;
            self.counters.all.reduced.inc();
            tracing::error!(session = %self.name, %id, error = error.as_ref(), "a message is kept without most of it");
            received = received.reduced();
            match self.take_in(std::slice::from_mut(&mut received), Batch::new()).await {
                Err(StoreError::Internal(error)) => {
                    let id = &received.message.id;
                    tracing::error!(session = %self.name, %id, error = error.as_ref(), "a message cannot be kept at all");
                    refused = Some(StoreError::Internal(error));
                }
                outcome => outcome?,
            }
        }
        match (marks.is_empty(), refused) {
            // Without marks to write nothing shows that the store works, so it may not be the message's fault.
            (true, Some(error)) => Err(error),
            _ => self.take_in(&mut [], marks).await,
        }
    }

    /// Keeps and tells what was sent, with the answer to who sent it.
    pub(super) async fn keep_sent(&self, message: Message, answer: Batch) -> Result<(), StoreError> {
        match message.kind {
            MessageKind::Content => self.keep(vec![message], answer, Batch::new()).await,
            // It is not kept itself, so whoever repeats the request has it sent again, and told of, until it was told of.
            MessageKind::Change(_) | MessageKind::Control => self.keep(vec![message], Batch::new(), answer).await,
        }
    }

    /// A message as answers have it.
    pub(super) fn rendered(&self, message: &Message) -> Result<Box<RawValue>, StoreError> {
        let payload = self.jobs.rendering().without_files(message);
        to_raw_value(&payload).map_err(|error| StoreError::Internal(error.into()))
    }

    /// A send was asked for again. One of an earlier connection may not have been told of, because of a crash; and one of
    /// this connection, because the log has failed.
    pub(super) async fn repeated(&self, stanza: &str, is_older: bool) -> Result<(), StoreError> {
        self.counters.all.repeated.inc();
        if !is_older && !self.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let kept = messages::known(self.store(), &[stanza.to_owned()]).await?;
        let messages = kept.into_iter().map(|stored| stored.message).collect();
        self.commit(messages, Batch::new()).await
    }

    /// Makes sure that no message of ours in the same chat has this id: WhatsApp would take the new one for the old one.
    pub(super) async fn check_unused(&self, given: &GivenId) -> Result<(), SendError> {
        let Some(chat) = &given.chat else { return Ok(()) };
        let with_id = messages::with_own_ids(self.store(), std::slice::from_ref(&given.id)).await?;
        let mut ids = with_id.iter().map(|stored| &stored.message.id);
        match ids.any(|id| id.from_me && acks::may_be_in(&id.chat, chat)) {
            true => Err(SendError::IdUsed(given.id.clone())),
            false => Ok(()),
        }
    }

    fn source(&self) -> EventSource {
        let view = self.view.borrow();
        EventSource {
            session: self.name.clone(),
            config: Arc::clone(&view.config),
            me: view.me.clone(),
        }
    }
}

/// A commit that is not finished.
struct Committing<'a> {
    inbox: &'a SessionInbox,
    since: Instant,
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        let mut commits = lock(&self.inbox.commits);
        if let Some(place) = commits.iter().position(|since| *since == self.since) {
            commits.swap_remove(place);
        }
    }
}

#[async_trait]
impl Inbox for SessionInbox {
    async fn commit(&self, messages: Vec<Message>, marks: Batch) -> Result<(), StoreError> {
        self.keep(messages, marks, Batch::new()).await
    }

    async fn find(&self, chat: &ChatId, id: &str) -> Result<Vec<Message>, StoreError> {
        self.sent(chat, id).await;
        let found = messages::with_own_ids(self.store(), &[id.to_owned()]).await?;
        let messages = found.into_iter().map(|stored| stored.message);
        Ok(messages.filter(|message| message.id.chat == *chat).collect())
    }

    fn signal(&self, signal: Signal) {
        match signal {
            // Nothing else is proof of a stanza: the other signals also come where nothing is heard.
            Signal::Alive => {
                let alive = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.alive_ms.store(alive, Ordering::Relaxed);
            }
            Signal::Ack(update) => self.record(Record::Ack(update)),
            Signal::Message { message, marks } => self.record(Record::Message(message, marks)),
            Signal::Waiting { message, marks } => self.record(Record::Waiting(message, marks)),
            Signal::AskedAgain { id } => {
                self.counters.all.asked_again.inc();
                tracing::warn!(session = %self.name, id, "a message was lost and is asked for again");
            }
            signal => {
                // Fails only when the supervisor has let go of this connection.
                let _ = self.lifecycle.send(signal);
            }
        }
    }
}

/// The guarded values are plain data, valid even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
