//! Runs one session: owns its only connection, obeys commands one after the other, and reacts to what the connection
//! signals.
//!
//! Never has two connections of one device: a new one is made only after the old one has ended. What leads from which
//! status to which is in [`super::state`].

mod connecting;
mod dialing;
mod telling;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use wharf_core::engine::Signal;
use wharf_core::ids::SessionName;
use wharf_core::session::SessionStatus;
use wharf_core::store::StoreError;

use self::dialing::DialError;
use super::state::{self, AfterClose, Problem, Trigger, View};
use super::store::{Desired, SessionDocument, forget};
use super::{Connection, SessionConfig, Shared};

/// Commands that wait for one session.
pub(super) const COMMANDS_WAITING_MAX: usize = 32;
/// The longest that unlinking at WhatsApp may take; afterwards the credentials are deleted all the same.
const LOGOUT_WITHIN: Duration = Duration::from_secs(10);

/// What a session can be told to do. Each is fine in every state.
pub(super) enum Command {
    /// Run.
    Start,
    /// Do not run.
    Stop,
    /// End the connection and make a new one.
    Restart,
    /// Unlink, and delete credentials and data; start again if it ran.
    Logout,
    /// Take another configuration; start again if it runs.
    Update(Box<SessionConfig>),
    /// End, and delete everything.
    Delete,
}

/// Where the outcome of a command goes.
pub(super) type Answer = oneshot::Sender<Result<(), StoreError>>;

/// A command, and where its outcome goes.
pub(super) type Request = (Command, Answer);

/// Runs one session.
pub(super) struct Supervisor {
    name: SessionName,
    shared: Arc<Shared>,
    view: watch::Sender<View>,
    document: SessionDocument,
    requests: mpsc::Receiver<Request>,
    activity_ms: Arc<AtomicI64>,
    live: Option<Live>,
    /// When to connect, where that is to happen.
    connect_at: Option<Instant>,
    /// The connection that is being made, if one is.
    dialing: JoinSet<Result<Live, DialError>>,
    /// Rebuilds since a connection was stable; they make the delay longer.
    rebuilds: u32,
    /// Those of them that count towards giving up.
    rebuilds_bounded: u32,
}

/// The connection that runs now.
struct Live {
    connection: Connection,
    signals: mpsc::UnboundedReceiver<Signal>,
    records: JoinSet<()>,
    /// Its place among the connections that are being set up, until it works, waits for a scan or fails.
    place: Option<OwnedSemaphorePermit>,
    working_since: Option<Instant>,
}

/// What the supervisor wakes up for.
enum Wake {
    Shutdown,
    Request(Request),
    Signal(Signal),
    Connect,
    Dialed(Box<Result<Live, DialError>>),
    Deaf,
}

impl Supervisor {
    pub(super) fn new(
        name: SessionName,
        shared: Arc<Shared>,
        document: SessionDocument,
        requests: mpsc::Receiver<Request>,
        activity_ms: Arc<AtomicI64>,
    ) -> (Self, watch::Receiver<View>) {
        let view = View::stopped(document.config.clone(), document.me.clone(), document.statuses.clone());
        let (view, receiver) = watch::channel(view);
        let supervisor = Self {
            name,
            shared,
            view,
            document,
            requests,
            activity_ms,
            live: None,
            connect_at: None,
            dialing: JoinSet::new(),
            rebuilds: 0,
            rebuilds_bounded: 0,
        };
        (supervisor, receiver)
    }

