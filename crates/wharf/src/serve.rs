//! `wharf serve`: the storage, the engine, the server and, in a sandbox build, the sandbox network, as one process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;
use wharf_core::clock::{Clock, SystemClock};
use wharf_core::lookup::SystemLookup;
use wharf_core::media::MediaStorage;
use wharf_core::random::Random;
use wharf_core::store::Storage;
use wharf_engine::{Network, WhatsApp, WhatsAppConfig};
use wharf_server::config::{
    ApiKey, Config, Environment, LogFormat, MediaStorageConfig, PostgresUrl, S3Settings, keep_generated_key,
    keep_generated_master_key,
};
use wharf_server::{Parts, Server};
use wharf_storage::media::{LocalMedia, PostgresMedia, S3Config, S3Media};
use wharf_storage::{LocalConfig, LocalStorage};

use crate::cli::ServeArgs;
use crate::logging;
use crate::output::print;
use crate::qr;
use crate::sandbox::Sandbox;
pub use crate::sandbox::SandboxOptions;
use crate::shutdown::Signals;

/// The longest that stopping may take; a container engine kills after ten seconds.
const STOP_WITHIN: Duration = Duration::from_millis(9_500);
/// The sandbox's state below the store's folder.
const SANDBOX_SNAPSHOT: &str = "sandbox/network.json";

/// Which network the sessions connect to.
#[derive(Debug, Clone)]
pub enum Peer {
    /// WhatsApp; only in a production build.
    WhatsApp,
    /// A sandbox network that is started with the server.
    OwnSandbox(SandboxOptions),
    /// A sandbox network that runs elsewhere, by its websocket's URL.
    SandboxAt(Url),
}

/// A server that runs, with what it runs on.
pub struct Running {
    server: Arc<Server>,
    storage: Arc<dyn Storage>,
    media: Arc<dyn MediaStorage>,
    sandbox: Option<Sandbox>,
}

impl Running {
    /// Where the API is.
    pub fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The sandbox network that was started with it.
    #[cfg(feature = "sandbox")]
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// Stops everything in order: no new work, then the sessions, then what they wrote to.
    pub async fn stop(self) {
        self.server.shut_down().await;
        self.storage.close().await;
        self.media.close().await;
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
    }
}

/// Starts a server with this configuration.
pub async fn start(config: Config, peer: Peer, random: Arc<dyn Random>) -> anyhow::Result<Running> {
    let storage = open_storage(&config).await?;
    start_on(storage, config, peer, Arc::new(SystemClock), random).await
}

/// Opens the store that the configuration names.
pub async fn open_storage(config: &Config) -> anyhow::Result<Arc<dyn Storage>> {
    let local = LocalConfig {
        session_namespace: config.storage.session_namespace.clone(),
        ..LocalConfig::new(&config.storage.base_dir, &config.storage.namespace)
    };
    Ok(Arc::new(
        LocalStorage::open(local).await.context("cannot open the store")?,
    ))
}

/// The storage of media that the configuration names. It is contacted when it is used: a server starts without it.
fn open_media(config: &Config) -> anyhow::Result<Arc<dyn MediaStorage>> {
    Ok(match &config.media.storage {
        MediaStorageConfig::Local(folder) => Arc::new(LocalMedia::new(folder)),
        MediaStorageConfig::S3(settings) => {
            let config = S3Config {
                region: settings.region.clone(),
                bucket: settings.bucket.clone(),
                access_key_id: settings.access_key_id.clone(),
                secret_access_key: settings.secret_access_key.clone(),
                endpoint: settings.endpoint.clone(),
                path_style: settings.path_style,
            };
            Arc::new(S3Media::new(&config).map_err(S3Settings::wrong)?)
        }
        MediaStorageConfig::Postgres(url) => Arc::new(PostgresMedia::new(&url.0).map_err(PostgresUrl::wrong)?),
    })
}

