//! The sandbox's listeners: the WhatsApp websocket, the control API, the webhook inbox and the page.
//!
//! It puts HTTP around a [`Sandbox`] and keeps its snapshot file; what the network does is decided in the network. Whoever
//! reaches it is in control of the sandbox, so it listens on the loopback address unless told otherwise and answers only
//! to hosts it knows (see [`access`]).

mod access;
mod error;
mod extract;
pub(crate) mod files;
mod linking;
mod listen;
mod media;
mod messages;
mod network;
mod page;
mod persist;
mod phones;
mod reset;
mod routes;
mod sessions;
mod traffic;
mod webhooks;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use persist::load_or_new;
pub use sessions::QrSource;

use crate::clock::Env;
use crate::error::SandboxError;
use crate::hooks::HookInbox;
use crate::media::STORE_BYTES_MAX;
use crate::sandbox::Sandbox;
use crate::tls::{Authority, TlsError};
use access::Access;
use persist::Snapshots;
use routes::AppState;

/// The default port of the plain listener.
pub const PORT: u16 = 3900;
/// The default port of the TLS listener.
pub const TLS_PORT: u16 = 3901;
/// How long open requests and sockets get to end when the server stops; what is open then ends with the process.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Where the sandbox listens and what it keeps.
pub struct SandboxServerConfig {
    /// The plain listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The TLS listener; port 0 takes a free one.
    pub tls_listen: SocketAddr,
    /// Host names to answer to besides the loopback ones, without port.
    pub allowed_hosts: Vec<String>,
    /// The file that keeps the network across restarts; its certificate authority and its media are kept beside it.
    pub snapshot: Option<PathBuf>,
    /// How many bytes of media are kept; the oldest make room.
    pub media_bytes_max: u64,
    /// Where the time of webhook requests comes from.
    pub env: Env,
}

impl SandboxServerConfig {
    /// The default listeners on the loopback address, nothing kept.
    pub fn new(env: Env) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, PORT).into(),
            tls_listen: (Ipv4Addr::LOCALHOST, TLS_PORT).into(),
            allowed_hosts: Vec::new(),
            snapshot: None,
            media_bytes_max: STORE_BYTES_MAX,
            env,
        }
    }
}

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("the sandbox cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The snapshot file cannot be read or written.
    #[error("the sandbox cannot use its snapshot {}", path.display())]
    SnapshotFile {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The snapshot file holds something else. It is left as it is.
    #[error("the sandbox snapshot {} is damaged; move it away to start afresh", path.display())]
    SnapshotDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SandboxError,
    },
    /// The folder of the media cannot be used.
    #[error("the sandbox cannot use its media folder {}", path.display())]
    MediaFolder {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// There is no TLS listener.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running sandbox server. Dropping it stops listening; [`SandboxServer::shutdown`] also waits and saves.
pub struct SandboxServer {
    local_addr: SocketAddr,
    tls_addr: SocketAddr,
    authority_pem: String,
    sandbox: Sandbox,
    stop: CancellationToken,
    tasks: TaskTracker,
    snapshots: Option<Arc<Snapshots>>,
}

impl SandboxServer {
    /// Listens and serves until [`SandboxServer::shutdown`]. `qr_source` names the sessions that a person can scan with
    /// one click.
    pub async fn start(
        config: SandboxServerConfig,
        sandbox: Sandbox,
        qr_source: Option<Arc<dyn QrSource>>,
    ) -> Result<Self, StartError> {
        let authority = match &config.snapshot {
            Some(path) => Authority::load_or_generate(&path.with_extension("ca.pem"))?,
            None => Authority::generate()?,
        };
        keep_media(&config, &sandbox)?;
        let (listener, local_addr) = bind(config.listen).await?;
        let (tls_listener, tls_addr) = bind(config.tls_listen).await?;
        let named = config.allowed_hosts.iter().cloned();
        let names = named.chain([tls_addr.ip().to_string()]);
        let acceptor = TlsAcceptor::from(authority.server_config(names)?);

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let snapshots = config
            .snapshot
            .map(|path| Arc::new(Snapshots::new(path, sandbox.clone())));
        if let Some(snapshots) = &snapshots {
            // Saved before anyone is served, so that a file that cannot be written is an error now, not a loss later.
            snapshots.save().await?;
            tasks.spawn(snapshots.clone().save_changes(stop.clone()));
        }
        let state = AppState::new(routes::Parts {
            sandbox: sandbox.clone(),
            hooks: HookInbox::new(),
            qr_source,
            env: config.env,
            authority_pem: authority.pem().to_owned(),
            tls_port: tls_addr.port(),
            stop: stop.clone(),
            resets: AtomicU64::new(0),
            tasks: tasks.clone(),
        });
        let access = Access::new(config.allowed_hosts);
        let plain = routes::plain(state.clone(), access.clone());
        let secure = routes::secure(state, access.for_clients());
        tasks.spawn(listen::serve(listener, None, plain, stop.clone(), tasks.clone()));
        tasks.spawn(listen::serve(
            tls_listener,
            Some(acceptor),
            secure,
            stop.clone(),
            tasks.clone(),
        ));
        tracing::info!(%local_addr, %tls_addr, "sandbox network is listening");
        Ok(Self {
            local_addr,
            tls_addr,
            authority_pem: authority.pem().to_owned(),
            sandbox,
            stop,
            tasks,
            snapshots,
        })
    }

    /// Where the plain listener is.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where the TLS listener is.
    pub fn tls_addr(&self) -> SocketAddr {
        self.tls_addr
    }

    /// The certificate of the authority behind the TLS listener, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority_pem
    }

    /// Stops listening, ends the network and every open request, and saves the snapshot.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        let ended = async {
            self.sandbox.shutdown().await;
            self.tasks.wait().await;
        };
        if timeout(SHUTDOWN_GRACE, ended).await.is_err() {
            tracing::warn!(open = self.tasks.len(), "sandbox connections did not end in time");
        }
        if let Some(snapshots) = &self.snapshots
            && let Err(error) = snapshots.save().await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the sandbox was not saved");
        }
    }
}

impl Drop for SandboxServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Media outlive the process where the network does.
fn keep_media(config: &SandboxServerConfig, sandbox: &Sandbox) -> Result<(), StartError> {
    let Some(snapshot) = &config.snapshot else {
        sandbox.media_store().limit(config.media_bytes_max);
        return Ok(());
    };
    let path = snapshot.with_extension("media");
    let kept = sandbox.media_store().keep_in(&path, config.media_bytes_max);
    kept.map_err(|source| StartError::MediaFolder { path, source })
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen_error = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let bound = listener.local_addr().map_err(listen_error)?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests;
