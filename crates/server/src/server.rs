//! One running server: what it is made of, how it starts, and how it stops without losing anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_core::clock::Clock;
use wharf_core::engine::Connector;
use wharf_core::ids::SessionName;
use wharf_core::lookup::Lookup;
use wharf_core::media::MediaStorage;
use wharf_core::random::Random;
use wharf_core::store::{Storage, Store, StoreError};

use crate::api::{self, App, AppState, Attempts, Replays};
use crate::config::Config;
use crate::egress::{Egress, EgressError};
use crate::events::{Delivery, EventLog, Keeper, ServerEnvironment};
use crate::keys::Keys;
use crate::link_preview::LinkPreviews;
use crate::listener;
use crate::media::jobs::{Filter, MediaJobs, Tools};
use crate::media::{Files, Library, Rendering, TempFolder};
use crate::metrics::Metrics;
use crate::sessions::{Registry, Shared, ShownQr};

/// The longest that requests and websockets may take when the server stops. All three limits together leave the caller
/// time to close its storage within the ten seconds that a container gets to stop.
const HTTP_STOP_WITHIN: Duration = Duration::from_secs(2);
/// The longest that ending the sessions' connections may take, all at the same time.
const SESSIONS_STOP_WITHIN: Duration = Duration::from_secs(4);
/// The longest that deliveries under way may take; what is cut off is delivered after the next start.
const REST_STOP_WITHIN: Duration = Duration::from_secs(1);

