//! Accepts connections and serves HTTP on them, plain or inside TLS.
//!
//! Every connection is a task of the server's tracker and ends with it. Bounded in number; what a stranger can hold open
//! without saying anything has a time limit.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reset::Resettable;

/// HTTP connections of one listener that are open at the same time; further ones wait in the system's queue. Upgraded
/// websockets do not count.
const CONNECTIONS_MAX: usize = 4096;
/// How long a TLS handshake may take.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send the head of a request, and how long a connection may idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may take once the server stops; shorter than the server's own grace.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// The pause after a failed accept: it usually means that file descriptors ran out, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on every connection until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let open = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            Ok(permit) = open.clone().acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the sandbox could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = serve_connection(stream, tls, router, stop).await {
                tracing::debug!(%error, "a sandbox connection ended with an error");
            }
            drop(permit);
        });
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    // Stanzas are small and answered at once; waiting to fill a packet would only add latency.
    stream.set_nodelay(true)?;
    let (stream, reset) = Resettable::new(stream);
    let router = router.layer(Extension(reset));
    match tls {
        None => serve_http(stream, router, stop).await,
        Some(tls) => {
            let stream = timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
            serve_http(stream, router, stop).await
        }
    }
}

async fn serve_http<S>(stream: S, router: Router, stop: CancellationToken) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN_TIMEOUT, connection).await?
        }
    };
    served.map_err(io::Error::other)
}
