//! How far back the log goes: removes events, with their deliveries, that are too old or too many.
//!
//! Removes in steps, between which appends have their turn. What is removed leaves room in the database's file that is
//! used again; the file does not get smaller, which would take writing all of it anew. Size gives way to what is still
//! to be delivered, because a webhook gets each event until it succeeds or is given up; age does not.
//!
//! The keeper also finds out what became of appends of which nobody knows whether they were written.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wharf_core::ids::{EventId, SessionName};
use wharf_core::store::{Batch, Condition, Document, Query, StoreError, Value};

use super::endpoints::Endpoints;
use super::log::{EVENTS, EventLog, FORGOTTEN, LoggedEvent, place_in, seq_of};
use super::order::Unsettled;
use super::outbox;
use crate::config::EventsConfig;

/// How often the log is swept at least.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// The log is also swept whenever it has grown by this part of its size.
const SWEEP_GROWTH_PART: i64 = 16;
/// Events, or deliveries, that are removed at a time; ten milliseconds of the store's time.
const STEP_EVENTS: usize = 128;
/// The wait after the store failed.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What is kept of the log.
pub(super) struct Retention {
    kept_for: SignedDuration,
    bytes_max: i64,
    /// The last place that was removed.
    removed: AtomicI64,
    /// The end of the log when it was swept last.
    swept: AtomicI64,
    grown: Notify,
}

impl Retention {
    pub(super) fn new(config: &EventsConfig) -> Self {
        Self {
            kept_for: config.kept_for,
            bytes_max: i64::try_from(config.bytes_max).unwrap_or(i64::MAX),
            removed: AtomicI64::new(0),
            swept: AtomicI64::new(0),
            grown: Notify::new(),
        }
    }

    /// The log ends here now.
    pub(super) fn note_growth(&self, end: i64) {
        if end - self.swept.load(Ordering::Relaxed) > self.bytes_max / SWEEP_GROWTH_PART {
            self.swept.store(end, Ordering::Relaxed);
            self.grown.notify_one();
        }
    }

    /// Whether events behind this place may have been removed, so that who was told up to it has missed them.
    pub(super) fn has_removed_behind(&self, seq: i64) -> bool {
        self.removed.load(Ordering::Acquire) > seq
    }

    /// The place before the first event that is kept.
    pub(super) fn start(&self) -> i64 {
        self.removed.load(Ordering::Acquire)
    }
}

/// Keeps the log in order.
pub(crate) struct Keeper {
    log: Arc<EventLog>,
    unsettled: mpsc::UnboundedReceiver<Unsettled>,
}

impl Keeper {
    pub(super) fn new(log: Arc<EventLog>, unsettled: mpsc::UnboundedReceiver<Unsettled>) -> Self {
        Self { log, unsettled }
    }

    /// Works until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { log, unsettled } = self;
        let work = async { tokio::join!(log.look_up_on(unsettled), log.sweep_on()) };
        stop.run_until_cancelled(work).await;
    }
}

impl EventLog {
    /// Removes a session's deliveries and events step by step, the last of them with `along` in the same batch.
    pub(crate) async fn forget(&self, session: &SessionName, along: Batch) -> Result<(), StoreError> {
        // First: no delivery is left without its event.
        self.outbox().forget_most(session, STEP_EVENTS).await?;
        let up_to = |last: Value| {
            let first = place_in(session, 0).into();
            vec![
                Condition::AtLeast("in_session", first),
                Condition::AtMost("in_session", last),
            ]
        };
        let all = up_to(place_in(session, i64::MAX).into());
        loop {
            let mut query = Query::all().ascending("in_session").limit(STEP_EVENTS);
            query.conditions.clone_from(&all);
            let page = self.store.find(&EVENTS, query).await?;
            let step = page.documents.iter().fold(Batch::new(), |batch, document| {
                let gone = Document::new(&document.id, "").with("seq", seq_of(document).unwrap_or_default());
                batch.put(&FORGOTTEN, gone)
            });
            let last = page.documents.last().and_then(|document| document.field("in_session"));
            let (Some(_), Some(last)) = (page.next, last) else {
                let rest = Endpoints::remove(outbox::forget(step, session), session).delete_where(&EVENTS, all);
                self.store.write(rest.and(along)).await?;
                break;
            };
            self.store
                .write(step.delete_where(&EVENTS, up_to(last.clone())))
                .await?;
        }
        self.endpoints().forget(session);
        Ok(())
    }

