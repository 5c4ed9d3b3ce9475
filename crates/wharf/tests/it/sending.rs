//! What leaves: each kind of message as the phones show it. The API's own answers are elsewhere.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use wharf_simulator::{Change, InboxEntry, InboxKind, MediaKind, MessageView, NewContent, NewMedia};

use crate::support::samples::{PDF_PAGES, PICTURE_SIZE, SOUND_SECONDS, Samples, VIDEO_SECONDS, VIDEO_SIZE};
use crate::support::{ALICE, BOB, CAROL, NOBODY, Receiver, TestWharf};

impl TestWharf {
    /// Sends something to a chat, and answers WhatsApp's own id of it.
    pub(crate) async fn sends(&self, operation: &str, chat: &str, mut body: Value) -> String {
        body["session"] = json!("default");
        body["chatId"] = json!(format!("{chat}@c.us"));
        own_id(&self.post(&format!("/api/{operation}"), body).await.expect(201))
    }

    /// Sends something to Bob, and answers it as his phone shows it.
    pub(crate) async fn sends_bob(&self, operation: &str, body: Value) -> MessageView {
        let id = self.sends(operation, BOB, body).await;
        self.shown(BOB, ALICE, &id).await
    }

    /// A message, once a phone shows it.
    pub(crate) async fn shown(&self, phone: &str, chat: &str, id: &str) -> MessageView {
        let is_it = |entry: &InboxEntry| entry.kind == InboxKind::Message && entry.id.as_deref() == Some(id);
        self.phone_shows(phone, id, is_it).await;
        self.network.message(phone, chat, id).unwrap()
    }

    /// A message of Bob's, once Alice's session has told of it: its full id.
    pub(crate) async fn bob_sends(&self, receiver: &Receiver, content: NewContent) -> String {
        let id = self.network.send_message(BOB, ALICE, content).await.unwrap();
        let full = format!("false_{BOB}@c.us_{id}");
        receiver
            .wait_for("Bob's message", |event| {
                event["event"] == "message" && event["payload"]["id"] == full
            })
            .await;
        full
    }
}

pub(crate) fn own_id(message: &Value) -> String {
    message["id"].as_str().unwrap().rsplit('_').next().unwrap().to_owned()
}

pub(crate) fn file(path: &Path, mimetype: &str) -> Value {
    let data = std::fs::read(path).unwrap();
    let filename = path.file_name().unwrap().to_str();
    json!({ "data": BASE64_STANDARD.encode(data), "mimetype": mimetype, "filename": filename })
}

#[tokio::test]
async fn places_and_cards_arrive() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let place = json!({ "latitude": 38.8937, "longitude": -77.0969, "title": "Our office" });
    let shown = wharf.sends_bob("sendLocation", place).await;
    let place = shown.content.location.unwrap();
    assert_eq!((place.latitude, place.longitude), (38.8937, -77.0969));
    assert_eq!(place.name.as_deref(), Some("Our office"));

    let carol = json!({ "fullName": "Carol", "phoneNumber": "+1 202 555 0103", "whatsappId": "12025550103" });
    let shown = wharf
        .sends_bob("sendContactVcard", json!({ "contacts": [carol] }))
        .await;
    let [card] = shown.content.contacts.as_slice() else {
        panic!("one card, not {:?}", shown.content.contacts);
    };
    assert_eq!(card.name, "Carol");
    assert!(card.vcard.contains("waid=12025550103"), "{}", card.vcard);

    let dave = json!({ "vcard": "BEGIN:VCARD\nVERSION:3.0\nFN:Dave\nEND:VCARD" });
    let shown = wharf
        .sends_bob("sendContactVcard", json!({ "contacts": [carol, dave] }))
        .await;
    let names: Vec<_> = shown.content.contacts.iter().map(|card| card.name.as_str()).collect();
    assert_eq!(names, ["Carol", "Dave"]);
    wharf.finish().await;
}

