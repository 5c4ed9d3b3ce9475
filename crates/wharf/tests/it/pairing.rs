//! The tag "Pairing": QR codes, link codes, passkeys, screenshots.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use wharf_simulator::{Fault, LinkView};

use crate::support::process::{Process, address, serve_with_sandbox};
use crate::support::remote::Client;
use crate::support::{ALICE, BOB, CAROL, KEY, Receiver, TestWharf, within};

/// A session that shows a QR code.
async fn scanning(wharf: &TestWharf, name: &str) {
    wharf.post("/api/sessions", json!({ "name": name })).await.expect(201);
    wharf.qr(name).await;
}

/// The code that the session shows to be entered on the phone.
async fn code(wharf: &TestWharf, name: &str, phone: &str) -> String {
    let path = format!("/api/{name}/auth/request-code");
    let answer = wharf.post(&path, json!({ "phoneNumber": phone })).await.expect(201);
    answer["code"].as_str().unwrap().to_owned()
}

/// A code that is not this one, but could be.
fn another(code: &str) -> String {
    let last = if code.ends_with('2') { '3' } else { '2' };
    format!("{}{last}", &code[..code.len() - 1])
}

/// Has the phone's passkey sign what the session has to be signed; answers what `POST auth/passkey` takes.
async fn assertion(wharf: &TestWharf, name: &str, phone: &str) -> Value {
    let challenge = wharf
        .get(&format!("/api/{name}/auth/passkey/challenge"))
        .await
        .expect(200);
    wharf.network.sign_with_passkey(phone, &challenge).unwrap()
}

/// Links a session to a phone that has a passkey. Sees each operation of the passkey succeed, and answers which those were.
pub(crate) async fn link_with_passkey(wharf: &TestWharf, name: &str, phone: &str) -> [(&'static str, &'static str); 4] {
    wharf.network.set_passkey(phone, true).await.unwrap();
    scanning(wharf, name).await;
    let scanned = wharf.network.scan(phone, &wharf.qr(name).await).await.unwrap();
    assert_eq!(scanned, LinkView::PasskeyAsked { passkey_asked: true });
    wharf.wait_for_status(name, "PASSKEY_REQUIRED").await;
    finish_with_passkey(wharf, name, phone).await;
    [
        ("get", "/api/{session}/auth/passkey/challenge"),
        ("post", "/api/{session}/auth/passkey"),
        ("get", "/api/{session}/auth/passkey/confirmation"),
        ("post", "/api/{session}/auth/passkey/confirm"),
    ]
}

/// What is left to do in `PASSKEY_REQUIRED`.
async fn finish_with_passkey(wharf: &TestWharf, name: &str, phone: &str) {
    let signed = assertion(wharf, name, phone).await;
    wharf
        .post(&format!("/api/{name}/auth/passkey"), signed)
        .await
        .expect(201);
    let shown = wharf
        .get(&format!("/api/{name}/auth/passkey/confirmation"))
        .await
        .expect(200);
    let on_the_phone = wharf.network.phone(phone).unwrap().compared_code;
    assert_eq!(
        shown["code"].as_str(),
        on_the_phone.as_deref(),
        "both show the same code"
    );
    wharf.settled().await;
    let confirm = format!("/api/{name}/auth/passkey/confirm");
    let (first, again) = tokio::join!(wharf.post(&confirm, json!({})), wharf.post(&confirm, json!({})));
    first.expect(201);
    // Said twice, or when it was no question any more: it does no harm.
    assert!(matches!(again.status.as_u16(), 201 | 422), "{again:?}");
    wharf.wait_for_status(name, "WORKING").await;
}

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
    let as_asked = wharf.get("/api/default/auth/qr?format=image").await;
    assert_eq!(as_asked.content_type, "image/png");

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
    wharf.finish().await;
}

