//! The tag "Pairing": QR codes.

use reqwest::Method;
use serde_json::json;

use crate::support::{ALICE, KEY, Receiver, TestWharf};

#[tokio::test]
async fn the_qr_code_comes_as_picture_as_base64_and_raw() {
    let wharf = TestWharf::start().await;
    wharf
        .post("/api/sessions", json!({ "name": "default" }))
        .await
        .expect(201);

    let picture = wharf.get("/api/default/auth/qr").await;
    assert_eq!(picture.content_type, "image/png");
    assert_eq!(&picture.body[..8], b"\x89PNG\r\n\x1a\n");

    let request = wharf
        .request(Method::GET, "/api/default/auth/qr")
        .header("x-api-key", KEY);
    let json = wharf
        .send(request.header("accept", "application/json"))
        .await
        .expect(200);
    assert_eq!(json["mimetype"], "image/png");
    assert!(json["data"].as_str().unwrap().starts_with("iVBORw0KGgo"), "{json}");

    let raw = wharf.qr("default").await;
    assert_eq!(raw.split(',').count(), 5, "{raw}");
}

#[tokio::test]
async fn scanning_links_the_session_within_moments() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    wharf.create("default", &receiver).await;
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;

    let devices = wharf.network.phone(ALICE).unwrap().devices;
    assert_eq!(devices.len(), 1);
    assert!(devices[0].connected);
    let working = receiver
        .wait_for("WORKING", |event| event["payload"]["status"] == "WORKING")
        .await;
    let statuses = working.event["payload"]["statuses"].as_array().unwrap();
    assert_eq!(statuses.len(), 3, "{statuses:?}");
    assert_eq!(statuses[2]["status"], "WORKING");
    assert_eq!(working.event["me"]["id"], format!("{ALICE}@c.us"));
    assert_eq!(working.event["metadata"], json!({ "user.id": "123" }));
    assert_eq!(working.event["engine"], "WEBJS");
}

#[tokio::test]
async fn there_is_no_qr_code_once_the_session_works() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let answer = wharf.get("/api/default/auth/qr").await;
    let body = answer.expect(422);
    assert_eq!(body["session"], "default");
    assert_eq!(body["status"], "WORKING");
    assert_eq!(body["expected"], json!(["SCAN_QR_CODE"]));
}
