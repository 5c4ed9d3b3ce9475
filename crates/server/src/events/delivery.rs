//! Delivers logged events to webhooks: at least once, and in order per chat on first attempts.
//!
//! Reads the outbox; never talks to a session. Each endpoint that has something to do has a [`worker`] of its own, so a slow
//! one delays nobody else; all share the requests that may be under way, in turn. What is not delivered stays in the outbox,
//! also over a restart.

mod breaker;
mod gates;
mod lanes;
mod throttle;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wharf_core::clock::Clock;
use wharf_core::random::Random;
use wharf_core::store::StoreError;

use self::gates::Gates;
use self::throttle::Throttle;
use super::endpoints::Endpoint;
use super::log::EventLog;
use super::outbox::{Due, Noted, Outbox, Written};
use super::webhook::{Answer, Receiver};
use crate::config::DeliveryConfig;
use crate::egress::Egress;

/// One of so many requests is for endpoints that fail: they wait for each other, not others for them.
const FAILING_SHARE: usize = 4;
/// One of so many requests is the most that one receiver gets, whoever's events are posted to it.
const RECEIVER_SHARE: usize = 4;
/// How often webhooks are looked for that are of no use any more.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);
/// The wait after the store failed.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long requests under way may take when the server stops.
const FINISH_WITHIN: Duration = Duration::from_millis(1_500);

/// The delivery workers.
pub(crate) struct Delivery {
    log: Arc<EventLog>,
    egress: Arc<Egress>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    config: DeliveryConfig,
    gates: Gates,
    backlog: Throttle,
}

/// An attempt that was made.
struct Attempted {
    due: Due,
    endpoint: Arc<Endpoint>,
    answer: Answer,
    /// When it was made.
    at: Timestamp,
}

impl Delivery {
    /// Workers on this log.
    pub(crate) fn new(
        log: Arc<EventLog>,
        egress: Arc<Egress>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        config: DeliveryConfig,
    ) -> Arc<Self> {
        Arc::new(Self {
            log,
            egress,
            clock,
            random,
            gates: Gates::new(config.requests_max),
            backlog: Throttle::new(config.backlog_per_second),
            config,
        })
    }

    /// Delivers until `stop`, then finishes the requests that are under way.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut workers = JoinSet::new();
        workers.spawn(Arc::clone(&self).keep_forgetting(stop.clone()));
        stop.run_until_cancelled(self.look_at_what_is_left()).await;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                untaken = self.outbox().mailboxes.untaken() => {
                    for (endpoint, mailbox) in untaken {
                        workers.spawn(worker::run(Arc::clone(&self), endpoint, mailbox, stop.clone()));
                    }
                }
                Some(_) = workers.join_next() => {}
            }
        }
        let finished = async { while workers.join_next().await.is_some() {} };
        if timeout(FINISH_WITHIN, finished).await.is_err() {
            tracing::info!("some webhooks did not answer in time, they are posted again after the next start");
        }
        workers.shutdown().await;
    }

    fn outbox(&self) -> &Outbox {
        self.log.outbox()
    }

    /// Has workers look at the deliveries from before the start.
    async fn look_at_what_is_left(&self) {
        loop {
            match self.outbox().endpoints().await {
                Ok(endpoints) => {
                    for endpoint in endpoints {
                        self.outbox().mailboxes.look(&endpoint, false);
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read");
                    sleep(STORE_RETRY_DELAY).await;
                }
            }
        }
    }

    /// Lets go of webhooks that were taken out of their session's configuration and have no delivery left to name them.
    async fn forget_old_endpoints(&self) -> Result<(), StoreError> {
        for (endpoint, is_surplus) in self.log.endpoints().left() {
            let is_named = match is_surplus {
                true => self
                    .outbox()
                    .next_due(&endpoint, Timestamp::UNIX_EPOCH)
                    .await?
                    .is_some(),
                false => self.outbox().has_any(&endpoint).await?,
            };
            if !is_named {
                self.log.endpoints().let_go(&endpoint).await?;
            }
        }
        Ok(())
    }

    async fn keep_forgetting(self: Arc<Self>, stop: CancellationToken) {
        loop {
            if let Err(error) = self.forget_old_endpoints().await {
                tracing::warn!(%error, "webhooks that are of no use any more could not be removed");
            }
            if stop.run_until_cancelled(sleep(FORGET_EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// One attempt, as soon as there is room for another request.
    async fn attempt(&self, endpoint: Arc<Endpoint>, due: Due, is_failing: Arc<AtomicBool>) -> Attempted {
        let receiver = endpoint.receiver.as_ref().map(Receiver::name).unwrap_or_default();
        if due.has_waited {
            self.backlog.turn().await;
        }
        let _room = self.gates.enter(receiver, &is_failing).await;
        let at = self.clock.now();
        let answer = match &endpoint.receiver {
            Err(why) => Answer::none(why.clone()),
            Ok(receiver) => {
                let body = due.body.clone().unwrap_or_default();
                let (random, within) = (self.random.as_ref(), self.config.timeout);
                receiver.post(&self.egress, due.event(), body, at, random, within).await
            }
        };
        Attempted {
            due,
            endpoint,
            answer,
            at,
        }
    }

    /// Notes what came of attempts, as often as it takes: a receiver must not get the same event every second for as long
    /// as the disk is full. When the server stops, what could not be noted is delivered again: at least once.
    async fn note(&self, noted: Vec<Noted>, stop: &CancellationToken) -> (Vec<Noted>, Written) {
        loop {
            match self.outbox().note(&noted).await {
                Ok(written) => return (noted, written),
                Err(error) => tracing::error!(deliveries = noted.len(), %error, "the outbox cannot be written"),
            }
            if stop.run_until_cancelled(sleep(STORE_RETRY_DELAY)).await.is_none() {
                return (noted, Written::InPart);
            }
        }
    }

    /// Since when the oldest delivery is due that is still to be made.
    pub(crate) async fn oldest(&self) -> Result<Option<Timestamp>, StoreError> {
        self.outbox().oldest().await
    }

    /// How many deliveries are dead.
    pub(crate) async fn dead_count(&self) -> Result<u64, StoreError> {
        self.outbox().dead_count().await
    }
}

fn later(now: Timestamp, delay: Duration) -> Timestamp {
    // Both are far from the end of time: a delay is at most a day.
    SignedDuration::try_from(delay)
        .ok()
        .and_then(|delay| now.checked_add(delay).ok())
        .unwrap_or(now)
}
