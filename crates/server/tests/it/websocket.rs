//! `/ws`: the same events, from the log and live.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_websockets::{ClientBuilder, CloseCode, MaybeTlsStream, Message, WebSocketStream};

use crate::events::{Ending, receive, session_key, short};
use crate::harness::{ALICE, KEY, PATIENCE, Wharf, text};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn open(wharf: &Wharf, query: &str) -> Result<Socket, tokio_websockets::Error> {
    let uri = format!("ws://{}/ws?{query}", wharf.address()).parse().unwrap();
    let (socket, _) = ClientBuilder::from_uri(uri).connect().await?;
    Ok(socket)
}

pub(crate) async fn next(socket: &mut Socket) -> Message {
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

/// The code and the error of the close frame that comes next.
async fn closed(socket: &mut Socket) -> (u16, String) {
    let close = next(socket).await;
    let (code, reason) = close.as_close().unwrap();
    let reason: Value = serde_json::from_str(reason).unwrap();
    (code.into(), reason["error"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_socket_begins_where_it_is_told_to_and_goes_on_live() {
    let mut wharf = Wharf::start().await;
    let a = wharf.working("a", json!({})).await;
    receive(&a, "text", 3).await;
    let query = format!("x-api-key={KEY}&events=message");
    let mut socket = open(&wharf, &format!("{query}&after=oldest")).await.unwrap();
    let first = event(&mut socket).await;
    for number in 1..3 {
        assert_eq!(short(&event(&mut socket).await), format!("a message text {number}"));
    }
    let id = first["id"].as_str().unwrap();
    let mut resumed = open(&wharf, &format!("{query}&after={id}")).await.unwrap();
    receive(&a, "later", 1).await;
    for expected in ["text 1", "text 2", "later 0"] {
        assert_eq!(short(&event(&mut resumed).await), format!("a message {expected}"));
    }
    assert_eq!(short(&event(&mut socket).await), "a message later 0");
    for (after, says) in [
        (
            "evt_01ktvc6zt8tc3t0pw2qhmnp8v3",
            "there is no event evt_01ktvc6zt8tc3t0pw2qhmnp8v3: start with after=oldest or newest",
        ),
        ("yesterday", "after must be the id of an event, oldest or newest"),
    ] {
        let mut socket = open(&wharf, &format!("{query}&after={after}")).await.unwrap();
        assert_eq!(closed(&mut socket).await, (4001, says.to_owned()));
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_socket_of_a_session_key_hears_its_session_and_closes_with_the_key() {
    let mut wharf = Wharf::start().await;
    let (a, b) = (wharf.working("a", json!({})).await, wharf.working("b", json!({})).await);
    let key = session_key(&wharf, "a").await;
    let text = key["key"].as_str().unwrap();
    let mut socket = open(&wharf, &format!("x-api-key={text}&events=message&after=oldest"))
        .await
        .unwrap();
    receive(&b, "to b", 1).await;
    receive(&a, "to a", 1).await;
    assert_eq!(short(&event(&mut socket).await), "a message to a 0");
    assert!(open(&wharf, &format!("x-api-key={text}&session=b")).await.is_err());
    drop(socket);
    for ending in Ending::ALL {
        let key = session_key(&wharf, "a").await;
        let query = format!("x-api-key={}&events=message", key["key"].as_str().unwrap());
        let mut socket = open(&wharf, &query).await.unwrap();
        ending.end(&wharf, &key).await;
        receive(&a, "to a", 1).await;
        assert_eq!(
            closed(&mut socket).await,
            (4003, "the api key was changed or deleted".to_owned()),
            "{ending:?}"
        );
        let again = open(&wharf, &format!("{query}&session=a")).await;
        assert!(again.is_err(), "{ending:?}");
    }
    wharf.stop().await;
}

/// Waits until the server has given a client up that took nothing.
pub(crate) async fn until_too_slow(wharf: &Wharf) {
    let mut looking = interval(Duration::from_millis(10));
    let given_up = async {
        while !String::from_utf8_lossy(&wharf.get("/metrics").await.bytes).contains("wharf_readers_too_slow_total 1\n")
        {
            looking.tick().await;
        }
    };
    timeout(PATIENCE, given_up).await.expect("nobody was too slow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_closed_and_goes_on_with_its_next_socket() {
    let mut wharf = Wharf::start_with(&[("WHARF_EVENTS_STALL_SECONDS", "1")]).await;
    let a = wharf.working("a", json!({})).await;
    let query = format!("x-api-key={KEY}&events=message");
    let mut stalled = open(&wharf, &query).await.unwrap();
    let mut quick = open(&wharf, &query).await.unwrap();
    // More than all buffers between the two sides hold.
    let (count, long) = (400, "x".repeat(60_000));
    for number in 0..count {
        a.receive(text(ALICE, &format!("A{number}"), &format!("{number} {long}")))
            .await
            .unwrap();
        let event = event(&mut quick).await;
        let body = event["payload"]["body"].as_str().unwrap();
        assert!(
            body.starts_with(&format!("{number} ")),
            "the other socket is not delayed"
        );
    }
    until_too_slow(&wharf).await;
    let (mut heard, mut last) = (0, String::new());
    let mut take = |event: &Value| {
        let body = event["payload"]["body"].as_str().unwrap();
        assert!(
            body.starts_with(&format!("{heard} ")),
            "something is missing before {heard}"
        );
        heard += 1;
        last = event["id"].as_str().unwrap().to_owned();
    };
    loop {
        let message = next(&mut stalled).await;
        match message.as_text() {
            Some(event) => take(&serde_json::from_str(event).unwrap()),
            None => {
                let (code, reason) = message.as_close().unwrap();
                assert_eq!(u16::from(code), 4008);
                assert!(reason.contains("go on with after"), "{reason}");
                break;
            }
        }
    }
    let mut resumed = open(&wharf, &format!("{query}&after={last}")).await.unwrap();
    assert!(heard < count, "it was never too slow");
    for number in heard..count {
        let event = event(&mut resumed).await;
        assert!(
            event["payload"]["body"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{number} "))
        );
    }
    wharf.stop().await;
}
