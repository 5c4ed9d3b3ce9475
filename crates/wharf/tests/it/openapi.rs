//! The OpenAPI document: complete, stable, and seen to work.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ALICE, BOB, CAROL, KEY, TestWharf, contract};
use crate::{chatting_operations, event_log, pairing, storages};

#[test]
fn the_document_changes_only_on_purpose() {
    insta::assert_json_snapshot!(*contract::DOCUMENT);
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let wharf = TestWharf::start().await;
    let document = wharf.get("/-json").await.expect(200);
    assert_eq!(document["openapi"], contract::DOCUMENT["openapi"]);
    assert_eq!(document["paths"], contract::DOCUMENT["paths"]);
    let page = wharf.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.content_type.starts_with("text/html"), "{}", page.content_type);
    assert!(String::from_utf8_lossy(&page.body).contains("swagger"));
}

/// What a key for sending may call without making a message.
const WITHOUT_MESSAGE: &[&str] = &[
    "/api/sendSeen",
    "/api/star",
    "/api/startTyping",
    "/api/stopTyping",
    "/api/{session}/new-message-id",
    "/api/{session}/media/convert/voice",
    "/api/{session}/media/convert/video",
];

#[test]
fn every_operation_that_makes_a_message_takes_an_idempotency_key() {
    let paths = contract::DOCUMENT["paths"].as_object().unwrap();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let is_for_sending = operation["security"] == json!([{ "api_key": ["send"] }]);
            let makes_a_message = is_for_sending && !WITHOUT_MESSAGE.contains(&path.as_str());
            assert_eq!(takes_key(operation), makes_a_message, "{method} {path}");
        }
    }
}

fn takes_key(operation: &Value) -> bool {
    let parameters = operation["parameters"].as_array();
    parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "Idempotency-Key"))
}

/// The operations that the document declares a success for.
fn declared() -> BTreeSet<(String, String)> {
    let paths = contract::DOCUMENT["paths"].as_object().unwrap();
    let operations = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |it| (path, it)));
    let built = operations.filter(|(_, (_, operation))| {
        operation["responses"]
            .as_object()
            .is_some_and(|all| all.keys().any(|status| status.starts_with('2')))
    });
    built
        .map(|(path, (method, _))| (method.clone(), path.clone()))
        .collect()
}

/// What succeeds in this order, with the session `default` linked to Alice and this event logged.
fn steps(event: &str) -> Vec<(&'static str, String, Value)> {
    let [deliveries, replay] = ["deliveries", "replay"].map(|what| format!("/api/events/{event}/{what}"));
    let chat = json!({ "session": "default", "chatId": format!("{BOB}@c.us") });
    let steps = [
        ("GET", "/ping", Value::Null),
        ("GET", "/health", Value::Null),
        ("GET", "/api/version", Value::Null),
        ("GET", "/api/server/version", Value::Null),
        ("GET", "/api/server/status", Value::Null),
        ("GET", "/metrics", Value::Null),
        ("GET", "/api/sessions", Value::Null),
        ("GET", "/api/sessions/default", Value::Null),
        ("GET", "/api/sessions/default/me", Value::Null),
        ("GET", "/api/default/new-message-id", Value::Null),
        ("POST", "/api/sendSeen", chat.clone()),
        ("POST", "/api/startTyping", chat.clone()),
        ("POST", "/api/stopTyping", chat),
        ("POST", "/api/sessions", json!({ "name": "second" })),
        ("GET", "/api/second/auth/qr", Value::Null),
        ("GET", "/api/screenshot?session=second", Value::Null),
        ("POST", "/api/second/auth/request-code", json!({ "phoneNumber": CAROL })),
        (
            "PUT",
            "/api/sessions/second",
            json!({ "config": { "metadata": { "a": "b" } } }),
        ),
        ("POST", "/api/keys", json!({ "session": "second" })),
        ("POST", "/api/keys/media", json!({ "session": "second" })),
        ("POST", "/api/keys/control", json!({ "session": "second" })),
        ("GET", "/api/keys", Value::Null),
        (
            "PUT",
            "/api/keys/key_id_control_second",
            json!({ "session": "second", "isActive": false, "actions": { "control": true } }),
        ),
        ("DELETE", "/api/keys/key_id_control_second", Value::Null),
        ("GET", "/api/webhooks", Value::Null),
        ("GET", "/api/webhooks/dead", Value::Null),
        (
            "POST",
            "/api/sessions/default/events/replay",
            json!({ "state": "any", "events": ["message"] }),
        ),
        ("GET", deliveries.as_str(), Value::Null),
        ("POST", replay.as_str(), json!({})),
        ("POST", "/api/sessions/second/stop", json!({})),
        ("POST", "/api/sessions/second/start", json!({})),
        ("POST", "/api/sessions/second/restart", json!({})),
        ("POST", "/api/sessions/second/logout", json!({})),
        ("DELETE", "/api/sessions/second", Value::Null),
        ("POST", "/api/sessions/start", json!({ "name": "older" })),
        ("POST", "/api/sessions/stop", json!({ "name": "older" })),
        ("POST", "/api/sessions/logout", json!({ "name": "older" })),
    ];
    steps.map(|(method, path, body)| (method, path.to_owned(), body)).into()
}

#[tokio::test]
async fn every_declared_operation_succeeds() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    wharf.network.send(BOB, ALICE, "hello", None).await.unwrap();
    let event = receiver.wait_for_event("message").await;
    let mut seen = BTreeSet::new();
    for (method, path, body) in steps(event.id()) {
        let verb: Method = method.parse().unwrap();
        let mut request = wharf.request(verb, &path).header("x-api-key", KEY);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = wharf.send(request).await;
        assert!(
            answer.status.is_success(),
            "{method} {path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        let operation = contract::operation(method, &path).unwrap_or_else(|| panic!("{method} {path} is not declared"));
        seen.insert((operation.method, operation.path));
    }
    seen.extend(chatting_operations::send_in_every_way(&wharf, &receiver).await);
    // These need a phone that asks for them.
    let with_passkey = pairing::link_with_passkey(&wharf, "third", CAROL).await;
    seen.extend(with_passkey.map(|(method, path)| (method.to_owned(), path.to_owned())));
    let by_reading = event_log::read_in_every_way(&wharf).await;
    seen.extend(by_reading.map(|(method, path)| (method.to_owned(), path.to_owned())));
    let files = storages::read_in_every_way(&wharf, &receiver).await;
    seen.extend(files.map(|(method, path)| (method.to_owned(), path.to_owned())));
    let unseen: Vec<_> = declared().difference(&seen).cloned().collect();
    assert!(
        unseen.is_empty(),
        "declared, but no test has seen them succeed: {unseen:?}"
    );
    wharf.finish().await;
}