    /// Runs until the server stops, or until the session is deleted; then returns who is to be told of that.
    pub(super) async fn run(&mut self) -> Option<Answer> {
        loop {
            match self.wait().await {
                Wake::Shutdown => {
                    self.disconnect().await;
                    return None;
                }
                Wake::Request((command, answer)) => {
                    let is_end = matches!(command, Command::Delete);
                    let outcome = self.obey(command).await;
                    match &outcome {
                        Ok(()) if is_end => return Some(answer),
                        Ok(()) => {}
                        Err(error) => self.fail_if_idle(error).await,
                    }
                    // The caller may have hung up; the command is done all the same.
                    let _ = answer.send(outcome);
                }
                Wake::Signal(signal) => self.react(signal).await,
                Wake::Connect => self.connect().await,
                Wake::Dialed(dialed) => self.dialed(*dialed).await,
                Wake::Deaf => {
                    self.rebuild("no stanza came, or none could be kept, for too long", false)
                        .await
                }
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let live = self.live.as_ref().filter(|_| self.is_running());
        let deaf_at = live.map(|live| live.connection.inbox().stalled_since() + self.shared.silence_max);
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => Wake::Shutdown,
            request = self.requests.recv() => request.map_or(Wake::Shutdown, Wake::Request),
            Some(signal) = next_signal(&mut self.live) => Wake::Signal(signal),
            Some(dialed) = self.dialing.join_next() => Wake::Dialed(Box::new(dialing::outcome(dialed))),
            () = until(self.connect_at) => Wake::Connect,
            () = until(deaf_at) => match self.live.as_ref().map(|live| live.connection.inbox().stalled_since().elapsed()) {
                Some(silence) if silence >= self.shared.silence_max => Wake::Deaf,
                // There was a sign of life meanwhile; an empty signal starts the wait anew.
                _ => Wake::Signal(Signal::Alive),
            },
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Start if self.is_running() => Ok(()),
            Command::Start | Command::Restart => self.start().await,
            Command::Stop => self.stop().await,
            Command::Update(config) => {
                let mut document = self.document.clone();
                document.config = *config;
                self.keep(document).await?;
                let config = Arc::new(self.document.config.clone());
                self.view.send_modify(|view| view.config = config);
                match self.is_running() {
                    true => self.start().await,
                    false => Ok(()),
                }
            }
            Command::Logout => self.log_out().await,
            Command::Delete => self.delete().await,
        }
    }

    fn is_running(&self) -> bool {
        !matches!(
            self.view.borrow().status,
            SessionStatus::Stopped | SessionStatus::Failed
        )
    }

    /// Begins, or begins anew. The connection itself is made afterwards, so that the caller need not wait and the next
    /// command can still prevent it.
    async fn start(&mut self) -> Result<(), StoreError> {
        self.keep(SessionDocument {
            desired: Desired::Running,
            ..self.document.clone()
        })
        .await?;
        if !self.disconnect().await {
            return Ok(());
        }
        self.rebuilds = 0;
        self.rebuilds_bounded = 0;
        self.connect_at = Some(Instant::now());
        self.enter(Trigger::Start, None).await;
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), StoreError> {
        self.connect_at = None;
        self.disconnect().await;
        self.keep(SessionDocument {
            desired: Desired::Stopped,
            ..self.document.clone()
        })
        .await?;
        self.enter(Trigger::Stop, None).await;
        Ok(())
    }

    async fn log_out(&mut self) -> Result<(), StoreError> {
        let was_running = self.is_running();
        self.connect_at = None;
        self.unlink().await?;
        self.shared.storage.delete_session(&self.name).await?;
        self.keep(SessionDocument {
            me: None,
            unlinked: false,
            ..self.document.clone()
        })
        .await?;
        self.view.send_modify(|view| view.me = None);
        match was_running {
            true => self.start().await,
            false => Ok(()),
        }
    }

    /// Unlinks the device at WhatsApp, where that can be reached, and ends the connection, after which the session's
    /// store may be deleted. After an error it may not: the connection may still write to it.
    async fn unlink(&mut self) -> Result<(), StoreError> {
        if let Some(live) = &self.live {
            let connection = live.connection.clone();
            if timeout(LOGOUT_WITHIN, connection.engine().logout()).await.is_err() {
                tracing::warn!(session = %self.name, "WhatsApp did not confirm the logout in time");
            }
        }
        match self.disconnect().await {
            true => Ok(()),
            false => Err(StoreError::Unavailable(connecting::STUCK.into())),
        }
    }

    /// The mark comes first, so that a crash in between is finished at the next start.
    async fn delete(&mut self) -> Result<(), StoreError> {
        self.keep(SessionDocument {
            desired: Desired::Deleted,
            ..self.document.clone()
        })
        .await?;
        self.connect_at = None;
        self.unlink().await?;
        self.shared.storage.delete_session(&self.name).await?;
        self.shared.events.forget(&self.name, forget(&self.name)).await?;
        self.view.send_modify(|view| {
            view.status = SessionStatus::Stopped;
            view.problem = None;
        });
        Ok(())
    }

    async fn react(&mut self, signal: Signal) {
        match signal {
            // How long it is valid needs no watching: the engine shows the next one in time.
            Signal::QrCode { code, .. } => {
                self.give_up_place();
                self.view.send_modify(|view| view.qr = Some(code));
                self.enter(Trigger::QrCode, None).await;
            }
            Signal::Linked(me) => {
                // At once: from now on there is nothing to scan, and requests wait for the connection.
                self.view.send_modify(|view| view.qr = None);
                self.remember(me).await;
                self.enter(Trigger::Linked, None).await;
            }
            Signal::Connected(me) => {
                self.give_up_place();
                if let Some(live) = &mut self.live {
                    live.working_since = Some(Instant::now());
                }
                self.remember(me).await;
                self.enter(Trigger::Connected, None).await;
            }
            Signal::Disconnected { reason } | Signal::ConnectFailed { reason } => {
                self.give_up_place();
                tracing::info!(session = %self.name, reason, "not connected, the engine dials again");
                self.lose(&reason).await;
            }
            Signal::Renamed(me) => self.remember(me).await,
            Signal::Closed(closed) => self.closed(state::after_close(closed)).await,
            // These go another way, or need nothing: see `SessionInbox::signal`.
            Signal::Alive | Signal::Ack(_) | Signal::Message(_) => {}
        }
    }

    /// Lets the next session dial.
    fn give_up_place(&mut self) {
        if let Some(live) = &mut self.live {
            live.place = None;
        }
    }

    /// Says that there is no connection now, and why.
    async fn lose(&mut self, reason: &str) {
        let message = format!("there is no connection to WhatsApp ({reason}); it is tried again until there is one");
        let problem = Problem::new("NOT_CONNECTED", message);
        // Also where the status is the same as before, and so tells nobody.
        self.enter(Trigger::Lost, Some(problem.clone())).await;
        self.view.send_modify(|view| {
            if view.status == SessionStatus::Starting {
                view.problem = Some(problem);
            }
        });
    }

    async fn closed(&mut self, after: AfterClose) {
        match after {
            // Only our own `disconnect` asks, and that has let go of this connection before.
            AfterClose::Nothing => {}
            AfterClose::Rebuild { reason, bounded } => self.rebuild(&reason, bounded).await,
            AfterClose::Fail(problem) => self.fail(problem).await,
            AfterClose::Unlinked(problem) => {
                let document = SessionDocument {
                    unlinked: true,
                    me: None,
                    ..self.document.clone()
                };
                if let Err(error) = self.keep(document).await {
                    tracing::error!(session = %self.name, error = %error, "the unlinking could not be stored");
                }
                self.view.send_modify(|view| view.me = None);
                self.fail(problem).await;
            }
        }
    }
}

async fn next_signal(live: &mut Option<Live>) -> Option<Signal> {
    match live {
        Some(live) => live.signals.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
