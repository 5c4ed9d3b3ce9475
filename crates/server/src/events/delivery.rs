//! Delivers logged events to webhooks: at least once, and in order per chat on first attempts.
//!
//! Reads the outbox; never talks to a session. Each endpoint that has something to do has a worker of its own, so a slow
//! one delays nobody else. What is not delivered stays in the outbox, also over a restart.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use wharf_core::clock::Clock;
use wharf_core::random::Random;
use wharf_core::store::{Cursor, StoreError};

use super::log::EventLog;
use super::outbox::{Due, Outbox, Target};
use super::{retry, webhook};
use crate::sessions::Webhook;

/// Requests under way to one endpoint.
const ENDPOINT_REQUESTS_MAX: usize = 8;
/// Due deliveries to one endpoint that are held in memory while their chats are busy.
const WAITING_MAX: usize = 4_096;
/// Requests under way altogether.
const REQUESTS_MAX: usize = 256;
/// The wait after the store failed.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long requests under way may take when the server stops.
const FINISH_WITHIN: Duration = Duration::from_millis(1_500);
/// How often what is too old is removed from the log.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// The delivery workers.
pub(crate) struct Delivery {
    log: Arc<EventLog>,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    requests: Semaphore,
}

/// The workers that run, and how to wake them.
#[derive(Default)]
struct Workers {
    tasks: JoinSet<()>,
    by_endpoint: HashMap<String, Arc<Notify>>,
    endpoints: HashMap<Id, String>,
}

impl Workers {
    /// Forgets a worker that has ended. Returns its endpoint where news came too late for it.
    fn ended(&mut self, id: Id) -> Option<String> {
        let endpoint = self.endpoints.remove(&id)?;
        let news = self.by_endpoint.remove(&endpoint)?;
        news.notified().now_or_never().map(|()| endpoint)
    }
}