    async fn sweep_on(&self) {
        loop {
            self.retention.swept.store(self.order.told().seq, Ordering::Relaxed);
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "old events could not be removed");
            }
            let again_at = self.clock.now().saturating_add(SWEEP_EVERY);
            tokio::select! {
                () = self.clock.sleep_until(again_at.unwrap_or(Timestamp::MAX)) => {}
                () = self.retention.grown.notified() => {}
            }
        }
    }

    /// Removes what is too old or too much, step by step.
    async fn sweep(&self) -> Result<(), StoreError> {
        loop {
            let query = Query::all().ascending("seq").limit(STEP_EVENTS);
            let oldest = self.store.find(&EVENTS, query).await?.documents;
            let count = oldest.len();
            let removed = self.to_be_removed(oldest).await?;
            let Some(end) = removed.last().copied() else {
                return Ok(());
            };
            // First: who reads what is about to be removed must find out that it was.
            self.retention.removed.fetch_max(end, Ordering::AcqRel);
            let up_to_end = vec![Condition::AtMost("seq", end.into())];
            let batch = outbox::remove(Batch::new(), end).delete_where(&FORGOTTEN, up_to_end.clone());
            let batch = batch.delete_where(&EVENTS, up_to_end);
            self.store.write(batch).await?;
            if removed.len() < count {
                return Ok(());
            }
        }
    }

    /// The places of those among the oldest events that are to be removed.
    async fn to_be_removed(&self, oldest: Vec<Document>) -> Result<Vec<i64>, StoreError> {
        let kept_since = self.clock.now().checked_sub(self.retention.kept_for);
        let kept_since = kept_since.unwrap_or(Timestamp::MIN);
        let too_much = self.order.told().seq - self.retention.bytes_max;
        let mut events = Vec::with_capacity(oldest.len());
        for document in oldest {
            let seq = seq_of(&document).unwrap_or_default();
            // What cannot be read is of no use to anybody.
            let is_old = LoggedEvent::read(document).is_none_or(|event| event.at < kept_since);
            events.push((seq, is_old));
        }
        let surplus = events.iter().filter(|(seq, is_old)| !is_old && *seq <= too_much);
        let mut surplus = surplus.map(|(seq, _)| *seq);
        let awaited = match (surplus.next(), surplus.next_back()) {
            (None, _) => HashSet::new(),
            (Some(first), last) => self.outbox().awaited(first..=last.unwrap_or(first)).await?,
        };
        let goes = |(seq, is_old): &(i64, bool)| *is_old || (*seq <= too_much && !awaited.contains(seq));
        Ok(events.into_iter().take_while(goes).map(|(seq, _)| seq).collect())
    }

    /// Finds out what became of appends that nobody waited for, or whose write failed half-way.
    async fn look_up_on(&self, mut unsettled: mpsc::UnboundedReceiver<Unsettled>) {
        while let Some(append) = unsettled.recv().await {
            let written = loop {
                match self.written_of(&append.events).await {
                    Ok(written) => break written,
                    Err(error) => tracing::warn!(%error, "it cannot be found out whether events were logged"),
                }
                sleep(STORE_RETRY_DELAY).await;
            };
            // Whoever appended them did not live to hand their deliveries over.
            for event in &written {
                for endpoint in self.endpoints().wanting(&event.session, event.name) {
                    self.outbox().mailboxes.look(&endpoint.id, false);
                }
            }
            self.order.settle(&append, written);
        }
    }

    /// Those of these events that are in the log at just these places, in their order. In another place it is one that
    /// somebody else has logged.
    async fn written_of(&self, events: &[(EventId, i64)]) -> Result<Vec<LoggedEvent>, StoreError> {
        let ids: Vec<String> = events.iter().map(|(id, _)| id.to_string()).collect();
        let found = self.store.get_many(&EVENTS, &ids).await?.into_iter();
        let mut written: Vec<_> = found.filter_map(LoggedEvent::read).collect();
        written.retain(|found| events.iter().any(|(id, seq)| (id, *seq) == (&found.id, found.seq)));
        written.sort_by_key(|event| event.seq);
        Ok(written)
    }
}
