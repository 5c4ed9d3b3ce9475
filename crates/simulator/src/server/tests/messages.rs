//! Messages of every kind between phones, and what becomes of them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::phones::{entry, path};
use super::*;

/// Sends a message from Alice to Bob and answers its id.
async fn from_alice(client: Client, mut message: Value) -> String {
    message["to"] = json!(BOB);
    let sent = client.post(&path(ALICE, "send"), message).await.expect(201);
    sent["id"].as_str().unwrap().to_owned()
}

/// The message as Bob sees it when it has arrived.
async fn at_bob(client: Client, id: &str) -> Value {
    entry(client, BOB, |entry| entry["kind"] == "message" && entry["id"] == id).await
}

/// A message of the chat between the two as one of them shows it now.
async fn now(client: Client, owner: &str, chat: &str, id: &str) -> Value {
    client
        .get(&path(owner, &format!("chats/{chat}/{id}")))
        .await
        .expect(200)
}

/// Alice or Bob changes a message, and the change has arrived at the other one.
async fn change(client: Client, (by, chat): (&str, &str), what: &str, body: Value) -> Value {
    let mut body = body;
    body["chat"] = json!(chat);
    let made = client.post(&path(by, what), body).await.expect(201);
    entry(client, chat, |entry| entry["change"] == made["id"]).await
}

