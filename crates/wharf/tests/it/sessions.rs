//! The tag "Sessions": the life of a session through the API.

use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Receiver, TestWharf};

#[tokio::test]
async fn a_session_is_created_listed_and_deleted() {
    let wharf = TestWharf::start().await;
    let created = wharf
        .post("/api/sessions", json!({ "name": "shop", "start": false }))
        .await
        .expect(201);
    assert_eq!(created["name"], "shop");
    assert_eq!(created["status"], "STOPPED");

    let one = wharf.get("/api/sessions/shop").await.expect(200);
    assert_eq!(one["status"], "STOPPED");
    assert_eq!(one["me"], Value::Null);
    assert_eq!(
        wharf.get("/api/sessions").await.expect(200),
        json!([]),
        "stopped ones are listed with all=true only"
    );
    let all = wharf.get("/api/sessions?all=true").await.expect(200);
    assert_eq!(all.as_array().map(Vec::len), Some(1));

    wharf.delete("/api/sessions/shop").await.expect(200);
    wharf.get("/api/sessions/shop").await.expect(404);
    wharf.delete("/api/sessions/shop").await.expect(200);
    assert!(
        !wharf.session_dir("shop").exists(),
        "deleting removes the session's data"
    );
}

#[tokio::test]
async fn a_session_without_a_name_gets_one_and_starts() {
    let wharf = TestWharf::start().await;
    let created = wharf.post("/api/sessions", json!({})).await.expect(201);
    let name = created["name"].as_str().unwrap().to_owned();
    let suffix = name
        .strip_prefix("session_")
        .unwrap_or_else(|| panic!("odd name {name}"));
    assert!(
        suffix.len() == 32 && suffix.bytes().all(|b| b.is_ascii_hexdigit()),
        "{name}"
    );
    wharf.wait_for_status(&name, "SCAN_QR_CODE").await;
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let wharf = TestWharf::start().await;
    wharf
        .post("/api/sessions", json!({ "name": "default", "start": false }))
        .await
        .expect(201);
    let answer = wharf.post("/api/sessions", json!({ "name": "default" })).await;
    insta::assert_json_snapshot!(answer.shape(), @r#"
    {
      "body": {
        "error": "Unprocessable Entity",
        "message": "Session 'default' already exists. Use PUT to update it.",
        "statusCode": 422
      },
      "status": 422
    }
    "#);
}

#[tokio::test]
async fn bad_names_and_configurations_are_refused_with_every_reason() {
    let wharf = TestWharf::start().await;
    for name in ["../etc", "a b", "", &"x".repeat(55), "sessions", "events"] {
        let answer = wharf.post("/api/sessions", json!({ "name": name })).await;
        let body = answer.expect(400);
        assert!(body["message"].is_array(), "{name}: {body}");
    }
    let config = json!({
        "metadata": { "user.id": 123 },
        "debug": "yes",
        "webhooks": [
            { "url": "not a url", "events": ["message"] },
            { "url": "http://localhost:1/", "events": ["nonsense", "*"], "retries": { "attempts": -1, "policy": "never" } },
        ],
    });
    let answer = wharf
        .post("/api/sessions", json!({ "name": "default", "config": config }))
        .await;
    let body = answer.expect(400);
    let reasons = body["message"].to_string();
    for part in [
        "config.metadata",
        "config.debug",
        "config.webhooks.0.url",
        "config.webhooks.1.each value in events",
        "config.webhooks.1.retries",
    ] {
        assert!(reasons.contains(part), "no word about {part} in {reasons}");
    }
    assert_eq!(
        wharf.get("/api/sessions?all=true").await.expect(200),
        json!([]),
        "nothing was created"
    );
}

#[tokio::test]
async fn the_configuration_is_given_back_and_replaced_whole() {
    let wharf = TestWharf::start().await;
    let config =
        json!({ "metadata": { "a": "1" }, "webhooks": [{ "url": "http://localhost:1/x", "events": ["message"] }] });
    wharf
        .post(
            "/api/sessions",
            json!({ "name": "default", "start": false, "config": config }),
        )
        .await
        .expect(201);
    let kept = wharf.get("/api/sessions/default").await.expect(200);
    assert_eq!(kept["config"]["metadata"], json!({ "a": "1" }));
    assert_eq!(kept["config"]["webhooks"][0]["url"], "http://localhost:1/x");

    wharf
        .put(
            "/api/sessions/default",
            json!({ "config": { "metadata": { "b": "2" } } }),
        )
        .await
        .expect(200);
    let replaced = wharf.get("/api/sessions/default").await.expect(200);
    assert_eq!(replaced["config"]["metadata"], json!({ "b": "2" }));
    assert!(
        replaced["config"]["webhooks"].as_array().is_none_or(Vec::is_empty),
        "{replaced}"
    );
}

#[tokio::test]
async fn start_stop_and_restart_can_be_repeated() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    wharf.post("/api/sessions/default/start", json!({})).await.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    for _ in 0..2 {
        let stopped = wharf.post("/api/sessions/default/stop", json!({})).await.expect(201);
        assert_eq!(stopped["status"], "STOPPED");
    }
    let me = wharf.get("/api/sessions/default").await.expect(200);
    assert_eq!(
        me["me"]["id"],
        format!("{ALICE}@c.us"),
        "a stopped session still says whose it is"
    );
    wharf.post("/api/sessions/default/start", json!({})).await.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.wait_for_status("default", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn unknown_sessions_are_404_everywhere() {
    let wharf = TestWharf::start().await;
    for action in ["start", "restart", "logout"] {
        let body = wharf
            .post(&format!("/api/sessions/nobody/{action}"), json!({}))
            .await
            .expect(404);
        assert_eq!(body["statusCode"], 404, "{body}");
    }
    wharf
        .put("/api/sessions/nobody", json!({ "config": {} }))
        .await
        .expect(404);
    wharf.get("/api/sessions/nobody").await.expect(404);
    wharf.get("/api/sessions/nobody/me").await.expect(404);
    wharf.get("/api/nobody/auth/qr").await.expect(404);
    let send = json!({ "session": "nobody", "chatId": format!("{BOB}@c.us"), "text": "hi" });
    let body = wharf.post("/api/sendText", send).await.expect(404);
    assert!(body["message"].as_str().unwrap().contains("nobody"), "{body}");
}

#[tokio::test]
async fn me_is_null_until_a_phone_has_scanned() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    wharf.create("default", &receiver).await;
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    assert_eq!(wharf.get("/api/sessions/default/me").await.expect(200), Value::Null);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    let me = wharf.get("/api/sessions/default/me").await.expect(200);
    assert_eq!(me["id"], format!("{ALICE}@c.us"));
    assert_eq!(me["pushName"], "Alice");
    assert!(me["lid"].as_str().unwrap().ends_with("@lid"), "{me}");
    assert!(me["jid"].as_str().unwrap().starts_with(&format!("{ALICE}:")), "{me}");
    wharf.finish().await;
}

#[tokio::test]
async fn logout_forgets_the_account_and_waits_for_the_next_scan() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    assert_eq!(wharf.network.phone(ALICE).unwrap().devices.len(), 1);
    wharf.post("/api/sessions/default/logout", json!({})).await.expect(201);
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    assert_eq!(
        wharf.network.phone(ALICE).unwrap().devices,
        [],
        "the phone does not list the device any more"
    );
    let session = wharf.get("/api/sessions/default").await.expect(200);
    assert_eq!(
        session["config"]["metadata"]["user.id"], "123",
        "the configuration stays"
    );
    wharf.scan("default", BOB).await;
    wharf.wait_for_status("default", "WORKING").await;
    let working = receiver
        .wait_for("the session as Bob", |event| event["me"]["pushName"] == "Bob")
        .await;
    assert_eq!(working.event["session"], "default");
    wharf.finish().await;
}

