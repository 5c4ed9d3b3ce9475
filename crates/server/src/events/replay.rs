//! Replays: events that are in the log are delivered again, to the webhooks that want them now.
//!
//! A replay makes deliveries due, as if they had never failed; the workers do the rest. A webhook that was disabled because
//! its receiver said so gets events again. Replays of many events go through the log in bounded calls, each of which says
//! where the next one goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use wharf_core::events::EventName;
use wharf_core::ids::{EventId, SessionName};
use wharf_core::store::{Condition, Query, StoreError};

use super::endpoints::{Endpoint, EndpointId};
use super::log::{EVENTS, EventLog, LoggedEvent, place_in};
use super::outbox::{DeliveryState, NewDelivery, StoredDelivery};

/// Events that are read at a time.
const PAGE_EVENTS: usize = 250;
/// Events that one call replays at most, but for the rest of a page.
const EVENTS_MAX: usize = 1_000;
/// Pages of the log that one call looks through at most.
const PAGES_MAX: usize = 80;

/// How far the clock may be set back without a replay missing events of that time: what was logged later may bear an earlier
/// moment by so much.
const SET_BACK_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Which events of a session to replay.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Logged at this moment or later.
    pub(crate) since: Option<Timestamp>,
    /// Logged before this moment.
    pub(crate) until: Option<Timestamp>,
    /// With one of these names; all where it is `None`.
    pub(crate) events: Option<Vec<EventName>>,
    /// To which webhooks.
    pub(crate) state: WantedState,
}

/// To which of its webhooks an event is replayed: where its delivery is in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedState {
    /// It was given up.
    Dead,
    /// It failed and is to be tried again.
    Failed,
    /// It was made.
    Delivered,
    /// Any, also where there never was one. What is due anyway and has not failed is left alone.
    Any,
}

/// What was replayed.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// How many events.
    pub(crate) events: usize,
    /// How many deliveries.
    pub(crate) deliveries: usize,
    /// The event to go on behind; `None` where nothing is left.
    pub(crate) next: Option<EventId>,
}

impl WantedState {
    fn fits(self, known: Option<&StoredDelivery>) -> bool {
        let failed = |known: &StoredDelivery| known.state == DeliveryState::Due && known.record.failures > 0;
        match (self, known) {
            (Self::Any, None) => true,
            (_, None) => false,
            (Self::Dead, Some(known)) => known.state == DeliveryState::Dead,
            (Self::Failed, Some(known)) => failed(known),
            (Self::Delivered, Some(known)) => known.state == DeliveryState::Delivered,
            (Self::Any, Some(known)) => known.state != DeliveryState::Due || failed(known),
        }
    }
}

impl Wanted {
    /// Whether nothing that is wanted comes behind an event of this moment.
    fn is_over(&self, at: Timestamp) -> bool {
        let is_behind = |until: Timestamp| at.duration_since(until) >= SET_BACK_MAX;
        self.until.is_some_and(is_behind)
    }

    fn wants(&self, event: &LoggedEvent) -> bool {
        let is_named = self.events.as_ref().is_none_or(|names| names.contains(&event.name));
        is_named && self.since.is_none_or(|since| event.at >= since) && self.until.is_none_or(|until| event.at < until)
    }
}

impl EventLog {
    /// What became of an event's deliveries, each with its webhook where that is still known.
    pub(crate) async fn deliveries(
        &self,
        event: &LoggedEvent,
    ) -> Result<Vec<(StoredDelivery, Option<Arc<Endpoint>>)>, StoreError> {
        let known = self.endpoints().known_of(&event.session);
        let found = self.outbox().find(&known, &[&event.id]).await?;
        Ok(self.with_endpoints(found))
    }