#[tokio::test]
async fn a_poll_of_ours_counts_the_votes_of_others() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    for multiple in [false, true] {
        let poll = json!({ "name": "Lunch?", "options": ["Soup", "Bread"], "multipleAnswers": multiple });
        let shown = wharf.sends_bob("sendPoll", json!({ "poll": poll })).await;
        let poll = shown.content.poll.unwrap();
        assert_eq!((poll.name.as_str(), poll.multiple), ("Lunch?", multiple));
        let options: Vec<_> = poll.options.iter().map(|option| option.name.as_str()).collect();
        assert_eq!(options, ["Soup", "Bread"]);

        let vote = Change::Vote(vec!["Soup".to_owned()]);
        wharf.network.change(BOB, ALICE, &shown.id, vote).await.unwrap();
        let is_vote =
            |entry: &InboxEntry| entry.kind == InboxKind::Vote && entry.id.as_deref() == Some(shown.id.as_str());
        wharf.phone_shows(ALICE, "Bob's vote", is_vote).await;
        let counted = wharf
            .network
            .message(ALICE, BOB, &shown.id)
            .unwrap()
            .content
            .poll
            .unwrap();
        assert_eq!(counted.options[0].votes, [BOB]);
    }
    wharf.finish().await;
}

#[tokio::test]
async fn lists_and_buttons_arrive_and_buttons_are_answered() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let rows = json!([{ "title": "Leek", "rowId": "leek", "description": "with cream" }]);
    let list = json!({
        "title": "Menu", "description": "Today", "footer": "small print", "button": "Choose",
        "sections": [{ "title": "Soups", "rows": rows }],
    });
    let shown = wharf.sends_bob("sendList", json!({ "message": list })).await;
    let list = shown.content.list.unwrap();
    assert_eq!(
        (list.title.as_deref(), list.button.as_deref()),
        (Some("Menu"), Some("Choose"))
    );
    assert_eq!(list.sections[0].rows[0].id, "leek");

    let samples = Samples::make().await;
    let buttons = json!({
        "headerImage": file(&samples.picture(), "image/jpeg"),
        "header": "Hello", "body": "What now?", "footer": "small print",
        "buttons": [
            { "type": "reply", "text": "Yes", "id": "yes" },
            { "type": "url", "text": "Look", "url": "https://example.com/" },
            { "type": "call", "text": "Call", "phoneNumber": "+12025550103" },
            { "type": "copy", "text": "Code", "copyCode": "4321" },
        ],
    });
    let shown = wharf.sends_bob("sendButtons", buttons).await;
    assert_eq!(shown.text.as_deref(), Some("What now?"));
    let (_, above) = wharf.network.file(BOB, ALICE, &shown.id).await.unwrap();
    assert!(above == std::fs::read(samples.picture()).unwrap());
    let buttons = shown.content.buttons.unwrap();
    assert_eq!(buttons.header.as_deref(), Some("Hello"));
    let values: Vec<_> = buttons
        .buttons
        .iter()
        .map(|button| button.value.as_deref().unwrap())
        .collect();
    assert_eq!(values, ["yes", "https://example.com/", "+12025550103", "4321"]);

    let asked = wharf
        .bob_sends(&receiver, NewContent::Text("Shall we?".to_owned(), None))
        .await;
    let answer = json!({ "selectedDisplayText": "Yes!", "selectedButtonID": "yes", "replyTo": asked });
    let shown = wharf.sends_bob("send/buttons/reply", answer).await;
    let selected = shown.content.selected.unwrap();
    assert_eq!((selected.id.as_str(), selected.title.as_deref()), ("yes", Some("Yes!")));
    assert_eq!(shown.content.quoted.unwrap().text.as_deref(), Some("Shall we?"));
    wharf.finish().await;
}

