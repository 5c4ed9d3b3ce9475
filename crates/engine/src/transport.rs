//! Opens the websocket that carries the protocol, to WhatsApp or to a sandbox.
//!
//! [`Dialer`] is shared by all sessions; it knows no session. [`Uplink`] is one connection's: the protocol library asks
//! it for a new socket on every dial, and it reports dials that fail, which the library only logs. Whether a
//! session has a proxy is known in [`Dialer::stream`] alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{HeaderValue, ORIGIN};
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Limits};
use wacore::net::{Transport, TransportEvent, TransportFactory, WHATSAPP_WEB_ORIGIN};
use wharf_core::address::is_forbidden;
use wharf_core::engine::{Inbox, Proxy, ProxyScheme, Signal};
use whatsapp_rust::transport::from_websocket;

use crate::ending::Ending;
use crate::error::one_line;
use crate::network::{Elsewhere, Gate};
use crate::proxy::{TunnelError, Wire, tunnel};

/// How long resolving, connecting and upgrading may take together. Under the library's own 20 s, which it only logs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one address of a host may take, so that a dead one leaves time for the next.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to reach a proxy and to be let through, so that it is known who is slow.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest websocket message that is accepted, in bytes. A Noise frame has a 24-bit length.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024 + 3;

type Socket = (Arc<dyn Transport>, async_channel::Receiver<TransportEvent>);

/// Opens sockets.
pub(crate) struct Dialer {
    gate: Gate,
    tls: TlsConnector,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error(transparent)]
    Elsewhere(#[from] Elsewhere),
    #[error("address cannot be used")]
    Address,
    #[error("{host} cannot be resolved")]
    Resolve {
        host: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("{host} is link-local or a metadata service")]
    Forbidden { host: String },
    #[error("{host} cannot be reached")]
    Connect {
        host: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("tls with {host} failed")]
    Tls {
        host: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("{host} refused the websocket")]
    Upgrade {
        host: String,
        #[source]
        cause: tokio_websockets::Error,
    },
    #[error("{host} did not answer within {} seconds", CONNECT_TIMEOUT.as_secs())]
    TimedOut { host: String },
    #[error("the proxy {proxy} cannot be reached")]
    ProxyUnreachable {
        proxy: Proxy,
        #[source]
        cause: Box<DialError>,
    },
    #[error("the proxy {proxy} does not let through")]
    Tunnel {
        proxy: Proxy,
        #[source]
        cause: TunnelError,
    },
    #[error("the proxy {proxy} did not answer within {} seconds", PROXY_TIMEOUT.as_secs())]
    ProxySilent { proxy: Proxy },
}

impl DialError {
    fn to_signal(&self) -> Signal {
        let reason = one_line(self);
        match self {
            Self::ProxyUnreachable { .. } | Self::Tunnel { .. } | Self::ProxySilent { .. } => {
                Signal::ProxyFailed { reason }
            }
            _ => Signal::ConnectFailed { reason },
        }
    }
}

impl Dialer {
    pub(crate) fn new(gate: Gate, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            gate,
            tls: TlsConnector::from(tls),
        }
    }

    async fn dial(&self, proxy: Option<&Proxy>) -> Result<Socket, DialError> {
        let url = self.gate.chat_url();
        self.gate.check(url)?;
        let host = url.host_str().ok_or(DialError::Address)?.to_owned();
        let port = url.port_or_known_default().ok_or(DialError::Address)?;
        let secure = url.scheme() == "wss";
        match tokio::time::timeout(CONNECT_TIMEOUT, self.open(&host, port, secure, proxy)).await {
            Ok(socket) => socket,
            Err(_) => Err(DialError::TimedOut { host }),
        }
    }

    async fn open(&self, host: &str, port: u16, secure: bool, proxy: Option<&Proxy>) -> Result<Socket, DialError> {
        let mut stream = self.stream(host, port, proxy).await?;
        if secure {
            stream = self.secure(host, stream).await?;
        }
        self.upgrade(host, stream).await
    }

    /// A stream to the host: through the proxy if there is one, and never past it.
    async fn stream(&self, host: &str, port: u16, proxy: Option<&Proxy>) -> Result<Box<dyn Wire>, DialError> {
        let Some(proxy) = proxy else {
            return Ok(Box::new(tcp(host, resolve(host, port).await?).await?));
        };
        self.gate.check_proxy(proxy)?;
        match tokio::time::timeout(PROXY_TIMEOUT, self.through(proxy, host, port)).await {
            Ok(stream) => stream,
            Err(_) => Err(DialError::ProxySilent { proxy: proxy.clone() }),
        }
    }

    async fn through(&self, proxy: &Proxy, host: &str, port: u16) -> Result<Box<dyn Wire>, DialError> {
        let reached = self.reach(proxy).await.map_err(|cause| DialError::ProxyUnreachable {
            proxy: proxy.clone(),
            cause: Box::new(cause),
        })?;
        let tunnelled = tunnel(proxy, reached, host, port).await;
        tunnelled.map_err(|cause| DialError::Tunnel {
            proxy: proxy.clone(),
            cause,
        })
    }

    async fn reach(&self, proxy: &Proxy) -> Result<Box<dyn Wire>, DialError> {
        let mut addresses = resolve(&proxy.host, proxy.port).await?;
        // A caller can name the proxy of a session.
        addresses.retain(|address| !is_forbidden(address.ip()));
        if addresses.is_empty() {
            let host = proxy.host.clone();
            return Err(DialError::Forbidden { host });
        }
        let stream: Box<dyn Wire> = Box::new(tcp(&proxy.host, addresses).await?);
        match proxy.scheme {
            ProxyScheme::Http | ProxyScheme::Socks5 => Ok(stream),
            ProxyScheme::Https => self.secure(&proxy.host, stream).await,
        }
    }

    async fn secure(&self, host: &str, stream: Box<dyn Wire>) -> Result<Box<dyn Wire>, DialError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| DialError::Address)?;
        let stream = self.tls.connect(name, stream).await.map_err(|cause| DialError::Tls {
            host: host.to_owned(),
            cause,
        })?;
        Ok(Box::new(stream))
    }

    async fn upgrade(&self, host: &str, stream: Box<dyn Wire>) -> Result<Socket, DialError> {
        let failed = |cause| DialError::Upgrade {
            host: host.to_owned(),
            cause,
        };
        let (websocket, _) = ClientBuilder::new()
            .uri(self.gate.chat_url().as_str())
            .map_err(|_| DialError::Address)?
            .limits(Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX)))
            .add_header(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))
            .map_err(failed)?
            .connect_on(stream)
            .await
            .map_err(failed)?;
        Ok(from_websocket(websocket))
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let resolved = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
    let addresses = resolved.map_err(|cause| DialError::Resolve {
        host: host.to_owned(),
        cause,
    })?;
    Ok(addresses.collect())
}

