//! The outbox: one document per event and endpoint, from when the event is logged until the log forgets it.
//!
//! A delivery is due until it is delivered or dead, and remembers its last attempts. What it is sent to is the endpoint's
//! part ([`super::endpoints`]), what is sent is the log's. Also tells the delivery workers what is new: see [`mailbox`].

mod mailbox;
mod record;

pub(super) use mailbox::{Mailbox, Mailboxes};
pub(crate) use record::{Attempt, DeliveryState};
pub(super) use record::{Due, Fate, NewDelivery, Noted, Record};

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use wharf_core::ids::{EventId, SessionName};
use wharf_core::store::{
    Batch, Collection, Condition, Cursor, Document, Expect, Field, Query, Store, StoreError, Value,
};

use super::endpoints::EndpointId;
use super::log::seq_of;
use record::{LAST, Place, decode, read_place};

/// One document per event and endpoint, under `{endpoint}.{event}`.
pub(super) static DELIVERIES: Collection = Collection {
    name: "deliveries",
    fields: &[
        // A [`Place`], while it is due.
        Field::text("queue"),
        // While it is due, since when; once it is dead, of which session. See [`record`].
        Field::text("state"),
        // The event's place in the log.
        Field::integer("seq"),
    ],
};

/// As exact as places are.
const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);

/// The outbox.
pub(super) struct Outbox {
    store: Arc<dyn Store>,
    /// What is new, for the workers.
    pub(super) mailboxes: Mailboxes,
}

/// What became of writes that give way to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// All were made.
    Whole,
    /// Some were not, because somebody else came first.
    InPart,
}

/// What is due of an endpoint, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct DuePage {
    /// In the order in which they are due, those of the same moment in the order of their events.
    pub(super) deliveries: Vec<Due>,
    /// Where to read on, also for what is due later; `None` where there was nothing.
    pub(super) end: Option<Cursor>,
    /// Whether more was due behind it.
    pub(super) has_more: bool,
}

/// A delivery, for whoever wants to know what became of it.
pub(crate) struct StoredDelivery {
    /// Its id.
    pub(crate) id: String,
    /// Whom it is for.
    pub(crate) endpoint: EndpointId,
    /// What became of it.
    pub(crate) state: DeliveryState,
    /// When it is tried again, while it is due.
    pub(crate) due_at: Option<Timestamp>,
    /// The rest.
    pub(super) record: Record,
    pub(super) version: u64,
}

/// A page of dead deliveries.
#[derive(Default)]
pub(crate) struct DeadPage {
    /// By session, then in the order of the log.
    pub(crate) deliveries: Vec<StoredDelivery>,
    /// Whether there are more behind them.
    pub(crate) has_more: bool,
}

impl StoredDelivery {
    fn read(document: &Document) -> Result<Self, serde_json::Error> {
        let (endpoint, _) = document.id.rsplit_once('.').unwrap_or_default();
        let place = read_place(document);
        let is_dead = document.field("state").is_some();
        Ok(Self {
            id: document.id.clone(),
            endpoint: EndpointId::stored(endpoint),
            state: match (&place, is_dead) {
                (Some(_), _) => DeliveryState::Due,
                (None, true) => DeliveryState::Dead,
                (None, false) => DeliveryState::Delivered,
            },
            due_at: place.map(|(_, due_at)| due_at),
            record: decode(document)?,
            version: document.version,
        })
    }

    /// What it delivers.
    pub(crate) fn event(&self) -> &EventId {
        &self.record.event
    }

    /// The last attempts, oldest first.
    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.record.attempts
    }

    /// How often it was attempted, also before the attempts that are remembered.
    pub(crate) fn attempted(&self) -> u32 {
        self.record.attempted
    }
}