#[tokio::test]
async fn the_phone_unlinks_the_device_and_the_session_says_so() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let device = wharf.network.phone(ALICE).unwrap().devices[0].device;
    wharf.network.unlink(ALICE, device).await.unwrap();
    wharf.wait_for_status("default", "FAILED").await;
    let failed = receiver
        .wait_for("FAILED", |event| event["payload"]["status"] == "FAILED")
        .await;
    let data = &failed.event["payload"]["data"];
    assert!(data["message"].as_str().is_some_and(|text| !text.is_empty()), "{data}");
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    wharf.finish().await;
}

#[tokio::test]
async fn deleting_a_running_session_unlinks_nothing_else() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    wharf.paired("second", BOB, &receiver).await;
    wharf.delete("/api/sessions/default").await.expect(200);
    wharf.get("/api/sessions/default").await.expect(404);
    let second = wharf.get("/api/sessions/second").await.expect(200);
    assert_eq!(second["status"], "WORKING");
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_is_deleted_while_it_starts() {
    let wharf = TestWharf::start().await;
    wharf
        .post("/api/sessions", json!({ "name": "default" }))
        .await
        .expect(201);
    wharf.delete("/api/sessions/default").await.expect(200);
    wharf.get("/api/sessions/default").await.expect(404);
    wharf
        .post("/api/sessions", json!({ "name": "default" }))
        .await
        .expect(201);
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
}
