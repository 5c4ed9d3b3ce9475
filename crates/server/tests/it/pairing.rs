//! Pairing, with a played connection: what is asked of it, in which status, and how its refusals are told.

use std::time::Duration;

use serde_json::json;
use wharf_core::engine::{Closed, EngineError, PasskeyChallenge, PasskeyCredential, Signal};

use crate::harness::{Link, Receiver, Wharf};

async fn scanning(wharf: &mut Wharf) -> Link {
    wharf.post("/api/sessions", json!({"name": "default"})).await;
    let link = wharf.link().await;
    link.show_qr("a code");
    wharf.until_status("default", "SCAN_QR_CODE").await;
    link
}

fn challenge() -> PasskeyChallenge {
    PasskeyChallenge {
        challenge: "AAEC".to_owned(),
        timeout_ms: 600_000,
        rp_id: "whatsapp.com".to_owned(),
        allow_credentials: vec![PasskeyCredential {
            id: "Zm9v".to_owned(),
            kind: "public-key".to_owned(),
            transports: vec!["hybrid".to_owned()],
        }],
        user_verification: "required".to_owned(),
        extensions: None,
    }
}

#[tokio::test]
async fn every_new_qr_code_is_told_and_their_end_fails_the_session() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["session.status"])]});
    wharf
        .post("/api/sessions", json!({"name": "default", "config": config}))
        .await;
    let link = wharf.link().await;
    assert_eq!(receiver.event("session.status").await["payload"]["status"], "STARTING");
    for number in 1..=6 {
        link.show_qr(&format!("code {number}"));
        assert_eq!(
            receiver.event("session.status").await["payload"]["status"],
            "SCAN_QR_CODE"
        );
        let raw = wharf.get("/api/default/auth/qr?format=raw").await.json();
        assert_eq!(raw["value"], format!("code {number}"));
    }
    link.close(Closed::QrCodesExpired);
    let failed = receiver.event("session.status").await;
    assert_eq!(failed["payload"]["status"], "FAILED");
    assert_eq!(failed["payload"]["data"]["reason"], "QR_CODES_EXPIRED");
    assert_eq!(wharf.get("/api/default/auth/qr").await.status, 422);
}

