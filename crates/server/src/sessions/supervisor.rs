//! Runs one session: owns its only connection, obeys commands one after the other, and reacts to what the connection
//! signals.
//!
//! Never has two connections of one device: a new one is made only after the old one has ended. What leads from which
//! status to which is in [`super::state`].

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use wharf_core::engine::{EngineError, EngineOptions, Signal};
use wharf_core::events::{EventName, SessionStatusPayload, SessionStatusPoint};
use wharf_core::ids::SessionName;
use wharf_core::random::Random;
use wharf_core::session::{Me, SessionStatus};
use wharf_core::store::{Batch, Expect, StoreError};

use super::inbox::SessionInbox;
use super::state::{self, AfterClose, Problem, QrCode, STATUSES_MAX, Trigger, View};
use super::store::{Desired, SessionDocument, forget};
use super::{Connection, SessionConfig, Shared};
use crate::events::{EventSource, Identity, NewEvent};

/// Commands that wait for one session.
pub(super) const COMMANDS_WAITING_MAX: usize = 32;
/// The longest that setting up a connection may take; it does not include WhatsApp's answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// The longest that ending a connection may take.
const DISCONNECT_WITHIN: Duration = Duration::from_secs(8);
/// The longest that unlinking at WhatsApp may take; afterwards the credentials are deleted all the same.
const LOGOUT_WITHIN: Duration = Duration::from_secs(10);
/// The longest that receipts may take that came before the end of a connection.
const RECORDS_WITHIN: Duration = Duration::from_secs(2);
/// Without any stanza for this long a connection is deaf, whatever its socket says. WhatsApp's keepalive is answered
/// about twice a minute.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// The wait before the first rebuild of a connection; it doubles with each.
const REBUILD_DELAY: Duration = Duration::from_secs(1);
/// The longest wait before a rebuild.
const REBUILD_DELAY_MAX: Duration = Duration::from_secs(60);
/// Rebuilds in a row, without a stable connection in between, before the session fails.
const REBUILDS_MAX: u32 = 10;
/// A connection that worked for this long is stable.
const STABLE_AFTER: Duration = Duration::from_secs(60);

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

/// A command, and where its outcome goes.
pub(super) type Request = (Command, oneshot::Sender<Result<(), StoreError>>);

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
    rebuilds: u32,
}

/// The connection that runs now.
struct Live {
    connection: Connection,
    signals: mpsc::UnboundedReceiver<Signal>,
    records: JoinSet<()>,
    working_since: Option<Instant>,
}

