//! The sandbox network in this program: beside the server, or alone as `wharf sandbox`.
//!
//! A build without the feature `sandbox` has none of it: asking for it ends the program.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::SandboxArgs;

/// Where the sandbox listens and keeps its state.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The page, the control API and the WhatsApp endpoint.
    pub listen: SocketAddr,
    /// The same endpoint over TLS.
    pub tls_listen: SocketAddr,
    /// Host names, besides this machine's own, that the page and the control API answer to.
    pub allowed_hosts: Vec<String>,
    /// The file that keeps the network across restarts; none keeps nothing.
    pub snapshot: Option<PathBuf>,
}

/// Said to whoever asks a production build for a sandbox.
#[cfg(not(feature = "sandbox"))]
pub(crate) const REFUSAL: &str = "this build is for the real WhatsApp network and has no sandbox; \
                                  build with --features wharf/sandbox (or use ./dev run) for one";

#[cfg(not(feature = "sandbox"))]
pub(crate) use absent::{Sandbox, run};
#[cfg(feature = "sandbox")]
pub(crate) use present::{Sandbox, run};

#[cfg(not(feature = "sandbox"))]
mod absent {
    use super::*;

    /// There is none.
    pub(crate) enum Sandbox {}

    impl Sandbox {
        pub(crate) async fn start(_: SandboxOptions) -> anyhow::Result<Self> {
            anyhow::bail!(REFUSAL)
        }

        pub(crate) async fn stop(self) {
            match self {}
        }
    }

    pub(crate) async fn run(_: SandboxArgs, _: BTreeMap<String, String>) -> anyhow::Result<()> {
        anyhow::bail!(REFUSAL)
    }
}

#[cfg(feature = "sandbox")]
mod present {
    use std::fs::DirBuilder;
    use std::os::unix::fs::DirBuilderExt;
    use std::sync::{Arc, OnceLock};

    use anyhow::Context;
    use async_trait::async_trait;
    use url::Url;
    use wharf_core::clock::SystemClock;
    use wharf_server::Server;
    use wharf_server::config::{Config, Environment};
    use wharf_simulator::{Env, QrSource, SandboxServer, SandboxServerConfig, Seed, load_or_new};

    use super::*;
    use crate::logging;
    use crate::output::print;
    use crate::serve::reachable;
    use crate::shutdown::Signals;

    /// A running sandbox network and its listeners.
    pub struct Sandbox {
        listeners: SandboxServer,
        network: wharf_simulator::Sandbox,
        sessions: Arc<Sessions>,
    }

    /// The sessions of the server beside it, once that runs.
    #[derive(Default)]
    struct Sessions(OnceLock<Arc<Server>>);

    #[async_trait]
    impl QrSource for Sessions {
        async fn waiting(&self) -> Vec<String> {
            let waiting = self.0.get().map(|server| server.waiting_for_scan()).unwrap_or_default();
            waiting.iter().map(ToString::to_string).collect()
        }

        async fn qr(&self, session: &str) -> Option<String> {
            self.0.get()?.qr_code(session).await
        }
    }

    impl Sandbox {
        pub(crate) async fn start(options: SandboxOptions) -> anyhow::Result<Self> {
            if let Some(folder) = options.snapshot.as_ref().and_then(|file| file.parent()) {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
            }
            let env = Env::system();
            let network = load_or_new(env.clone(), Seed::Fresh, options.snapshot.as_deref())?;
            let config = SandboxServerConfig {
                listen: options.listen,
                tls_listen: options.tls_listen,
                allowed_hosts: options.allowed_hosts,
                snapshot: options.snapshot,
                ..SandboxServerConfig::new(env)
            };
            let sessions = Arc::new(Sessions::default());
            let source = Arc::clone(&sessions) as Arc<dyn QrSource>;
            let listeners = SandboxServer::start(config, network.clone(), Some(source)).await?;
            Ok(Self {
                listeners,
                network,
                sessions,
            })
        }

        /// Where a client connects.
        pub(crate) fn chat_url(&self) -> anyhow::Result<Url> {
            Ok(format!("ws://{}/ws/chat", reachable(self.listeners.local_addr())).parse()?)
        }

        /// The certificate of the authority behind its media hosts.
        pub(crate) fn authority(&self) -> &str {
            self.listeners.authority()
        }

        /// Where the page and the control API are.
        pub fn address(&self) -> SocketAddr {
            self.listeners.local_addr()
        }

        /// The network itself, for tests.
        pub fn network(&self) -> &wharf_simulator::Sandbox {
            &self.network
        }

        /// Lets the page scan the QR codes of this server's sessions.
        pub(crate) fn attach(&self, server: Arc<Server>) {
            // Set once, right after both have started.
            let _ = self.sessions.0.set(server);
        }

        pub(crate) async fn stop(self) {
            self.listeners.shutdown().await;
        }
    }

    /// `wharf sandbox`: the network alone, until it is told to stop.
    pub(crate) async fn run(args: SandboxArgs, environment: BTreeMap<String, String>) -> anyhow::Result<()> {
        let config = Config::read(&environment.into_iter().collect::<Environment>())?;
        logging::start(&config.logging, Arc::new(SystemClock));
        let options = SandboxOptions {
            listen: args.listen,
            tls_listen: args.tls_listen,
            allowed_hosts: args.allow_host,
            snapshot: args.snapshot,
        };
        let mut signals = Signals::listen()?;
        let sandbox = Sandbox::start(options).await?;
        let address = sandbox.address();
        print(format_args!(
            "sandbox network: http://{address}  (simulated phones; nothing leaves this machine)"
        ));
        print(format_args!(
            "a server on it:  WHARF_SANDBOX_URL=ws://{address}/ws/chat wharf serve"
        ));
        signals.next().await;
        signals.or_exit(sandbox.stop()).await;
        Ok(())
    }
}