#[tokio::test]
async fn media_arrives_with_its_bytes() {
    let (server, client) = start().await;
    let bytes = b"these are the bytes of a film".repeat(100);
    let data = BASE64_STANDARD.encode(&bytes);
    let kinds = [
        (
            "image",
            json!({"mimetype": "image/png", "caption": "look", "width": 4, "height": 3}),
        ),
        ("video", json!({"caption": "look", "seconds": 9})),
        ("note", json!({"seconds": 9})),
        ("audio", json!({"seconds": 9})),
        ("voice", json!({"seconds": 9, "waveform": [0, 50, 100]})),
        (
            "document",
            json!({"mimetype": "application/pdf", "filename": "a.pdf", "caption": "look", "pages": 2}),
        ),
        ("sticker", json!({})),
    ];
    for (kind, more) in kinds {
        let mut media = json!({"kind": kind, "data": data});
        media.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let id = from_alice(client, json!({ "media": media })).await;
        let shown = at_bob(client, &id).await;
        let seen = &shown["content"]["media"];
        assert_eq!(shown["text"], media["caption"], "{kind}");
        assert_eq!((&seen["kind"], &seen["size"]), (&json!(kind), &json!(bytes.len())));
        assert_eq!(seen["sha256"], hex::encode(Sha256::digest(&bytes)));
        for (key, value) in more.as_object().unwrap().iter().filter(|(key, _)| *key != "caption") {
            assert_eq!(seen[key], *value, "{kind} {key}");
        }
        let opened = client.get(&path(BOB, &format!("chats/{ALICE}/{id}/media"))).await;
        assert_eq!((opened.status, opened.body.as_bytes()), (200, &bytes[..]), "{kind}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_browser_runs_nothing_that_somebody_sent() {
    let (server, client) = start().await;
    let html = BASE64_STANDARD.encode("<script>alert(1)</script>");
    for (mimetype, answered) in [
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("image/png", "image/png"),
    ] {
        let media = json!({"kind": "document", "mimetype": mimetype, "data": html, "thumbnail": html});
        let id = from_alice(client, json!({ "media": media })).await;
        at_bob(client, &id).await;
        let opened = client.get(&path(BOB, &format!("chats/{ALICE}/{id}/media"))).await;
        let header = format!("content-type: {answered}\r\n");
        assert!(opened.head.contains(&header), "{}", opened.head);
        let small = client.get(&path(BOB, &format!("chats/{ALICE}/{id}/thumbnail"))).await;
        assert!(small.head.contains("content-type: image/jpeg\r\n"), "{}", small.head);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn places_contacts_and_previews_arrive() {
    let (server, client) = start().await;
    let place = json!({"latitude": 47.5, "longitude": 19.0, "name": "Market", "address": "Square 1"});
    let id = from_alice(client, json!({ "location": place })).await;
    assert_eq!(at_bob(client, &id).await["content"]["location"], place);

    let card = |name: &str| json!({"name": name, "vcard": format!("BEGIN:VCARD\nFN:{name}\nEND:VCARD")});
    let one = from_alice(client, json!({ "contact": card("Dora") })).await;
    assert_eq!(at_bob(client, &one).await["content"]["contacts"], json!([card("Dora")]));
    let two = json!([card("Dora"), card("Emil")]);
    let id = from_alice(client, json!({ "contacts": two })).await;
    assert_eq!(at_bob(client, &id).await["content"]["contacts"], two);

    let preview = json!({"url": "https://example.com", "title": "Example"});
    let text =
        json!({"text": "see https://example.com", "link_preview": preview, "forwarded": true, "mentions": [CAROL]});
    let id = from_alice(client, text).await;
    let shown = at_bob(client, &id).await;
    assert_eq!(shown["content"]["link_preview"]["title"], "Example");
    assert_eq!(shown["content"]["forwarded"], true);
    assert!(shown["mentions"][0].as_str().unwrap().ends_with("@lid"), "{shown}");

    let quoting = from_alice(client, json!({"text": "that one", "reply_to": one})).await;
    let shown = at_bob(client, &quoting).await;
    assert_eq!(shown["content"]["quoted"], json!({"id": one, "from": ALICE}));
    server.shutdown().await;
}

#[tokio::test]
async fn a_message_is_edited_reacted_to_pinned_and_deleted() {
    let (server, client) = start().await;
    let id = from_alice(client, json!({"text": "ahoi"})).await;
    at_bob(client, &id).await;

    let reaction = change(client, (BOB, ALICE), "react", json!({"id": id, "emoji": "👍"})).await;
    assert_eq!(
        (&reaction["kind"], &reaction["text"], &reaction["id"]),
        (&json!("reaction"), &json!("👍"), &json!(id))
    );
    let edit = change(client, (ALICE, BOB), "edit", json!({"id": id, "text": "ahoy"})).await;
    assert_eq!((&edit["kind"], &edit["text"]), (&json!("edit"), &json!("ahoy")));
    let pin = change(client, (BOB, ALICE), "pin", json!({"id": id, "pinned": true})).await;
    assert_eq!((&pin["kind"], &pin["state"]), (&json!("pin"), &json!("pinned")));
    for (owner, chat) in [(ALICE, BOB), (BOB, ALICE)] {
        let message = now(client, owner, chat, &id).await;
        assert_eq!(message["text"], "ahoy");
        assert_eq!((&message["edited"], &message["pinned"]), (&json!(true), &json!(true)));
        assert_eq!(message["pinned_for"], 604_800, "a week where nobody says");
        assert_eq!(message["reactions"], json!({ BOB: "👍" }));
    }

    change(client, (BOB, ALICE), "react", json!({"id": id, "emoji": ""})).await;
    change(client, (BOB, ALICE), "pin", json!({"id": id, "pinned": false})).await;
    assert_eq!(now(client, ALICE, BOB, &id).await["reactions"], json!({}));
    change(client, (ALICE, BOB), "revoke", json!({ "id": id })).await;
    for (owner, chat) in [(ALICE, BOB), (BOB, ALICE)] {
        let message = now(client, owner, chat, &id).await;
        assert_eq!((&message["revoked"], &message["text"]), (&json!(true), &Value::Null));
    }
    let again = json!({"chat": BOB, "id": id, "text": "hello"});
    client.post(&path(ALICE, "edit"), again).await.refusal(404);
    server.shutdown().await;
}

#[tokio::test]
async fn a_caption_is_edited_and_the_media_stays() {
    let (server, client) = start().await;
    let media = json!({"kind": "image", "data": BASE64_STANDARD.encode("picture"), "caption": "befor"});
    let id = from_alice(client, json!({ "media": media })).await;
    at_bob(client, &id).await;
    change(client, (ALICE, BOB), "edit", json!({"id": id, "text": "before"})).await;
    let message = now(client, BOB, ALICE, &id).await;
    assert_eq!(
        (&message["text"], &message["content"]["media"]["kind"]),
        (&json!("before"), &json!("image"))
    );
    let quoting = from_alice(client, json!({"text": "that one", "reply_to": id})).await;
    let quoted = json!({"id": id, "from": ALICE, "text": "before", "media": "image"});
    assert_eq!(at_bob(client, &quoting).await["content"]["quoted"], quoted);
    server.shutdown().await;
}

#[tokio::test]
async fn an_edit_can_be_encrypted_once_more() {
    let (server, client) = start().await;
    let id = from_alice(client, json!({"text": "befor"})).await;
    at_bob(client, &id).await;
    let edit = json!({"id": id, "text": "before", "encrypted": true});
    let seen = change(client, (ALICE, BOB), "edit", edit).await;
    assert_eq!((&seen["kind"], &seen["text"]), (&json!("edit"), &json!("before")));
    assert_eq!(now(client, BOB, ALICE, &id).await["text"], "before");
    server.shutdown().await;
}

#[tokio::test]
async fn votes_are_counted_on_both_sides() {
    let (server, client) = start().await;
    let poll = json!({"name": "Lunch?", "options": ["Soup", "Salad", "Nothing"], "multiple": true});
    let id = from_alice(client, json!({ "poll": poll })).await;
    let shown = at_bob(client, &id).await;
    assert_eq!(shown["content"]["poll"]["name"], "Lunch?");
    change(
        client,
        (BOB, ALICE),
        "vote",
        json!({"id": id, "options": ["Soup", "Salad"]}),
    )
    .await;
    let vote = change(client, (ALICE, BOB), "vote", json!({"id": id, "options": ["Soup"]})).await;
    assert_eq!((&vote["kind"], &vote["votes"]), (&json!("vote"), &json!(["Soup"])));
    let results = json!([
        {"name": "Soup", "votes": [ALICE, BOB]}, {"name": "Salad", "votes": [BOB]}, {"name": "Nothing", "votes": []}
    ]);
    for (owner, chat) in [(ALICE, BOB), (BOB, ALICE)] {
        assert_eq!(
            now(client, owner, chat, &id).await["content"]["poll"]["options"],
            results
        );
    }
    change(client, (BOB, ALICE), "vote", json!({"id": id, "options": []})).await;
    let options = now(client, ALICE, BOB, &id).await["content"]["poll"]["options"].clone();
    assert_eq!(
        (&options[0]["votes"], &options[1]["votes"]),
        (&json!([ALICE]), &json!([]))
    );
    server.shutdown().await;
}

#[tokio::test]
async fn what_no_app_would_send_is_refused() {
    let (server, client) = start().await;
    let send = path(ALICE, "send");
    for body in [
        json!({"text": "two", "location": {"latitude": 0.0, "longitude": 0.0}}),
        json!({"location": {"latitude": 91.0, "longitude": 0.0}}),
        json!({"contacts": []}),
        json!({"poll": {"name": "?", "options": ["one"]}}),
        json!({"poll": {"name": "?", "options": ["one", "one"]}}),
        json!({"media": {"kind": "image", "data": "no base64!"}}),
        json!({"media": {"kind": "hologram", "data": ""}}),
        json!({"media": {"kind": "document", "data": "", "view_once": true}}),
        json!({"list_reply": "row"}),
    ] {
        let mut message = body.clone();
        message["to"] = json!(BOB);
        let answer = client.post(&send, message).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
    }
    let id = from_alice(client, json!({"text": "mine"})).await;
    at_bob(client, &id).await;
    let theirs = json!({"chat": ALICE, "id": id, "text": "yours"});
    client.post(&path(BOB, "edit"), theirs).await.refusal(422);
    client
        .post(&path(BOB, "revoke"), json!({"chat": ALICE, "id": id}))
        .await
        .refusal(422);
    let no_poll = json!({"chat": ALICE, "id": id, "options": ["one"]});
    client.post(&path(BOB, "vote"), no_poll).await.refusal(422);
    let nothing = json!({"chat": ALICE, "id": "nothing", "emoji": "👍"});
    client.post(&path(BOB, "react"), nothing).await.refusal(404);
    client
        .get(&path(BOB, &format!("chats/{ALICE}/{id}/media")))
        .await
        .refusal(404);
    server.shutdown().await;
}
