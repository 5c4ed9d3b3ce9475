//! Follows the log from a place on: what is stored in pages, then what is told live, with no gap and nothing twice.
//!
//! The one way in which websockets, streams and long polls read. A follower that falls behind what is kept in memory reads
//! the store again, so how slow it may be is its own affair; it holds one page. Never filters by who may read what.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use wharf_core::ids::EventId;
use wharf_core::store::{Condition, Query, StoreError, Value};

use super::filter::{Filter, Start};
use super::log::{EVENTS, EventLog, FORGOTTEN, LoggedEvent, place_in, seq_of};
use super::order::Told;

/// What a follower holds in memory at most, beside one event.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Events that are read at a time; a millisecond of the store's time.
const PAGE_EVENTS_MAX: usize = 256;
/// What one answer to [`Follow::page`] has at most, beside one event.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of the log one call of [`Follow::page`] looks through; its caller goes on with the next.
const ANSWER_PAGES_MAX: usize = 64;
/// Pages that are read at the same time, so that readers neither keep appends from their turn nor fill the memory.
pub(super) const READERS_MAX: usize = 4;

/// Why a follower cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The reader names an event that the log does not have; it decides where to start.
    #[error("there is no event {0}: start with after=oldest or newest")]
    UnknownEvent(EventId),
    /// The reader was too slow for what is kept.
    #[error("what comes next is not kept any more: start with after=oldest or newest")]
    Behind,
    /// It may work later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A place in the log, and what comes after it.
pub(crate) struct Follow {
    log: Arc<EventLog>,
    filter: Arc<Filter>,
    /// Everything up to here was read.
    at: i64,
    /// The last event that was read.
    read_to: Option<EventId>,
    /// The last event that was given.
    given: Option<EventId>,
    /// What was read but not given.
    ready: VecDeque<Arc<LoggedEvent>>,
    /// A page that is being read. In a task of its own: a caller who gives up waiting neither has it read again nor keeps
    /// its turn from others. Nobody else wants it, so it ends with this.
    reading: Option<AbortOnDropHandle<Result<Page, StoreError>>>,
    /// What is told after `at`, once everything before it was read.
    live: Option<Receiver<Arc<LoggedEvent>>>,
}

/// A stretch of the log.
struct Page {
    events: Vec<LoggedEvent>,
    /// Everything up to here was looked at.
    end: i64,
    /// The last event in it, wanted or not.
    last: Option<EventId>,
}

impl Follow {
    /// Follows the log from here on.
    pub(crate) async fn new(log: Arc<EventLog>, filter: Filter, start: &Start) -> Result<Self, FollowError> {
        // Before anything is read, so that nothing can come in between.
        let (told, live) = log.order.follow();
        let (at, read_to, live) = match start {
            Start::Oldest => (log.retention.start(), None, None),
            Start::Newest => (told.seq, log.newest(&filter, told.clone()).await?, Some(live)),
            Start::After(id) => (log.place_of(&filter, id).await?, Some(id.clone()), None),
        };
        Ok(Self {
            log,
            filter: Arc::new(filter),
            at,
            given: read_to.clone(),
            read_to,
            ready: VecDeque::new(),
            reading: None,
            live,
        })
    }

    /// Where to go on after what was given: an `after` that finds what comes next, also where nothing was found so far.
    pub(crate) fn cursor(&self) -> &str {
        let last = match self.ready.is_empty() {
            true => &self.read_to,
            false => &self.given,
        };
        last.as_ref().map_or("oldest", EventId::as_str)
    }

    /// The next event. Whoever gives up waiting misses nothing.
    pub(crate) async fn next(&mut self) -> Result<Arc<LoggedEvent>, FollowError> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            if self.read_on().await? {
                continue;
            }
            if let Some(live) = &mut self.live {
                match live.recv().await {
                    Ok(event) => self.hear(event),
                    // Too many came meanwhile: they are in the store.
                    Err(_) => self.live = None,
                }
            }
        }
    }

    /// At most so many of the next events; waits for so long where there are none yet. There may be more behind them, and
    /// where there are none, behind the cursor.
    pub(crate) async fn page(&mut self, limit: usize, wait: Duration) -> Result<Vec<Arc<LoggedEvent>>, FollowError> {
        let mut events = Vec::new();
        self.fill(&mut events, limit).await?;
        let is_at_end = self.live.is_some();
        if events.is_empty()
            && is_at_end
            && let Ok(next) = timeout(wait, self.next()).await
        {
            events.push(next?);
            self.fill(&mut events, limit).await?;
        }
        Ok(events)
    }

    /// Adds what can be had without waiting for new events.
    async fn fill(&mut self, events: &mut Vec<Arc<LoggedEvent>>, limit: usize) -> Result<(), FollowError> {
        let mut bytes: usize = events.iter().map(|event| event.body.len()).sum();
        let mut pages = 0..ANSWER_PAGES_MAX;
        loop {
            while events.len() < limit && bytes < ANSWER_BYTES_MAX {
                let Some(event) = self.take() else {
                    break;
                };
                bytes += event.body.len();
                events.push(event);
            }
            let is_full = events.len() >= limit || bytes >= ANSWER_BYTES_MAX;
            if is_full || pages.next().is_none() || !self.read_on().await? {
                return Ok(());
            }
        }
    }

    fn take(&mut self) -> Option<Arc<LoggedEvent>> {
        let event = self.ready.pop_front()?;
        self.given = Some(event.id.clone());
        Some(event)
    }

    /// Reads what is there. Whether there was anything, wanted or not; otherwise what comes next comes live.
    async fn read_on(&mut self) -> Result<bool, FollowError> {
        let mut heard = 0;
        while let Some(live) = &mut self.live {
            if heard >= PAGE_BYTES_MAX {
                return Ok(true);
            }
            match live.try_recv() {
                Ok(event) => {
                    heard += event.body.len();
                    self.hear(event);
                }
                Err(TryRecvError::Empty) => return Ok(heard > 0),
                // Too many came meanwhile: they are in the store.
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => self.live = None,
            }
        }
        if self.reading.is_none() {
            let (told, live) = self.log.order.follow();
            if self.at >= told.seq {
                self.live = Some(live);
                return Ok(heard > 0);
            }
            let (log, filter, at) = (Arc::clone(&self.log), Arc::clone(&self.filter), self.at);
            let reading = self.log.readings.spawn(log.read_in_turn(filter, at, told.seq));
            self.reading = Some(AbortOnDropHandle::new(reading));
        }
        if let Some(reading) = &mut self.reading {
            let page = reading.await;
            self.reading = None;
            let page = page.map_err(|error| StoreError::Internal(error.into()))??;
            if self.log.retention.has_removed_behind(self.at) {
                return Err(FollowError::Behind);
            }
            self.at = page.end;
            self.read_to = page.last.or(self.read_to.take());
            self.ready.extend(page.events.into_iter().map(Arc::new));
        }
        Ok(true)
    }

    fn hear(&mut self, event: Arc<LoggedEvent>) {
        // Webhooks get events before they are told, so a reader may know one that is told only now.
        if event.seq <= self.at {
            return;
        }
        self.at = event.seq;
        if self.filter.is_of_session(&event) {
            self.read_to = Some(event.id.clone());
        }
        if self.filter.wants(&event) {
            self.ready.push_back(event);
        }
    }
}

