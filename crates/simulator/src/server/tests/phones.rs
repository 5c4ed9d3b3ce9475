//! What a person does with a simulated phone.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;

pub(super) fn path(number: &str, action: &str) -> String {
    format!("/admin/phones/{number}/{action}")
}

/// The inbox entry of a message with this text.
async fn message(client: Client, number: &str, text: &str) -> Value {
    let mut after = 0;
    loop {
        let page = client
            .get(&path(number, &format!("inbox?after={after}&wait=10")))
            .await
            .expect(200);
        let entries = page["entries"].as_array().unwrap();
        assert!(!entries.is_empty(), "{number} never saw {text:?}");
        if let Some(entry) = entries
            .iter()
            .find(|entry| entry["kind"] == "message" && entry["text"] == text)
        {
            return entry.clone();
        }
        after = page["next"].as_u64().unwrap();
    }
}

/// Waits until the inbox has an entry that satisfies the condition.
pub(super) async fn entry(client: Client, number: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut after = 0;
    loop {
        let page = client
            .get(&path(number, &format!("inbox?after={after}&wait=10")))
            .await
            .expect(200);
        let entries = page["entries"].as_array().unwrap();
        assert!(!entries.is_empty(), "{number} never saw it");
        if let Some(found) = entries.iter().find(|entry| wanted(entry)) {
            return found.clone();
        }
        after = page["next"].as_u64().unwrap();
    }
}

