//! Opens the websocket that carries the protocol, to WhatsApp or to a sandbox.
//!
//! [`Dialer`] is shared by all sessions; it knows no session. [`Uplink`] is one connection's: the protocol library asks
//! it for a new socket on every dial, and it reports dials that fail, which the library only logs. The one place for
//! proxies is [`Dialer::stream`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{HeaderValue, ORIGIN};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Limits};
use wacore::net::{Transport, TransportEvent, TransportFactory, WHATSAPP_WEB_ORIGIN};
use wharf_core::engine::{Inbox, Signal};
use whatsapp_rust::transport::from_websocket;

use crate::error::one_line;
use crate::network::{Elsewhere, Gate};

/// How long resolving, connecting and upgrading may take together. Under the library's own 20 s, which it only logs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one address of a host may take, so that a dead one leaves time for the next.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
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
}

impl Dialer {
    pub(crate) fn new(gate: Gate, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            gate,
            tls: TlsConnector::from(tls),
        }
    }

    async fn dial(&self) -> Result<Socket, DialError> {
        let url = self.gate.chat_url();
        self.gate.check(url)?;
        let host = url.host_str().ok_or(DialError::Address)?.to_owned();
        let port = url.port_or_known_default().ok_or(DialError::Address)?;
        let secure = url.scheme() == "wss";
        match tokio::time::timeout(CONNECT_TIMEOUT, self.open(&host, port, secure)).await {
            Ok(socket) => socket,
            Err(_) => Err(DialError::TimedOut { host }),
        }
    }

    async fn open(&self, host: &str, port: u16, secure: bool) -> Result<Socket, DialError> {
        let stream = self.stream(host, port).await?;
        if !secure {
            return self.upgrade(host, stream).await;
        }
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| DialError::Address)?;
        let stream = self.tls.connect(name, stream).await.map_err(|cause| DialError::Tls {
            host: host.to_owned(),
            cause,
        })?;
        self.upgrade(host, stream).await
    }

    /// A byte stream to the host.
    async fn stream(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let resolved = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
        let addresses = resolved.map_err(|cause| DialError::Resolve {
            host: host.to_owned(),
            cause,
        })?;
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

    async fn upgrade<S>(&self, host: &str, stream: S) -> Result<Socket, DialError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
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

/// Whether the server has said anything that made sense since the last dial.
#[derive(Debug, Default)]
pub(crate) struct Answered(AtomicBool);

impl Answered {
    /// A stanza of the server was decrypted and read.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn reset(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Gives one connection its sockets, and reports those that come to nothing.
pub(crate) struct Uplink {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) answered: Arc<Answered>,
    /// Set once the connection is to end; what fails then is no news.
    pub(crate) ending: CancellationToken,
}

#[async_trait]
impl TransportFactory for Uplink {
    async fn create_transport(&self) -> Result<Socket, anyhow::Error> {
        self.answered.reset();
        match self.dialer.dial().await {
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
                let reason = one_line(&error);
                self.inbox.signal(Signal::ConnectFailed { reason });
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
    ending: CancellationToken,
    closed: AtomicBool,
}

#[async_trait]
impl Transport for Watched {
    async fn send(&self, data: Bytes) -> Result<(), anyhow::Error> {
        self.socket.send(data).await
    }

    async fn disconnect(&self) {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if first && !self.answered.get() && !self.ending.is_cancelled() {
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
