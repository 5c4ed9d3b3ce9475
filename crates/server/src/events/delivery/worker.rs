//! Serves one endpoint for as long as it has something to do.
//!
//! A worker that keeps up is handed new deliveries by its mailbox and reads nothing. It reads the store where it was not
//! handed everything, where retries become due, and while its endpoint is down, when it holds next to nothing in memory.
//! What came of attempts is noted in batches, while the next ones are under way.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use reqwest::StatusCode;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wharf_core::clock::Clock;
use wharf_core::store::{Cursor, StoreError};

use super::breaker::{Breaker, HOLD_MAX};
use super::lanes::Lanes;
use super::{Attempted, Delivery, STORE_RETRY_DELAY, later};
use crate::events::endpoints::{Disabled, Endpoint, EndpointId};
use crate::events::outbox::{Attempt, Due, Fate, Mailbox, Noted, Written};
use crate::events::retry::Schedule;

/// Due deliveries that are read at a time.
const PAGE_DELIVERIES: usize = 128;
/// Due deliveries that are held in memory while their chats are busy.
const WAITING_MAX: usize = 1_024;
/// Attempts whose outcome is not noted yet; there are no more requests until it is.
const UNNOTED_MAX: usize = 512;
/// How long a worker with nothing to do waits for something.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Serves one endpoint. A panic must not end its deliveries until the next start.
pub(super) async fn run(delivery: Arc<Delivery>, id: EndpointId, mailbox: Arc<Mailbox>, stop: CancellationToken) {
    loop {
        // Makes the webhook of all sessions known, where it is that.
        id.session().map(|session| delivery.log.endpoints().of(&session));
        let worker = Worker::new(&delivery, &id, &mailbox, &stop);
        match AssertUnwindSafe(worker.serve()).catch_unwind().await {
            Ok(()) => return,
            Err(_) => tracing::error!(endpoint = %id, "a delivery worker panicked, it begins anew"),
        }
        sleep(STORE_RETRY_DELAY).await;
    }
}

struct Worker<'a> {
    delivery: &'a Delivery,
    id: &'a EndpointId,
    mailbox: &'a Mailbox,
    stop: &'a CancellationToken,
    breaker: Breaker,
    /// Whether the last request failed, for those that wait for their turn.
    is_failing: Arc<AtomicBool>,
    lanes: Lanes,
    /// The places in the log of everything in memory, until what came of it is noted.
    known: HashSet<i64>,
    /// What came of attempts, to be noted.
    unnoted: Vec<Noted>,
    /// Where to read on in the store; from the first where it is `None`.
    read_to: Option<Cursor>,
    /// Whether there may be more to read.
    has_more: bool,
    /// The newest place in the log that was read from the store.
    newest: i64,
    /// When the next retry is due, as far as is known; nothing is due before that once everything was read.
    next_due: Option<Timestamp>,
    /// Until when the store is left alone, because it failed.
    pause: Option<Timestamp>,
}

impl<'a> Worker<'a> {
    fn new(delivery: &'a Delivery, id: &'a EndpointId, mailbox: &'a Mailbox, stop: &'a CancellationToken) -> Self {
        Self {
            delivery,
            id,
            mailbox,
            stop,
            breaker: Breaker::new(delivery.config.endpoint_requests_max),
            is_failing: Arc::default(),
            lanes: Lanes::default(),
            known: HashSet::new(),
            unnoted: Vec::new(),
            read_to: None,
            has_more: true,
            newest: i64::MIN,
            next_due: None,
            pause: None,
        }
    }