#[tokio::test]
async fn a_code_is_requested_for_a_phone_that_can_be_one() {
    let mut wharf = Wharf::start().await;
    let link = scanning(&mut wharf).await;
    let path = "/api/default/auth/request-code";
    let asked = wharf.post(path, json!({"phoneNumber": "+1 (202) 555-0101"})).await;
    assert_eq!((asked.status, asked.json()), (201, json!({"code": "ABCD-2345"})));
    assert_eq!(asked.headers["cache-control"], "no-store");
    assert_eq!(link.engine.coded.lock().unwrap()[0].to_string(), "12025550101@c.us");

    for (body, status) in [
        (json!({}), 400),
        (json!({"phoneNumber": 12_025_550_101_u64}), 400),
        (json!({"phoneNumber": "alice"}), 400),
        (json!({"phoneNumber": "0202555010"}), 400),
        (json!({"phoneNumber": "12025550101", "method": "sms"}), 422),
    ] {
        assert_eq!(wharf.post(path, body.clone()).await.status, status, "{body}");
    }
    assert_eq!(link.engine.coded.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn whatsapp_refusing_a_code_is_told_with_what_to_do() {
    let mut wharf = Wharf::start().await;
    let link = scanning(&mut wharf).await;
    let retry_after = Some(Duration::from_secs(90));
    let refusals = [
        EngineError::Throttled { retry_after },
        EngineError::Refused {
            reason: "452 feature-not-available".to_owned(),
        },
        EngineError::Offline,
    ];
    link.engine.refuses.lock().unwrap().extend(refusals);
    let body = json!({"phoneNumber": "12025550101"});
    let throttled = wharf.post("/api/default/auth/request-code", body.clone()).await;
    assert_eq!(throttled.status, 429);
    assert_eq!(throttled.headers["retry-after"], "90");
    assert_eq!(throttled.json()["error"], "Too Many Requests");
    for status in [422, 503] {
        assert_eq!(
            wharf.post("/api/default/auth/request-code", body.clone()).await.status,
            status
        );
    }
}

#[tokio::test]
async fn codes_and_passkeys_are_for_their_statuses_only() {
    let mut wharf = Wharf::start().await;
    let body = json!({"phoneNumber": "12025550101"});
    assert_eq!(
        wharf.post("/api/nobody/auth/request-code", body.clone()).await.status,
        404
    );
    wharf.working("default", json!({})).await;
    let refused = wharf.post("/api/default/auth/request-code", body).await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.json()["message"],
        "Can request code only in SCAN_QR_CODE status. The current status is WORKING"
    );
    for (path, expected) in [
        ("/api/default/auth/passkey/challenge", "PASSKEY_REQUIRED"),
        (
            "/api/default/auth/passkey/confirmation",
            "PASSKEY_CONFIRMATION_REQUIRED",
        ),
    ] {
        let refused = wharf.get(path).await;
        assert_eq!(refused.status, 422, "{path}");
        assert_eq!(refused.json()["expected"], json!([expected]));
    }
    assert_eq!(
        wharf.post("/api/default/auth/passkey/confirm", json!({})).await.status,
        422
    );
    assert_eq!(wharf.get("/api/screenshot").await.status, 422);

    wharf.post("/api/sessions/default/stop", json!({})).await;
    assert_eq!(wharf.get("/api/default/auth/passkey/challenge").await.status, 404);
    assert_eq!(wharf.get("/api/screenshot?session=default").await.status, 404);
}

#[tokio::test]
async fn the_passkey_walks_through_its_statuses() {
    let mut wharf = Wharf::start().await;
    let link = scanning(&mut wharf).await;
    link.inbox.signal(Signal::PasskeyRequired(challenge()));
    wharf.until_status("default", "PASSKEY_REQUIRED").await;
    let asked = wharf.get("/api/default/auth/passkey/challenge").await.json();
    assert_eq!(
        asked,
        json!({
            "challenge": "AAEC",
            "timeout": 600_000,
            "rpId": "whatsapp.com",
            "allowCredentials": [{"id": "Zm9v", "type": "public-key", "transports": ["hybrid"]}],
            "userVerification": "required",
        })
    );

    let answer = json!({
        "id": "Zm9v", "rawId": "Zm9v", "type": "public-key",
        "response": {"clientDataJSON": "e30", "authenticatorData": "AA==", "signature": "_-8", "userHandle": null},
    });
    let mut unreadable = answer.clone();
    unreadable["response"]["signature"] = json!("not base64!");
    let refused = wharf.post("/api/default/auth/passkey", unreadable).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.json()["message"],
        json!(["response.signature must be base64url"])
    );
    let incomplete = wharf.post("/api/default/auth/passkey", json!({"id": "a"})).await;
    assert_eq!(incomplete.status, 400, "{incomplete:?}");

    let reason = "403 forbidden".to_owned();
    link.engine
        .refuses
        .lock()
        .unwrap()
        .push_back(EngineError::Refused { reason });
    assert_eq!(
        wharf.post("/api/default/auth/passkey", answer.clone()).await.status,
        422
    );
    assert_eq!(wharf.post("/api/default/auth/passkey", answer).await.status, 201);
    let sent = link.engine.assertions.lock().unwrap()[0].clone();
    assert_eq!(sent.credential_id, b"foo");
    assert_eq!(sent.authenticator_data, [0]);
    assert_eq!(sent.signature, [255, 239]);
    assert_eq!(sent.user_handle, None);

    let code = "ABCD-2345".to_owned();
    link.inbox.signal(Signal::PasskeyConfirmation { code });
    wharf.until_status("default", "PASSKEY_CONFIRMATION_REQUIRED").await;
    let shown = wharf.get("/api/default/auth/passkey/confirmation").await.json();
    assert_eq!(shown, json!({"code": "ABCD-2345"}));
    assert_eq!(wharf.get("/api/default/auth/passkey/challenge").await.status, 422);
    assert_eq!(
        wharf.post("/api/default/auth/passkey/confirm", json!({})).await.status,
        201
    );
    link.work();
    wharf.until_status("default", "WORKING").await;
}

#[tokio::test]
async fn a_session_that_waits_for_a_passkey_can_be_stopped_and_fails_when_it_never_comes() {
    let mut wharf = Wharf::start().await;
    let link = scanning(&mut wharf).await;
    link.inbox.signal(Signal::PasskeyRequired(challenge()));
    wharf.until_status("default", "PASSKEY_REQUIRED").await;
    wharf.post("/api/sessions/default/stop", json!({})).await;
    wharf.until_status("default", "STOPPED").await;

    wharf.post("/api/sessions/default/start", json!({})).await;
    let link = wharf.link().await;
    link.show_qr("a code");
    link.inbox.signal(Signal::PasskeyRequired(challenge()));
    link.close(Closed::PasskeyExpired);
    wharf.until_status("default", "FAILED").await;
    let refused = wharf.get("/api/default/auth/passkey/challenge").await.json();
    assert!(
        refused["hint"]
            .as_str()
            .unwrap()
            .contains("passkey did not sign in time"),
        "{refused}"
    );
}
