//! `/ws`: the same events, live.

use std::time::Instant;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, CloseCode, MaybeTlsStream, Message, WebSocketStream};

use crate::harness::{ALICE, KEY, PATIENCE, Wharf, text};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn open(wharf: &Wharf, query: &str) -> Result<Socket, tokio_websockets::Error> {
    let uri = format!("ws://{}/ws?{query}", wharf.address()).parse().unwrap();
    let (socket, _) = ClientBuilder::from_uri(uri).connect().await?;
    Ok(socket)
}

async fn next(socket: &mut Socket) -> Message {
    loop {
        let message = timeout(PATIENCE, socket.next())
            .await
            .expect("nothing came")
            .unwrap()
            .unwrap();
        if !message.is_ping() && !message.is_pong() {
            return message;
        }
    }
}

pub(crate) async fn event(socket: &mut Socket) -> Value {
    serde_json::from_str(next(socket).await.as_text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_socket_hears_what_it_asked_for() {
    let mut wharf = Wharf::start().await;
    let a = wharf.working("a", json!({})).await;
    let b = wharf.working("b", json!({})).await;
    let query = format!("x-api-key={KEY}");
    let mut all = open(&wharf, &query).await.unwrap();
    let mut some = open(&wharf, &format!("session=b&events=message&x-api-key={KEY}"))
        .await
        .unwrap();
    a.receive(text(ALICE, "A1", "to a")).await.unwrap();
    b.receive(text(ALICE, "B1", "to b")).await.unwrap();
    let mut heard = Vec::new();
    for _ in 0..4 {
        let body = event(&mut all).await;
        heard.push((body["session"].clone(), body["event"].clone()));
    }
    let expected = [
        ("a", "message"),
        ("a", "message.any"),
        ("b", "message"),
        ("b", "message.any"),
    ];
    assert_eq!(heard, expected.map(|(session, event)| (json!(session), json!(event))));
    let body = event(&mut some).await;
    assert_eq!(
        (&body["session"], &body["payload"]["body"]),
        (&json!("b"), &json!("to b"))
    );
    let _ = some.send(Message::close(None, "")).await;
    wharf.stop().await;
}

#[tokio::test]
async fn wrong_filters_close_with_a_reason_and_wrong_keys_do_not_open() {
    let wharf = Wharf::start().await;
    let mut socket = open(&wharf, &format!("events=massage&x-api-key={KEY}")).await.unwrap();
    let close = next(&mut socket).await;
    let (code, reason) = close.as_close().unwrap();
    assert_eq!(
        (u16::from(code), reason),
        (4001, r#"{"error":"there is no event 'massage'"}"#)
    );
    assert!(open(&wharf, "session=*").await.is_err());
    assert!(open(&wharf, "session=*&x-api-key=wrong").await.is_err());
    wharf.stop().await;
}

#[tokio::test]
async fn a_stopping_server_says_so_and_does_not_wait() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    let mut socket = open(&wharf, &format!("x-api-key={KEY}")).await.unwrap();
    let began = Instant::now();
    let (_, close) = tokio::join!(wharf.stop(), next(&mut socket));
    assert_eq!(close.as_close().unwrap().0, CloseCode::GOING_AWAY);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}
