//! One connection of one session: built from the session's store, run by a task of its own, gone when it says so.
//!
//! It dials once (see [`Uplink`]); the session says when to dial again, with another connection. At the end
//! [`Supervisor`] takes everything down and signals [`Signal::Closed`], always as the last signal. Nothing of a connection
//! outlives [`Connection::end`], so that there are never two of one device.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};
use wacore::net::HttpClient;
use wacore::types::events::{Event, Subscription};
use wharf_core::clock::Clock;
use wharf_core::engine::{Closed, EngineError, EngineOptions, Inbox, Signal};
use wharf_core::store::StoreError;
use whatsapp_rust::client::RawNodeLease;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::{CacheConfig, Client, ClientBuilderError};

use crate::backend::Backend;
use crate::chatting::Recipients;
use crate::device::device;
use crate::ending::Ending;
use crate::error::{failed, one_line};
use crate::events::{Events, Signaller, Unacknowledged};
use crate::hook::Hook;
use crate::http::Http;
use crate::pairing::Linking;
use crate::runtime::Tasks;
use crate::slots::Slot;
use crate::transport::{Answered, Uplink};
use crate::upkeep;
use crate::version::{Version, Versions};
use crate::waiting::Waiting;
use crate::whatsapp::WhatsApp;

/// How many chats may have a task of their own at a time. The library keeps one, of about 31 KiB, for every chat that
/// received something on this connection, and by default does so for 5,000.
const CHAT_LANES_MAX: u64 = 256;
/// How long a sent message is kept for devices that could not read it, in seconds. The library's two hours strand group
/// members whose phone was off.
const SENT_MESSAGES_KEPT_S: u64 = 7 * 24 * 60 * 60;
/// How often changes of the device's own record are written; those that matter are written at once.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the library may take to write what must be written and to close its socket. Its own limits add up to less.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long its tasks may take to stop after that.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last events may take to be signalled.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, and what is needed to use it.
pub(crate) struct Connection {
    pub(crate) client: Arc<Client>,
    pub(crate) http: Arc<Http>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recipients: Recipients,
    pub(crate) sent: Arc<Unacknowledged>,
    pub(crate) ending: Arc<Ending>,
    pub(crate) linking: Arc<Linking>,
    supervision: TaskTracker,
}

/// Runs a connection and takes it down.
struct Supervisor {
    client: Arc<Client>,
    inbox: Arc<dyn Inbox>,
    ending: Arc<Ending>,
    versions: Arc<Versions>,
    /// The one that this connection names.
    version: Version,
    http: Arc<dyn HttpClient>,
    _slot: Option<Slot>,
    tasks: Tasks,
    subscription: Subscription,
    stanzas: RawNodeLease,
    signaller: Signaller,
    queued: UnboundedReceiver<Arc<Event>>,
}

impl Connection {
    /// Builds the connection from the store and starts it.
    pub(crate) async fn open(
        whatsapp: &WhatsApp,
        options: EngineOptions,
        inbox: Arc<dyn Inbox>,
    ) -> Result<Self, EngineError> {
        let opening = Opening::begin(whatsapp, &options).await;
        let tasks = opening.tasks.clone();
        let ending = Arc::new(Ending::default());
        let answered = Arc::new(Answered::default());
        let (backend, lost) = Backend::new(options.store.clone(), whatsapp.clock.clone(), ending.clone());
        let backend = Arc::new(backend);
        let device = device(&options, backend.clone()).await?;
        let uplink = Uplink {
            dialer: whatsapp.dialer.clone(),
            proxy: options.proxy.clone(),
            inbox: inbox.clone(),
            answered: answered.clone(),
            ending: ending.clone(),
        };
        let hook = Hook {
            inbox: inbox.clone(),
            backend: backend.clone(),
            clock: whatsapp.clock.clone(),
            ending: ending.clone(),
        };
        let http = whatsapp.http(options.proxy.as_ref())?;
        let library_http: Arc<dyn HttpClient> = http.clone();
        let version = whatsapp.versions.current(&library_http).await;
        let client = build(&tasks, device, version, uplink, library_http.clone(), hook).await?;
        let waiting = Waiting {
            client: client.clone(),
            backend,
            inbox: inbox.clone(),
            clock: whatsapp.clock.clone(),
            drained: Arc::default(),
        };
        upkeep::start(&tasks, waiting.clone(), lost);
        let sent = Arc::new(Unacknowledged::default());
        let linking = Arc::new(Linking::default());
        let drained = waiting.drained.clone();
        let (events, queued) = Events::new(inbox.clone(), ending.clone(), answered, linking.clone(), drained);
        let supervisor = Supervisor {
            subscription: client.subscribe_handler(Arc::new(events)),
            stanzas: client.acquire_raw_node_forwarding(),
            signaller: Signaller {
                client: client.clone(),
                inbox: inbox.clone(),
                clock: whatsapp.clock.clone(),
                sent: sent.clone(),
                waiting,
                ending: ending.clone(),
                linking: linking.clone(),
            },
            client: client.clone(),
            inbox,
            ending: ending.clone(),
            versions: whatsapp.versions.clone(),
            version,
            http: library_http,
            _slot: opening.done(),
            tasks,
            queued,
        };
        Ok(Self {
            client,
            http,
            clock: whatsapp.clock.clone(),
            recipients: Recipients::default(),
            sent,
            ending,
            linking,
            supervision: supervisor.start(options.span),
        })
    }

