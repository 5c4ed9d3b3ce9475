//! All sessions of this server, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;
use wharf_core::ids::SessionName;
use wharf_core::session::SessionStatus;
use wharf_core::store::{Expect, StoreError};

use super::counters::Counters;
use super::state::View;
use super::store::{Desired, SessionDocument, load_all};
use super::supervisor::{COMMANDS_WAITING_MAX, Command, Request, Supervisor};
use super::{SessionConfig, SessionMetrics, Shared, ShownQr};
use crate::config::SessionsConfig;
use crate::events::SetBy;

/// The most sessions of one server.
const SESSIONS_MAX: usize = 5_000;
/// Random bytes in the name of a session that was given none; WAHA writes them as 32 hexadecimal digits.
const NAME_BYTES: usize = 16;

/// All sessions.
pub(crate) struct Registry {
    shared: Arc<Shared>,
    sessions: RwLock<BTreeMap<SessionName, Arc<Session>>>,
    /// One creation at a time, so that two of the same name cannot pass each other.
    creation: tokio::sync::Mutex<()>,
}

/// One session.
pub(crate) struct Session {
    name: SessionName,
    /// Its turn where sessions share a list of proxies.
    turn: usize,
    view: watch::Receiver<View>,
    requests: mpsc::Sender<Request>,
    counters: Arc<Counters>,
}