/// What a server is made from, beside its configuration.
pub struct Parts {
    /// Where data is kept. The caller closes it after the server has stopped.
    pub storage: Arc<dyn Storage>,
    /// Where the files of messages are kept. The caller closes it too.
    pub media: Arc<dyn MediaStorage>,
    /// What connects to WhatsApp.
    pub connector: Arc<dyn Connector>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// What names resolve to, of addresses that callers name.
    pub lookup: Arc<dyn Lookup>,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// What was stored cannot be read.
    #[error("cannot read what is stored")]
    Store(#[from] StoreError),
    /// Webhooks could not be delivered.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// There is no place for the files that callers send.
    #[error("cannot use the folder {} for files that are being sent", folder.display())]
    Files {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

/// A running server.
pub struct Server {
    local_addr: SocketAddr,
    registry: Arc<Registry>,
    http: TaskTracker,
    tasks: TaskTracker,
    sockets: TaskTracker,
    stop_http: CancellationToken,
    stop_delivery: CancellationToken,
}

impl Server {
    /// Listens, starts the sessions that ran before, and delivers what is still to be delivered.
    pub async fn start(config: Config, parts: Parts) -> Result<Self, StartError> {
        // First: two servers on one port must not touch the same sessions.
        let address = config.http.listen;
        let listen = |cause| StartError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;

        let (tasks, http) = (TaskTracker::new(), TaskTracker::new());
        let (stop_http, stop_delivery) = (CancellationToken::new(), CancellationToken::new());
        let (app, keeper) = compose(config, parts, &tasks, stop_http.clone()).await?;
        let (registry, sockets) = (Arc::clone(&app.registry), app.sockets.clone());
        tasks.spawn(Arc::clone(&app.delivery).run(stop_delivery.clone()));
        tasks.spawn(keeper.run(stop_delivery.clone()));
        tasks.spawn(Arc::clone(&app.library).sweep_on(stop_delivery.clone()));
        let router = api::router(AppState(Arc::new(app)));
        http.spawn(listener::serve(listener, router, stop_http.clone()));
        Ok(Self {
            local_addr,
            registry,
            http,
            tasks,
            sockets,
            stop_http,
            stop_delivery,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The sessions that wait for a phone to scan.
    pub fn waiting_for_scan(&self) -> Vec<SessionName> {
        self.registry.waiting_for_scan()
    }

    /// Every QR code that a session shows from now on.
    pub fn qr_codes(&self) -> broadcast::Receiver<ShownQr> {
        self.registry.qr_codes()
    }

    /// The QR code of one session, for which it waits while the session starts; `None` where there is nothing to scan.
    pub async fn qr_code(&self, session: &str) -> Option<String> {
        let session = self.registry.get(&session.parse().ok()?)?;
        session.settled().await.qr
    }

    /// Stops within seven seconds: takes no more requests, ends the sessions' connections, and finishes the deliveries that
    /// are under way. What is not delivered then is delivered after the next start.
    pub async fn shut_down(&self) {
        self.stop_http.cancel();
        for tasks in [&self.http, &self.sockets, &self.tasks] {
            tasks.close();
        }
        // Requests before sessions: what is being sent may still go out.
        let served = async { tokio::join!(self.http.wait(), self.sockets.wait()) };
        if timeout(HTTP_STOP_WITHIN, served).await.is_err() {
            tracing::warn!("some websockets did not close in time");
        }
        // Sessions before deliveries: their last events are logged, and may still go out.
        if timeout(SESSIONS_STOP_WITHIN, self.registry.shut_down()).await.is_err() {
            tracing::warn!("some sessions did not end their connection in time");
        }
        self.stop_delivery.cancel();
        if timeout(REST_STOP_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("stopping took too long, the rest is cut off");
        }
    }
}

/// The folder for files that are needed for a moment, and what is made of those that callers send.
fn files(config: &Config, egress: &Arc<Egress>) -> Result<(Arc<TempFolder>, Arc<Files>), StartError> {
    let folder = config.storage.temp_dir();
    let temp = TempFolder::open(folder.clone(), config.storage.reserve_bytes);
    let temp = Arc::new(temp.map_err(|cause| StartError::Files { folder, cause })?);
    let files = Arc::new(Files::new(config.files.clone(), Arc::clone(&temp), Arc::clone(egress)));
    if !files.ffmpeg().is_there() {
        tracing::warn!(
            "ffmpeg was not found: voice messages and videos are not converted, and are sent without pictures and length"
        );
    }
    Ok((temp, files))
}

/// The log of events.
async fn event_log(
    config: &Config,
    store: Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    environment: &ServerEnvironment,
) -> Result<(Arc<EventLog>, Keeper), StoreError> {
    EventLog::open(
        store,
        Arc::clone(clock),
        Arc::clone(random),
        config.engine.dialect,
        environment.clone(),
        config.webhooks.global.clone(),
        &config.events,
    )
    .await
}

/// What brings events to webhooks.
fn delivery(
    config: &Config,
    events: &Arc<EventLog>,
    egress: &Arc<Egress>,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
) -> Arc<Delivery> {
    Delivery::new(
        Arc::clone(events),
        Arc::clone(egress),
        Arc::clone(clock),
        Arc::clone(random),
        config.webhooks.delivery,
    )
}

/// What fetches the files of messages.
fn media_jobs(
    config: &Config,
    events: &Arc<EventLog>,
    library: &Arc<Library>,
    temp: Arc<TempFolder>,
    store: Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
) -> Arc<MediaJobs> {
    Arc::new(MediaJobs::new(Tools {
        store,
        events: Arc::clone(events),
        rendering: Rendering::new(config.engine.dialect, Arc::clone(library)),
        library: Arc::clone(library),
        temp,
        clock: Arc::clone(clock),
        random: Arc::clone(random),
        config: config.fetching,
        filter: Filter {
            download: config.media.download,
            mimetypes: config.media.mimetypes.clone(),
        },
        metrics: Arc::default(),
    }))
}

/// Puts together what requests work with, and what keeps the log within its bounds. Starts the sessions that ran before.
async fn compose(
    config: Config,
    parts: Parts,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(App, Keeper), StartError> {
    let Parts {
        storage,
        media,
        connector,
        clock,
        random,
        lookup,
    } = parts;
    let outbound = &config.egress;
    let egress = Egress::new(outbound.allow.clone(), outbound.ca_file.as_deref(), lookup)?;
    let egress = Arc::new(egress);
    let (temp, files) = files(&config, &egress)?;
    let (dialect, started_at) = (config.engine.dialect, clock.now());
    let environment = ServerEnvironment::new(dialect, &config.sessions.worker_id);
    let (events, keeper) = event_log(&config, storage.server(), &clock, &random, &environment).await?;
    let master_key = config.auth.master_key.as_ref();
    let keys = Keys::open(
        storage.server(),
        Arc::clone(&clock),
        Arc::clone(&random),
        master_key,
        tasks.clone(),
    )
    .await?;
    let library = Library::new(media, storage.server(), Arc::clone(&clock), &config);
    let media_jobs = media_jobs(&config, &events, &library, temp, storage.server(), &clock, &random);
    let shared = Shared::new(
        Arc::clone(&storage),
        Arc::clone(&library),
        Arc::clone(&media_jobs),
        connector,
        Arc::clone(&events),
        Arc::clone(&keys),
        Arc::clone(&clock),
        Arc::clone(&random),
        &config,
    );
    let registry = Registry::open(Arc::new(shared), &config.sessions).await?;
    let delivery = delivery(&config, &events, &egress, &clock, &random);
    let app = App {
        started_at,
        metrics: Metrics::new(
            &environment,
            started_at,
            events.metrics(),
            registry.metrics(),
            media_jobs.metrics(),
        ),
        config,
        registry,
        keys,
        attempts: Attempts::default(),
        replays: Replays::default(),
        events,
        egress,
        previews: LinkPreviews::new(Arc::clone(&files)),
        files,
        library,
        delivery,
        storage,
        clock,
        random,
        sockets: TaskTracker::new(),
        streams: TaskTracker::new(),
        stop,
    };
    Ok((app, keeper))
}
