//! Endpoints: the receivers of each session's events, as they were configured last.
//!
//! Deliveries name their endpoint only, so what is mended in a webhook also helps what is still due. A webhook that was taken
//! out of the configuration stays known, for what is due of it. The webhook of all sessions is one endpoint of each session:
//! sessions get their share of it, and none waits behind another one's backlog.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use wharf_core::events::EventName;
use wharf_core::ids::SessionName;
use wharf_core::store::{Batch, Collection, Condition, Document, Query, Store, StoreError};

use super::webhook::Receiver;
use crate::egress::{Egress, Reach, UrlError};
use crate::sessions::Webhook;

/// One document per webhook of a session, under its [`EndpointId`].
static ENDPOINTS: Collection = Collection {
    name: "endpoints",
    fields: &[],
};

/// What stands behind the session in the id of the webhook of all sessions.
const GLOBAL: &str = "global";
/// Webhooks that a session does not have any more and that are known although nothing is due to them.
const LEFT_KEPT_MAX: usize = 64;
/// Hexadecimal digits in the id of a session's own webhook.
const DIGEST_CHARS: usize = 16;

/// The id of an endpoint: the session, a dot, and which of its webhooks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EndpointId(Arc<str>);

/// Who set a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SetBy {
    /// The administrator, with his key or in the environment.
    Admin,
    /// Whoever has a key of the session.
    Session,
}

/// A receiver of one session's events.
pub(crate) struct Endpoint {
    /// Its id.
    pub(crate) id: EndpointId,
    /// Whose events it gets.
    pub(crate) session: SessionName,
    /// How it is configured.
    pub(crate) webhook: Arc<Webhook>,
    /// Who configured it.
    pub(crate) set_by: SetBy,
    /// Whether it still is.
    pub(crate) is_configured: bool,
    /// Why it gets nothing, where that is so.
    pub(crate) disabled: Option<Disabled>,
    /// The same, ready to be posted to; the error says why it cannot be.
    pub(super) receiver: Result<Receiver, String>,
}

/// Why an endpoint gets nothing until it is configured anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disabled {
    /// Since when.
    pub(crate) at: Timestamp,
    /// What the receiver said.
    pub(crate) why: String,
}

/// What is stored of an endpoint.
#[derive(Serialize, Deserialize)]
struct Stored {
    webhook: Webhook,
    set_by: SetBy,
    is_configured: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disabled: Option<Disabled>,
}

/// All endpoints.
pub(crate) struct Endpoints {
    store: Arc<dyn Store>,
    /// The webhook of all sessions.
    global: Option<Arc<Webhook>>,
    known: RwLock<Known>,
    /// One change at a time, from when it is looked at until it is in memory.
    changing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    by_id: BTreeMap<EndpointId, Arc<Endpoint>>,
    /// Those that are configured, by id, the webhook of all sessions last.
    of_session: HashMap<SessionName, Arc<[Arc<Endpoint>]>>,
}

/// Another configuration of a session's webhooks, to be stored together with the session.
pub(crate) struct Change {
    session: SessionName,
    endpoints: Vec<Arc<Endpoint>>,
    batch: Batch,
    _turn: OwnedMutexGuard<()>,
}