/// What the supervisor wakes up for.
enum Wake {
    Shutdown,
    Request(Request),
    Signal(Signal),
    Connect,
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
            rebuilds: 0,
        };
        (supervisor, receiver)
    }

    /// Runs until the session is deleted or the server stops.
    pub(super) async fn run(mut self) {
        loop {
            match self.wait().await {
                Wake::Shutdown => {
                    self.disconnect().await;
                    return;
                }
                Wake::Request((command, answer)) => {
                    let is_end = matches!(command, Command::Delete);
                    let outcome = self.obey(command).await;
                    let is_end = is_end && outcome.is_ok();
                    if let Err(error) = &outcome {
                        self.fail_if_idle(error).await;
                    }
                    // The caller may have hung up; the command is done all the same.
                    let _ = answer.send(outcome);
                    if is_end {
                        return;
                    }
                }
                Wake::Signal(signal) => self.react(signal).await,
                Wake::Connect => self.connect().await,
                Wake::Deaf => {
                    tracing::warn!(session = %self.name, "no stanza for {} seconds, connecting anew", SILENCE_MAX.as_secs());
                    self.rebuild("no sign of life", false).await;
                }
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let deaf_at = self
            .live
            .as_ref()
            .map(|live| live.connection.inbox().last_alive() + SILENCE_MAX);
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => Wake::Shutdown,
            request = self.requests.recv() => request.map_or(Wake::Shutdown, Wake::Request),
            Some(signal) = next_signal(&mut self.live) => Wake::Signal(signal),
            () = until(self.connect_at) => Wake::Connect,
            () = until(deaf_at) => match self.live.as_ref().map(|live| live.connection.inbox().last_alive().elapsed()) {
                Some(silence) if silence >= SILENCE_MAX => Wake::Deaf,
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
        if let Some(live) = &self.live {
            let engine = live.connection.clone();
            if timeout(LOGOUT_WITHIN, engine.engine().logout()).await.is_err() {
                tracing::warn!(session = %self.name, "WhatsApp did not confirm the logout in time");
            }
        }
        self.connect_at = None;
        self.disconnect().await;
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

    /// The mark comes first, so that a crash in between is finished at the next start.
    async fn delete(&mut self) -> Result<(), StoreError> {
        self.connect_at = None;
        self.disconnect().await;
        self.keep(SessionDocument {
            desired: Desired::Deleted,
            ..self.document.clone()
        })
        .await?;
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
            Signal::QrCode { code, valid_for } => {
                let valid_until = self.shared.clock.now() + valid_for;
                self.view
                    .send_modify(|view| view.qr = Some(QrCode { code, valid_until }));
                self.enter(Trigger::QrCode, None).await;
            }
            Signal::Linked(me) => {
                self.remember(me).await;
                self.enter(Trigger::Linked, None).await;
            }
            Signal::Connected(me) => {
                if let Some(live) = &mut self.live {
                    live.working_since = Some(Instant::now());
                }
                self.remember(me).await;
                self.enter(Trigger::Connected, None).await;
            }
            Signal::Disconnected { reason } | Signal::ConnectFailed { reason } => {
                tracing::info!(session = %self.name, reason, "not connected, the engine dials again");
                self.enter(Trigger::Lost, None).await;
            }
            Signal::Renamed(me) => self.remember(me).await,
            Signal::Closed(closed) => self.closed(state::after_close(closed)).await,
            // These go another way, or need nothing: see `SessionInbox::signal`.
            Signal::Alive | Signal::Ack(_) | Signal::Message(_) => {}
        }
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

    /// Ends the connection, if there is one, and makes a new one after a while.
    async fn rebuild(&mut self, reason: &str, bounded: bool) {
        let was_stable = self
            .live
            .as_ref()
            .and_then(|live| live.working_since)
            .is_some_and(|since| since.elapsed() >= STABLE_AFTER);
        if was_stable {
            self.rebuilds = 0;
        }
        if !self.disconnect().await {
            return;
        }
        self.rebuilds += 1;
        if bounded && self.rebuilds > REBUILDS_MAX {
            let message = format!(
                "the connection ended {REBUILDS_MAX} times in a row ({reason}); see the log, then restart the session"
            );
            return self.fail(Problem::new("UNSTABLE", message)).await;
        }
        let delay = rebuild_delay(self.rebuilds, self.shared.random.as_ref());
        tracing::warn!(session = %self.name, reason, delay_ms = delay.as_millis(), "connecting anew");
        self.connect_at = Some(Instant::now() + delay);
        self.enter(Trigger::Lost, None).await;
    }

    async fn fail(&mut self, problem: Problem) {
        self.connect_at = None;
        self.disconnect().await;
        tracing::warn!(session = %self.name, reason = problem.reason, "{}", problem.message);
        self.enter(Trigger::GaveUp, Some(problem)).await;
    }

    /// A command that failed half-way must not leave a status that says the session runs when nothing does.
    async fn fail_if_idle(&mut self, error: &StoreError) {
        if self.is_running() && self.live.is_none() && self.connect_at.is_none() {
            let message = format!(
                "the session's data could not be written ({}); see to that, then restart it",
                chain(error)
            );
            self.fail(Problem::new("STORE_FAILED", message)).await;
        }
    }

    /// Makes the connection.
    async fn connect(&mut self) {
        self.connect_at = None;
        match timeout(CONNECT_WITHIN, self.try_connect()).await {
            Ok(Ok(live)) => {
                let connection = live.connection.clone();
                self.live = Some(live);
                self.view.send_modify(|view| view.connection = Some(connection));
            }
            Ok(Err(EngineError::Store(StoreError::Corrupt { file, cause }))) => {
                let message = format!(
                    "the session's data in {} is damaged ({cause}); restore it from a backup and restart the session, \
                     or log the session out and start it to begin anew",
                    file.display()
                );
                let problem = Problem::new("STORE_CORRUPT", message).with("file", file.display().to_string());
                self.fail(problem).await;
            }
            Ok(Err(error)) => {
                let bounded = !matches!(error, EngineError::Store(_));
                self.rebuild(&chain(&error), bounded).await;
            }
            Err(_) => self.rebuild("setting up the connection took too long", true).await,
        }
    }

    async fn try_connect(&mut self) -> Result<Live, EngineError> {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed.
        let _permit = shared
            .connects
            .acquire()
            .await
            .map_err(|error| EngineError::Internal(error.into()))?;
        if self.document.unlinked {
            self.shared.storage.delete_session(&self.name).await?;
            self.keep(SessionDocument {
                unlinked: false,
                ..self.document.clone()
            })
            .await?;
        }
        let store = self.shared.storage.session(&self.name).await?;
        let (inbox, reports) = SessionInbox::new(
            self.name.clone(),
            Arc::clone(&store),
            Arc::clone(&self.shared.events),
            self.view.subscribe(),
            Arc::clone(&self.activity_ms),
        );
        let (device_name, browser_name) = self.document.config.device();
        let options = EngineOptions {
            session: self.name.clone(),
            store,
            device_name,
            browser_name,
        };
        let engine = self.shared.connector.connect(options, Arc::clone(&inbox) as _).await?;
        let mut records = JoinSet::new();
        let keeper = Arc::clone(&inbox);
        records.spawn(async move { keeper.keep_records(reports.records).await });
        Ok(Live {
            connection: Connection::new(engine, inbox, self.shared.tasks.clone()),
            signals: reports.lifecycle,
            records,
            working_since: None,
        })
    }

    /// Ends the connection. `false` where it did not end in time: then there must be no other one for this device, and
    /// the session has failed.
    async fn disconnect(&mut self) -> bool {
        self.view.send_modify(|view| {
            view.connection = None;
            view.qr = None;
        });
        let Some(mut live) = self.live.take() else {
            return true;
        };
        let ended = timeout(DISCONNECT_WITHIN, live.connection.engine().disconnect())
            .await
            .is_ok();
        live.connection.inbox().close_records();
        if timeout(RECORDS_WITHIN, live.records.join_next()).await.is_err() {
            tracing::warn!(session = %self.name, "receipts were left behind");
        }
        if !ended {
            let message = "the old connection did not end; restart the server, so that the device is not used twice";
            let problem = Problem::new("STUCK", message);
            tracing::error!(session = %self.name, "{message}");
            self.enter(Trigger::GaveUp, Some(problem)).await;
        }
        ended
    }

    /// Goes where the trigger leads, and tells of it.
    async fn enter(&mut self, trigger: Trigger, problem: Option<Problem>) {
        let now = self.view.borrow().status;
        let Some(status) = state::next(now, trigger) else {
            return;
        };
        // Of what repeats, only a new QR code is news.
        if status == now && trigger != Trigger::QrCode && trigger != Trigger::Start {
            return;
        }
        if status != now {
            let timestamp = self.shared.clock.now().as_millisecond();
            self.document.statuses.push(SessionStatusPoint { status, timestamp });
            let surplus = self.document.statuses.len().saturating_sub(STATUSES_MAX);
            self.document.statuses.drain(..surplus);
        }
        let statuses = self.document.statuses.clone();
        let data = problem.as_ref().map(Problem::data);
        self.view.send_modify(|view| {
            view.status = status;
            view.statuses.clone_from(&statuses);
            view.problem = problem;
            if status != SessionStatus::ScanQrCode {
                view.qr = None;
            }
        });
        let payload = SessionStatusPayload {
            name: self.name.to_string(),
            status,
            statuses,
            data,
        };
        if let Err(error) = self.tell(&payload).await {
            // The status itself holds, whatever the store says.
            tracing::error!(session = %self.name, error = %error, "a change of status could not be logged");
        }
    }

    /// Logs a status event together with the session's document.
    async fn tell(&self, payload: &SessionStatusPayload) -> Result<(), StoreError> {
        let source = {
            let view = self.view.borrow();
            EventSource {
                session: self.name.clone(),
                config: Arc::clone(&view.config),
                me: view.me.clone(),
            }
        };
        let event = NewEvent::new(EventName::SessionStatus, payload, Identity::Fresh)?;
        let document = self.document.put(&self.name, Expect::Anything)?;
        self.shared.events.append(&source, vec![event], document).await
    }

    async fn remember(&mut self, me: Me) {
        let document = SessionDocument {
            me: Some(me.clone()),
            ..self.document.clone()
        };
        self.view.send_modify(|view| view.me = Some(me));
        if let Err(error) = self.keep(document).await {
            tracing::error!(session = %self.name, error = %error, "the account could not be stored");
        }
    }

    /// Stores the document and takes it over.
    async fn keep(&mut self, document: SessionDocument) -> Result<(), StoreError> {
        let batch: Batch = document.put(&self.name, Expect::Anything)?;
        self.shared.storage.server().write(batch).await?;
        self.document = document;
        Ok(())
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

/// Doubles with each rebuild, up to a limit; half of it is random, so that many sessions do not come back at once.
fn rebuild_delay(rebuilds: u32, random: &dyn Random) -> Duration {
    let doublings = rebuilds.saturating_sub(1).min(16);
    let full = REBUILD_DELAY.saturating_mul(1 << doublings).min(REBUILD_DELAY_MAX);
    let share = f64::from(u16::from_be_bytes(random.bytes())) / f64::from(u16::MAX);
    full.mul_f64(0.5 + share / 2.0)
}

/// The whole story of an error, for the log and for the session's status.
fn chain(error: &dyn std::error::Error) -> String {
    let mut story = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        story = format!("{story}: {cause}");
        source = cause.source();
    }
    story
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::random::SystemRandom;

    #[test]
    fn the_delay_grows_up_to_a_limit_and_is_never_the_same_for_all() {
        for (rebuilds, seconds) in [(1, 1), (2, 2), (3, 4), (7, 60), (1_000, 60)] {
            let full = Duration::from_secs(seconds);
            let delay = rebuild_delay(rebuilds, &SystemRandom);
            assert!(delay >= full / 2 && delay <= full, "{rebuilds}: {delay:?}");
        }
    }
}