impl Outbox {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            mailboxes: Mailboxes::default(),
        }
    }

    /// Every endpoint that has due deliveries, however long they still wait.
    pub(super) async fn endpoints(&self) -> Result<Vec<EndpointId>, StoreError> {
        let mut endpoints: Vec<EndpointId> = Vec::new();
        loop {
            let mut query = Query::all().ascending("queue").limit(1);
            if let Some(endpoint) = endpoints.last() {
                // The next endpoint is the first text behind the places of this one.
                query = query.filter(Condition::AtLeast("queue", format!("{endpoint}|{LAST}").into()));
            }
            let page = self.store.find(&DELIVERIES, query).await?;
            match page.documents.first().and_then(read_place) {
                Some((endpoint, _)) => endpoints.push(EndpointId::stored(endpoint)),
                None => return Ok(endpoints),
            }
        }
    }

    /// A page of the deliveries of an endpoint that are due, from the first or where a page ended. They come without what
    /// is to be sent.
    pub(super) async fn due(
        &self,
        endpoint: &EndpointId,
        now: Timestamp,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DuePage, StoreError> {
        let last = Place {
            endpoint,
            due_at: now,
            seq: i64::MAX,
        };
        let query = Query::all()
            .filter(Condition::AtLeast("queue", format!("{endpoint}|").into()))
            .filter(Condition::AtMost("queue", last.to_string().into()))
            .ascending("queue")
            .after(after)
            .limit(limit);
        let page = self.store.find(&DELIVERIES, query).await?;
        let has_more = page.next.is_some();
        let end = page.documents.last().map(|document| Cursor {
            value: document.field("queue").cloned(),
            id: document.id.clone(),
        });
        let mut deliveries = Vec::with_capacity(page.documents.len());
        for mut document in page.documents {
            match decode(&document) {
                Ok(record) => deliveries.push(Due::new(document.id, document.version, record)),
                // It stays for whoever looks into it, but not in the way of those behind it.
                Err(error) => {
                    tracing::error!(delivery = document.id, %error, "a stored delivery cannot be read");
                    document.fields.retain(|(field, _)| *field == "seq");
                    let expect = Expect::Version(document.version);
                    let batch = Batch::new().put_if(&DELIVERIES, document, expect);
                    self.write_each_if_unchanged(vec![batch]).await?;
                }
            }
        }
        Ok(DuePage {
            deliveries,
            end,
            has_more,
        })
    }

    /// When the next delivery of an endpoint is due after `now`; `None` where there is none.
    pub(super) async fn next_due(
        &self,
        endpoint: &EndpointId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let due_at = now.saturating_add(MILLISECOND).unwrap_or(now);
        let first = Place {
            endpoint,
            due_at,
            seq: 0,
        };
        let query = Query::all()
            .filter(Condition::AtLeast("queue", first.to_string().into()))
            .filter(Condition::AtMost("queue", format!("{endpoint}|{LAST}").into()))
            .ascending("queue")
            .limit(1);
        let page = self.store.find(&DELIVERIES, query).await?;
        Ok(page.documents.first().and_then(read_place).map(|(_, due_at)| due_at))
    }

    /// Whether there are deliveries to an endpoint, whatever became of them.
    pub(super) async fn has_any(&self, endpoint: &EndpointId) -> Result<bool, StoreError> {
        let of_endpoint = Condition::IdPrefix(format!("{endpoint}."));
        let page = self
            .store
            .find(&DELIVERIES, Query::all().filter(of_endpoint).limit(1))
            .await?;
        Ok(!page.documents.is_empty())
    }

    /// The places of those events in a stretch of the log that are still to be delivered to somebody.
    pub(super) async fn awaited(&self, seqs: RangeInclusive<i64>) -> Result<HashSet<i64>, StoreError> {
        let (mut awaited, mut after) = (HashSet::new(), None);
        loop {
            let query = Query::all()
                .filter(Condition::AtLeast("seq", (*seqs.start()).into()))
                .filter(Condition::AtMost("seq", (*seqs.end()).into()))
                .ascending("seq")
                .after(after);
            let page = self.store.find(&DELIVERIES, query).await?;
            let due = page
                .documents
                .iter()
                .filter(|document| document.field("queue").is_some());
            awaited.extend(due.filter_map(seq_of));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(awaited),
            }
        }
    }

    /// Notes what came of attempts. What was changed or deleted meanwhile stays as it is.
    pub(super) async fn note(&self, noted: &[Noted]) -> Result<Written, StoreError> {
        let batches = noted.iter().map(|noted| noted.add_to(Batch::new()));
        self.write_each_if_unchanged(batches.collect::<Result<_, _>>()?).await
    }

    /// Writes batches together, but leaves out those about what was changed or deleted meanwhile.
    pub(super) async fn write_each_if_unchanged(&self, batches: Vec<Batch>) -> Result<Written, StoreError> {
        let all = batches.iter().cloned().fold(Batch::new(), Batch::and);
        // Mostly the next events are logged meanwhile, and both are one commit.
        match self.store.write(all.when_convenient()).await {
            Ok(()) => return Ok(Written::Whole),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        for batch in batches {
            match self.store.write(batch).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::InPart)
    }

    /// The deliveries of these events to these endpoints, as far as there are any.
    pub(super) async fn find(
        &self,
        endpoints: &[EndpointId],
        events: &[&EventId],
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        let ids = |event| endpoints.iter().map(move |endpoint| format!("{endpoint}.{event}"));
        let ids: Vec<String> = events.iter().flat_map(ids).collect();
        let documents = self.store.get_many(&DELIVERIES, &ids).await?;
        Ok(documents
            .iter()
            .filter_map(|document| StoredDelivery::read(document).ok())
            .collect())
    }

    /// A page of dead deliveries, of one session or of all, behind the one with this id. `None` where that one is not known.
    pub(super) async fn dead(
        &self,
        session: Option<&SessionName>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<DeadPage>, StoreError> {
        let start = session.map_or("dead|".to_owned(), |session| format!("dead|{session}|"));
        let mut query = Query::all()
            .filter(Condition::AtLeast("state", start.clone().into()))
            .filter(Condition::AtMost("state", format!("{start}{LAST}").into()))
            .ascending("state")
            .limit(limit);
        if let Some(after) = after {
            let Some(document) = self.store.get(&DELIVERIES, after).await? else {
                return Ok(None);
            };
            // Where it stood among the dead, also where it was replayed since.
            let (Ok(record), Some((session, _))) = (decode(&document), after.split_once('.')) else {
                return Ok(None);
            };
            query = query.after(Some(Cursor {
                value: Some(Value::Text(record::dead_state(session, record.seq))),
                id: document.id,
            }));
        }
        let page = self.store.find(&DELIVERIES, query).await?;
        Ok(Some(DeadPage {
            has_more: page.next.is_some(),
            deliveries: page
                .documents
                .iter()
                .filter_map(|document| StoredDelivery::read(document).ok())
                .collect(),
        }))
    }

    /// Removes a session's deliveries, so many at a time; the last of them are left to [`forget`].
    pub(super) async fn forget_most(&self, session: &SessionName, step: usize) -> Result<(), StoreError> {
        loop {
            let query = Query::all().filter(of_session(session)).limit(step);
            let page = self.store.find(&DELIVERIES, query).await?;
            if page.next.is_none() {
                return Ok(());
            }
            let documents = page.documents.iter();
            let batch = documents.fold(Batch::new(), |batch, document| batch.delete(&DELIVERIES, &document.id));
            self.store.write(batch).await?;
        }
    }

    /// How many deliveries are dead.
    pub(super) async fn dead_count(&self) -> Result<u64, StoreError> {
        let conditions = vec![
            Condition::AtLeast("state", "dead|".into()),
            Condition::AtMost("state", format!("dead|{LAST}").into()),
        ];
        self.store.count(&DELIVERIES, conditions).await
    }

    /// Since when the oldest delivery is due that is still to be made.
    pub(super) async fn oldest(&self) -> Result<Option<Timestamp>, StoreError> {
        let query = Query::all()
            .filter(Condition::AtLeast("state", "due|".into()))
            .filter(Condition::AtMost("state", format!("due|{LAST}").into()))
            .ascending("state")
            .limit(1);
        let page = self.store.find(&DELIVERIES, query).await?;
        Ok(page.documents.first().and_then(record::since))
    }
}

/// Adds the write that removes a session's deliveries.
pub(super) fn forget(batch: Batch, session: &SessionName) -> Batch {
    batch.delete_where(&DELIVERIES, vec![of_session(session)])
}

fn of_session(session: &SessionName) -> Condition {
    Condition::IdPrefix(format!("{session}."))
}

/// Adds the write that removes the deliveries of all events up to this place in the log.
pub(super) fn remove(batch: Batch, seq: i64) -> Batch {
    batch.delete_where(&DELIVERIES, vec![Condition::AtMost("seq", seq.into())])
}

#[cfg(test)]
mod tests;