#[tokio::test]
async fn there_is_no_qr_code_once_the_session_works() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let answer = wharf.get("/api/default/auth/qr").await;
    let body = answer.expect(422);
    assert_eq!(body["session"], "default");
    assert_eq!(body["status"], "WORKING");
    assert_eq!(body["expected"], json!(["SCAN_QR_CODE"]));
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_whose_qr_codes_run_out_fails_and_says_why() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    // As when the sixth has run out.
    wharf.network.set_qr_codes(0).unwrap();
    wharf.create("default", &receiver).await;
    let failed = receiver
        .wait_for("FAILED", |event| event["payload"]["status"] == "FAILED")
        .await
        .event;
    assert_eq!(failed["payload"]["data"]["reason"], "QR_CODES_EXPIRED");

    wharf.network.set_qr_codes(6).unwrap();
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_code_that_is_entered_on_the_phone_links_the_session() {
    let (wharf, receiver) = (TestWharf::start().await, Receiver::start().await);
    wharf.create("default", &receiver).await;
    let code = code(&wharf, "default", "+1 202 555 0101").await;
    let (first, second) = code.split_once('-').unwrap();
    assert_eq!((first.len(), second.len()), (4, 4), "{code}");
    let wants = wharf.network.phone(ALICE).unwrap().wants_code;
    assert_eq!(
        wants.as_deref(),
        Some("Chrome (Linux)"),
        "the phone says who wants to be linked"
    );

    let linked = wharf.network.enter_code(ALICE, &code).await.unwrap();
    wharf.wait_for_status("default", "WORKING").await;
    assert_eq!(linked.device().unwrap().device, 1);
    let me = wharf.get("/api/sessions/default/me").await.expect(200);
    assert_eq!(me["id"], format!("{ALICE}@c.us"));

    // It is a device like any other.
    wharf.network.send(BOB, ALICE, "to the linked one", None).await.unwrap();
    receiver
        .wait_for("a text", |event| event["payload"]["body"] == "to the linked one")
        .await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_wrong_code_links_nothing_and_can_be_corrected() {
    let wharf = TestWharf::start().await;
    scanning(&wharf, "default").await;
    let code = code(&wharf, "default", ALICE).await;
    let wrong = wharf.network.enter_code(ALICE, &another(&code)).await.unwrap_err();
    assert_eq!(wrong.to_string(), "the code is wrong");
    let elsewhere = wharf.network.enter_code(BOB, &code).await.unwrap_err();
    assert!(elsewhere.to_string().contains("no device waits"), "{elsewhere}");
    wharf.settled().await;
    assert!(wharf.network.phone(ALICE).unwrap().devices.is_empty());

    wharf.network.enter_code(ALICE, &code).await.unwrap();
    wharf.wait_for_status("default", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn an_expired_code_and_one_that_was_replaced_are_void() {
    let wharf = TestWharf::start().await;
    scanning(&wharf, "default").await;
    let first = code(&wharf, "default", ALICE).await;
    wharf.network_time.pass(Duration::from_secs(181));
    let expired = wharf.network.enter_code(ALICE, &first).await.unwrap_err();
    assert_eq!(expired.to_string(), "the code has expired; request a new one");

    let second = code(&wharf, "default", ALICE).await;
    assert_ne!(first, second);
    let replaced = wharf.network.enter_code(ALICE, &first).await.unwrap_err();
    assert_eq!(replaced.to_string(), "the code is wrong");
    wharf.network.enter_code(ALICE, &second).await.unwrap();
    wharf.wait_for_status("default", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn whatsapp_giving_out_no_more_codes_is_told_and_the_qr_code_stays() {
    let wharf = TestWharf::start().await;
    scanning(&wharf, "default").await;
    for (code, expected) in [(429, 429), (400, 422), (452, 422)] {
        let fault = json!({
            "match": { "stanza": "iq", "xmlns": "md", "type": "set" }, "action": "iq_error", "code": code,
        });
        let fault: Fault = serde_json::from_value(fault).unwrap();
        wharf.network.set_faults(vec![fault]).unwrap();
        let path = "/api/default/auth/request-code";
        let refused = wharf.post(path, json!({ "phoneNumber": ALICE })).await.expect(expected);
        assert_eq!(refused["statusCode"], expected, "{refused}");
    }
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn an_account_with_a_passkey_wants_it_to_sign_and_the_codes_to_be_compared() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    wharf.network.set_passkey(CAROL, true).await.unwrap();
    wharf.create("default", &receiver).await;
    wharf.scan("default", CAROL).await;
    wharf.wait_for_status("default", "PASSKEY_REQUIRED").await;
    assert_eq!(
        wharf.get("/api/default/auth/qr").await.expect(422)["status"],
        "PASSKEY_REQUIRED"
    );

    // Another person's passkey, and an answer that somebody has changed.
    wharf.network.set_passkey(BOB, true).await.unwrap();
    let challenge = wharf.get("/api/default/auth/passkey/challenge").await.expect(200);
    assert_eq!(challenge["rpId"], "whatsapp.com");
    assert!(wharf.network.sign_with_passkey(BOB, &challenge).is_err());
    let mut wrong = assertion(&wharf, "default", CAROL).await;
    wrong["response"]["signature"] = json!(
        BASE64_STANDARD
            .encode("nothing of the kind")
            .replace(['+', '/', '='], "")
    );
    let refused = wharf.post("/api/default/auth/passkey", wrong).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("403"), "{refused}");
    assert_eq!(
        wharf.get("/api/sessions/default").await.json()["status"],
        "PASSKEY_REQUIRED"
    );

    finish_with_passkey(&wharf, "default", CAROL).await;
    receiver
        .wait_for("WORKING", |event| event["payload"]["status"] == "WORKING")
        .await;
    let told = receiver.deliveries();
    let statuses: Vec<_> = told
        .iter()
        .map(|it| it.event["payload"]["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        [
            "STARTING",
            "SCAN_QR_CODE",
            "PASSKEY_REQUIRED",
            "PASSKEY_CONFIRMATION_REQUIRED",
            "STARTING",
            "WORKING"
        ]
    );
    wharf.finish().await;
}

#[tokio::test]
async fn a_code_for_an_account_with_a_passkey_is_not_enough() {
    let wharf = TestWharf::start().await;
    wharf.network.set_passkey(CAROL, true).await.unwrap();
    scanning(&wharf, "default").await;
    let code = code(&wharf, "default", CAROL).await;
    let entered = wharf.network.enter_code(CAROL, &code).await.unwrap();
    assert_eq!(entered, LinkView::PasskeyAsked { passkey_asked: true });
    wharf.wait_for_status("default", "PASSKEY_REQUIRED").await;
    assert!(wharf.network.phone(CAROL).unwrap().devices.is_empty());
    finish_with_passkey(&wharf, "default", CAROL).await;
    assert_eq!(wharf.network.phone(CAROL).unwrap().devices.len(), 1);
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_that_waits_for_a_passkey_can_be_started_anew() {
    let wharf = TestWharf::start().await;
    wharf.network.set_passkey(CAROL, true).await.unwrap();
    scanning(&wharf, "default").await;
    wharf.scan("default", CAROL).await;
    wharf.wait_for_status("default", "PASSKEY_REQUIRED").await;
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.network.set_passkey(CAROL, false).await.unwrap();
    wharf.scan("default", CAROL).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn the_screenshot_is_the_qr_code_while_there_is_one() {
    let wharf = TestWharf::start().await;
    scanning(&wharf, "default").await;
    let picture = wharf.get("/api/screenshot?session=default").await;
    assert_eq!(
        (picture.status.as_u16(), picture.content_type.as_str()),
        (200, "image/png")
    );
    let request = wharf.request(Method::GET, "/api/screenshot").header("x-api-key", KEY);
    let json = wharf
        .send(request.header("accept", "application/json"))
        .await
        .expect(200);
    assert_eq!(
        BASE64_STANDARD.decode(json["data"].as_str().unwrap()).unwrap(),
        picture.body
    );

    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.get("/api/screenshot").await.expect(422);
    wharf.get("/api/screenshot?session=nobody").await.expect(404);
    wharf.finish().await;
}

#[tokio::test]
async fn a_code_can_be_requested_while_the_session_is_still_starting() {
    let wharf = TestWharf::start().await;
    wharf
        .post("/api/sessions", json!({ "name": "default" }))
        .await
        .expect(201);
    let code = code(&wharf, "default", ALICE).await;
    within("the phone to link", wharf.network.enter_code(ALICE, &code))
        .await
        .unwrap();
    wharf.wait_for_status("default", "WORKING").await;
    let refused = wharf
        .post("/api/default/auth/request-code", json!({ "phoneNumber": ALICE }))
        .await
        .expect(422);
    let expected = "Can request code only in SCAN_QR_CODE status. The current status is WORKING";
    assert_eq!(refused["message"], expected);
    wharf.finish().await;
}

#[tokio::test]
async fn qr_codes_are_printed_where_people_read_and_nowhere_else() {
    for (setting, value, is_printed) in [
        ("WAHA_PRINT_QR", "True", true),
        ("WAHA_PRINT_QR", "False", false),
        ("WAHA_LOG_FORMAT", "JSON", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut serve = serve_with_sandbox(folder.path());
        serve.env("WAHA_API_KEY", KEY).env(setting, value);
        let mut server = Process::start(serve);
        let api = address(&server.line_with("wharf ").await);
        let page = address(&server.line_with("sandbox network: ").await);
        let client = Client::new(&api, &page);
        client.api("POST", "/api/sessions", json!({ "name": "default" })).await;
        client.status("default", "SCAN_QR_CODE").await;
        if is_printed {
            server.line_with("session default: scan this").await;
            server.line_with("████").await;
        }
        let (_, rest) = server.terminate().await;
        assert_eq!(rest.contains('█'), is_printed, "{setting}={value}: {rest}");
    }
}
