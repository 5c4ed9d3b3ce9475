//! Delivery to webhooks: headers, signature, order, retries, restarts.

use std::future;

use axum::Router;
use axum::body::Body;
use axum::extract::Json;
use axum::routing::post;
use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha512;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wharf_core::store::Batch;

use crate::harness::{ALICE, BOB, PATIENCE, Receiver, Wharf, text};

/// A receiver that does what a test says; its address.
async fn receiver(router: Router, tasks: &mut JoinSet<()>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/")
}

#[tokio::test]
async fn a_chat_whose_webhooks_hang_does_not_hide_the_others_however_much_it_has() {
    let mut wharf = Wharf::start().await;
    let (mut tasks, (sender, mut arrived)) = (JoinSet::new(), mpsc::unbounded_channel());
    let router = Router::new().route(
        "/",
        post(async move |Json(event): Json<Value>| {
            let from = event["payload"]["from"].clone();
            if from == ALICE {
                future::pending::<()>().await;
            }
            sender.send(from).unwrap();
        }),
    );
    let url = receiver(router, &mut tasks).await;
    let webhook = json!({"url": url, "events": ["message"]});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    let many = (0..600).map(|number| text(ALICE, &format!("A{number}"), "x"));
    link.inbox.commit(many.collect(), Batch::new()).await.unwrap();
    link.receive(text(BOB, "B1", "x")).await.unwrap();
    let from = timeout(PATIENCE, arrived.recv()).await.expect("the other chat waits");
    assert_eq!(from.unwrap(), BOB);
    wharf.stop().await;
}

#[tokio::test]
async fn a_good_status_counts_even_if_its_body_never_ends() {
    let mut wharf = Wharf::start().await;
    let (mut tasks, (sender, mut arrived)) = (JoinSet::new(), mpsc::unbounded_channel());
    let router = Router::new().route(
        "/",
        post(async move |Json(event): Json<Value>| {
            sender.send(event["payload"]["body"].clone()).unwrap();
            let beginning = stream::iter([Ok::<_, std::io::Error>("OK")]);
            Body::from_stream(beginning.chain(stream::pending()))
        }),
    );
    let url = receiver(router, &mut tasks).await;
    let webhook = json!({"url": url, "events": ["message"]});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    for body in ["one", "two"] {
        link.receive(text(ALICE, body, body)).await.unwrap();
    }
    for body in ["one", "two"] {
        let next = timeout(PATIENCE, arrived.recv()).await.expect("it is not over");
        assert_eq!(next.unwrap(), body);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_delivery_is_signed_and_carries_its_headers() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = json!({
        "url": receiver.url,
        "events": ["message"],
        "hmac": {"key": "my-secret-key"},
        "customHeaders": [{"name": "X-My", "value": "v"}, {"name": "User-Agent", "value": "mine"}],
    });
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    link.receive(text(ALICE, "A1", "grüß dich")).await.unwrap();
    let post = receiver.post().await;
    let mut mac = Hmac::<Sha512>::new_from_slice(b"my-secret-key").unwrap();
    mac.update(&post.bytes);
    assert_eq!(post.headers["x-webhook-hmac"], hex::encode(mac.finalize().into_bytes()));
    assert_eq!(post.headers["x-webhook-hmac-algorithm"], "sha512");
    assert_eq!(post.headers["x-my"], "v");
    assert_eq!(post.headers["user-agent"], "mine");
    assert_eq!(post.headers["content-type"], "application/json");
    let timestamp: i64 = post.headers["x-webhook-timestamp"].to_str().unwrap().parse().unwrap();
    assert!(timestamp >= post.body["timestamp"].as_i64().unwrap());
    assert!(post.body["id"].as_str().unwrap().starts_with("evt_"));
    wharf.stop().await;
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_with_the_same_event_id() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    // A redirect is a failure like any other: it is not followed.
    receiver.answers(&[500, 302]);
    link.receive(text(ALICE, "A1", "x")).await.unwrap();
    let posts = [receiver.post().await, receiver.post().await, receiver.post().await];
    assert!(posts.iter().all(|post| post.bytes == posts[0].bytes));
    let request_id = |at: usize| posts[at].headers["x-webhook-request-id"].clone();
    assert!(request_id(0) != request_id(1) && request_id(1) != request_id(2));
    // Nothing is left over: the next post is the next message.
    link.receive(text(ALICE, "A2", "next")).await.unwrap();
    assert_eq!(receiver.post().await.body["payload"]["body"], "next");
    wharf.stop().await;
}

#[tokio::test]
async fn after_the_last_retry_a_delivery_is_given_up() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"delaySeconds": 0.01, "attempts": 2}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    receiver.answers(&[500, 500, 500]);
    link.receive(text(ALICE, "A1", "dead")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(receiver.post().await.body["payload"]["body"], "dead");
    }
    link.receive(text(ALICE, "A2", "alive")).await.unwrap();
    assert_eq!(receiver.post().await.body["payload"]["body"], "alive");
    wharf.stop().await;
}

