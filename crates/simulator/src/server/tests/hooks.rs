//! The webhook inbox over HTTP.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_webhook_is_kept_with_all_it_said() {
    let (server, client) = start().await;
    let headers = [
        ("content-type", "application/json"),
        ("x-webhook-hmac", "abc"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    ];
    client
        .send("POST", "/hook/me?retry=1", &headers, r#"{"event":"message"}"#)
        .await
        .expect(200);
    client
        .send("PUT", "/hook/me", &[("content-type", "text/plain")], "not json")
        .await
        .expect(200);

    let page = client.get("/hook/me").await.expect(200);
    let first = &page["entries"][0];
    assert_eq!(first["method"], "POST");
    assert_eq!(first["query"], "retry=1");
    assert_eq!(first["headers"]["x-webhook-hmac"], "abc");
    assert_eq!(first["headers"]["x-twice"], "1, 2");
    assert_eq!(first["body"], r#"{"event":"message"}"#);
    assert_eq!(first["json"], json!({"event": "message"}));
    assert!(first["received_at"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(page["entries"][1]["json"], json!(null));
    assert_eq!(page["entries"][1]["method"], "PUT");

    let rest = client
        .get(&format!("/hook/me?after={}", first["cursor"]))
        .await
        .expect(200);
    assert_eq!(rest["entries"].as_array().unwrap().len(), 1);
    assert_eq!(client.get("/hook").await.expect(200)[0]["held"], 2);
    server.shutdown().await;
}

#[tokio::test]
async fn a_name_nobody_used_is_empty() {
    let (server, client) = start().await;
    let page = client.get("/hook/me?after=7").await.expect(200);
    assert_eq!(page, json!({"entries": [], "next": 7, "dropped": 0}));
    client.get("/hook/a%20b").await.refusal(400);
    client.post("/hook/a%20b", json!({})).await.refusal(400);
    server.shutdown().await;
}

#[tokio::test]
async fn waiting_for_a_webhook_ends_when_it_comes() {
    let (server, client) = start().await;
    let (page, other, _) = tokio::join!(
        client.get("/hook/me?wait=30"),
        client.post("/hook/other", json!(0)),
        client.post("/hook/me", json!({"event": "session.status"})),
    );
    other.expect(200);
    assert_eq!(page.expect(200)["entries"][0]["json"]["event"], "session.status");
    server.shutdown().await;
}

#[tokio::test]
async fn a_webhook_that_is_too_large_is_refused() {
    let (server, client) = start().await;
    client
        .send("POST", "/hook/me", &[], &"x".repeat(1024 * 1024))
        .await
        .expect(200);
    client
        .send("POST", "/hook/me", &[], &"x".repeat(1024 * 1024 + 1))
        .await
        .refusal(413);
    assert_eq!(client.get("/hook").await.expect(200)[0]["held"], 1);
    server.shutdown().await;
}
