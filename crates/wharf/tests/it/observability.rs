//! The tag "Observability", and what every path has in common.

use reqwest::Method;
use serde_json::json;

use crate::support::{KEY, TestWharf};

#[tokio::test]
async fn ping_needs_no_key() {
    let wharf = TestWharf::start().await;
    let answer = wharf.send(wharf.request(Method::GET, "/ping")).await;
    assert_eq!(answer.expect(200), json!({ "message": "pong" }));
}

#[tokio::test]
async fn version_and_status_say_what_runs() {
    let wharf = TestWharf::start_with(&[("WHATSAPP_DEFAULT_ENGINE", "GOWS"), ("WAHA_WORKER_ID", "w1")]).await;
    for path in ["/api/server/version", "/api/version"] {
        let version = wharf.get(path).await.expect(200);
        assert_eq!(version["version"], "2026.7.1");
        assert_eq!(version["engine"], "GOWS");
        assert_eq!(version["tier"], "PLUS");
        assert_eq!(version["worker"]["id"], "w1");
    }
    let status = wharf.get("/api/server/status").await.expect(200);
    assert!(status["startTimestamp"].as_i64().unwrap() > 1_600_000_000_000);
    assert!(status["uptime"].as_i64().unwrap() >= 0);
    assert_eq!(status["worker"]["id"], "w1");
}

#[tokio::test]
async fn health_looks_at_the_storage() {
    let wharf = TestWharf::start().await;
    let health = wharf.get("/health").await.expect(200);
    assert_eq!(health["status"], "ok");
    assert!(
        health["details"].as_object().is_some_and(|parts| !parts.is_empty()),
        "{health}"
    );
}

#[tokio::test]
async fn trailing_slashes_and_encoded_ids_do_not_matter() {
    let wharf = TestWharf::start().await;
    wharf
        .post("/api/sessions", json!({ "name": "default", "start": false }))
        .await
        .expect(201);
    for path in ["/api/sessions/default/", "/api/sessions/", "/ping/"] {
        wharf.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_as_waha_does() {
    let wharf = TestWharf::start().await;
    let body = wharf.get("/api/nothing/here").await.expect(404);
    assert_eq!(body["message"], "Cannot GET /api/nothing/here");
    assert_eq!(body["error"], "Not Found");
    let request = wharf.request(Method::PATCH, "/api/sessions").header("x-api-key", KEY);
    let body = wharf.send(request).await.expect(404);
    assert_eq!(body["message"], "Cannot PATCH /api/sessions");
}

#[tokio::test]
async fn what_is_not_built_yet_says_so_in_wahas_words() {
    let wharf = TestWharf::start().await;
    wharf
        .post("/api/sessions", json!({ "name": "default", "start": false }))
        .await
        .expect(201);
    for (method, path) in [
        (Method::GET, "/api/default/groups"),
        (Method::POST, "/api/default/status/text"),
        (Method::GET, "/api/default/chats"),
        (Method::DELETE, "/api/default/labels/1"),
    ] {
        let body = wharf
            .send(wharf.request(method.clone(), path).header("x-api-key", KEY))
            .await
            .expect(422);
        let said = body["message"].as_str().unwrap();
        assert!(
            said.starts_with("The method is not implemented by the engine."),
            "{method} {path}: {said}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let wharf = TestWharf::start().await;
    let large = vec![b' '; 51 * 1024 * 1024];
    let request = wharf.request(Method::POST, "/api/sessions").header("x-api-key", KEY);
    let answer = wharf
        .send(request.header("content-type", "application/json").body(large))
        .await;
    assert_eq!(answer.status, 413);
}