#[tokio::test]
async fn each_chat_keeps_its_order() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    for number in 0..30 {
        for chat in [ALICE, BOB] {
            link.receive(text(chat, &format!("M{number}"), &number.to_string()))
                .await
                .unwrap();
        }
    }
    let mut seen = [(ALICE, Vec::new()), (BOB, Vec::new())];
    for _ in 0..60 {
        let payload = receiver.event("message").await["payload"].clone();
        let (_, bodies) = seen.iter_mut().find(|(chat, _)| payload["from"] == *chat).unwrap();
        bodies.push(payload["body"].as_str().unwrap().parse::<u32>().unwrap());
    }
    for (chat, bodies) in seen {
        assert_eq!(bodies, (0..30).collect::<Vec<_>>(), "{chat}");
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_nobody_else() {
    let mut wharf = Wharf::start().await;
    let (mut slow, mut quick) = (Receiver::start().await, Receiver::start().await);
    slow.hang();
    let webhooks = json!([slow.webhook(&["message"]), quick.webhook(&["message"])]);
    let link = wharf.working("a", json!({"webhooks": webhooks})).await;
    for number in 0..50 {
        link.receive(text(ALICE, &format!("M{number}"), "x")).await.unwrap();
    }
    for number in 0..50 {
        let id = quick.event("message").await["payload"]["id"].clone();
        assert_eq!(id, format!("false_{ALICE}_M{number}"));
    }
    slow.post().await;
    wharf.stop().await;
}

#[tokio::test]
async fn what_was_not_delivered_is_delivered_after_a_restart() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"delaySeconds": 1}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    receiver.answers(&[503]);
    link.receive(text(ALICE, "A1", "x")).await.unwrap();
    let first = receiver.post().await;
    wharf.post("/api/sessions/a/stop", json!({})).await;
    let wharf = wharf.restart().await;
    assert_eq!(receiver.post().await.bytes, first.bytes);
    wharf.stop().await;
}

#[tokio::test]
async fn the_global_webhook_gets_all_sessions_and_shows_in_none() {
    let mut receiver = Receiver::start().await;
    let url = receiver.url.clone();
    let variables = [
        ("WHATSAPP_HOOK_URL", url.as_str()),
        ("WHATSAPP_HOOK_EVENTS", "*"),
        ("WHATSAPP_HOOK_HMAC_KEY", "k"),
    ];
    let mut wharf = Wharf::start_with(&variables).await;
    for name in ["a", "b"] {
        let link = wharf.working(name, json!({})).await;
        link.receive(text(ALICE, name, name)).await.unwrap();
        let body = receiver.event("message").await;
        assert_eq!(
            (&body["session"], &body["payload"]["body"]),
            (&json!(name), &json!(name))
        );
        assert_eq!(
            wharf.get(&format!("/api/sessions/{name}")).await.json()["config"],
            json!({})
        );
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_deleted_session_takes_its_deliveries_along() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"delaySeconds": 1}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    receiver.answers(&[503]);
    link.receive(text(ALICE, "A1", "old")).await.unwrap();
    receiver.post().await;
    wharf.delete("/api/sessions/a").await;
    let wharf = wharf.restart().await;
    let mut wharf = wharf;
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    link.receive(text(ALICE, "A1", "new")).await.unwrap();
    assert_eq!(receiver.post().await.body["payload"]["body"], "new");
    wharf.stop().await;
}