    async fn serve(mut self) {
        let (delivery, stop) = (self.delivery, self.stop);
        let mut attempts = FuturesUnordered::new();
        let mut noting: OptionFuture<BoxFuture<'_, (Vec<Noted>, Written)>> = None.into();
        let mut is_noting = false;
        while !stop.is_cancelled() {
            if let Some(endpoint) = self.prepare(attempts.len()).await {
                while self.has_room(attempts.len())
                    && let Some(due) = self.lanes.take()
                {
                    attempts.push(delivery.attempt(Arc::clone(&endpoint), due, Arc::clone(&self.is_failing)));
                }
            }
            if !is_noting && !self.unnoted.is_empty() {
                let unnoted = std::mem::take(&mut self.unnoted);
                noting = Some(delivery.note(unnoted, stop).boxed()).into();
                is_noting = true;
            }
            let is_idle = attempts.is_empty() && !is_noting;
            let wake_at = self.wake_at();
            if is_idle && wake_at.is_none() {
                match self.is_over().await {
                    true => return,
                    false => continue,
                }
            }
            tokio::select! {
                Some(attempted) = attempts.next() => {
                    self.finish(attempted).await;
                    while let Some(Some(attempted)) = attempts.next().now_or_never() {
                        self.finish(attempted).await;
                    }
                }
                Some((noted, outcome)) = &mut noting, if is_noting => {
                    self.forget(&noted);
                    if outcome == Written::InPart {
                        // Somebody asked for a replay meanwhile.
                        self.read_anew();
                    }
                    is_noting = false;
                }
                () = self.mailbox.news() => {}
                () = until(delivery.clock.as_ref(), wake_at) => {}
                () = stop.cancelled() => {}
            }
        }
        while let Some(attempted) = attempts.next().await {
            self.finish(attempted).await;
        }
        if is_noting {
            noting.await;
        }
        delivery.note(self.unnoted, stop).await;
    }

    /// Sees to it that there is something to post, where there is. Returns the endpoint to post to.
    async fn prepare(&mut self, under_way: usize) -> Option<Arc<Endpoint>> {
        let now = self.now();
        if self.mailbox.take_urgent() {
            self.breaker.release();
        }
        if self
            .pause
            .is_some_and(|pause| pause > now && pause <= later(now, STORE_RETRY_DELAY))
        {
            return None;
        }
        self.pause = None;
        // Once it is past it is nothing to wait for, also where nothing can be read now.
        if self.next_due.is_some_and(|due| due <= now) {
            self.next_due = None;
            self.read_anew();
        }
        let endpoint = self.delivery.log.endpoints().get(self.id);
        let disabled = endpoint.as_ref().map(|endpoint| endpoint.disabled.as_ref());
        let read = match (&endpoint, disabled) {
            (None, _) | (_, None) => self.bury("there is no such webhook any more").await,
            (_, Some(Some(disabled))) => self.bury(&disabled.why).await,
            (Some(endpoint), _) if self.breaker.is_open() => self.find_probe(endpoint, under_way).await,
            _ => self.refill().await,
        };
        if let Err(error) = read {
            tracing::error!(endpoint = %self.id, %error, "the outbox cannot be read");
            self.pause = Some(later(now, STORE_RETRY_DELAY));
            self.read_anew();
        }
        endpoint.filter(|endpoint| endpoint.disabled.is_none())
    }

    /// Takes what is new, and reads what is not known. Reads as far as it takes to find a chat that is not busy, so that one
    /// with many deliveries does not hide the others.
    async fn refill(&mut self) -> Result<(), StoreError> {
        if self.mailbox.take_missed() {
            self.read_anew();
        }
        loop {
            // Each turn reads behind the one before, so that it ends however much is known already.
            while self.has_more && self.lanes.is_stuck() && self.lanes.len() < WAITING_MAX {
                let page = self.read_page(self.now()).await?;
                self.take_in(page).await?;
            }
            if self.has_more || self.take_new() {
                return Ok(());
            }
        }
    }

    /// Takes what is new out of the mailbox; `false` where the store has to be read first.
    fn take_new(&mut self) -> bool {
        for due in self.mailbox.take_new() {
            if self.known.contains(&due.seq()) {
                continue;
            }
            if due.seq() <= self.newest {
                // It may have been delivered since it was read, or was logged too late for that: the store knows.
                self.mailbox.empty();
                self.read_anew();
                return false;
            }
            self.known.insert(due.seq());
            self.lanes.push(due);
        }
        true
    }

