//! Opens the connection that a fetch goes over: to addresses that were checked, directly or through a session's proxy.
//!
//! Names are resolved here and never by the proxy, which gets an address: what it could reach by a name would be unchecked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _, ready};
use hyper::Uri;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use reqwest::header::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::{ServiceExt as _, service_fn};
use url::{Host, Url};
use wharf_core::engine::{Proxy, ProxyScheme};

use super::{Egress, FetchError, Rule, literal};

/// The longest that a connection to one address may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A stream of bytes, whatever it goes through.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Egress {
    /// A connection to the host of a URL that was checked, with TLS where the URL asks for it.
    pub(super) async fn connect(&self, url: &Url, proxy: Option<&Proxy>) -> Result<Box<dyn Wire>, FetchError> {
        let port = url.port_or_known_default().unwrap_or_default();
        let rule = match self.allow.has_name(url) {
            true => Rule::Private,
            false => Rule::Public {
                allow: Arc::clone(&self.allow),
                port: Some(port),
            },
        };
        let addresses = self.addresses(url, &rule).await?;
        let mut last = FetchError::Unreachable(None);
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(address, port);
            let opened = async {
                let wire: Box<dyn Wire> = match proxy {
                    None => Box::new(TcpStream::connect(address).await?),
                    Some(proxy) => tunnel(proxy, self.connect_to_proxy(proxy).await?, address).await?,
                };
                match url.scheme() {
                    "https" => self.secure(wire, server_name(url)?).await,
                    _ => Ok(wire),
                }
            };
            match timeout(CONNECT_TIMEOUT, opened).await {
                Ok(Ok(wire)) => return Ok(wire),
                Ok(Err(error)) => last = FetchError::Unreachable(certificate_problem(&error)),
                Err(_) => last = FetchError::TooSlow,
            }
        }
        Err(last)
    }

    async fn addresses(&self, url: &Url, rule: &Rule) -> Result<Vec<IpAddr>, FetchError> {
        let found = match (literal(url), url.host()) {
            (Some(address), _) => vec![address],
            (None, Some(Host::Domain(name))) => {
                // As where it has an address that nobody may reach, so that nobody learns which names there are inside.
                let found = self.lookup.addresses(name).await;
                found.map_err(|_| FetchError::OutOfReach)?
            }
            (None, _) => Vec::new(),
        };
        Ok(rule.select(found)?)
    }

    /// A connection to a session's proxy, which may be anywhere but where nothing is sent to.
    async fn connect_to_proxy(&self, proxy: &Proxy) -> io::Result<Box<dyn Wire>> {
        let host = proxy.host.trim_matches(['[', ']']);
        let found = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.lookup.addresses(host).await?,
        };
        let found = Rule::Private.select(found).map_err(io::Error::other)?;
        let found: Vec<_> = found
            .into_iter()
            .map(|address| SocketAddr::new(address, proxy.port))
            .collect();
        let stream = TcpStream::connect(found.as_slice()).await?;
        match proxy.scheme {
            ProxyScheme::Https => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                self.secure(Box::new(stream), name).await
            }
            ProxyScheme::Http | ProxyScheme::Socks5 => Ok(Box::new(stream)),
        }
    }

    async fn secure(&self, wire: Box<dyn Wire>, name: ServerName<'static>) -> io::Result<Box<dyn Wire>> {
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        Ok(Box::new(connector.connect(name, wire).await?))
    }
}

fn server_name(url: &Url) -> io::Result<ServerName<'static>> {
    match (literal(url), url.host_str()) {
        (Some(address), _) => Ok(ServerName::from(address)),
        (None, name) => ServerName::try_from(name.unwrap_or_default().to_owned()).map_err(io::Error::other),
    }
}

/// Makes a stream to the proxy one to the address.
async fn tunnel(proxy: &Proxy, wire: Box<dyn Wire>, address: SocketAddr) -> io::Result<Box<dyn Wire>> {
    let target = format!("http://{address}").parse().map_err(io::Error::other)?;
    match handshake(proxy, TokioIo::new(wire), target)?.await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(cause) => Err(io::Error::other(cause)),
    }
}

type Handshake = BoxFuture<'static, Result<TokioIo<Box<dyn Wire>>, wharf_core::BoxError>>;

/// Not `async`, because the compiler could not see then that the future can change threads.
fn handshake(proxy: &Proxy, stream: TokioIo<Box<dyn Wire>>, target: Uri) -> io::Result<Handshake> {
    let mut stream = Some(stream);
    // It is called once, and asked for a connection that is there already.
    let connected = service_fn(move |_: Uri| {
        ready(
            stream
                .take()
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)),
        )
    });
    Ok(match (proxy.scheme, proxy.credentials.clone()) {
        (ProxyScheme::Http | ProxyScheme::Https, credentials) => {
            let mut tunnel = Tunnel::new(Uri::default(), connected);
            if let Some((username, password)) = credentials {
                let credentials = format!("Basic {}", BASE64.encode(format!("{username}:{password}")));
                let mut credentials = HeaderValue::from_str(&credentials).map_err(io::Error::other)?;
                credentials.set_sensitive(true);
                tunnel = tunnel.with_auth(credentials);
            }
            tunnel.oneshot(target).map_err(Into::into).boxed()
        }
        (ProxyScheme::Socks5, credentials) => {
            let mut socks = SocksV5::new(Uri::default(), connected);
            if let Some((username, password)) = credentials {
                socks = socks.with_auth(username, password);
            }
            socks.oneshot(target).map_err(Into::into).boxed()
        }
    })
}

/// What is wrong with the other side's certificate, where that is the problem: people can do something about it.
fn certificate_problem(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        error @ rustls::Error::InvalidCertificate(_) => Some(error.to_string()),
        _ => None,
    }
}
