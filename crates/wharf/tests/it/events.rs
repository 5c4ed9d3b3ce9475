//! Webhooks: the envelope, signatures, retries, and order.

use axum::http::StatusCode;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha512;

use crate::support::{ALICE, BOB, Receiver, TestWharf};

async fn paired_with(wharf: &TestWharf, webhook: Value) {
    let body = json!({ "name": "default", "config": { "webhooks": [webhook] } });
    wharf.post("/api/sessions", body).await.expect(201);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
}

#[tokio::test]
async fn the_envelope_is_wahas() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    wharf.network.send(BOB, ALICE, "Hi Alice!", None).await.unwrap();
    let event = receiver.wait_for_event("message").await.event;
    insta::assert_json_snapshot!(event, {
        ".id" => "evt_…",
        ".timestamp" => 0,
        ".payload.id" => "false_12025550102@c.us_…",
        ".payload.timestamp" => 0,
        ".payload._data" => "…",
        ".me.jid" => "12025550101:…@s.whatsapp.net",
        ".environment.platform" => "…",
        ".me.lid" => "…@lid",
    });
    let id = event["id"].as_str().unwrap();
    let ulid = id.strip_prefix("evt_").unwrap();
    assert!(
        ulid.len() == 26 && ulid.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()),
        "{id}"
    );
    assert!(
        event["timestamp"].as_i64().unwrap() > 1_600_000_000_000,
        "milliseconds: {}",
        event["timestamp"]
    );
    assert!(
        event["payload"]["timestamp"].as_i64().unwrap() < 100_000_000_000,
        "seconds"
    );
    wharf.finish().await;
}

#[tokio::test]
async fn requests_are_signed_and_carry_the_callers_headers() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    let webhook = json!({
        "url": receiver.url(), "events": ["message"], "hmac": { "key": "my-secret-key" },
        "customHeaders": [{ "name": "X-Tenant", "value": "shop 7" }],
    });
    paired_with(&wharf, webhook).await;
    wharf.network.send(BOB, ALICE, "signed", None).await.unwrap();
    let delivery = receiver.wait_for_event("message").await;
    let mac = Hmac::<Sha512>::new_from_slice(b"my-secret-key")
        .unwrap()
        .chain_update(&delivery.body);
    assert_eq!(
        delivery.header("x-webhook-hmac"),
        hex::encode(mac.finalize().into_bytes())
    );
    assert_eq!(delivery.header("x-webhook-hmac-algorithm"), "sha512");
    assert_eq!(delivery.header("x-tenant"), "shop 7");
    assert_eq!(delivery.header("content-type"), "application/json");
    assert!(!delivery.header("x-webhook-request-id").is_empty());
    assert!(delivery.header("x-webhook-timestamp").parse::<i64>().unwrap() > 1_600_000_000_000);
    wharf.finish().await;
}

#[tokio::test]
async fn only_the_named_events_are_sent() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    paired_with(&wharf, json!({ "url": receiver.url(), "events": ["message.any"] })).await;
    wharf.network.send(BOB, ALICE, "one", None).await.unwrap();
    wharf.network.send(BOB, ALICE, "two", None).await.unwrap();
    receiver
        .wait_for("the second text", |event| event["payload"]["body"] == "two")
        .await;
    assert_eq!(receiver.names(), ["message.any one", "message.any two"]);
    wharf.finish().await;
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_with_the_same_id() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    let webhook = json!({
        "url": receiver.url(), "events": ["message"],
        "retries": { "policy": "constant", "delaySeconds": 0.1, "attempts": 5 },
    });
    paired_with(&wharf, webhook).await;
    receiver.answer_next([
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::FOUND,
        StatusCode::NOT_FOUND,
    ]);
    wharf.network.send(BOB, ALICE, "stubborn", None).await.unwrap();
    let attempts = receiver.wait_for_count(4).await;
    let ids: Vec<_> = attempts.iter().map(|it| it.event["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let bodies: Vec<_> = attempts.iter().map(|it| it.body.clone()).collect();
    assert!(
        bodies.iter().all(|body| *body == bodies[0]),
        "the body is the same bytes on every attempt"
    );
    let mut requests: Vec<_> = attempts
        .iter()
        .map(|it| it.header("x-webhook-request-id").to_owned())
        .collect();
    requests.sort();
    requests.dedup();
    assert_eq!(requests.len(), 4, "each attempt has a request id of its own");
    // What is sent next proves that the event was not sent a fifth time.
    wharf.network.send(BOB, ALICE, "next", None).await.unwrap();
    receiver
        .wait_for("the next text", |event| event["payload"]["body"] == "next")
        .await;
    assert_eq!(receiver.deliveries().len(), 5);
    wharf.finish().await;
}

#[tokio::test]
async fn a_receiver_that_fails_does_not_hold_up_the_others() {
    let wharf = TestWharf::start().await;
    let (broken, healthy) = (Receiver::start().await, Receiver::start().await);
    broken.answer_next(std::iter::repeat_n(StatusCode::BAD_GATEWAY, 100));
    let hook = |receiver: &Receiver| json!({ "url": receiver.url(), "events": ["message"] });
    let body = json!({ "name": "default", "config": { "webhooks": [hook(&broken), hook(&healthy)] } });
    wharf.post("/api/sessions", body).await.expect(201);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.bob_writes(5).await;
    let came = healthy.wait_for_count(5).await;
    let bodies: Vec<_> = came.iter().map(|it| it.event["payload"]["body"].clone()).collect();
    assert_eq!(bodies, ["text 0", "text 1", "text 2", "text 3", "text 4"]);
    wharf.finish().await;
}

#[tokio::test]
async fn the_webhook_of_all_sessions_comes_from_the_environment() {
    let receiver = Receiver::start().await;
    let wharf = TestWharf::start_with(&[
        ("WHATSAPP_HOOK_URL", &receiver.url()),
        ("WHATSAPP_HOOK_EVENTS", "session.status,message"),
        ("WHATSAPP_HOOK_HMAC_KEY", "global-key"),
    ])
    .await;
    wharf
        .post("/api/sessions", json!({ "name": "default" }))
        .await
        .expect(201);
    let status = receiver.wait_for_event("session.status").await;
    assert_eq!(status.event["session"], "default");
    let mac = Hmac::<Sha512>::new_from_slice(b"global-key")
        .unwrap()
        .chain_update(&status.body);
    assert_eq!(
        status.header("x-webhook-hmac"),
        hex::encode(mac.finalize().into_bytes())
    );
    let session = wharf.get("/api/sessions/default").await.expect(200);
    assert!(
        !session["config"].to_string().contains("webhook/"),
        "it is not shown in the session: {session}"
    );
}

#[tokio::test]
async fn webhooks_never_go_to_link_local_addresses() {
    let wharf = TestWharf::start().await;
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
    ] {
        let config = json!({ "webhooks": [{ "url": url, "events": ["message"] }] });
        let body = wharf
            .post("/api/sessions", json!({ "name": "default", "config": config }))
            .await
            .expect(400);
        assert!(
            body["message"].to_string().contains("config.webhooks.0.url"),
            "{url}: {body}"
        );
    }
}