#[tokio::test]
async fn the_fresh_network_has_its_people() {
    let (server, client) = start().await;
    let phones = client.get("/admin/phones").await.expect(200);
    let names: Vec<_> = phones
        .as_array()
        .unwrap()
        .iter()
        .map(|phone| phone["name"].as_str().unwrap())
        .collect();
    for name in ["Alice", "Bob", "Carol", "Echo"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_phone_is_found_by_every_form_of_its_number() {
    let (server, client) = start().await;
    for number in [
        ALICE,
        &format!("+{ALICE}"),
        &format!("{ALICE}@c.us"),
        &format!("{ALICE}%40c.us"),
    ] {
        let phone = client.get(&format!("/admin/phones/{number}")).await.expect(200);
        assert_eq!(
            (phone["number"].as_str(), phone["name"].as_str()),
            (Some(ALICE), Some("Alice")),
            "{number}"
        );
    }
    let refusal = client.get(&format!("/admin/phones/{NOBODY}")).await.refusal(404);
    assert!(refusal.contains(NOBODY), "{refusal}");
    client.get("/admin/phones/alice").await.refusal(400);
    server.shutdown().await;
}

#[tokio::test]
async fn a_phone_is_added_once() {
    let (server, client) = start().await;
    let added = client
        .post(
            "/admin/phones",
            json!({"number": format!("+{NOBODY}"), "name": " Dora "}),
        )
        .await
        .expect(201);
    assert_eq!(
        (added["number"].as_str(), added["name"].as_str()),
        (Some(NOBODY), Some("Dora"))
    );
    client
        .post("/admin/phones", json!({"number": NOBODY}))
        .await
        .refusal(409);

    let free = client.post("/admin/phones", json!({})).await.expect(201);
    assert_ne!(free["number"], added["number"]);

    client.post("/admin/phones", json!({"number": "12"})).await.refusal(422);
    client.post("/admin/phones", json!({"name": ""})).await.refusal(422);
    client
        .post("/admin/phones", json!({"name": "x".repeat(26)}))
        .await
        .refusal(422);
    client
        .post("/admin/phones", json!({"colour": "red"}))
        .await
        .refusal(422);
    server.shutdown().await;
}

#[tokio::test]
async fn a_text_arrives_and_is_read() {
    let (server, client) = start().await;
    let sent = client
        .post(
            &path(ALICE, "send"),
            json!({"to": format!("{BOB}@c.us"), "text": "ahoy"}),
        )
        .await
        .expect(201);
    let arrived = message(client, BOB, "ahoy").await;
    assert_eq!(arrived["id"], sent["id"]);
    assert_eq!(
        (arrived["chat"].as_str(), arrived["from_me"].as_bool()),
        (Some(ALICE), Some(false))
    );

    let answer = json!({"to": ALICE, "text": "ahoy yourself", "reply_to": sent["id"]});
    client.post(&path(BOB, "send"), answer).await.expect(201);
    assert_eq!(message(client, ALICE, "ahoy yourself").await["reply_to"], sent["id"]);

    let receipt = json!({"chat": ALICE, "id": sent["id"], "type": "read"});
    client.post(&path(BOB, "receipt"), receipt).await.expect(204);
    let read = entry(client, ALICE, |entry| {
        entry["receipt"] == "read" && entry["id"] == sent["id"]
    })
    .await;
    assert_eq!(read["chat"], BOB);
    server.shutdown().await;
}

#[tokio::test]
async fn typing_is_seen_by_the_other_side() {
    let (server, client) = start().await;
    let typing = json!({"chat": BOB, "state": "composing"});
    client.post(&path(ALICE, "typing"), typing).await.expect(204);
    let seen = entry(client, BOB, |entry| entry["kind"] == "typing").await;
    assert_eq!(
        (seen["chat"].as_str(), seen["state"].as_str()),
        (Some(ALICE), Some("composing"))
    );
    client
        .post(&path(ALICE, "typing"), json!({"chat": BOB, "state": "shouting"}))
        .await
        .refusal(422);
    client
        .post(&path(NOBODY, "typing"), json!({"chat": BOB, "state": "paused"}))
        .await
        .refusal(404);
    server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_send_says_what_is_wrong() {
    let (server, client) = start().await;
    let send = path(ALICE, "send");
    client.post(&send, json!({"to": BOB})).await.refusal(422);
    client
        .post(&send, json!({"to": "bob", "text": "hi"}))
        .await
        .refusal(422);
    client.post(&send, json!({"to": BOB, "text": " "})).await.refusal(422);
    // Its digits are those of a phone; it must not become a message to that phone.
    let group = client
        .post(&send, json!({"to": format!("{BOB}@g.us"), "text": "hi"}))
        .await
        .refusal(422);
    assert!(group.contains("groups come later"), "{group}");
    client
        .post(&send, json!({"to": BOB, "text": "x".repeat(65_537)}))
        .await
        .refusal(422);
    client
        .post(&path(NOBODY, "send"), json!({"to": BOB, "text": "hi"}))
        .await
        .refusal(404);
    client
        .send("POST", &send, &[("content-type", "application/json")], "{")
        .await
        .refusal(400);
    client
        .send("POST", &send, &[("content-type", "text/plain")], "{}")
        .await
        .refusal(415);
    client
        .send(
            "POST",
            &path(ALICE, "typing"),
            &[("content-type", "application/json")],
            &"x".repeat(600_000),
        )
        .await
        .refusal(413);
    client.get(&send).await.refusal(405);
    server.shutdown().await;
}

#[tokio::test]
async fn waiting_for_the_inbox_ends_with_the_next_entry() {
    let (server, client) = start().await;
    let mut next = 0;
    loop {
        let page = client.get(&path(BOB, &format!("inbox?after={next}"))).await.expect(200);
        next = page["next"].as_u64().unwrap();
        if page["entries"].as_array().unwrap().is_empty() {
            break;
        }
    }
    let inbox = path(BOB, &format!("inbox?after={next}&wait=30"));
    let send = path(ALICE, "send");
    let (page, _) = tokio::join!(client.get(&inbox), client.post(&send, json!({"to": BOB, "text": "hi"})));
    assert!(!page.expect(200)["entries"].as_array().unwrap().is_empty());
    client.get(&path(NOBODY, "inbox")).await.refusal(404);
    client.get(&path(BOB, "inbox?after=x")).await.refusal(400);
    server.shutdown().await;
}

#[tokio::test]
async fn a_code_that_is_none_is_refused() {
    let (server, client) = start().await;
    client
        .post(&path(ALICE, "scan"), json!({"qr": "hello"}))
        .await
        .refusal(422);
    client.post(&path(ALICE, "scan"), json!({"qr": ""})).await.refusal(422);
    client
        .post(&path(ALICE, "scan"), json!({"qr": "x".repeat(2000)}))
        .await
        .refusal(422);
    client.post(&path(ALICE, "scan"), json!({})).await.refusal(422);
    client
        .post(&path(NOBODY, "scan"), json!({"qr": "hello"}))
        .await
        .refusal(404);
    client
        .send("POST", "/admin/mock-phone/scan-qr", &[], "hello")
        .await
        .refusal(422);
    client
        .send("POST", "/admin/mock-phone/scan-qr", &[], "")
        .await
        .refusal(422);
    client
        .post(&path(ALICE, "unlink"), json!({"device": 9}))
        .await
        .refusal(404);
    server.shutdown().await;
}

struct OneSession;

#[async_trait]
impl QrSource for OneSession {
    async fn waiting(&self) -> Vec<String> {
        vec!["default".into()]
    }

    async fn qr(&self, session: &str) -> Option<String> {
        (session == "default").then(|| "secret-qr".into())
    }
}

#[tokio::test]
async fn waiting_sessions_are_listed_without_their_code() {
    let (server, client) = start_with(config(), Some(Arc::new(OneSession))).await;
    let answer = client.get("/admin/sessions").await;
    assert!(!answer.body.contains("secret-qr"));
    assert_eq!(
        answer.expect(200),
        json!({"attached": true, "sessions": [{"name": "default"}]})
    );

    // The code reaches the phone, which refuses it for what it is.
    client
        .post(&path(ALICE, "scan"), json!({"session": "default"}))
        .await
        .refusal(422);
    let refusal = client
        .post(&path(ALICE, "scan"), json!({"session": "other"}))
        .await
        .refusal(404);
    assert!(refusal.contains("other"), "{refusal}");
    client
        .post(&path(ALICE, "scan"), json!({"session": "default", "qr": "x"}))
        .await
        .refusal(422);
    server.shutdown().await;
}

#[tokio::test]
async fn a_sandbox_on_its_own_knows_no_sessions() {
    let (server, client) = start().await;
    assert_eq!(
        client.get("/admin/sessions").await.expect(200),
        json!({"attached": false, "sessions": []})
    );
    client
        .post(&path(ALICE, "scan"), json!({"session": "default"}))
        .await
        .refusal(409);
    server.shutdown().await;
}

#[tokio::test]
async fn many_texts_are_sent_with_one_request() {
    let (server, client) = start().await;
    let order = json!({ "from": [ALICE, BOB], "to": [CAROL], "texts": 3 });
    let sent = client.post("/admin/traffic", order).await.expect(200);
    assert_eq!(sent, json!({ "sent": 6 }));
    for from in [ALICE, BOB] {
        for number in 1..=3 {
            let begin = format!("This is text {number} of 3, sent at ");
            let is_it = |entry: &Value| {
                let sent_at = entry["text"].as_str().and_then(|text| text.strip_prefix(&begin));
                entry["from"] == from && sent_at.is_some_and(|at| at.parse::<u64>().is_ok())
            };
            entry(client, CAROL, is_it).await;
        }
    }
    let nobody = json!({ "from": [ALICE], "to": ["12025550999"], "texts": 1 });
    client.post("/admin/traffic", nobody).await.expect(404);
    let too_many = json!({ "from": [ALICE], "to": [CAROL], "texts": 1_000_001 });
    client.post("/admin/traffic", too_many).await.expect(422);
    server.shutdown().await;
}
