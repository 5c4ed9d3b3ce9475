//! Runs one session: owns its only connection, obeys commands one after the other, and reacts to what the connection
//! signals.
//!
//! Never has two connections of one device: a new one is made only after the old one has ended. What leads from which
//! status to which is in [`super::state`].

mod commands;
mod connecting;
mod dialing;
mod telling;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use wharf_core::engine::Signal;
use wharf_core::ids::SessionName;
use wharf_core::session::SessionStatus;
use wharf_core::store::StoreError;

use self::connecting::chain;
use self::dialing::DialError;
use super::backoff::{Backoff, Row};
use super::counters::Counters;
use super::presence::{Occasion, PresenceKeeper};
use super::state::{self, AfterClose, Passkey, Problem, Trigger, View};
use super::store::{Desired, SessionDocument};
use super::{Connection, SessionConfig, Shared, ShownQr};
use crate::events::SetBy;

/// Commands that wait for one session.
pub(super) const COMMANDS_WAITING_MAX: usize = 32;

/// What a session can be told to do. Each is fine in every state.
pub(super) enum Command {
    /// Run.
    Start,
    /// Run, because the server has started. Nobody hears of what goes wrong with that, so nothing can.
    StartAtBoot {
        /// How long to wait with that.
        after: Duration,
    },
    /// Do not run.
    Stop,
    /// End the connection and make a new one.
    Restart,
    /// Unlink, and delete credentials and data; start again unless it is stopped.
    Logout,
    /// Take another configuration from whoever it is; start again unless it is stopped.
    Update(Box<SessionConfig>, SetBy),
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
    counters: Arc<Counters>,
    live: Option<Live>,
    /// When to connect, where that is to happen.
    connect_at: Option<Instant>,
    /// When to go on with its deletion, where that was cut off or went wrong.
    delete_at: Option<Instant>,
    /// The connection that is being made, if one is.
    dialing: JoinSet<Result<Live, DialError>>,
    /// The connections since one was stable.
    row: Row,
}

/// The connection that runs now.
struct Live {
    connection: Connection,
    presence: PresenceKeeper,
    signals: mpsc::UnboundedReceiver<Signal>,
    records: JoinSet<()>,
    /// Its place among the connections that are being set up, until it works, waits for a scan or fails.
    place: Option<OwnedSemaphorePermit>,
    /// When it must be logged in, or wait for a scan, at the latest; `None` while it does.
    login_by: Option<Instant>,
    working_since: Option<Instant>,
}

/// What the supervisor wakes up for.
enum Wake {
    Shutdown,
    Request(Request),
    Signal(Signal),
    Connect,
    Delete,
    Dialed(Box<Result<Live, DialError>>),
    Deaf,
    Late,
    Presence(Occasion),
}

impl Supervisor {
    pub(super) fn new(
        name: SessionName,
        shared: Arc<Shared>,
        document: SessionDocument,
        requests: mpsc::Receiver<Request>,
        counters: Arc<Counters>,
    ) -> (Self, watch::Receiver<View>) {
        let (view, receiver) = watch::channel(View::stopped(&document));
        let is_deleted = document.desired == Desired::Deleted;
        let supervisor = Self {
            name,
            shared,
            view,
            document,
            requests,
            counters,
            live: None,
            connect_at: None,
            delete_at: is_deleted.then(Instant::now),
            dialing: JoinSet::new(),
            row: Row::default(),
        };
        (supervisor, receiver)
    }

    /// Runs until the server stops, or until the session is deleted; then returns who is to be told of that. A panic in
    /// here must not leave a session that obeys nobody any more.
    pub(super) async fn run(&mut self) -> Option<Answer> {
        loop {
            match AssertUnwindSafe(self.serve()).catch_unwind().await {
                Ok(end) => return end,
                Err(_) => self.recover().await,
            }
        }
    }