    /// Ends the connection, and returns when nothing of it is left.
    pub(crate) async fn end(&self) {
        self.ending.ask();
        self.supervision.wait().await;
    }
}

impl Drop for Connection {
    /// A connection that is forgotten still ends; only nobody waits for it.
    fn drop(&mut self) {
        self.ending.ask();
    }
}

/// A connection that is being made. Where that is called off, or fails, its tasks are stopped, and the session's slot is
/// free when all of them are gone.
struct Opening {
    slot: Option<Slot>,
    tasks: Tasks,
    called_off: TaskTracker,
}

impl Opening {
    async fn begin(whatsapp: &WhatsApp, options: &EngineOptions) -> Self {
        Self {
            slot: Some(whatsapp.slots.take(&options.session).await),
            tasks: Tasks::new(options.span.clone()),
            called_off: whatsapp.called_off.clone(),
        }
    }

    /// It is made; whoever takes the slot stops the tasks.
    fn done(mut self) -> Option<Slot> {
        self.slot.take()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // Where the whole runtime ends, it drops the tasks.
        if let (Some(slot), Ok(runtime)) = (self.slot.take(), Handle::try_current()) {
            let tasks = self.tasks.clone();
            let stop = async move {
                stop(&tasks).await;
                drop(slot);
            };
            self.called_off.spawn_on(stop, &runtime);
        }
    }
}

/// Whatever is left of a connection could still touch the store, where the next connection of its device works.
async fn stop(tasks: &Tasks) {
    while tasks.stop(STOP_TIMEOUT).await > 0 {
        tracing::error!("tasks of a connection that ended do not stop; waiting for them");
    }
}

impl Supervisor {
    /// Runs it in tasks of its own.
    fn start(self, span: Span) -> TaskTracker {
        let supervision = TaskTracker::new();
        let tracker = supervision.clone();
        supervision.spawn(async move { self.run(&tracker).await }.instrument(span));
        supervision.close();
        supervision
    }

    async fn run(self, tracker: &TaskTracker) {
        // A session that hears nothing more must not go on, so the connection ends with its signaller, whatever ends it.
        let deaf = self.ending.begun().clone().drop_guard();
        let (signaller, queued) = (self.signaller, self.queued);
        let signalling = async move {
            let _deaf = deaf;
            signaller.run(queued).await;
        };
        let mut signalling = tracker.spawn(signalling.in_current_span());
        run_client(&self.client, &self.ending).await;
        stop(&self.tasks).await;
        // With the subscription goes the queue's only sender, so the signaller ends once it has said everything.
        drop(self.stanzas);
        self.subscription.unsubscribe();
        let signalled = tokio::time::timeout(EVENTS_TIMEOUT, &mut signalling).await;
        if signalled.is_err() {
            tracing::error!("the last events of a connection are not signalled in time");
            signalling.abort();
            let _ = signalling.await;
        } else if let Ok(Err(error)) = signalled {
            tracing::error!(%error, "signalling the events of a connection failed");
        }
        let closed = match self.ending.reason() {
            Closed::Outdated if self.versions.renewed(self.version, &self.http).await => Closed::Renewed,
            closed => closed,
        };
        self.inbox.signal(Signal::Closed(closed));
    }
}