#[tokio::test]
async fn what_is_forwarded_is_marked_and_its_file_is_not_uploaded_again() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let picture = NewMedia {
        caption: Some("look".to_owned()),
        ..NewMedia::new(MediaKind::Image, b"a picture".as_slice())
    };
    let his = wharf.bob_sends(&receiver, NewContent::Media(picture)).await;
    let sha256 = |view: &MessageView| view.content.media.clone().unwrap().sha256;
    let first = wharf
        .network
        .message(BOB, ALICE, his.rsplit('_').next().unwrap())
        .unwrap();
    let id = wharf.sends("forwardMessage", CAROL, json!({ "messageId": his })).await;
    let shown = wharf.shown(CAROL, ALICE, &id).await;
    assert!(shown.content.forwarded);
    assert_eq!(shown.text.as_deref(), Some("look"));
    assert_eq!(sha256(&shown), sha256(&first));
    let (_, bytes) = wharf.network.file(CAROL, ALICE, &id).await.unwrap();
    assert_eq!(bytes, b"a picture");

    let text = wharf
        .bob_sends(&receiver, NewContent::Text("read this".to_owned(), None))
        .await;
    let id = wharf.sends("forwardMessage", CAROL, json!({ "messageId": text })).await;
    let shown = wharf.shown(CAROL, ALICE, &id).await;
    assert!(shown.content.forwarded);
    assert_eq!(shown.text.as_deref(), Some("read this"));
    wharf.finish().await;
}

#[tokio::test]
async fn files_arrive_as_what_they_were_sent_as() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let samples = Samples::make().await;
    let (picture, voice, video, pdf) = (samples.picture(), samples.voice(), samples.video(), samples.pdf());
    let jpeg = || file(&picture, "image/jpeg");
    for (operation, body, path, kind) in [
        (
            "sendImage",
            json!({ "file": jpeg(), "caption": "look" }),
            &picture,
            MediaKind::Image,
        ),
        (
            "sendFile",
            json!({ "file": jpeg(), "caption": "look" }),
            &picture,
            MediaKind::Document,
        ),
        (
            "sendFile",
            json!({ "file": file(&pdf, "application/pdf") }),
            &pdf,
            MediaKind::Document,
        ),
        (
            "sendVoice",
            json!({ "file": file(&voice, "audio/ogg; codecs=opus") }),
            &voice,
            MediaKind::Voice,
        ),
        (
            "sendVideo",
            json!({ "file": file(&video, "video/mp4"), "caption": "look" }),
            &video,
            MediaKind::Video,
        ),
        (
            "sendVideo",
            json!({ "file": file(&video, "video/mp4"), "asNote": true }),
            &video,
            MediaKind::Note,
        ),
    ] {
        let captioned = body.get("caption").is_some();
        let shown = wharf.sends_bob(operation, body).await;
        let (media, bytes) = wharf.network.file(BOB, ALICE, &shown.id).await.unwrap();
        assert_eq!(media.kind, kind, "{operation}");
        assert!(bytes == std::fs::read(path).unwrap(), "{operation} of {kind:?}");
        assert_eq!(
            shown.text.as_deref().unwrap_or_default(),
            if captioned { "look" } else { "" }
        );
        let size = media.width.zip(media.height);
        match kind {
            MediaKind::Image => assert_eq!((size, media.thumbnail), (Some(PICTURE_SIZE), true)),
            MediaKind::Video | MediaKind::Note => {
                assert_eq!((size, media.seconds), (Some(VIDEO_SIZE), Some(VIDEO_SECONDS)));
                assert!(media.thumbnail);
            }
            MediaKind::Voice => {
                assert_eq!(media.seconds, Some(SOUND_SECONDS));
                assert_eq!(media.waveform.map(|waveform| waveform.len()), Some(64));
            }
            _ => assert_eq!(media.filename.as_deref(), path.file_name().unwrap().to_str()),
        }
        if path == &pdf {
            assert_eq!(media.pages, Some(PDF_PAGES));
        }
    }
    wharf.finish().await;
}