impl EndpointId {
    /// An id that was stored.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    fn global(session: &SessionName) -> Self {
        Self(format!("{session}.{GLOBAL}").into())
    }

    fn of(session: &SessionName, url: &str, nth: usize) -> Self {
        let mut digest = hex::encode(Sha256::digest(format!("{nth}|{url}")));
        digest.truncate(DIGEST_CHARS);
        Self(format!("{session}.{digest}").into())
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The session.
    pub(super) fn session(&self) -> Option<SessionName> {
        // No session name has a dot.
        self.0.split_once('.')?.0.parse().ok()
    }

    fn is_global(&self) -> bool {
        self.0.split_once('.').is_some_and(|(_, which)| which == GLOBAL)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SetBy {
    /// Where the webhooks of whoever it is may lead.
    pub(crate) fn reach(self) -> Reach {
        match self {
            Self::Admin => Reach::Private,
            Self::Session => Reach::Public,
        }
    }
}

impl Endpoint {
    fn new(id: EndpointId, session: SessionName, webhook: Arc<Webhook>, set_by: SetBy) -> Self {
        Self {
            receiver: Receiver::new(&webhook, set_by.reach()),
            id,
            session,
            webhook,
            set_by,
            is_configured: true,
            disabled: None,
        }
    }

    /// The same with another state.
    fn with(&self, is_configured: bool, disabled: Option<Disabled>) -> Self {
        Self {
            is_configured,
            disabled,
            ..Self::new(
                self.id.clone(),
                self.session.clone(),
                Arc::clone(&self.webhook),
                self.set_by,
            )
        }
    }

    /// Whether it is the webhook of all sessions.
    pub(crate) fn is_global(&self) -> bool {
        self.id.is_global()
    }

    fn put(&self, batch: Batch) -> Result<Batch, StoreError> {
        let stored = Stored {
            webhook: self.webhook.as_ref().clone(),
            set_by: self.set_by,
            is_configured: self.is_configured,
            disabled: self.disabled.clone(),
        };
        let body = serde_json::to_vec(&stored).map_err(|error| StoreError::Internal(error.into()))?;
        Ok(batch.put(&ENDPOINTS, Document::new(self.id.as_str(), body)))
    }

    fn read(document: &Document) -> Option<Self> {
        let id = EndpointId::stored(&document.id);
        let session = id.session()?;
        let stored: Stored = serde_json::from_slice(&document.body)
            .inspect_err(|error| tracing::error!(endpoint = document.id, %error, "a stored webhook cannot be read"))
            .ok()?;
        let endpoint = Self::new(id, session, Arc::new(stored.webhook), stored.set_by);
        Some(Self {
            is_configured: stored.is_configured,
            disabled: stored.disabled,
            ..endpoint
        })
    }
}

impl Known {
    /// Every endpoint of a session, also those that are configured no more.
    fn all_of(&self, session: &SessionName) -> impl Iterator<Item = &Arc<Endpoint>> {
        // No session name has a dot, and a slash is what comes behind it.
        let range = EndpointId::stored(&format!("{session}."))..EndpointId::stored(&format!("{session}/"));
        self.by_id.range(range).map(|(_, endpoint)| endpoint)
    }
}

impl Change {
    /// The writes that store it.
    pub(crate) fn take_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }
}

impl Endpoints {
    /// The endpoints that are stored, and the webhook of all sessions.
    pub(crate) async fn open(store: Arc<dyn Store>, global: Option<Webhook>) -> Result<Self, StoreError> {
        let mut known = Known::default();
        let mut after = None;
        loop {
            let page = store.find(&ENDPOINTS, Query::all().after(after)).await?;
            for endpoint in page.documents.iter().filter_map(Endpoint::read) {
                known.by_id.insert(endpoint.id.clone(), Arc::new(endpoint));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(Self {
            store,
            global: global.map(Arc::new),
            known: RwLock::new(known),
            changing: Arc::default(),
        })
    }

    /// The receivers of a session's events: its own webhooks, then that of all sessions.
    pub(crate) fn of(&self, session: &SessionName) -> Arc<[Arc<Endpoint>]> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoints) = known.of_session.get(session) {
            return Arc::clone(endpoints);
        }
        drop(known);
        let mut known = self.write();
        let own = known.all_of(session);
        let own = own.filter(|endpoint| endpoint.is_configured && !endpoint.is_global());
        let own = own.cloned().collect();
        self.put(&mut known, session, own)
    }

    /// The receivers that an event of a session goes to.
    pub(super) fn wanting(&self, session: &SessionName, event: EventName) -> Vec<Arc<Endpoint>> {
        let endpoints = self.of(session);
        let wanting = endpoints.iter().filter(|endpoint| endpoint.webhook.events.wants(event));
        wanting.cloned().collect()
    }

    /// An endpoint, also one that is configured no more. `None` where it went with its session; that of all sessions is known
    /// once somebody has asked for those [of](Self::of) the session, where there is one.
    pub(super) fn get(&self, id: &EndpointId) -> Option<Arc<Endpoint>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_id.get(id).cloned()
    }

    /// Every endpoint of a session that is known, also those that are configured no more.
    pub(super) fn known_of(&self, session: &SessionName) -> Vec<EndpointId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let of_session = known.all_of(session);
        // Also without a webhook of all sessions: there may have been one.
        let global = EndpointId::global(session);
        let own = of_session
            .map(|endpoint| endpoint.id.clone())
            .filter(|id| *id != global);
        own.chain([global.clone()]).collect()
    }

    /// The endpoints that are configured no more, each with whether its session has more of them than are worth keeping for
    /// what they tell of the past.
    pub(super) fn left(&self) -> Vec<(EndpointId, bool)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut count: HashMap<&SessionName, usize> = HashMap::new();
        let left = known.by_id.values().filter(|endpoint| !endpoint.is_configured);
        let left = left.map(|endpoint| {
            let count = count.entry(&endpoint.session).or_default();
            *count += 1;
            (endpoint.id.clone(), *count > LEFT_KEPT_MAX)
        });
        left.collect()
    }

    /// Lets go of an endpoint that is configured no more and has no deliveries left.
    pub(super) async fn let_go(&self, id: &EndpointId) -> Result<(), StoreError> {
        let _turn = self.changing.lock().await;
        if self.get(id).is_some_and(|endpoint| !endpoint.is_configured) {
            let batch = Batch::new().delete(&ENDPOINTS, id.as_str());
            self.store.write(batch).await?;
            self.write().by_id.remove(id);
        }
        Ok(())
    }

    /// How many endpoints get nothing because their receivers said so.
    pub(crate) fn disabled(&self) -> usize {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let endpoints = known.by_id.values();
        let disabled = endpoints.filter(|endpoint| endpoint.is_configured && endpoint.disabled.is_some());
        disabled.count()
    }

    /// What is wrong with these webhooks if this caller sets them. Those that are there already are none of his.
    pub(crate) fn objections(
        &self,
        session: Option<&SessionName>,
        webhooks: &[Webhook],
        set_by: SetBy,
        egress: &Egress,
    ) -> Vec<String> {
        let mut objections = Vec::new();
        for (index, (nth, webhook)) in numbered(webhooks).enumerate() {
            let known =
                session.and_then(|session| self.unchanged(&EndpointId::of(session, &webhook.url, nth), webhook));
            if known.is_some() || set_by == SetBy::Admin {
                continue;
            }
            let mut object = |text: &str| objections.push(format!("config.webhooks.{index}.{text}"));
            match egress.check(&webhook.url, set_by.reach()) {
                Ok(_) => {}
                Err(UrlError::NotPublic) => {
                    object(
                        "url must name a public address, or one of WHARF_EGRESS_ALLOW, unless set with the admin's key",
                    );
                }
                Err(error) => object(&format!("url must be a URL address: {error}")),
            }
            if webhook.insecure == Some(true) {
                object("insecure may be set with the admin's key only");
            }
        }
        objections
    }

    /// What a session's webhooks become, to be stored with the session and then [taken over](Self::apply). Those that are
    /// there already, just so, keep who set them; all of them get events again.
    pub(crate) async fn change(
        &self,
        session: &SessionName,
        webhooks: &[Webhook],
        set_by: SetBy,
    ) -> Result<Change, StoreError> {
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let mut endpoints = Vec::new();
        for (nth, webhook) in numbered(webhooks) {
            let id = EndpointId::of(session, &webhook.url, nth);
            let set_by = self.unchanged(&id, webhook).map_or(set_by, |known| known.set_by);
            let endpoint = Endpoint::new(id, session.clone(), Arc::new(webhook.clone()), set_by);
            endpoints.push(Arc::new(endpoint));
        }
        let known: Vec<_> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let of_session = known.all_of(session);
            of_session.filter(|endpoint| !endpoint.is_global()).cloned().collect()
        };
        let is_kept = |known: &Endpoint| endpoints.iter().any(|endpoint| endpoint.id == known.id);
        let left = known.iter().filter(|known| known.is_configured && !is_kept(known));
        let left: Vec<_> = left
            .map(|known| Arc::new(known.with(false, known.disabled.clone())))
            .collect();
        let news = endpoints.iter().filter(|endpoint| {
            let is_stored = |known: &Arc<Endpoint>| {
                known.id == endpoint.id
                    && known.is_configured
                    && known.disabled.is_none()
                    && known.webhook == endpoint.webhook
            };
            !known.iter().any(is_stored)
        });
        let batch = news
            .chain(&left)
            .try_fold(Batch::new(), |batch, endpoint| endpoint.put(batch))?;
        endpoints.extend(left);
        Ok(Change {
            session: session.clone(),
            endpoints,
            batch,
            _turn: turn,
        })
    }

    /// Takes over a change that was stored.
    pub(crate) fn apply(&self, change: Change) {
        let mut known = self.write();
        for endpoint in &change.endpoints {
            known.by_id.insert(endpoint.id.clone(), Arc::clone(endpoint));
        }
        let own = change.endpoints.into_iter().filter(|endpoint| endpoint.is_configured);
        // The webhook of all sessions keeps its state, whoever changes the session.
        self.put(&mut known, &change.session, own.collect());
    }

    /// Stops an endpoint, unless it was configured anew meanwhile.
    pub(super) async fn disable(&self, endpoint: &Arc<Endpoint>, disabled: Disabled) -> Result<(), StoreError> {
        self.set_disabled(endpoint, Some(disabled)).await
    }

    /// Lets an endpoint get events again.
    pub(super) async fn enable(&self, endpoint: &Arc<Endpoint>) -> Result<(), StoreError> {
        match endpoint.disabled {
            Some(_) => self.set_disabled(endpoint, None).await,
            None => Ok(()),
        }
    }

    async fn set_disabled(&self, endpoint: &Arc<Endpoint>, disabled: Option<Disabled>) -> Result<(), StoreError> {
        let _turn = self.changing.lock().await;
        if !self
            .get(&endpoint.id)
            .is_some_and(|known| Arc::ptr_eq(&known, endpoint))
        {
            return Ok(());
        }
        let changed = Arc::new(endpoint.with(endpoint.is_configured, disabled));
        // What the environment sets is enabled with every start.
        if !changed.is_global() {
            self.store.write(changed.put(Batch::new())?).await?;
        }
        let mut known = self.write();
        known.of_session.remove(&changed.session);
        known.by_id.insert(changed.id.clone(), changed);
        Ok(())
    }

    /// The write that removes a session's endpoints; [`forget`](Self::forget) lets go of them afterwards.
    pub(super) fn remove(batch: Batch, session: &SessionName) -> Batch {
        batch.delete_where(&ENDPOINTS, vec![Condition::IdPrefix(format!("{session}."))])
    }

    /// Lets go of a session's endpoints.
    pub(super) fn forget(&self, session: &SessionName) {
        let mut known = self.write();
        known.of_session.remove(session);
        known.by_id.retain(|_, endpoint| endpoint.session != *session);
    }

    /// The endpoint, where it is configured just so.
    fn unchanged(&self, id: &EndpointId, webhook: &Webhook) -> Option<Arc<Endpoint>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let endpoint = known.by_id.get(id)?;
        (endpoint.is_configured && *endpoint.webhook == *webhook).then(|| Arc::clone(endpoint))
    }

    /// Notes a session's own endpoints, and adds that of all sessions.
    fn put(&self, known: &mut Known, session: &SessionName, mut own: Vec<Arc<Endpoint>>) -> Arc<[Arc<Endpoint>]> {
        own.sort_by(|one, other| one.id.cmp(&other.id));
        if let Some(webhook) = &self.global {
            let id = EndpointId::global(session);
            let endpoint = known
                .by_id
                .entry(id.clone())
                .or_insert_with(|| Arc::new(Endpoint::new(id, session.clone(), Arc::clone(webhook), SetBy::Admin)));
            own.push(Arc::clone(endpoint));
        }
        let endpoints: Arc<[_]> = own.into();
        known.of_session.insert(session.clone(), Arc::clone(&endpoints));
        endpoints
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Webhooks, each with how many before it have the same address.
fn numbered(webhooks: &[Webhook]) -> impl Iterator<Item = (usize, &Webhook)> {
    webhooks.iter().enumerate().map(|(index, webhook)| {
        let same = webhooks[..index].iter().filter(|before| before.url == webhook.url);
        (same.count(), webhook)
    })
}

#[cfg(test)]
mod tests;
