//! `/ws`: the same events as webhooks, live and from the log.

use axum::http::StatusCode;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::seeded::{Numbers, seed};
use crate::support::{ALICE, BOB, KEY, TestWharf, contract, within};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(wharf: &TestWharf, query: &str) -> Result<Socket, Error> {
    let url = wharf.url(&format!("/ws{query}")).replacen("http", "ws", 1);
    connect_async(url).await.map(|(socket, _)| socket)
}

/// The next event; pings are answered by the library.
async fn next_event(socket: &mut Socket) -> Value {
    let next = async {
        loop {
            match socket.next().await.expect("the socket was closed").unwrap() {
                Message::Text(text) => return serde_json::from_str::<Value>(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("came: {other:?}"),
            }
        }
    };
    let event = within("an event", next).await;
    assert_eq!(contract::event_problem(&event), None);
    event
}

#[tokio::test]
async fn the_same_event_comes_by_webhook_and_by_websocket() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut socket = connect(&wharf, &format!("?session=*&events=message&x-api-key={KEY}"))
        .await
        .unwrap();
    wharf.network.send(BOB, ALICE, "twice", None).await.unwrap();
    let live = next_event(&mut socket).await;
    assert_eq!(live["payload"]["body"], "twice");
    let posted = receiver.wait_for_event("message").await.event;
    assert_eq!(live, posted);
    socket.close(None).await.unwrap();
    wharf.finish().await;
}

#[tokio::test]
async fn filters_keep_other_sessions_and_events_out() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let mut socket = connect(
        &wharf,
        &format!("?session=default&events=session.status&events=message&x-api-key={KEY}"),
    )
    .await
    .unwrap();
    wharf.paired("second", BOB, &receiver).await;
    wharf.network.send(BOB, ALICE, "for default", None).await.unwrap();
    let event = next_event(&mut socket).await;
    assert_eq!(
        (event["session"].as_str(), event["event"].as_str()),
        (Some("default"), Some("message"))
    );
    wharf.post("/api/sessions/default/stop", json!({})).await.expect(201);
    let event = next_event(&mut socket).await;
    assert_eq!(event["payload"]["status"], "STOPPED");
    wharf.finish().await;
}

#[tokio::test]
async fn without_parameters_everything_comes() {
    let wharf = TestWharf::start().await;
    let mut socket = connect(&wharf, &format!("?x-api-key={KEY}")).await.unwrap();
    wharf
        .post("/api/sessions", json!({ "name": "default" }))
        .await
        .expect(201);
    let event = next_event(&mut socket).await;
    assert_eq!(event["event"], "session.status");
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_the_upgrade() {
    let wharf = TestWharf::start().await;
    for query in ["", "?x-api-key=wrong"] {
        match connect(&wharf, query).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), StatusCode::UNAUTHORIZED),
            other => panic!("{query:?}: {:?}", other.map(|_| "was let in")),
        }
    }
}

#[tokio::test]
async fn wrong_filters_close_the_socket_with_a_reason() {
    let wharf = TestWharf::start().await;
    for (query, word) in [("events=nonsense", "nonsense"), ("session=..%2Fx", "session")] {
        let mut socket = connect(&wharf, &format!("?{query}&x-api-key={KEY}")).await.unwrap();
        let close = async {
            loop {
                match socket.next().await.expect("a close frame").unwrap() {
                    Message::Close(Some(frame)) => return frame,
                    Message::Ping(_) => {}
                    other => panic!("came: {other:?}"),
                }
            }
        };
        let frame = within("the close", close).await;
        assert_eq!(frame.code, CloseCode::from(4001));
        let reason: Value = serde_json::from_str(&frame.reason).unwrap();
        assert!(reason["error"].as_str().unwrap().contains(word), "{reason}");
    }
}

#[tokio::test]
async fn a_client_that_is_cut_off_ten_times_resumes_with_no_gap_and_no_duplicate() {
    const CUTS: usize = 10;
    const TEXTS: usize = 150;
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let mut numbers = Numbers::of(seed());
    let query = format!("?session=default&events=message&x-api-key={KEY}");
    let sending = async {
        for number in 0..TEXTS {
            let text = format!("text {number}");
            wharf.network.send(BOB, ALICE, &text, None).await.unwrap();
        }
    };
    let (mut heard, mut last) = (Vec::new(), "oldest".to_owned());
    let listening = async {
        for cut in 0..=CUTS {
            let mut socket = connect(&wharf, &format!("{query}&after={last}")).await.unwrap();
            let until = match cut {
                CUTS => TEXTS,
                _ => heard.len() + usize::try_from(numbers.below(12)).unwrap(),
            };
            while heard.len() < until {
                let event = next_event(&mut socket).await;
                heard.push(event["payload"]["body"].as_str().unwrap().to_owned());
                last = event["id"].as_str().unwrap().to_owned();
            }
            // Cut, not closed, with whatever is on its way.
            drop(socket);
        }
    };
    tokio::join!(sending, listening);
    let sent: Vec<_> = (0..TEXTS).map(|number| format!("text {number}")).collect();
    assert_eq!(heard, sent);
    wharf.finish().await;
}