#[tokio::test]
async fn whatever_can_answer_a_message_quotes_it() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let samples = Samples::make().await;
    let asked = NewContent::Text("Shall we?".to_owned(), None);
    let asked = wharf.bob_sends(&receiver, asked).await;
    let picture = || file(&samples.picture(), "image/jpeg");
    let video = || file(&samples.video(), "video/mp4");
    let poll = |multiple| json!({ "name": "Lunch?", "options": ["Soup", "Bread"], "multipleAnswers": multiple });
    let carol = json!({ "fullName": "Carol", "phoneNumber": "+1 202 555 0103", "whatsappId": "12025550103" });
    let sections = json!([{ "title": "Soups", "rows": [{ "title": "Leek", "rowId": "leek" }] }]);
    for (operation, mut body) in [
        ("sendText", json!({ "text": "Yes." })),
        (
            "sendLocation",
            json!({ "latitude": 1, "longitude": 2, "title": "here" }),
        ),
        ("sendContactVcard", json!({ "contacts": [carol] })),
        ("sendContactVcard", json!({ "contacts": [carol, carol] })),
        ("sendPoll", json!({ "poll": poll(false) })),
        ("sendPoll", json!({ "poll": poll(true) })),
        (
            "sendList",
            json!({ "message": { "title": "Menu", "button": "Choose", "sections": sections } }),
        ),
        ("sendImage", json!({ "file": picture() })),
        ("sendFile", json!({ "file": picture() })),
        ("sendFile", json!({ "file": picture(), "caption": "look" })),
        (
            "sendVoice",
            json!({ "file": file(&samples.voice(), "audio/ogg; codecs=opus") }),
        ),
        ("sendVideo", json!({ "file": video() })),
        ("sendVideo", json!({ "file": video(), "asNote": true })),
    ] {
        body["reply_to"] = json!(asked);
        let shown = wharf.sends_bob(operation, body).await;
        let quoted = shown
            .content
            .quoted
            .unwrap_or_else(|| panic!("{operation} quotes nothing"));
        assert_eq!(asked, format!("false_{BOB}@c.us_{}", quoted.id), "{operation}");
        assert_eq!(
            (quoted.from.as_deref(), quoted.text.as_deref()),
            (Some(BOB), Some("Shall we?"))
        );
    }
    let body = json!({ "file": picture(), "caption": "ask @12025550103", "mentions": [format!("{CAROL}@c.us")] });
    let id = wharf.sends("sendImage", BOB, body).await;
    let is_it = |entry: &InboxEntry| entry.id.as_deref() == Some(id.as_str());
    let shown = wharf.phone_shows(BOB, "the caption", is_it).await;
    assert_eq!(shown.mentions, [format!("{CAROL}@s.whatsapp.net")]);
    wharf.finish().await;
}

#[tokio::test]
async fn a_link_is_shown_as_the_caller_says_and_its_text_arrives_without_its_picture() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let samples = Samples::make().await;
    let preview = json!({
        "url": "https://example.com/", "title": "Example", "description": "An example",
        "image": file(&samples.picture(), "image/jpeg"),
    });
    let body = json!({ "text": "see https://example.com/ now", "preview": preview });
    let refused = json!({ "match": { "direction": "upload" }, "action": "status", "code": 404, "count": 9 });
    for (faults, high_quality) in [(json!([]), true), (json!([refused]), false)] {
        wharf
            .network
            .set_faults(serde_json::from_value(faults).unwrap())
            .unwrap();
        let shown = wharf.sends_bob("send/link-custom-preview", body.clone()).await;
        assert_eq!(shown.text.as_deref(), Some("see https://example.com/ now"));
        let link = shown.content.link_preview.unwrap();
        assert_eq!(link.url, "https://example.com/");
        assert_eq!(
            (link.title.as_deref(), link.description.as_deref()),
            (Some("Example"), Some("An example"))
        );
        assert_eq!((link.thumbnail, link.high_quality), (true, high_quality));
    }
    wharf.finish().await;
}

#[tokio::test]
async fn nothing_leaves_for_a_number_that_nobody_has() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let poll = json!({ "name": "Lunch?", "options": ["Soup", "Bread"] });
    for (operation, mut body) in [
        ("sendText", json!({ "text": "hi" })),
        (
            "sendLocation",
            json!({ "latitude": 1, "longitude": 2, "title": "here" }),
        ),
        (
            "sendContactVcard",
            json!({ "contacts": [{ "fullName": "Carol", "phoneNumber": "+12025550103" }] }),
        ),
        ("sendPoll", json!({ "poll": poll })),
    ] {
        body["session"] = json!("default");
        body["chatId"] = json!(format!("{NOBODY}@c.us"));
        wharf.post(&format!("/api/{operation}"), body).await.expect(422);
    }
    assert_eq!(wharf.network.messages(ALICE, NOBODY).unwrap(), []);
    wharf.finish().await;
}