/// A stream to the first of the host's addresses that takes one.
async fn tcp(host: &str, addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address");
    for address in addresses {
        match tokio::time::timeout(ADDRESS_TIMEOUT, connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Connect {
        host: host.to_owned(),
        cause: last,
    })
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_keepalive(true)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What became of the connection's dial.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    dialed: AtomicBool,
    /// Whether the server has said anything that made sense since.
    answered: AtomicBool,
}

impl Answered {
    /// A stanza of the server was decrypted and read.
    pub(crate) fn set(&self) {
        self.answered.store(true, Ordering::Release);
    }

    /// A phone has scanned: WhatsApp ends this stream (stream error 515) and awaits a login on another one.
    pub(crate) fn paired(&self) {
        self.dialed.store(false, Ordering::Release);
    }

    /// Whether there may be a dial: one, and one more after pairing. The library would go on with delays of up to a
    /// quarter of an hour, and without a word where it has found its socket dead; when to dial is the session's to say.
    fn may_dial(&self) -> bool {
        self.answered.store(false, Ordering::Release);
        !self.dialed.swap(true, Ordering::AcqRel)
    }

    fn get(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }
}

/// Gives one connection its sockets, and reports those that come to nothing.
pub(crate) struct Uplink {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) answered: Arc<Answered>,
    pub(crate) ending: Arc<Ending>,
}

#[async_trait]
impl TransportFactory for Uplink {
    async fn create_transport(&self) -> Result<Socket, anyhow::Error> {
        if !self.answered.may_dial() {
            let reason = "WhatsApp ended the stream, or fell silent".to_owned();
            self.inbox.signal(Signal::Disconnected { reason });
            anyhow::bail!("a connection dials once");
        }
        match self.dialer.dial(self.proxy.as_ref()).await {
            Ok((socket, events)) => {
                let watched = Watched {
                    socket,
                    answered: self.answered.clone(),
                    inbox: self.inbox.clone(),
                    ending: self.ending.clone(),
                    closed: AtomicBool::new(false),
                };
                Ok((Arc::new(watched), events))
            }
            Err(error) => {
                // Not logged here: the session does, and it knows its name.
                self.inbox.signal(error.to_signal());
                Err(error.into())
            }
        }
    }
}

/// A socket that reports when it is closed before the server said anything: then the handshake has failed.
struct Watched {
    socket: Arc<dyn Transport>,
    answered: Arc<Answered>,
    inbox: Arc<dyn Inbox>,
    /// What fails once the connection is to end is no news.
    ending: Arc<Ending>,
    closed: AtomicBool,
}

#[async_trait]
impl Transport for Watched {
    async fn send(&self, data: Bytes) -> Result<(), anyhow::Error> {
        // The library answers a message that it cannot decrypt because the store fails with a refusal, after which
        // WhatsApp would not send it again.
        anyhow::ensure!(!self.ending.has_store_failed(), "the session's store has failed");
        self.socket.send(data).await
    }

    async fn disconnect(&self) {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if first && !self.answered.get() && !self.ending.begun().is_cancelled() {
            let reason = "the handshake with the server failed".to_owned();
            self.inbox.signal(Signal::ConnectFailed { reason });
        }
        self.socket.disconnect().await;
    }

    fn resource_report(&self) -> Option<wacore::stats::TransportResourceReport> {
        self.socket.resource_report()
    }
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;
