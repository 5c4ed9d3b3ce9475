//! `/ws/chat`: the endpoint WhatsApp clients connect to.
//!
//! It turns websocket messages into the bytes that the network reads and writes, and knows nothing about them.

use std::future::ready;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures::{Sink, SinkExt, Stream, StreamExt};

use super::error::ApiError;
use super::reset::Reset;
use super::routes::AppState;
use crate::connection::Farewell;

/// The path of WhatsApp's own websocket.
pub(crate) const CHAT_PATH: &str = "/ws/chat";
/// The largest websocket message of a client, in bytes. A message to a full group is well below it.
const CLIENT_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Upgrades and hands the connection to the network until it ends.
pub(crate) async fn open_chat(
    State(state): State<AppState>,
    Extension(reset): Extension<Reset>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade?;
    let media_host = media_host(&headers, state.tls_port);
    // Held until the connection ends: the upgrade runs in a task of the HTTP library, and the server must not be done
    // before it.
    let tracked = state.tasks.token();
    let response = upgrade
        .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(CLIENT_MESSAGE_BYTES_MAX)
        .on_failed_upgrade(|error| tracing::debug!(%error, "a websocket upgrade failed"))
        .on_upgrade(async move |socket| {
            if !state.stop.is_cancelled() {
                let mut socket = binary(socket);
                if state.sandbox.accept(&mut socket, media_host).await == Farewell::Cut {
                    reset.request();
                }
            }
            drop(tracked);
        });
    Ok(response)
}

/// Where this client reaches the TLS listener: on the machine that it reaches us on, whatever it calls it.
fn media_host(headers: &HeaderMap, tls_port: u16) -> Option<String> {
    let host: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    Some(format!("{}:{tls_port}", host.host()))
}

/// The socket's binary messages. Pings are answered by the socket itself; a text is not WhatsApp's protocol.
fn binary(
    socket: WebSocket,
) -> impl Stream<Item = Result<Bytes, axum::Error>> + Sink<Bytes, Error = axum::Error> + Unpin + Send {
    let bytes = socket.filter_map(|message| {
        ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => Some(Err(axum::Error::new(TextMessage))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => None,
            Err(error) => Some(Err(error)),
        })
    });
    bytes.with(|bytes: Bytes| ready(Ok(Message::Binary(bytes))))
}

#[derive(Debug, thiserror::Error)]
#[error("the client sent a text message")]
struct TextMessage;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_on_the_machine_that_the_client_named() {
        for (host, expected) in [
            ("127.0.0.1:3900", "127.0.0.1:3901"),
            ("sandbox", "sandbox:3901"),
            ("[::1]:3900", "[::1]:3901"),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(media_host(&headers, 3901).as_deref(), Some(expected));
        }
        assert_eq!(media_host(&HeaderMap::new(), 3901), None);
    }
}