impl Delivery {
    /// Workers on this log.
    pub(crate) fn new(
        log: Arc<EventLog>,
        client: reqwest::Client,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Arc<Self> {
        Arc::new(Self {
            log,
            client,
            clock,
            random,
            requests: Semaphore::new(REQUESTS_MAX),
        })
    }

    /// Delivers until `stop`, then finishes the requests that are under way.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut workers = Workers::default();
        let mut sweep_at = Instant::now() + SWEEP_EVERY;
        let left = stop
            .run_until_cancelled(self.left_from_before())
            .await
            .unwrap_or_default();
        for endpoint in left {
            self.work(&mut workers, endpoint, &stop);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                woken = self.outbox().news() => {
                    for endpoint in woken {
                        self.work(&mut workers, endpoint, &stop);
                    }
                }
                Some(ended) = workers.tasks.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    if let Some(endpoint) = workers.ended(id) {
                        self.work(&mut workers, endpoint, &stop);
                    }
                }
                () = sleep_until(sweep_at) => {
                    sweep_at += SWEEP_EVERY;
                    if let Err(error) = self.log.sweep().await {
                        tracing::warn!(error = %error, "old events could not be removed");
                    }
                }
            }
        }
        let finished = async { while workers.tasks.join_next().await.is_some() {} };
        if timeout(FINISH_WITHIN, finished).await.is_err() {
            tracing::info!("some webhooks did not answer in time, they are posted again after the next start");
        }
        workers.tasks.shutdown().await;
    }

    fn outbox(&self) -> &Outbox {
        self.log.outbox()
    }

    /// The endpoints with deliveries from before the start.
    async fn left_from_before(&self) -> Vec<String> {
        loop {
            match self.outbox().endpoints().await {
                Ok(endpoints) => return endpoints,
                Err(error) => {
                    tracing::error!(error = %error, "the outbox cannot be read");
                    sleep(STORE_RETRY_DELAY).await;
                }
            }
        }
    }

    /// Wakes the endpoint's worker, or starts one.
    fn work(self: &Arc<Self>, workers: &mut Workers, endpoint: String, stop: &CancellationToken) {
        if let Some(news) = workers.by_endpoint.get(&endpoint) {
            news.notify_one();
            return;
        }
        let news = Arc::new(Notify::new());
        let worker = Worker {
            delivery: Arc::clone(self),
            endpoint: endpoint.clone(),
            news: Arc::clone(&news),
            stop: stop.clone(),
            waiting: VecDeque::new(),
            read_to: None,
            has_more: true,
            busy: HashSet::new(),
            under_way: HashSet::new(),
        };
        let task = workers.tasks.spawn(worker.run());
        workers.endpoints.insert(task.id(), endpoint.clone());
        workers.by_endpoint.insert(endpoint, news);
    }

    /// One attempt, and what becomes of the delivery. What came of a request is noted as often as it takes: a receiver
    /// must not get the same event every second for as long as the disk is full.
    async fn attempt(&self, due: Due, stop: &CancellationToken) -> Due {
        let posted = match self.post(&due).await {
            Ok(posted) => posted,
            Err(error) => {
                tracing::error!(delivery = due.id(), error = %error, "the outbox cannot be read");
                sleep(STORE_RETRY_DELAY).await;
                return due;
            }
        };
        while let Err(error) = self.note(&due, &posted).await {
            tracing::error!(delivery = due.id(), error = %error, "the outbox cannot be written");
            if stop.run_until_cancelled(sleep(STORE_RETRY_DELAY)).await.is_none() {
                // It stays as it was and is delivered again: at least once.
                break;
            }
        }
        due
    }

    async fn note(&self, due: &Due, posted: &Posted) -> Result<(), StoreError> {
        match posted {
            Posted::Done => self.outbox().done(due).await,
            Posted::Failed { error, again_at } => self.outbox().failed(due, error, *again_at).await,
        }
    }

    async fn post(&self, due: &Due) -> Result<Posted, StoreError> {
        // An event that is too old, or a global webhook that was taken away: there is nothing to deliver any more.
        let Some(webhook) = self.webhook(due) else {
            return Ok(Posted::Done);
        };
        let Some(body) = self.log.body(due.event()).await? else {
            return Ok(Posted::Done);
        };
        let permit = self.requests.acquire().await;
        let now = self.clock.now();
        let outcome = webhook::post(&self.client, webhook, body, now, self.random.as_ref()).await;
        drop(permit);
        let Err(error) = outcome else {
            return Ok(Posted::Done);
        };
        let failures = due.failures() + 1;
        let rules = webhook.retries.clone().unwrap_or_default();
        let again_at = retry::delay(&rules, failures, self.random.as_ref()).map(|delay| later(self.clock.now(), delay));
        match again_at {
            Some(_) => {
                tracing::debug!(event = %due.event(), failures, error = %error, "a webhook failed, it is tried again")
            }
            None => tracing::warn!(event = %due.event(), failures, error = %error, "a webhook failed for good"),
        }
        Ok(Posted::Failed {
            error: error.to_string(),
            again_at,
        })
    }

    fn webhook<'a>(&'a self, due: &'a Due) -> Option<&'a Webhook> {
        match due.target() {
            Target::Session(webhook) => Some(webhook),
            Target::Global => self.log.global_webhook(),
        }
    }
}

/// What one attempt came to.
enum Posted {
    Done,
    Failed { error: String, again_at: Option<Timestamp> },
}

/// Serves one endpoint until it has nothing left.
struct Worker {
    delivery: Arc<Delivery>,
    endpoint: String,
    news: Arc<Notify>,
    stop: CancellationToken,
    /// Due deliveries that were read, in order.
    waiting: VecDeque<Due>,
    /// Where to read on behind them; from the first where it is `None`.
    read_to: Option<Cursor>,
    /// Whether there may be more to read; the outbox is not asked again for what is known to be all.
    has_more: bool,
    /// Lanes with a request under way: the next of the same chat waits for it.
    busy: HashSet<String>,
    /// The ids of the deliveries with a request under way.
    under_way: HashSet<String>,
}