/// Starts a server with this configuration on an open store, which [`Running::stop`] closes.
pub async fn start_on(
    storage: Arc<dyn Storage>,
    config: Config,
    peer: Peer,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> anyhow::Result<Running> {
    #[cfg(not(feature = "sandbox"))]
    crate::selftest::require_certificate_check()?;
    let sandbox = match &peer {
        Peer::OwnSandbox(options) => Some(Sandbox::start(options.clone()).await?),
        Peer::WhatsApp | Peer::SandboxAt(_) => None,
    };
    let network = network(&peer, sandbox.as_ref())?;
    let engine = WhatsApp::new(WhatsAppConfig {
        network,
        clock: Arc::clone(&clock),
        version: None,
    })?;
    let media = open_media(&config)?;
    let parts = Parts {
        storage: Arc::clone(&storage),
        media: Arc::clone(&media),
        connector: Arc::new(engine),
        clock,
        random,
        lookup: Arc::new(SystemLookup),
    };
    let server = Arc::new(Server::start(config, parts).await?);
    #[cfg(feature = "sandbox")]
    if let Some(sandbox) = &sandbox {
        sandbox.attach(Arc::clone(&server));
    }
    Ok(Running {
        server,
        storage,
        media,
        sandbox,
    })
}

#[cfg(feature = "sandbox")]
fn network(peer: &Peer, sandbox: Option<&Sandbox>) -> anyhow::Result<Network> {
    Ok(match (peer, sandbox) {
        (_, Some(sandbox)) => Network::Sandbox {
            url: sandbox.chat_url()?,
            authority: Some(sandbox.authority().to_owned()),
        },
        (Peer::SandboxAt(url), None) => Network::sandbox(url.clone()),
        (Peer::WhatsApp | Peer::OwnSandbox(_), None) => Network::WhatsApp,
    })
}

#[cfg(not(feature = "sandbox"))]
#[expect(clippy::unnecessary_wraps, reason = "the sandbox build's URL can be wrong")]
fn network(_: &Peer, _: Option<&Sandbox>) -> anyhow::Result<Network> {
    Ok(Network::WhatsApp)
}

impl Peer {
    /// Refuses what this build cannot do, before anything is made on disk.
    #[cfg(feature = "sandbox")]
    fn permitted(self) -> anyhow::Result<Self> {
        match self {
            Self::WhatsApp => {
                anyhow::bail!("this build talks to a sandbox network only: add --sandbox, or set WHARF_SANDBOX_URL")
            }
            peer => Ok(peer),
        }
    }

    /// Refuses what this build cannot do, before anything is made on disk.
    #[cfg(not(feature = "sandbox"))]
    fn permitted(self) -> anyhow::Result<Self> {
        match self {
            Self::WhatsApp => Ok(self),
            Self::OwnSandbox(_) => anyhow::bail!(crate::sandbox::REFUSAL),
            Self::SandboxAt(_) => anyhow::bail!("{}; unset WHARF_SANDBOX_URL", crate::sandbox::REFUSAL),
        }
    }
}

/// Runs the server until it is told to stop.
pub(crate) async fn run(
    args: ServeArgs,
    mut environment: BTreeMap<String, String>,
    random: Arc<dyn Random>,
) -> anyhow::Result<()> {
    if let Some(address) = args.listen {
        environment.insert("WHARF_LISTEN".to_owned(), address.to_string());
    }
    if let Some(port) = args.port {
        environment.insert("PORT".to_owned(), port.to_string());
    }
    let mut config = Config::read(&environment.into_iter().collect::<Environment>())?;
    logging::start(&config.logging, Arc::new(SystemClock));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let peer = match (args.sandbox, config.sandbox.url.clone()) {
        (true, Some(_)) => anyhow::bail!("either --sandbox or WHARF_SANDBOX_URL, not both"),
        (true, None) => Peer::OwnSandbox(SandboxOptions {
            listen: args.sandbox_listen,
            tls_listen: args.sandbox_tls_listen,
            allowed_hosts: args.sandbox_allow_host,
            snapshot: Some(config.storage.base_dir.join(SANDBOX_SNAPSHOT)),
        }),
        (false, Some(url)) => Peer::SandboxAt(url),
        (false, None) => Peer::WhatsApp,
    };
    let peer = peer.permitted()?;
    let mut signals = Signals::listen()?;
    let prints_qr = config.pairing.print_qr && config.logging.format == LogFormat::Pretty;
    // In a task of its own, so that also a start that hangs in the file system can be called off.
    let mut starting = JoinSet::new();
    starting.spawn(async move {
        let key_notice = require_key(&mut config, random.as_ref())?;
        require_master_key(&mut config, random.as_ref())?;
        anyhow::Ok((start(config, peer, random).await?, key_notice))
    });
    let (running, key_notice) = tokio::select! {
        Some(started) = starting.join_next() => started??,
        () = signals.next() => {
            print(format_args!("stopping before the start was complete"));
            return Ok(());
        }
    };
    print(format_args!(
        "wharf {} on http://{}/",
        env!("CARGO_PKG_VERSION"),
        running.address()
    ));
    if let Some(notice) = key_notice {
        print(format_args!("{notice}"));
    }
    #[cfg(feature = "sandbox")]
    if let Some(sandbox) = running.sandbox() {
        print_steps(running.address(), sandbox.address());
    }
    let mut printing = JoinSet::new();
    if prints_qr {
        printing.spawn(qr::print_all(running.server.qr_codes()));
    }
    signals.next().await;
    print(format_args!("stopping"));
    if signals.or_exit(timeout(STOP_WITHIN, running.stop())).await.is_err() {
        tracing::warn!("stopping took too long, the rest is cut off; nothing that was stored is lost");
    }
    Ok(())
}

/// Sees to it that there is a key, and says where to find it where it was made.
fn require_key(config: &mut Config, random: &dyn Random) -> anyhow::Result<Option<String>> {
    if config.auth.key.is_some() || config.auth.no_key {
        return Ok(None);
    }
    let stored = keep_generated_key(&config.storage.base_dir, random)?;
    config.auth.key = Some(ApiKey::plain(&stored.key));
    config.auth.key_file = Some(stored.file.clone());
    Ok(Some(match stored.is_new {
        true => format!("API key: {}  (kept in {})", stored.key, stored.file.display()),
        false => format!("API key: in {}", stored.file.display()),
    }))
}

/// Sees to it that there is a master key.
fn require_master_key(config: &mut Config, random: &dyn Random) -> anyhow::Result<()> {
    if config.auth.master_key.is_none() {
        config.auth.master_key = Some(keep_generated_master_key(&config.storage.base_dir, random)?);
    }
    Ok(())
}

/// What to try first: the walk of the README, with these ports. It can be pasted: texts are quoted so that a shell at which
/// somebody types takes no `!` for one of its own.
#[cfg(feature = "sandbox")]
fn print_steps(api: SocketAddr, sandbox: SocketAddr) {
    let (api, page) = (
        format!("localhost:{}", api.port()),
        format!("localhost:{}", sandbox.port()),
    );
    print(format_args!(
        r#"sandbox network: http://{page}/  (simulated phones; nothing leaves this machine)

Try it, in another terminal in this folder:
  eval "$(./dev env)"
  curl -sX POST {api}/api/sessions -H "X-Api-Key: $KEY" -H 'content-type: application/json' -d '{{"name":"default","config":{{
    "webhooks":[{{"url":"http://{page}/hook/me","events":["message","message.any","message.ack","session.status"]}}]}}}}'
  # Open http://{page}/ , choose Alice, and press "Scan with Alice"; or, without a browser:
  curl -sX POST {page}/admin/phones/$ALICE/scan -H 'content-type: application/json' -d '{{"session":"default"}}'
  curl -sX POST {api}/api/sendText -H "X-Api-Key: $KEY" -H 'content-type: application/json' \
    -d '{{"session":"default","chatId":"'$ECHO'@c.us","text":"Hi there!"}}'
The API's documentation: http://{api}/
"#
    ));
}

/// An address to dial where the server listens everywhere.
pub(crate) fn reachable(listening: SocketAddr) -> SocketAddr {
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listening.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, listening.port()).into(),
        _ => listening,
    }
}

/// Where the server with these settings is reached from this machine.
pub(crate) fn address(environment: &BTreeMap<String, String>) -> anyhow::Result<SocketAddr> {
    let config = Config::read(&environment.clone().into_iter().collect::<Environment>())?;
    Ok(reachable(config.http.listen))
}
