//! What the routes for linking answer where there is nothing to link; how a device is linked is tried from a client's side.

use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn a_link_code_that_nobody_shows_or_that_is_none_is_refused() {
    let (server, client) = start().await;
    let enter = |number: &str, code: Value| {
        let path = format!("/admin/phones/{number}/enter-code");
        async move { client.post(&path, json!({ "code": code })).await }
    };
    let unasked = enter(ALICE, json!("ABCD-2345")).await.refusal(409);
    assert!(unasked.contains("no device waits for a code"), "{unasked}");
    for odd in [json!(""), json!("ABCD"), json!("O0O0-0000"), json!("A".repeat(100))] {
        enter(ALICE, odd).await.refusal(422);
    }
    enter(NOBODY, json!("ABCD-2345")).await.refusal(404);
    server.shutdown().await;
}

#[tokio::test]
async fn a_phone_has_a_passkey_when_it_is_told_to_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("network.json");
    let (server, client) = start_with(keeping(&file), None).await;
    let passkey = format!("/admin/phones/{ALICE}/passkey");
    let sign = format!("{passkey}/sign");
    let none = client.post(&sign, json!({})).await.refusal(409);
    assert!(none.contains("no passkey"), "{none}");
    let phone = client.post(&passkey, json!({ "required": true })).await.expect(200);
    assert_eq!(phone["passkey"], true);
    client.post(&sign, json!({ "challenge": "AAEC" })).await.refusal(422);
    server.shutdown().await;

    let (server, client) = start_with(keeping(&file), None).await;
    let phone = client.get(&format!("/admin/phones/{ALICE}")).await.expect(200);
    assert_eq!(phone["passkey"], true, "across a restart");
    let phone = client.post(&passkey, json!({ "required": false })).await.expect(200);
    assert_eq!(phone["passkey"], false);
    client
        .post(&format!("/admin/phones/{NOBODY}/passkey"), json!({ "required": true }))
        .await
        .refusal(404);
    server.shutdown().await;
}

#[tokio::test]
async fn there_are_at_most_six_qr_codes() {
    let (server, client) = start().await;
    assert_eq!(client.post("/admin/qr-codes", json!({ "count": 1 })).await.status, 204);
    let many = client.post("/admin/qr-codes", json!({ "count": 7 })).await.refusal(422);
    assert!(many.contains("at most 6"), "{many}");
    server.shutdown().await;
}