    /// While the endpoint is down: finds one delivery to try it with, once it is time, and gives up those that have waited
    /// for longer than all their retries take.
    async fn find_probe(&mut self, endpoint: &Endpoint, under_way: usize) -> Result<(), StoreError> {
        self.let_go();
        let now = self.now();
        if under_way > 0 || self.breaker.room(now, under_way) == 0 {
            return Ok(());
        }
        self.read_anew();
        let lasts = self.schedule(endpoint).lasts();
        while self.has_more && self.unnoted.len() < UNNOTED_MAX {
            for due in self.read_page(now).await? {
                // Not the time before: nobody tried while the server was off.
                let since = self
                    .breaker
                    .open_since()
                    .map_or(due.since(), |open| open.max(due.since()));
                if later(since, lasts) <= now {
                    let why = format!(
                        "not tried: the receiver has failed {} times in a row",
                        self.breaker.row()
                    );
                    self.give_up(due, &why);
                    continue;
                }
                // The rest of the page is read again when it is its turn.
                self.read_anew();
                return self.take_in(vec![due]).await;
            }
        }
        Ok(())
    }

    /// Gives up everything that is due, now or later.
    async fn bury(&mut self, why: &str) -> Result<(), StoreError> {
        self.let_go();
        if self.next_due.take().is_some() {
            // Nothing is waited for any more, and what would have been is still to be given up.
            self.read_anew();
        }
        while self.has_more && self.unnoted.len() < UNNOTED_MAX {
            for due in self.read_page(Timestamp::MAX).await? {
                self.give_up(due, why);
            }
        }
        Ok(())
    }

    fn give_up(&mut self, mut due: Due, why: &str) {
        self.known.insert(due.seq());
        due.note(Attempt::not_made(self.now(), why));
        self.noted(due, Fate::Dead);
    }

    /// A page of the due deliveries that are not known.
    async fn read_page(&mut self, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        let outbox = self.delivery.outbox();
        let page = outbox.due(self.id, now, self.read_to.clone(), PAGE_DELIVERIES).await?;
        if !page.has_more {
            self.next_due = outbox.next_due(self.id, now).await?;
        }
        self.has_more = page.has_more;
        if page.end.is_some() {
            self.read_to = page.end;
        }
        let mut deliveries = page.deliveries;
        for due in &deliveries {
            self.newest = self.newest.max(due.seq());
        }
        deliveries.retain(|due| !self.known.contains(&due.seq()));
        Ok(deliveries)
    }

    /// Reads what is to be sent, and puts the deliveries into their lanes.
    async fn take_in(&mut self, deliveries: Vec<Due>) -> Result<(), StoreError> {
        let events: Vec<_> = deliveries.iter().map(|due| due.event().as_str().to_owned()).collect();
        let bodies = self.delivery.log.bodies(&events).await?;
        for mut due in deliveries {
            self.known.insert(due.seq());
            match bodies.get(due.event().as_str()) {
                Some(body) => {
                    due.body = Some(body.clone());
                    due.has_waited = true;
                    self.lanes.push(due);
                }
                None => self.noted(due, Fate::Gone),
            }
        }
        Ok(())
    }

