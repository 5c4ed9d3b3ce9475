//! Asks a session's proxy for a way to a host: HTTP CONNECT or SOCKS5.
//!
//! Opens no socket: [`crate::transport`] brings the stream to the proxy, and gets it back as one to the host. Names are
//! passed on as they are, so that the proxy resolves them. Proxies of the environment are never looked at.

use std::io::{self, ErrorKind::NotConnected};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _, ready};
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper::{Request, StatusCode, Uri, client::conn::http1};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tower::{ServiceExt as _, service_fn};
use wharf_core::BoxError;
use wharf_core::engine::{Proxy, ProxyScheme};

/// A stream of bytes to a host, whatever it goes through.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Why a proxy gives no way to a host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    #[error("it refused the credentials")]
    Credentials,
    #[error("it asks for credentials, and none are configured")]
    NoCredentials,
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("it does not answer as an http proxy")]
    Http(#[from] hyper::Error),
    #[error("the host's address or the credentials cannot be written in a request")]
    Request(#[from] hyper::http::Error),
    /// In the words of the library, whose errors have no public names.
    #[error("it refused{}", if *.with_credentials { "" } else { " a login without credentials" })]
    Socks {
        with_credentials: bool,
        #[source]
        cause: BoxError,
    },
}

/// Makes a stream to the proxy one to the host. An IPv6 address stands in brackets.
pub(crate) async fn tunnel(
    proxy: &Proxy,
    stream: Box<dyn Wire>,
    host: &str,
    port: u16,
) -> Result<Box<dyn Wire>, TunnelError> {
    let target = format!("{host}:{port}");
    match proxy.scheme {
        ProxyScheme::Http | ProxyScheme::Https => connect(proxy, stream, &target).await,
        ProxyScheme::Socks5 => socks(proxy, stream, &target).await,
    }
}

async fn connect(proxy: &Proxy, stream: Box<dyn Wire>, target: &str) -> Result<Box<dyn Wire>, TunnelError> {
    let mut request = Request::connect(target).header(HOST, target);
    if let Some((username, password)) = &proxy.credentials {
        let credentials = BASE64.encode(format!("{username}:{password}"));
        request = request.header(PROXY_AUTHORIZATION, format!("Basic {credentials}"));
    }
    let request = request.body(String::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Moves the bytes until the proxy has answered; ends with this function.
    let mut moving = JoinSet::new();
    moving.spawn(connection.with_upgrades());
    let response = sender.send_request(request).await?;
    match response.status() {
        status if status.is_success() => Ok(Box::new(TokioIo::new(hyper::upgrade::on(response).await?))),
        // tinyproxy asks for credentials with 407, and refuses wrong ones with 401.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => Err(match proxy.credentials {
            Some(_) => TunnelError::Credentials,
            None => TunnelError::NoCredentials,
        }),
        status => Err(TunnelError::Status(status)),
    }
}

async fn socks(proxy: &Proxy, stream: Box<dyn Wire>, target: &str) -> Result<Box<dyn Wire>, TunnelError> {
    let target: Uri = target.parse().map_err(hyper::http::Error::from)?;
    match handshake(proxy.credentials.clone(), TokioIo::new(stream), target).await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(cause) => Err(TunnelError::Socks {
            with_credentials: proxy.credentials.is_some(),
            cause,
        }),
    }
}

/// Not `async`, because the compiler could not see then that the future can change threads.
fn handshake(
    credentials: Option<(String, String)>,
    stream: TokioIo<Box<dyn Wire>>,
    target: Uri,
) -> BoxFuture<'static, Result<TokioIo<Box<dyn Wire>>, BoxError>> {
    let mut stream = Some(stream);
    // It is called once, and asked for a connection that is there already.
    let connected = service_fn(move |_: Uri| ready(stream.take().ok_or_else(|| io::Error::from(NotConnected))));
    let mut socks = SocksV5::new(Uri::default(), connected);
    if let Some((username, password)) = credentials {
        socks = socks.with_auth(username, password);
    }
    socks.oneshot(target).map_err(BoxError::from).boxed()
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod testing;
#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;