impl EventLog {
    /// The place of an event that a reader was told.
    async fn place_of(&self, filter: &Filter, id: &EventId) -> Result<i64, FollowError> {
        let unknown = || FollowError::UnknownEvent(id.clone());
        match self.get(id).await? {
            // Of another session's events a confined reader must not even learn that they are there.
            Some(event) if filter.is_confined && !filter.is_of_session(&event) => Err(unknown()),
            Some(event) => Ok(event.seq),
            None if filter.is_confined => Err(unknown()),
            None => {
                let forgotten = self.store.get(&FORGOTTEN, id.as_str()).await?;
                forgotten.as_ref().and_then(seq_of).ok_or_else(unknown)
            }
        }
    }

    /// The newest event that a reader with this filter may be told of.
    async fn newest(&self, filter: &Filter, told: Told) -> Result<Option<EventId>, StoreError> {
        if filter.session.is_none() {
            return Ok(told.newest);
        }
        let (field, conditions) = stretch(filter, 0, told.seq);
        let mut query = Query::all().descending(field).limit(1);
        query.conditions = conditions;
        let newest = self.store.find(&EVENTS, query).await?.documents;
        Ok(newest.first().and_then(|document| document.id.parse().ok()))
    }

    /// Reads a page when its turn comes. Whoever gives up leaves the queue, but a turn lasts as long as the store is busy with
    /// it: else those who come and go would ask more of the store than there are turns.
    async fn read_in_turn(self: Arc<Self>, filter: Arc<Filter>, after: i64, end: i64) -> Result<Page, StoreError> {
        // Never closed.
        let turn = Arc::clone(&self.readers).acquire_owned().await;
        let log = Arc::clone(&self);
        let reading = self.readings.spawn(async move {
            let _turn = turn;
            log.read_page(&filter, after, end).await
        });
        reading.await.map_err(|error| StoreError::Internal(error.into()))?
    }

    /// Reads on behind `after`, as far as `end` or a page.
    async fn read_page(&self, filter: &Filter, after: i64, end: i64) -> Result<Page, StoreError> {
        let (field, conditions) = stretch(filter, after + 1, end);
        let mut query = Query::all().ascending(field).limit(PAGE_EVENTS_MAX);
        query.conditions = conditions;
        let found = self.store.find(&EVENTS, query).await?;
        let mut documents = found.documents.into_iter();
        let (mut events, mut bytes, mut looked_to, mut last) = (Vec::new(), 0, after, None);
        while bytes < PAGE_BYTES_MAX
            && let Some(document) = documents.next()
        {
            looked_to = seq_of(&document).unwrap_or(looked_to);
            last = document.id.parse().ok().or(last);
            if let Some(event) = LoggedEvent::read(document).filter(|event| filter.wants(event)) {
                bytes += event.body.len();
                events.push(event);
            }
        }
        let is_all = found.next.is_none() && documents.len() == 0;
        let end = if is_all { end } else { looked_to };
        Ok(Page { events, end, last })
    }
}

/// The field and the conditions that find a session's events, or all, from one place to another.
fn stretch(filter: &Filter, from: i64, to: i64) -> (&'static str, Vec<Condition>) {
    let (field, from, to): (_, Value, Value) = match &filter.session {
        None => ("seq", from.into(), to.into()),
        Some(session) => (
            "in_session",
            place_in(session, from).into(),
            place_in(session, to).into(),
        ),
    };
    (
        field,
        vec![Condition::AtLeast(field, from), Condition::AtMost(field, to)],
    )
}

#[cfg(test)]
pub(super) mod tests;