impl Worker {
    async fn run(mut self) {
        let delivery = Arc::clone(&self.delivery);
        let stop = self.stop.clone();
        let mut attempts = FuturesUnordered::new();
        while !self.stop.is_cancelled() {
            while attempts.len() < ENDPOINT_REQUESTS_MAX
                && let Some(due) = self.next().await
            {
                attempts.push(delivery.attempt(due, &stop));
            }
            if attempts.is_empty() {
                match self.rest().await {
                    Rest::Over => return,
                    Rest::Disturbed => {
                        self.has_more = true;
                        continue;
                    }
                }
            }
            tokio::select! {
                Some(due) = attempts.next() => {
                    self.finished(&due);
                    // Something may have become due meanwhile. Where nothing is under way, `rest` looks for that.
                    self.has_more |= !attempts.is_empty();
                }
                () = self.news.notified() => self.has_more = true,
                () = self.stop.cancelled() => break,
            }
        }
        while attempts.next().await.is_some() {}
    }

    /// The next delivery that may be posted now. Reads as far as it takes to find one, so that a chat with many
    /// deliveries does not hide the others.
    async fn next(&mut self) -> Option<Due> {
        if self.waiting.is_empty() {
            // From the first again, for what came in between, or is due again by now.
            self.read_to = None;
        }
        loop {
            if let Some(due) = self.take() {
                return Some(due);
            }
            if !self.has_more || self.waiting.len() >= WAITING_MAX {
                return None;
            }
            if let Err(error) = self.read_on().await {
                tracing::error!(error = %error, "the outbox cannot be read");
                sleep(STORE_RETRY_DELAY).await;
                return None;
            }
        }
    }

    /// Reads a page of what is due.
    async fn read_on(&mut self) -> Result<(), StoreError> {
        let (outbox, now) = (self.delivery.outbox(), self.delivery.clock.now());
        let page = outbox.due(&self.endpoint, now, self.read_to.clone()).await?;
        self.has_more = page.has_more;
        if page.end.is_some() {
            self.read_to = page.end;
        }
        let new = page
            .deliveries
            .into_iter()
            .filter(|due| !self.under_way.contains(due.id()));
        self.waiting.extend(new);
        Ok(())
    }

    /// The first delivery whose chat has no request under way.
    fn take(&mut self) -> Option<Due> {
        let at = self.waiting.iter().position(|due| !self.busy.contains(due.lane()))?;
        let due = self.waiting.remove(at)?;
        self.busy.insert(due.lane().to_owned());
        self.under_way.insert(due.id().to_owned());
        Some(due)
    }

    fn finished(&mut self, due: &Due) {
        self.busy.remove(due.lane());
        self.under_way.remove(due.id());
    }

    /// Waits for the next due time or news.
    async fn rest(&self) -> Rest {
        let next = match self.delivery.outbox().next_due(&self.endpoint).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(error = %error, "the outbox cannot be read");
                Some(later(self.delivery.clock.now(), STORE_RETRY_DELAY))
            }
        };
        let Some(at) = next else {
            return Rest::Over;
        };
        let wait = at.duration_since(self.delivery.clock.now());
        let wait = Duration::try_from(wait).unwrap_or_default();
        tokio::select! {
            () = sleep(wait) => {}
            () = self.news.notified() => {}
            () = self.stop.cancelled() => {}
        }
        Rest::Disturbed
    }
}

enum Rest {
    /// There is nothing left.
    Over,
    /// There may be something to do.
    Disturbed,
}

fn later(now: Timestamp, delay: Duration) -> Timestamp {
    // Both are far from the end of time: a delay is at most a day.
    SignedDuration::try_from(delay)
        .ok()
        .and_then(|delay| now.checked_add(delay).ok())
        .unwrap_or(now)
}
