//! Serves HTTP/1 on a listener, with limits on how many connections there are and how slow they may be.
//!
//! axum's own `serve` sets no timer, and without one hyper waits for a request's headers for ever.

mod patient;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Layer;
use tower_http::normalize_path::{NormalizePath, NormalizePathLayer};

use self::patient::Patient;

/// Connections at the same time, without websockets; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 8_192;
/// The longest that the headers of a request may take, and that a connection may be idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// The longest that a client may take nothing of an answer, not a single byte. Longer than a phone is out of reach in a tunnel.
const STALL_MAX: Duration = Duration::from_secs(120);
/// The longest that requests under way may take when the server stops; less than what the server allows for all of HTTP.
const FINISH_WITHIN: Duration = Duration::from_millis(1_500);
/// The wait after no connection could be accepted, for want of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets requests finish for a while.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    // Around the router, because a layer inside it would see the path after it was matched.
    let service = NormalizePathLayer::trim_trailing_slash().layer(router);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        connections.spawn(connection(accepted, service.clone(), stop.clone()));
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(FINISH_WITHIN, finished).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
    connections.shutdown().await;
}

/// A connection, and its place among all of them.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    _place: Option<OwnedSemaphorePermit>,
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Accepted {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                return Accepted {
                    stream,
                    peer,
                    _place: place,
                };
            }
            Err(error) => {
                tracing::warn!(error = %error, "no connection could be accepted");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn connection(accepted: Accepted, service: NormalizePath<Router>, stop: CancellationToken) {
    let Accepted { stream, peer, _place } = accepted;
    let service = Extension(ConnectInfo(peer)).layer(service);
    // Answers are written whole; waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "a connection keeps its delays");
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .serve_connection(
            TokioIo::new(Patient::new(stream, STALL_MAX)),
            TowerToHyperService::new(service),
        )
        .with_upgrades();
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = %error, "a connection ended early");
    }
}