    /// What came of an attempt.
    async fn finish(&mut self, attempted: Attempted) {
        let Attempted {
            mut due,
            endpoint,
            answer,
            at,
        } = attempted;
        self.lanes.free(due.chat());
        due.body = None;
        due.note(Attempt {
            at: at.as_millisecond(),
            status: answer.status.map(|status| status.as_u16()),
            ms: u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
            error: answer.error.clone(),
        });
        self.is_failing.store(answer.error.is_some(), Ordering::Relaxed);
        let Some(error) = answer.error else {
            self.delivery.log.metrics().delivered();
            self.breaker.succeeded();
            return self.noted(due, Fate::Delivered);
        };
        let (now, schedule, failures) = (self.now(), self.schedule(&endpoint), due.failures());
        self.breaker.failed(now, answer.retry_after, |row| schedule.probe(row));
        // Last: whoever reads it finds what follows from it.
        self.delivery.log.metrics().failed();
        if answer.status == Some(StatusCode::GONE) {
            tracing::warn!(endpoint = %self.id, "a webhook is disabled: its receiver answered 410");
            self.disable(&endpoint, now).await;
            // Also what is due later.
            self.read_anew();
            return self.noted(due, Fate::Dead);
        }
        let asked_for = answer.retry_after.map(|wait| wait.min(HOLD_MAX)).unwrap_or_default();
        let delay = schedule.delay(failures, self.delivery.random.as_ref());
        let again_at = delay.map(|delay| later(now, delay.max(asked_for)));
        let event = due.event();
        match again_at {
            Some(_) => tracing::debug!(%event, failures, error, "a webhook failed, it is tried again"),
            None => tracing::warn!(%event, failures, error, "a webhook failed for good"),
        }
        self.noted(due, again_at.map_or(Fate::Dead, Fate::Again));
    }

    async fn disable(&self, endpoint: &Arc<Endpoint>, now: Timestamp) {
        let disabled = Disabled {
            at: now,
            why: "the receiver answered 410 Gone; the webhook is disabled until it is set anew or asked for a replay"
                .to_owned(),
        };
        if let Err(error) = self.delivery.log.endpoints().disable(endpoint, disabled).await {
            // It will say so again.
            tracing::error!(endpoint = %self.id, %error, "a webhook cannot be disabled");
        }
    }

    fn noted(&mut self, due: Due, fate: Fate) {
        if fate == Fate::Dead {
            self.delivery.log.metrics().given_up.inc();
        }
        self.unnoted.push(Noted { due, fate });
    }

    /// Lets go of what was noted; what is tried again is due at some time.
    fn forget(&mut self, noted: &[Noted]) {
        for Noted { due, fate } in noted {
            self.known.remove(&due.seq());
            if let Fate::Again(at) = fate {
                self.next_due = Some(self.next_due.map_or(*at, |due| due.min(*at)));
            }
        }
    }

    /// Lets go of everything that is not under way. It is in the store.
    fn let_go(&mut self) {
        let waiting = self.lanes.clear();
        for due in &waiting {
            self.known.remove(&due.seq());
        }
        if self.mailbox.empty() || !waiting.is_empty() {
            self.read_anew();
        }
    }

    fn read_anew(&mut self) {
        (self.read_to, self.has_more) = (None, true);
    }

    fn has_room(&self, under_way: usize) -> bool {
        self.unnoted.len() < UNNOTED_MAX && self.breaker.room(self.now(), under_way) > 0
    }

    /// When to look again, whatever else happens; `None` where there is nothing to wait for.
    fn wake_at(&self) -> Option<Timestamp> {
        let held = self.breaker.held_until(self.now());
        match self.pause {
            Some(pause) => Some(pause),
            None if self.has_more || self.lanes.len() > 0 => held,
            None => self.next_due.map(|due| held.map_or(due, |held| held.max(due))),
        }
    }

    /// Whether nothing came for a while, and the mailbox is given back.
    async fn is_over(&self) -> bool {
        tokio::select! {
            () = sleep(IDLE_MAX) => self.delivery.outbox().mailboxes.give_back(self.id, self.mailbox),
            () = self.mailbox.news() => false,
            () = self.stop.cancelled() => false,
        }
    }

    fn schedule<'e>(&self, endpoint: &'e Endpoint) -> Schedule<'e> {
        Schedule {
            rules: endpoint.webhook.rules(),
            slow: self.delivery.config.slow_retries,
        }
    }

    fn now(&self) -> Timestamp {
        self.delivery.clock.now()
    }
}

async fn until(clock: &dyn Clock, moment: Option<Timestamp>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