    async fn serve(&mut self) -> Option<Answer> {
        loop {
            match self.wait().await {
                Wake::Shutdown => {
                    self.disconnect().await;
                    return None;
                }
                Wake::Request((command, answer)) => {
                    let is_end = matches!(command, Command::Delete);
                    if self.is_deleted() && !is_end {
                        // Whoever still knows it is cut off.
                        continue;
                    }
                    let outcome = self.obey(command).await;
                    match &outcome {
                        Ok(()) if is_end => return Some(answer),
                        Ok(()) => {}
                        Err(error) if self.is_deleted() => self.delete_later(&chain(error)),
                        Err(error) => self.fail_if_idle(error).await,
                    }
                    // The caller may have hung up; the command is done all the same.
                    let _ = answer.send(outcome);
                }
                Wake::Signal(signal) => self.react(signal).await,
                Wake::Connect => self.connect().await,
                Wake::Delete => match self.delete().await {
                    // Nobody waits for that.
                    Ok(()) => return Some(oneshot::channel().0),
                    Err(error) => self.delete_later(&chain(&error)),
                },
                Wake::Dialed(dialed) => self.dialed(*dialed).await,
                Wake::Presence(occasion) => self.present(occasion).await,
                Wake::Deaf => {
                    let problem = Problem::not_connected("no stanza came, or none could be kept, for too long");
                    self.rebuild(problem, Backoff::STEADILY).await;
                }
                Wake::Late => {
                    let problem = Problem::not_connected("WhatsApp did not complete the login");
                    self.rebuild(problem, Backoff::STEADILY).await;
                }
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let live = self.live.as_ref().filter(|_| self.is_running());
        let deaf_at = live.map(|live| live.connection.inbox().stalled_since() + self.shared.silence_max);
        let login_by = live.and_then(|live| live.login_by);
        let activity = live.map(|live| live.connection.activity());
        let offline_at = live.and_then(|live| live.presence.offline_at());
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => Wake::Shutdown,
            request = self.requests.recv() => request.map_or(Wake::Shutdown, Wake::Request),
            Some(signal) = next_signal(&mut self.live) => Wake::Signal(signal),
            () = acted(activity) => Wake::Presence(Occasion::Acted),
            () = until(offline_at) => Wake::Presence(Occasion::Rested),
            Some(dialed) = self.dialing.join_next() => Wake::Dialed(Box::new(dialing::outcome(dialed))),
            () = until(self.connect_at) => Wake::Connect,
            () = until(self.delete_at) => Wake::Delete,
            () = until(login_by) => Wake::Late,
            () = until(deaf_at) => match self.live.as_ref().map(|live| live.connection.inbox().stalled_since().elapsed()) {
                Some(silence) if silence >= self.shared.silence_max => Wake::Deaf,
                // There was a sign of life meanwhile; an empty signal starts the wait anew.
                _ => Wake::Signal(Signal::Alive),
            },
        }
    }

    fn is_running(&self) -> bool {
        !matches!(
            self.view.borrow().status,
            SessionStatus::Stopped | SessionStatus::Failed
        )
    }

    fn is_deleted(&self) -> bool {
        self.document.desired == Desired::Deleted
    }

    async fn react(&mut self, signal: Signal) {
        match signal {
            // How long it is valid needs no watching: the engine shows the next one in time.
            Signal::QrCode { code, .. } => {
                self.arrived();
                self.view.send_modify(|view| view.qr = Some(code.clone()));
                let session = self.name.clone();
                // Nobody may be listening.
                let _ = self.shared.qr_codes.send(ShownQr { session, code });
                self.enter(Trigger::QrCode, None).await;
            }
            Signal::PasskeyRequired(challenge) => {
                let passkey = Passkey::Sign(Arc::new(challenge));
                self.view.send_modify(|view| view.passkey = Some(passkey));
                self.enter(Trigger::PasskeyRequired, None).await;
            }
            Signal::PasskeyConfirmation { code } => {
                self.view
                    .send_modify(|view| view.passkey = Some(Passkey::Compare(code)));
                self.enter(Trigger::PasskeyConfirmation, None).await;
            }
            Signal::Linked(me) => {
                // At once: from now on there is nothing to scan, and requests wait for the connection.
                self.view.send_modify(|view| view.qr = None);
                if let Some(live) = &mut self.live {
                    live.login_by = Some(Instant::now() + self.shared.login_max);
                }
                self.remember(me).await;
                self.enter(Trigger::Linked, None).await;
            }
            Signal::Connected(me) => {
                self.arrived();
                if let Some(live) = &mut self.live {
                    live.working_since = Some(Instant::now());
                }
                self.remember(me).await;
                self.enter(Trigger::Connected, None).await;
                self.present(Occasion::Connected).await;
            }
            Signal::Disconnected { reason } => {
                self.rebuild(Problem::not_connected(&reason), Backoff::STEADILY).await;
            }
            Signal::ConnectFailed { reason } => {
                self.rebuild(Problem::not_connected(&reason), Backoff::SOON).await;
            }
            Signal::ProxyFailed { reason } => self.rebuild(Problem::proxy_failed(&reason), Backoff::SOON).await,
            Signal::TurnedAway { reason } => self.rebuild(Problem::turned_away(&reason), Backoff::RARELY).await,
            Signal::Renamed(me) => {
                self.remember(me).await;
                self.present(Occasion::Renamed).await;
            }
            Signal::Closed(closed) => self.closed(state::after_close(closed)).await,
            // These go another way, or need nothing: see `SessionInbox::signal`.
            Signal::Alive
            | Signal::Ack(_)
            | Signal::Message { .. }
            | Signal::Waiting { .. }
            | Signal::AskedAgain { .. } => {}
        }
    }

    /// Shows the account as online or offline, as is fit after this.
    async fn present(&mut self, occasion: Occasion) {
        if let Some(Live {
            connection, presence, ..
        }) = &mut self.live
        {
            presence.after(occasion, connection.engine(), &self.view).await;
        }
    }

    /// The connection works or waits for a scan: it is in time, and the next session may dial.
    fn arrived(&mut self) {
        if let Some(live) = &mut self.live {
            live.place = None;
            live.login_by = None;
        }
    }

    /// Says that there is no connection now, and why.
    async fn lose(&mut self, problem: Problem) {
        // Also where that tells nobody: the text can be another while the reason is the same.
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
            AfterClose::Rebuild { problem, backoff } => self.rebuild(problem, backoff).await,
            AfterClose::Fail(problem) => self.fail(problem).await,
            AfterClose::Unlinked(problem) => {
                let was_linked = self.document.me.is_some();
                let document = SessionDocument {
                    unlinked: true,
                    me: None,
                    ..self.document.clone()
                };
                if let Err(error) = self.keep(document).await {
                    tracing::error!(session = %self.name, error = %error, "the unlinking could not be stored");
                }
                self.view.send_modify(|view| view.me = None);
                match was_linked {
                    true => self.fail(problem).await,
                    // A crash cut the linking off: the credentials are on disk, and WhatsApp has never heard of them.
                    false => self.rebuild(problem, Backoff::BOUNDED).await,
                }
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

async fn acted(activity: Option<Arc<Notify>>) {
    match activity {
        Some(activity) => activity.notified().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