/// Lets the client work until it gives up or is to end, then takes it down.
async fn run_client(client: &Arc<Client>, ending: &Ending) {
    let mut working = Box::pin(AssertUnwindSafe(client.run()).catch_unwind());
    let mut works = true;
    tokio::select! {
        outcome = &mut working => {
            works = false;
            if outcome.is_err() {
                tracing::error!("the protocol library panicked");
            }
        }
        () = ending.begun().cancelled() => {}
    }
    // Whatever fails from here on is no news to the session.
    ending.begun().cancel();
    let down = async {
        // Side by side: work that stands still may hold a lock that the disconnecting waits for.
        let worked = async {
            if works {
                let _ = working.await;
            }
        };
        tokio::join!(client.disconnect(), worked);
        client.persistence_manager().flush().await
    };
    match guarded(DISCONNECT_TIMEOUT, down).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = %one_line(&error), "the device's record cannot be written"),
        Err(error) => tracing::error!(%error, "a connection is aborted instead of ended"),
    }
}

/// Why a step of the teardown came to nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum StepError {
    #[error("the protocol library panicked")]
    Panicked,
    #[error("the protocol library took more than {} seconds", .0.as_secs())]
    TimedOut(Duration),
}

/// Runs a step of the library's that the teardown must survive, whatever it does.
async fn guarded<T>(limit: Duration, step: impl Future<Output = T>) -> Result<T, StepError> {
    let step = Box::pin(AssertUnwindSafe(step).catch_unwind());
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done.map_err(|_| StepError::Panicked),
        Err(_) => Err(StepError::TimedOut(limit)),
    }
}

/// The library's caches. All are bounded by default except the linked identities, which must not be: forgetting one
/// makes the library address a person differently in the middle of a conversation.
fn caches() -> CacheConfig {
    CacheConfig {
        chat_lanes_capacity: CHAT_LANES_MAX,
        sent_message_ttl_secs: SENT_MESSAGES_KEPT_S,
        ..CacheConfig::default()
    }
}

/// The library's client, which runs nothing yet but its upkeep.
async fn build(
    tasks: &Tasks,
    device: Arc<PersistenceManager>,
    version: Version,
    uplink: Uplink,
    http: Arc<dyn HttpClient>,
    hook: Hook,
) -> Result<Arc<Client>, EngineError> {
    let ending = hook.ending.clone();
    let client = Client::builder()
        .with_runtime(tasks.clone())
        .with_persistence_manager(device)
        .with_http_client_arc(http)
        .with_transport_factory(uplink)
        .with_version_override(version)
        .with_cache_config(caches())
        .with_background_saver_interval(SAVE_INTERVAL)
        .with_inbound_durability_hook(hook)
        .build()
        .await;
    match client {
        Ok(client) => Ok(client.into_client()),
        // What failed in the store is known better than the library tells it.
        Err(error) => Err(ending
            .store_error()
            .map_or_else(|| not_built(error), EngineError::Store)),
    }
}

fn not_built(error: ClientBuilderError) -> EngineError {
    match error {
        // The builder tries the store out, and passes on only the text of its error.
        ClientBuilderError::UnsupportedDurabilityBackend(text) => {
            EngineError::Store(StoreError::Unavailable(text.into()))
        }
        other => failed(other),
    }
}

#[cfg(test)]
mod tests {
    use wacore::runtime::Runtime as _;

    use super::*;
    use crate::slots::Slots;

    #[tokio::test]
    async fn the_slot_of_a_connection_that_is_called_off_is_free_when_its_last_task_is_gone() {
        let (slots, session) = (Slots::default(), "one".parse().unwrap());
        let opening = Opening {
            slot: Some(slots.take(&session).await),
            tasks: Tasks::new(tracing::Span::none()),
            called_off: TaskTracker::new(),
        };
        // What runs on a thread of its own cannot be stopped half-way.
        let (done, working) = std::sync::mpsc::channel::<()>();
        let work = opening.tasks.spawn_blocking(Box::new(move || {
            let _ = working.recv();
        }));
        let called_off = opening.called_off.clone();
        drop(opening);
        let free = tokio::time::timeout(Duration::from_millis(1), slots.take(&session));
        assert!(free.await.is_err());
        drop(done);
        work.await;
        called_off.close();
        called_off.wait().await;
        let free = tokio::time::timeout(Duration::from_secs(5), slots.take(&session));
        assert!(free.await.is_ok());
    }

    #[tokio::test]
    async fn a_teardown_survives_what_the_library_does() {
        let brief = Duration::from_millis(1);
        assert_eq!(guarded(DISCONNECT_TIMEOUT, async { 1 }).await, Ok(1));
        let panics = guarded(DISCONNECT_TIMEOUT, async { panic!("as the library might") });
        assert_eq!(panics.await, Err::<(), _>(StepError::Panicked));
        let hangs = guarded(brief, std::future::pending::<()>());
        assert_eq!(hangs.await, Err(StepError::TimedOut(brief)));
    }
}