/// The longest that anybody waits for a session that is starting, as in WAHA.
const STARTING_WITHIN: Duration = Duration::from_secs(5);

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Nobody obeys it.
    #[error("the command was cut off: the session is being deleted, has failed inside, or the server is stopping")]
    CutOff,
    /// What it needs could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a session could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// There is one with this name.
    #[error("session {0} exists already")]
    Exists(SessionName),
    /// There are as many as there may be.
    #[error("there are {SESSIONS_MAX} sessions, more are not allowed")]
    TooMany,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One of the same name could not be deleted before it, or it could not be started.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Registry {
    /// Loads the sessions that are stored, and starts those that are to run.
    pub(crate) async fn open(shared: Arc<Shared>, config: &SessionsConfig) -> Result<Arc<Self>, StoreError> {
        let stored = load_all(shared.storage.server().as_ref()).await?;
        let registry = Arc::new(Self {
            shared,
            sessions: RwLock::default(),
            creation: tokio::sync::Mutex::default(),
        });
        let mut starting = Vec::new();
        for (name, document) in stored {
            let is_to_run = config.restart_all || config.restart && document.desired == Desired::Running;
            let starts = document.desired != Desired::Deleted && (is_to_run || config.start.contains(&name));
            let session = registry.run(name.clone(), document);
            starting.extend(starts.then(|| Arc::clone(&session)));
            registry.write().insert(name, session);
        }
        // Before anything is received: what is about a message comes after the event that still waits for its file.
        registry.shared.media_jobs.resume().await?;
        let mut after = Duration::ZERO;
        for session in starting {
            // Nobody waits for the outcome; the session's status tells.
            let (outcome, _) = oneshot::channel();
            let _ = session.requests.try_send((Command::StartAtBoot { after }, outcome));
            after += config.start_delay;
        }
        for name in &config.start {
            if registry.get(name).is_none() {
                registry.create_at_boot(name, after).await;
                after += config.start_delay;
            }
        }
        Ok(registry)
    }

    /// Makes a session that is to run and is not there. What keeps one from that must not keep the others.
    async fn create_at_boot(self: &Arc<Self>, name: &SessionName, after: Duration) {
        let started = match self
            .create(Some(name.clone()), SessionConfig::default(), SetBy::Admin, false)
            .await
        {
            Ok(session) => session.start_at_boot(after).await.map_err(CreateError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            tracing::error!(session = %name, error = %error, "a session of WHATSAPP_START_SESSION cannot be started");
        }
    }

    /// The session with this name.
    pub(crate) fn get(&self, name: &SessionName) -> Option<Arc<Session>> {
        self.held(name).filter(|session| !session.is_deleted())
    }

    /// All sessions, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        let there = |session: &&Arc<Session>| !session.is_deleted();
        self.read().values().filter(there).cloned().collect()
    }

    /// The session that has this name, also while it is being deleted.
    fn held(&self, name: &SessionName) -> Option<Arc<Session>> {
        self.read().get(name).cloned()
    }

    /// Every QR code that is shown from now on.
    pub(crate) fn qr_codes(&self) -> broadcast::Receiver<ShownQr> {
        self.shared.qr_codes.subscribe()
    }

    /// The sessions that wait for a phone to scan.
    pub(crate) fn waiting_for_scan(&self) -> Vec<SessionName> {
        let waiting = |session: &Arc<Session>| session.view.borrow().qr.is_some();
        let sessions = self.all().into_iter().filter(waiting);
        sessions.map(|session| session.name.clone()).collect()
    }

    /// Makes a session, under a random name where none is given, and starts it if `start`.
    pub(crate) async fn create(
        self: &Arc<Self>,
        name: Option<SessionName>,
        config: SessionConfig,
        set_by: SetBy,
        start: bool,
    ) -> Result<Arc<Session>, CreateError> {
        let registry = Arc::clone(self);
        self.undisturbed(async move {
            let session = registry.make(name, config, set_by).await?;
            if start {
                session.start().await?;
            }
            Ok(session)
        })
        .await
    }

    /// Runs the session with this name, and makes it where there is none. Where there is, it takes this configuration, if
    /// one is given; a session that runs and has it already goes on undisturbed.
    pub(crate) async fn create_or_update(
        self: &Arc<Self>,
        name: SessionName,
        config: Option<SessionConfig>,
        set_by: SetBy,
    ) -> Result<Arc<Session>, CreateError> {
        let registry = Arc::clone(self);
        self.undisturbed(async move {
            let known = match registry.get(&name) {
                None => {
                    let made = registry.make(Some(name.clone()), config.clone().unwrap_or_default(), set_by);
                    match made.await {
                        // Another caller made it meanwhile.
                        Err(CreateError::Exists(_)) => registry.get(&name),
                        made => Some(made?),
                    }
                }
                known => known,
            };
            let session = known.ok_or(CommandError::CutOff)?;
            session.start_with(config, set_by).await?;
            Ok(session)
        })
        .await
    }

    /// Runs a session, with this configuration if one is given.
    pub(crate) async fn start_with(
        &self,
        session: Arc<Session>,
        config: Option<SessionConfig>,
        set_by: SetBy,
    ) -> Result<Arc<Session>, CreateError> {
        self.undisturbed(async move {
            session.start_with(config, set_by).await?;
            Ok(session)
        })
        .await
    }

    /// Does this in a task of its own, so that it is done whole when the caller hangs up.
    async fn undisturbed(
        &self,
        creation: impl Future<Output = Result<Arc<Session>, CreateError>> + Send + 'static,
    ) -> Result<Arc<Session>, CreateError> {
        let cut_off = |error: tokio::task::JoinError| CreateError::Store(StoreError::Internal(error.into()));
        self.shared.tasks.spawn(creation).await.map_err(cut_off)?
    }

    async fn make(
        self: &Arc<Self>,
        name: Option<SessionName>,
        config: SessionConfig,
        set_by: SetBy,
    ) -> Result<Arc<Session>, CreateError> {
        if let Some(name) = &name
            && self.held(name).is_some_and(|session| session.is_deleted())
        {
            self.delete(name).await?;
        }
        let _turn = self.creation.lock().await;
        let name = match name {
            Some(name) => name,
            None => self.random_name()?,
        };
        if self.read().contains_key(&name) {
            return Err(CreateError::Exists(name));
        }
        if self.read().len() >= SESSIONS_MAX {
            return Err(CreateError::TooMany);
        }
        let document = SessionDocument::new(config, self.free_turn());
        let endpoints = self.shared.events.endpoints();
        let webhooks = document.config.webhooks.as_deref().unwrap_or_default();
        let mut change = endpoints.change(&name, webhooks, set_by).await?;
        let batch = change.take_batch().and(document.put(&name, Expect::Absent)?);
        match self.shared.storage.server().write(batch).await {
            Err(StoreError::Conflict { .. }) => return Err(CreateError::Exists(name)),
            outcome => outcome?,
        }
        endpoints.apply(change);
        let session = self.run(name.clone(), document);
        self.write().insert(name, Arc::clone(&session));
        Ok(session)
    }

    /// The first turn that no session has. What was deleted gives its own back, so that proxies stay evenly used.
    fn free_turn(&self) -> usize {
        let taken: BTreeSet<usize> = self.read().values().map(|session| session.turn).collect();
        let mut turns = 0..taken.len();
        turns.find(|turn| !taken.contains(turn)).unwrap_or(taken.len())
    }

    /// Deletes a session with everything it has; fine where there is none.
    pub(crate) async fn delete(&self, name: &SessionName) -> Result<(), CommandError> {
        let Some(session) = self.held(name) else {
            return Ok(());
        };
        match session.order(Command::Delete).await {
            // Another deletion came first and left nobody to answer.
            Err(_) if !self.holds(name, &Arc::downgrade(&session)) => Ok(()),
            outcome => outcome,
        }
    }

    fn holds(&self, name: &SessionName, session: &Weak<Session>) -> bool {
        let held = self.held(name);
        held.is_some_and(|held| std::ptr::eq(Arc::as_ptr(&held), session.as_ptr()))
    }

    /// What is counted of all sessions together.
    pub(crate) fn metrics(&self) -> &SessionMetrics {
        &self.shared.metrics
    }

    /// The status of every session.
    pub(crate) fn statuses(&self) -> Vec<SessionStatus> {
        self.read()
            .values()
            .map(|session| session.view.borrow().status)
            .collect()
    }

    /// Ends every session's connection; what they should be doing stays as it is.
    pub(crate) async fn shut_down(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        tokio::join!(self.shared.tasks.wait(), self.shared.media_jobs.shut_down());
    }

    fn run(self: &Arc<Self>, name: SessionName, document: SessionDocument) -> Arc<Session> {
        let (requests, receiver) = mpsc::channel(COMMANDS_WAITING_MAX);
        let turn = document.turn;
        let counters = Arc::new(Counters::new(Arc::clone(&self.shared.metrics)));
        let (mut supervisor, view) = Supervisor::new(
            name.clone(),
            Arc::clone(&self.shared),
            document,
            receiver,
            Arc::clone(&counters),
        );
        self.shared.media_jobs.add(&name, view.clone());
        let session = Arc::new(Session {
            name: name.clone(),
            turn,
            view,
            requests,
            counters,
        });
        // Weak, so that sessions end when the registry is dropped.
        let (registry, own) = (Arc::downgrade(self), Arc::downgrade(&session));
        self.shared.tasks.spawn(async move {
            let Some(answer) = supervisor.run().await else {
                return;
            };
            // Here and not where the deletion was asked for: that caller may have hung up. A session of the same name
            // may have been made meanwhile.
            if let Some(registry) = registry.upgrade()
                && registry.holds(&name, &own)
            {
                registry.write().remove(&name);
            }
            let _ = answer.send(Ok(()));
            // Only now, so that whoever finds nobody to answer also finds no session.
            drop(supervisor);
        });
        session
    }

    fn random_name(&self) -> Result<SessionName, StoreError> {
        let name = format!("session_{}", hex::encode(self.shared.random.bytes::<NAME_BYTES>()));
        name.parse()
            .map_err(|error: wharf_core::ids::SessionNameError| StoreError::Internal(error.into()))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<SessionName, Arc<Session>>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<SessionName, Arc<Session>>> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Its name.
    pub(crate) fn name(&self) -> &SessionName {
        &self.name
    }

    /// How it is now.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// When it last received or sent, in milliseconds since 1970.
    pub(crate) fn activity_ms(&self) -> Option<i64> {
        self.counters.activity_ms()
    }

    /// Waits while it starts, but not for ever, and returns how it is then.
    pub(crate) async fn settled(&self) -> View {
        self.until(|view| !view.is_settling()).await
    }

    /// Waits until this can be said of it, but not for ever, and returns how it is then.
    pub(crate) async fn until(&self, can_be_said: impl FnMut(&View) -> bool) -> View {
        let mut view = self.view.clone();
        match timeout(STARTING_WITHIN, view.wait_for(can_be_said)).await {
            Ok(Ok(view)) => view.clone(),
            // It takes too long, or it is gone and its last state stays.
            Ok(Err(_)) | Err(_) => self.view(),
        }
    }

    fn is_deleted(&self) -> bool {
        self.view.borrow().is_deleted
    }

    /// Runs it; fine if it runs.
    pub(crate) async fn start(&self) -> Result<(), CommandError> {
        self.order(Command::Start).await
    }

    async fn start_with(&self, config: Option<SessionConfig>, set_by: SetBy) -> Result<(), CommandError> {
        if let Some(config) = config
            && *self.view().config != config
        {
            self.update(config, set_by).await?;
        }
        self.start().await
    }

    async fn start_at_boot(&self, after: Duration) -> Result<(), CommandError> {
        self.order(Command::StartAtBoot { after }).await
    }

    /// Stops it; fine if it does not run.
    pub(crate) async fn stop(&self) -> Result<(), CommandError> {
        self.order(Command::Stop).await
    }

    /// Ends its connection and makes a new one.
    pub(crate) async fn restart(&self) -> Result<(), CommandError> {
        self.order(Command::Restart).await
    }

    /// Unlinks it and deletes its credentials and data; starts it again unless it is stopped.
    pub(crate) async fn log_out(&self) -> Result<(), CommandError> {
        self.order(Command::Logout).await
    }

    /// Gives it another configuration; starts it again unless it is stopped.
    pub(crate) async fn update(&self, config: SessionConfig, set_by: SetBy) -> Result<(), CommandError> {
        self.order(Command::Update(Box::new(config), set_by)).await
    }

    async fn order(&self, command: Command) -> Result<(), CommandError> {
        let (answer, outcome) = oneshot::channel();
        let ordered = self.requests.send((command, answer)).await;
        ordered.map_err(|_| CommandError::CutOff)?;
        Ok(outcome.await.map_err(|_| CommandError::CutOff)??)
    }
}
