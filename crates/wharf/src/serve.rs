//! `wharf serve`: the storage, the engine, the server and, in a sandbox build, the sandbox network, as one process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use wharf_core::clock::{Clock, SystemClock};
use wharf_core::random::Random;
use wharf_core::store::Storage;
use wharf_engine::{Network, WhatsApp, WhatsAppConfig};
use wharf_server::config::{ApiKey, Config, Environment, keep_generated_key};
use wharf_server::{Parts, Server};
use wharf_storage::{LocalConfig, LocalStorage};

use crate::cli::ServeArgs;
use crate::output::print;
use crate::sandbox::Sandbox;
pub use crate::sandbox::SandboxOptions;
use crate::{logging, shutdown};

/// Where a server finds a sandbox network that runs elsewhere.
const SANDBOX_URL: &str = "WHARF_SANDBOX_URL";
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
    SandboxAt(String),
}

/// A server that runs, with what it runs on.
pub struct Running {
    server: Arc<Server>,
    storage: Arc<LocalStorage>,
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
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
    }
}

/// Starts a server with this configuration.
pub async fn start(config: Config, peer: Peer, random: Arc<dyn Random>) -> anyhow::Result<Running> {
    #[cfg(not(feature = "sandbox"))]
    crate::selftest::require_certificate_check()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sandbox = match &peer {
        Peer::OwnSandbox(options) => Some(Sandbox::start(options.clone()).await?),
        Peer::WhatsApp | Peer::SandboxAt(_) => None,
    };
    let network = network(&peer, sandbox.as_ref())?;
    let local = LocalConfig::new(&config.storage.base_dir, &config.storage.namespace);
    let storage = Arc::new(LocalStorage::open(local).await.context("cannot open the store")?);
    let engine = WhatsApp::new(WhatsAppConfig {
        network,
        clock: Arc::clone(&clock),
        version: None,
    })?;
    let parts = Parts {
        storage: Arc::clone(&storage) as Arc<dyn Storage>,
        connector: Arc::new(engine),
        clock,
        random,
    };
    let server = Arc::new(Server::start(config, parts).await?);
    #[cfg(feature = "sandbox")]
    if let Some(sandbox) = &sandbox {
        sandbox.attach(Arc::clone(&server));
    }
    Ok(Running {
        server,
        storage,
        sandbox,
    })
}

#[cfg(feature = "sandbox")]
fn network(peer: &Peer, sandbox: Option<&Sandbox>) -> anyhow::Result<Network> {
    let url = match (peer, sandbox) {
        (_, Some(sandbox)) => sandbox.chat_url()?,
        (Peer::SandboxAt(url), None) => url.parse().with_context(|| format!("{SANDBOX_URL} is not a URL"))?,
        _ => anyhow::bail!("this build talks to a sandbox network only: add --sandbox, or set {SANDBOX_URL}"),
    };
    Ok(Network::Sandbox { url })
}

#[cfg(not(feature = "sandbox"))]
fn network(peer: &Peer, _: Option<&Sandbox>) -> anyhow::Result<Network> {
    match peer {
        Peer::WhatsApp => Ok(Network::WhatsApp),
        Peer::OwnSandbox(_) | Peer::SandboxAt(_) => {
            anyhow::bail!("this build is for the real WhatsApp network and takes no {SANDBOX_URL}")
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
        environment.insert("WHARF_LISTEN".to_owned(), address);
    }
    if let Some(port) = args.port {
        environment.insert("WHATSAPP_API_PORT".to_owned(), port.to_string());
    }
    let sandbox_url = environment.get(SANDBOX_URL).filter(|url| !url.is_empty()).cloned();
    let mut config = Config::read(&environment.into_iter().collect::<Environment>())?;
    logging::start(&config.logging);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let peer = match (args.sandbox, sandbox_url) {
        (true, _) => Peer::OwnSandbox(SandboxOptions {
            listen: args.sandbox_listen,
            tls_listen: args.sandbox_tls_listen,
            snapshot: Some(config.storage.base_dir.join(SANDBOX_SNAPSHOT)),
        }),
        (false, Some(url)) => Peer::SandboxAt(url),
        (false, None) => Peer::WhatsApp,
    };
    let key_notice = require_key(&mut config, random.as_ref())?;
    let running = start(config, peer, random).await?;
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
    shutdown::requested().await;
    print(format_args!("stopping"));
    running.stop().await;
    Ok(())
}

/// Sees to it that there is a key, and says where to find it where it was made.
fn require_key(config: &mut Config, random: &dyn Random) -> anyhow::Result<Option<String>> {
    if config.auth.key.is_some() || config.auth.no_key {
        return Ok(None);
    }
    let stored = keep_generated_key(&config.storage.base_dir, random)?;
    config.auth.key = Some(ApiKey::plain(&stored.key));
    Ok(Some(match stored.is_new {
        true => format!("API key: {}  (kept in {})", stored.key, stored.file.display()),
        false => format!("API key: in {}", stored.file.display()),
    }))
}

/// What to try first.
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
  curl -sX POST {api}/api/sessions -H "X-Api-Key: $KEY" -H 'content-type: application/json' -d '{{"name":"default"}}'
  open http://{page}/ , choose Alice, and scan the session "default"
  curl -sX POST {api}/api/sendText -H "X-Api-Key: $KEY" -H 'content-type: application/json' \
    -d "{{\"session\":\"default\",\"chatId\":\"$ECHO@c.us\",\"text\":\"Hi there!\"}}"
The API's documentation: http://{api}/
"#
    ));
}

/// The port of the server that these settings are for.
pub(crate) fn port(environment: &BTreeMap<String, String>) -> anyhow::Result<u16> {
    let config = Config::read(&environment.clone().into_iter().collect::<Environment>())?;
    Ok(config.http.listen.port())
}
