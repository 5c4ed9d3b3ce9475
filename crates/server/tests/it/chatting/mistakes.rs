//! What callers get wrong: it is named, and nothing of it reaches the engine.

use reqwest::Method;
use serde_json::{Value, json};
use wharf_core::engine::EngineError;

use super::{GIF, GROUP, Operation, ask, assert_nothing_sent, operations, prepared, said, sent};
use crate::harness::{ALICE, BOB};

/// What is wrong with a body, and what of it is named.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("sendText", r#"{"chatId": "nobody", "text": "x"}"#, "chatId"),
    (
        "sendText",
        r#"{"chatId": "$", "text": "x", "reply_to": "maybe_x"}"#,
        "reply_to",
    ),
    (
        "sendText",
        r#"{"chatId": "$", "text": "x", "mentions": ["nobody"]}"#,
        "mentions",
    ),
    (
        "sendText",
        r#"{"chatId": "$", "text": "x", "mentions": ["1203630001@g.us"]}"#,
        "mentions",
    ),
    (
        "sendText",
        r#"{"chatId": "$", "text": "x", "mentions": "everybody"}"#,
        "mentions",
    ),
    (
        "sendText",
        r#"{"chatId": "$", "text": "x", "linkPreview": "no"}"#,
        "linkPreview",
    ),
    (
        "sendLinkPreview",
        r#"{"chatId": "$", "url": "javascript:x", "title": "x"}"#,
        "url",
    ),
    (
        "sendLocation",
        r#"{"chatId": "$", "latitude": 90.1, "longitude": 0}"#,
        "latitude",
    ),
    (
        "sendLocation",
        r#"{"chatId": "$", "latitude": 0, "longitude": -180.1}"#,
        "longitude",
    ),
    (
        "sendLocation",
        r#"{"chatId": "$", "latitude": "1", "longitude": 0}"#,
        "latitude",
    ),
    (
        "sendContactVcard",
        r#"{"chatId": "$", "contacts": [{"vcard": "x"}]}"#,
        "contacts.0.vcard",
    ),
    ("sendContactVcard", r#"{"chatId": "$", "contacts": ["x"]}"#, "contacts"),
    (
        "sendPoll",
        r#"{"chatId": "$", "poll": {"name": "", "options": ["a", "b"]}}"#,
        "poll.name",
    ),
    (
        "sendPoll",
        r#"{"chatId": "$", "poll": {"name": "x", "options": ["a"]}}"#,
        "poll.options",
    ),
    (
        "sendPoll",
        r#"{"chatId": "$", "poll": {"name": "x", "options": ["a", "a"]}}"#,
        "poll.each value in options",
    ),
    (
        "sendPoll",
        r#"{"chatId": "$", "poll": {"name": "x", "options": ["a", ""]}}"#,
        "options",
    ),
    (
        "sendPoll",
        r#"{"chatId": "$", "poll": {"name": "x", "options": ["a", "b"], "multipleAnswers": 1}}"#,
        "multipleAnswers",
    ),
    (
        "sendPollVote",
        r#"{"chatId": "$", "pollMessageId": "A1", "votes": ["a", "a"]}"#,
        "votes",
    ),
    ("sendButtons", r#"{"chatId": "$", "buttons": []}"#, "buttons"),
    (
        "sendButtons",
        r#"{"chatId": "$", "buttons": [{"text": "x", "type": "sing"}]}"#,
        "buttons.0.type",
    ),
    (
        "sendButtons",
        r#"{"chatId": "$", "buttons": [{"text": "x", "type": "url"}]}"#,
        "buttons.0.url",
    ),
    (
        "sendButtons",
        r#"{"chatId": "$", "buttons": [{"text": "x", "type": "url", "url": "x"}]}"#,
        "buttons.0.url",
    ),
    (
        "sendButtons",
        r#"{"chatId": "$", "buttons": [{"text": "x", "type": "call"}]}"#,
        "buttons.0.phoneNumber",
    ),
    (
        "sendButtons",
        r#"{"chatId": "$", "buttons": [{"text": "x", "type": "copy"}]}"#,
        "buttons.0.copyCode",
    ),
    (
        "sendButtons",
        r#"{"chatId": "$", "buttons": [{"type": "reply"}]}"#,
        "buttons.0.text",
    ),
    (
        "sendButtons",
        r#"{"chatId": "$", "headerImage": {"data": "%%"}, "buttons": [{"text": "x"}]}"#,
        "headerImage.data",
    ),
    (
        "sendList",
        r#"{"chatId": "$", "message": {"title": "x", "button": "x", "sections": []}}"#,
        "message.sections",
    ),
    (
        "sendList",
        r#"{"chatId": "$", "message": {"title": "x", "button": "x", "sections": [{"title": "x", "rows": []}]}}"#,
        "message.sections.0.rows",
    ),
    (
        "sendList",
        r#"{"chatId": "$", "message": {"title": "x", "sections": [{"title": "x", "rows": [{"title": "x"}]}]}}"#,
        "message.sections.0.rows.0.rowId",
    ),
    ("sendImage", r#"{"chatId": "$", "file": {"data": "%%"}}"#, "file.data"),
    (
        "sendImage",
        r#"{"chatId": "$", "file": {"url": "http://127.0.0.1/x.jpg"}}"#,
        "file.url",
    ),
    (
        "sendImage",
        r#"{"chatId": "$", "file": {"data": "PGh0bWw+PC9odG1sPg==", "mimetype": "image/png"}}"#,
        "file",
    ),
    ("sendFile", r#"{"chatId": "$", "file": {}}"#, "file"),
    (
        "sendVoice",
        r#"{"chatId": "$", "file": {"data": "eA==", "url": "https://example.com/"}}"#,
        "file",
    ),
    (
        "sendVideo",
        r#"{"chatId": "$", "file": {"data": "eA=="}, "asNote": "yes"}"#,
        "asNote",
    ),
    (
        "sendVideo",
        r#"{"chatId": "$", "file": {"data": "eA=="}, "convert": 1}"#,
        "convert",
    ),
];

#[tokio::test]
async fn every_field_has_a_type_and_says_so() {
    let (wharf, link) = prepared().await;
    for Operation { method, path, body } in operations() {
        let fields: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
        for field in &fields {
            let is_list = body[field].is_array();
            for wrong in [
                json!({}),
                json!([]),
                json!(["x", 5]),
                json!(true),
                Value::Null,
                json!(""),
            ] {
                // An empty reaction takes one back, an empty list of votes too.
                let means_something = match field.as_str() {
                    "reaction" => wrong == "",
                    "votes" => wrong == json!([]),
                    "title" | "body" => wrong == "" || wrong.is_null(),
                    "reply_to" => wrong.is_null(),
                    _ => false,
                };
                if means_something || (is_list && wrong.is_string()) && field == "contacts" {
                    continue;
                }
                let mut bad = body.clone();
                bad[field] = wrong;
                let answer = ask(&wharf, &method, &path, &bad).await;
                assert_eq!(answer.status, 400, "{method} {path} {bad}: {answer:?}");
                assert!(
                    said(&answer).contains(field.as_str()),
                    "{method} {path} {bad}: {answer:?}"
                );
            }
        }
        assert_nothing_sent(&link, &path);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn an_unknown_session_is_not_found() {
    let (wharf, link) = prepared().await;
    for Operation { method, path, mut body } in operations() {
        let path = path.replace("/default/", "/nobody/");
        if !path.contains("/nobody/") {
            body["session"] = json!("nobody");
        }
        let answer = ask(&wharf, &method, &path, &body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        assert!(said(&answer).contains("session with name 'nobody'"), "{answer:?}");
    }
    assert_nothing_sent(&link, "something");
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_that_is_not_known_is_not_found() {
    let (wharf, link) = prepared().await;
    for (method, path, body, field) in [
        (
            Method::POST,
            "forwardMessage",
            json!({"chatId": BOB, "messageId": "$"}),
            "messageId",
        ),
        (
            Method::PUT,
            "reaction",
            json!({"messageId": "$", "reaction": "x"}),
            "messageId",
        ),
        (
            Method::PUT,
            "star",
            json!({"messageId": "$", "chatId": ALICE, "star": true}),
            "messageId",
        ),
        (
            Method::POST,
            "sendPollVote",
            json!({"chatId": ALICE, "pollMessageId": "$", "votes": []}),
            "pollMessageId",
        ),
        (
            Method::PUT,
            "default/chats/12025550101@c.us/messages/$",
            json!({"text": "x"}),
            "messageId",
        ),
        (
            Method::DELETE,
            "default/chats/12025550101@c.us/messages/$",
            json!({}),
            "messageId",
        ),
        (
            Method::POST,
            "default/chats/12025550101@c.us/messages/$/pin",
            json!({"duration": 86400}),
            "messageId",
        ),
        (
            Method::POST,
            "sendText",
            json!({"chatId": GROUP, "text": "x", "reply_to": "$"}),
            "reply_to",
        ),
    ] {
        for (id, status) in [
            ("A0", 404),
            ("false_12025550101@c.us_A0", 404),
            ("false_nobody_A1", 400),
            ("a b", 400),
        ] {
            // A quote needs no kept message where its author is known.
            if field == "reply_to" && id.starts_with("false_1") {
                continue;
            }
            let body = serde_json::from_str(&body.to_string().replace('$', id)).unwrap();
            let path = format!("/api/{}", path.replace('$', id).replace(' ', "%20"));
            let answer = ask(&wharf, &method, &path, &body).await;
            assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
            assert!(said(&answer).contains(field), "{method} {path} {body}: {answer:?}");
        }
        assert_nothing_sent(&link, path);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn mistakes_are_named() {
    let (wharf, link) = prepared().await;
    for (path, body, named) in MISTAKES {
        let body = serde_json::from_str(&body.replace('$', ALICE)).unwrap();
        let answer = ask(&wharf, &Method::POST, &format!("/api/{path}"), &body).await;
        assert_eq!(answer.status, 400, "{path} {body}: {answer:?}");
        assert!(said(&answer).contains(named), "{path} {body}: {answer:?}");
        assert_nothing_sent(&link, path);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn what_is_too_long_or_too_much_is_refused() {
    let (wharf, link) = prepared().await;
    let long = |chars: usize| "ü".repeat(chars + 1);
    let rows: Vec<_> = (0..11)
        .map(|row| json!({"title": "x", "rowId": row.to_string()}))
        .collect();
    let sections = |rows: &[Value]| json!([{"title": "1", "rows": rows[..6]}, {"title": "2", "rows": rows[6..]}]);
    let list =
        |sections: Value| json!({"chatId": ALICE, "message": {"title": "x", "button": "x", "sections": sections}});
    let twice = json!([{"title": "x", "rows": [rows[0], rows[0]]}]);
    let poll = |name: &str, options: Vec<String>| json!({"chatId": ALICE, "poll": {"name": name, "options": options}});
    let numbers = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
    for (path, body, named) in [
        (
            "sendText",
            json!({"chatId": ALICE, "text": long(65_536)}),
            "text must be shorter",
        ),
        (
            "sendText",
            json!({"chatId": ALICE, "text": "x", "mentions": vec![ALICE; 1_025]}),
            "mentions",
        ),
        (
            "sendImage",
            json!({"chatId": ALICE, "file": {"data": GIF}, "caption": long(65_536)}),
            "caption",
        ),
        (
            "sendLocation",
            json!({"chatId": ALICE, "latitude": 0, "longitude": 0, "title": long(1_024)}),
            "title",
        ),
        ("sendPoll", poll("x", numbers(13)), "poll.options"),
        ("sendPoll", poll(&long(255), numbers(2)), "poll.name"),
        ("sendPoll", poll("x", vec!["a".to_owned(), long(100)]), "options"),
        (
            "sendList",
            list(sections(&rows)),
            "message.sections must have no more than 10 rows",
        ),
        ("sendList", list(twice), "rowId of its own"),
        (
            "sendButtons",
            json!({"chatId": ALICE, "buttons": vec![json!({"text": "x"}); 5]}),
            "buttons",
        ),
        (
            "sendSeen",
            json!({"chatId": ALICE, "messageIds": vec!["A1"; 1_001]}),
            "messageIds",
        ),
        (
            "sendContactVcard",
            json!({"chatId": ALICE, "contacts": vec![json!({"fullName": "x", "phoneNumber": "1"}); 258]}),
            "contacts",
        ),
    ] {
        let answer = ask(&wharf, &Method::POST, &format!("/api/{path}"), &body).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(said(&answer).contains(named), "{path}: {answer:?}");
        assert_nothing_sent(&link, path);
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_list_is_for_one_person() {
    let (wharf, link) = prepared().await;
    let list =
        json!({"title": "x", "button": "x", "sections": [{"title": "x", "rows": [{"title": "x", "rowId": "1"}]}]});
    let answer = wharf
        .post("/api/sendList", json!({"chatId": GROUP, "message": list}))
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(
        said(&answer).contains("chatId: lists are for chats with one person"),
        "{answer:?}"
    );
    assert_nothing_sent(&link, "a list");
    wharf.stop().await;
}

#[tokio::test]
async fn null_is_as_good_as_nothing() {
    let (wharf, link) = prepared().await;
    for (path, body) in [
        (
            "sendText",
            json!({"text": "x", "id": null, "reply_to": null, "mentions": null, "linkPreview": null}),
        ),
        (
            "sendImage",
            json!({"file": {"data": GIF, "url": null, "filename": null}, "caption": null}),
        ),
        ("sendVideo", json!({"file": null})),
        (
            "sendPoll",
            json!({"poll": {"name": "x", "options": ["a", "b"], "multipleAnswers": null}}),
        ),
        (
            "sendPollVote",
            json!({"pollMessageId": "A1", "votes": [], "pollServerId": null}),
        ),
        ("sendLocation", json!({"latitude": 0, "longitude": 0, "title": null})),
        (
            "send/buttons/reply",
            json!({"selectedDisplayText": "x", "selectedButtonID": "1", "replyTo": null}),
        ),
    ] {
        let mut body = body.clone();
        body["chatId"] = json!(ALICE);
        body["session"] = Value::Null;
        let answer = ask(&wharf, &Method::POST, &format!("/api/{path}"), &body).await;
        let expected = if path == "sendVideo" { 400 } else { 201 };
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
    }
    assert_eq!(sent(&link).len(), 6);
    wharf.stop().await;
}

#[tokio::test]
async fn an_unknown_number_is_named_by_its_field() {
    let (wharf, link) = prepared().await;
    let unknown = EngineError::UnknownRecipient(ALICE.parse().unwrap());
    link.engine.refuses.lock().unwrap().push_back(unknown);
    let answer = wharf.post("/api/sendText", json!({"chatId": ALICE, "text": "x"})).await;
    assert_eq!(answer.status, 422);
    assert!(
        said(&answer).contains(&format!("chatId: whatsapp does not know {ALICE}")),
        "{answer:?}"
    );
    wharf.stop().await;
}