    /// A page of dead deliveries, of one session or of all, and whether there are more. `None` where `after` is not known.
    pub(crate) async fn dead_letters(
        &self,
        session: Option<&SessionName>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<(Vec<(StoredDelivery, Option<Arc<Endpoint>>)>, bool)>, StoreError> {
        let page = self.outbox().dead(session, after, limit).await?;
        Ok(page.map(|page| (self.with_endpoints(page.deliveries), page.has_more)))
    }

    fn with_endpoints(&self, deliveries: Vec<StoredDelivery>) -> Vec<(StoredDelivery, Option<Arc<Endpoint>>)> {
        let deliveries = deliveries.into_iter();
        let with = |delivery: StoredDelivery| {
            // Makes the webhook of all sessions known.
            delivery.endpoint.session().map(|session| self.endpoints().of(&session));
            let endpoint = self.endpoints().get(&delivery.endpoint);
            (delivery, endpoint)
        };
        deliveries.map(with).collect()
    }

    /// Delivers one event again, now, to every webhook that wants it.
    pub(crate) async fn replay(&self, event: LoggedEvent) -> Result<Replayed, StoreError> {
        let deliveries = self.replay_page(std::slice::from_ref(&event), None, self.clock.now());
        Ok(Replayed {
            events: 1,
            deliveries: deliveries.await?.1,
            next: None,
        })
    }

    /// Delivers events of a session again, in their order, from the first or behind one.
    pub(crate) async fn replay_many(
        &self,
        session: &SessionName,
        wanted: &Wanted,
        after: Option<&LoggedEvent>,
    ) -> Result<Replayed, StoreError> {
        let now = self.clock.now();
        let mut replayed = Replayed::default();
        let mut from = match (after, wanted.since) {
            (Some(after), _) => after.seq + 1,
            (None, Some(since)) => self.place_at(session, since).await?,
            (None, None) => 0,
        };
        for _ in 0..PAGES_MAX {
            let (events, has_more) = self.page_of(session, from, PAGE_EVENTS).await?;
            let Some(last) = events.last() else {
                return Ok(replayed);
            };
            let (last, is_over) = (last.id.clone(), wanted.is_over(last.at));
            from = events.last().map_or(from, |last| last.seq + 1);
            let events: Vec<_> = events.into_iter().filter(|event| wanted.wants(event)).collect();
            let (count, deliveries) = self.replay_page(&events, Some(wanted.state), now).await?;
            replayed.events += count;
            replayed.deliveries += deliveries;
            if !has_more || is_over {
                replayed.next = None;
                return Ok(replayed);
            }
            replayed.next = Some(last);
            if replayed.events >= EVENTS_MAX {
                break;
            }
        }
        Ok(replayed)
    }

    /// Makes deliveries of these events due; returns of how many events, and how many.
    async fn replay_page(
        &self,
        events: &[LoggedEvent],
        state: Option<WantedState>,
        now: Timestamp,
    ) -> Result<(usize, usize), StoreError> {
        let mut endpoints: BTreeMap<EndpointId, Arc<Endpoint>> = BTreeMap::new();
        let mut wanting = Vec::new();
        for event in events {
            for endpoint in self.endpoints().wanting(&event.session, event.name) {
                endpoints.insert(endpoint.id.clone(), Arc::clone(&endpoint));
                wanting.push((event, endpoint));
            }
        }
        let ids: Vec<_> = endpoints.keys().cloned().collect();
        let named: Vec<_> = events.iter().map(|event| &event.id).collect();
        let known = self.outbox().find(&ids, &named).await?;
        let known: BTreeMap<_, _> = known.iter().map(|known| (known.id.as_str(), known)).collect();
        let (mut batches, mut replayed, mut urgent) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (event, endpoint) in &wanting {
            let delivery = NewDelivery {
                endpoint,
                event: &event.id,
                chat: None,
                seq: event.seq,
                now,
            };
            let known = known.get(delivery.id().as_str()).copied();
            if state.is_none_or(|state| state.fits(known)) {
                batches.push(delivery.again(known)?);
                replayed.push(&event.id);
                urgent.insert(&endpoint.id, endpoint);
            }
        }
        for endpoint in urgent.values() {
            self.endpoints().enable(endpoint).await?;
        }
        let deliveries = batches.len();
        self.outbox().write_each_if_unchanged(batches).await?;
        for endpoint in urgent.keys() {
            self.outbox().mailboxes.look(endpoint, true);
        }
        replayed.dedup();
        Ok((replayed.len(), deliveries))
    }

    /// Events of a session from a place on, and whether there are more.
    async fn page_of(
        &self,
        session: &SessionName,
        from: i64,
        limit: usize,
    ) -> Result<(Vec<LoggedEvent>, bool), StoreError> {
        let query = Query::all()
            .filter(Condition::AtLeast("in_session", place_in(session, from).into()))
            .filter(Condition::AtMost("in_session", place_in(session, i64::MAX).into()))
            .ascending("in_session")
            .limit(limit);
        let page = self.store.find(&EVENTS, query).await?;
        let events = page.documents.into_iter().filter_map(LoggedEvent::read);
        Ok((events.collect(), page.next.is_some()))
    }

    /// A place before everything of a session that was logged at this moment or later: the log is nearly in the order of
    /// time, so half of it is looked at in each step.
    async fn place_at(&self, session: &SessionName, moment: Timestamp) -> Result<i64, StoreError> {
        let moment = moment.saturating_sub(SET_BACK_MAX).unwrap_or(Timestamp::MIN);
        let (mut low, mut high) = (0, self.order.told().seq);
        while low < high {
            let middle = low + (high - low) / 2;
            let (events, _) = self.page_of(session, middle, 1).await?;
            match events.first() {
                Some(event) if event.at < moment => low = event.seq + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests;
