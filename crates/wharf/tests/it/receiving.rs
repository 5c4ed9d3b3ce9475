//! What comes in: each kind of message that a phone sends, and each change to one, as its events tell it.

use serde_json::{Value, json};
use url::Url;
use wharf_simulator::{
    Change, Contact, InboxKind, Location, MediaKind, NewContent, NewMedia, NewMessage, NewPoll, ReceiptKind,
};

use crate::support::{ALICE, BOB, Receiver, TestWharf};

impl TestWharf {
    /// Bob sends something to Alice: WhatsApp's own id of it, and the payload of its event.
    async fn bobs_message(&self, receiver: &Receiver, message: impl Into<NewMessage>) -> (String, Value) {
        let id = self.network.send_message(BOB, ALICE, message).await.unwrap();
        let full = format!("false_{BOB}@c.us_{id}");
        let payload = told(receiver, "message", "id", &full).await;
        assert_eq!(payload["from"], format!("{BOB}@c.us"));
        assert_eq!(payload["to"], format!("{ALICE}@c.us"));
        assert_eq!(payload["fromMe"], false);
        assert_eq!(payload["ackName"], "DEVICE");
        (id, payload)
    }

    /// Somebody changes a message of the chat between Alice and Bob: WhatsApp's own id of the change.
    async fn changes(&self, phone: &str, id: &str, change: Change) -> String {
        let chat = if phone == ALICE { BOB } else { ALICE };
        self.network.change(phone, chat, id, change).await.unwrap()
    }
}

/// The payload of the event whose payload says this.
async fn told(receiver: &Receiver, name: &str, field: &str, value: &str) -> Value {
    let is_it = |event: &Value| event["event"] == name && event["payload"][field] == value;
    let delivery = receiver.wait_for(&format!("{name} with {field} {value}"), is_it).await;
    delivery.event["payload"].clone()
}

/// The full id of a change in the chat with Bob.
fn full(from_me: bool, id: &str) -> String {
    format!("{from_me}_{BOB}@c.us_{id}")
}

fn media(kind: MediaKind, mimetype: &str) -> NewMedia {
    let data = format!("what is in a file of the kind {kind:?}");
    NewMedia {
        mimetype: Some(mimetype.to_owned()),
        ..NewMedia::new(kind, data)
    }
}

#[tokio::test]
async fn files_of_every_kind_arrive_with_their_bytes() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let captioned = |media: NewMedia, caption: &str| NewMedia {
        caption: Some(caption.to_owned()),
        ..media
    };
    let bill = NewMedia {
        filename: Some("bill.pdf".to_owned()),
        ..media(MediaKind::Document, "application/pdf")
    };
    let once = NewMedia {
        view_once: true,
        ..media(MediaKind::Image, "image/jpeg")
    };
    for (sent, extension) in [
        (captioned(media(MediaKind::Image, "image/jpeg"), "look"), "jpg"),
        (once, "jpg"),
        (captioned(media(MediaKind::Video, "video/mp4"), "clip"), "mp4"),
        (media(MediaKind::Note, "video/mp4"), "mp4"),
        (media(MediaKind::Audio, "audio/mpeg"), "mpga"),
        (media(MediaKind::Voice, "audio/ogg; codecs=opus"), "oga"),
        (media(MediaKind::Sticker, "image/webp"), "webp"),
        (bill.clone(), "pdf"),
        (captioned(bill, "the bill"), "pdf"),
    ] {
        let (_, payload) = wharf.bobs_message(&receiver, sent.clone()).await;
        assert_eq!(payload["body"], sent.caption.unwrap_or_default(), "{payload:#}");
        assert_eq!(payload["hasMedia"], true);
        let media = &payload["media"];
        assert_eq!(media["mimetype"], sent.mimetype.unwrap());
        assert_eq!(media["filename"].as_str(), sent.filename.as_deref());
        assert_eq!(media["error"], Value::Null, "{payload:#}");
        let url: Url = media["url"].as_str().unwrap().parse().unwrap();
        assert!(url.path().ends_with(&format!(".{extension}")), "{url}");
        let file = wharf.get(url.path()).await;
        assert_eq!((file.status.as_u16(), &file.body), (200, &sent.data), "{:?}", sent.kind);
    }
    wharf.finish().await;
}

#[tokio::test]
async fn places_cards_and_polls_arrive() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let place = |live: bool| Location {
        latitude: 38.5,
        longitude: -77.25,
        name: (!live).then(|| "Pier".to_owned()),
        address: (!live).then(|| "1 Water St".to_owned()),
        live,
    };
    let (_, payload) = wharf.bobs_message(&receiver, NewContent::Location(place(false))).await;
    let expected = json!({
        "latitude": "38.5", "longitude": "-77.25", "live": false, "name": "Pier", "address": "1 Water St",
    });
    assert_eq!((&payload["location"], &payload["body"]), (&expected, &json!("Pier")));
    let (_, payload) = wharf.bobs_message(&receiver, NewContent::Location(place(true))).await;
    assert_eq!(payload["location"]["live"], true);

    let card = |name: &str| Contact {
        name: name.to_owned(),
        vcard: format!("BEGIN:VCARD\nVERSION:3.0\nFN:{name}\nEND:VCARD"),
    };
    let (carol, dave) = (card("Carol"), card("Dave"));
    let (_, payload) = wharf
        .bobs_message(&receiver, NewContent::Contacts(vec![carol.clone()]))
        .await;
    assert_eq!(payload["vCards"], json!([carol.vcard]));
    let cards = NewContent::Contacts(vec![carol.clone(), dave.clone()]);
    let (_, payload) = wharf.bobs_message(&receiver, cards).await;
    assert_eq!(payload["vCards"], json!([carol.vcard, dave.vcard]));

    let (_, payload) = wharf.bobs_message(&receiver, NewContent::Poll(lunch())).await;
    assert_eq!(
        (&payload["body"], &payload["hasMedia"]),
        (&json!("Lunch?"), &json!(false))
    );
    wharf.finish().await;
}

fn lunch() -> NewPoll {
    NewPoll {
        name: "Lunch?".to_owned(),
        options: ["Soup", "Bread", "Cake"].map(str::to_owned).to_vec(),
        multiple: true,
    }
}

#[tokio::test]
async fn a_reply_says_what_it_answers() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let look = NewMedia {
        caption: Some("look".to_owned()),
        ..media(MediaKind::Image, "image/jpeg")
    };
    let (picture, _) = wharf.bobs_message(&receiver, look).await;
    let reply = NewMessage {
        content: NewContent::Text("nice, isn't it?".to_owned(), None),
        reply_to: Some(picture.clone()),
        mentions: vec![ALICE.to_owned()],
        forwarded: false,
    };
    let (_, payload) = wharf.bobs_message(&receiver, reply).await;
    assert_eq!(payload["body"], "nice, isn't it?");
    let answered = &payload["replyTo"];
    assert_eq!(answered["id"], picture);
    assert_eq!(answered["participant"], format!("{BOB}@c.us"));
    assert_eq!(
        (&answered["body"], &answered["hasMedia"]),
        (&json!("look"), &json!(true))
    );
    assert_eq!(answered["media"]["mimetype"], "image/jpeg");
    wharf.finish().await;
}

#[tokio::test]
async fn what_others_do_to_messages_is_told() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let sent = wharf
        .post(
            "/api/sendText",
            json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "text": "Hi Bob!" }),
        )
        .await
        .expect(201);
    let ours = sent["id"].as_str().unwrap();
    let our_id = ours.rsplit('_').next().unwrap();
    wharf
        .phone_shows(BOB, "the text", |entry| entry.id.as_deref() == Some(our_id))
        .await;
    for emoji in ["👍", ""] {
        let id = wharf.changes(BOB, our_id, Change::React(emoji.to_owned())).await;
        let payload = told(&receiver, "message.reaction", "id", &full(false, &id)).await;
        assert_eq!(payload["reaction"], json!({ "text": emoji, "messageId": ours }));
    }

    let (bobs, _) = wharf
        .bobs_message(&receiver, NewContent::Text("helo".to_owned(), None))
        .await;
    for edit in [
        Change::Edit("hello".to_owned()),
        Change::EncryptedEdit("hello!".to_owned()),
    ] {
        let text = match &edit {
            Change::Edit(text) | Change::EncryptedEdit(text) => text.clone(),
            _ => unreachable!("both are edits"),
        };
        let id = wharf.changes(BOB, &bobs, edit).await;
        let payload = told(&receiver, "message.edited", "id", &full(false, &id)).await;
        assert_eq!(
            (&payload["editedMessageId"], &payload["body"]),
            (&json!(bobs), &json!(text))
        );
    }
    wharf.changes(BOB, &bobs, Change::Revoke).await;
    let payload = told(&receiver, "message.revoked", "revokedMessageId", &bobs).await;
    assert_eq!(payload["before"]["id"], full(false, &bobs));
    assert_eq!(payload["before"]["body"], "hello!");
    wharf.finish().await;
}

#[tokio::test]
async fn what_our_phone_does_to_messages_is_told() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let (bobs, _) = wharf
        .bobs_message(&receiver, NewContent::Text("Hi!".to_owned(), None))
        .await;
    let id = wharf.changes(ALICE, &bobs, Change::React("👍".to_owned())).await;
    let payload = told(&receiver, "message.reaction", "id", &full(true, &id)).await;
    assert_eq!(payload["fromMe"], true);
    assert_eq!(payload["reaction"]["messageId"], full(false, &bobs));

    let own = wharf.network.send(ALICE, BOB, "Hi Bpb!", None).await.unwrap();
    told(&receiver, "message.any", "id", &full(true, &own)).await;
    let id = wharf.changes(ALICE, &own, Change::Edit("Hi Bob!".to_owned())).await;
    let payload = told(&receiver, "message.edited", "id", &full(true, &id)).await;
    assert_eq!(
        (&payload["editedMessageId"], &payload["body"]),
        (&json!(own), &json!("Hi Bob!"))
    );
    wharf.changes(ALICE, &own, Change::Revoke).await;
    let payload = told(&receiver, "message.revoked", "revokedMessageId", &own).await;
    assert_eq!(payload["before"]["fromMe"], true);
    wharf.finish().await;
}

#[tokio::test]
async fn a_new_caption_keeps_its_picture() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let look = NewMedia {
        caption: Some("lok".to_owned()),
        ..media(MediaKind::Image, "image/jpeg")
    };
    let (picture, _) = wharf.bobs_message(&receiver, look).await;
    let id = wharf.changes(BOB, &picture, Change::Edit("look".to_owned())).await;
    let payload = told(&receiver, "message.edited", "id", &full(false, &id)).await;
    assert_eq!((&payload["body"], &payload["hasMedia"]), (&json!("look"), &json!(true)));
    assert_eq!(payload["media"]["mimetype"], "image/jpeg");
    wharf.finish().await;
}

#[tokio::test]
async fn votes_in_polls_of_both_sides_are_told_by_name() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let poll = json!({ "name": "Lunch?", "options": ["Soup", "Bread", "Cake"], "multipleAnswers": true });
    let body = json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "poll": poll });
    let ours = wharf.post("/api/sendPoll", body).await.expect(201);
    let ours = ours["id"].as_str().unwrap().rsplit('_').next().unwrap().to_owned();
    wharf
        .phone_shows(BOB, "the poll", |entry| entry.id.as_deref() == Some(&ours))
        .await;
    let (bobs, _) = wharf.bobs_message(&receiver, NewContent::Poll(lunch())).await;

    for (voter, poll) in [(BOB, &ours), (BOB, &bobs), (ALICE, &bobs), (ALICE, &ours)] {
        for options in [&["Cake"][..], &["Cake", "Soup"], &[]] {
            let chosen = options.iter().map(|&name| name.to_owned()).collect();
            let id = wharf.changes(voter, poll, Change::Vote(chosen)).await;
            let full_id = full(voter == ALICE, &id);
            let is_it = |event: &Value| event["event"] == "poll.vote" && event["payload"]["vote"]["id"] == full_id;
            let vote = receiver
                .wait_for(&format!("{voter}'s vote for {options:?}"), is_it)
                .await
                .event;
            let (vote, destination) = (&vote["payload"]["vote"], &vote["payload"]["poll"]);
            let mut named: Vec<&str> = vote["selectedOptions"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            named.sort_unstable();
            assert_eq!(named, options, "{vote:#}");
            assert_eq!(vote["fromMe"], voter == ALICE);
            assert_eq!(destination["id"], full(*poll == ours, poll));
        }
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_vote_that_cannot_be_read_is_told_as_such() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    // Before the session is linked, so that it has never seen the poll.
    let poll = wharf
        .network
        .send_message(BOB, ALICE, NewContent::Poll(lunch()))
        .await
        .unwrap();
    wharf.paired("default", ALICE, &receiver).await;
    let id = wharf.changes(BOB, &poll, Change::Vote(vec!["Soup".to_owned()])).await;
    let failed = receiver.wait_for_event("poll.vote.failed").await.event;
    assert_eq!(failed["payload"]["vote"]["id"], full(false, &id));
    assert_eq!(failed["payload"]["vote"]["selectedOptions"], json!([]));
    assert_eq!(failed["payload"]["poll"]["id"], full(false, &poll));
    wharf.finish().await;
}

#[tokio::test]
async fn a_voice_message_that_was_listened_to_is_played() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let own = wharf
        .network
        .send_message(ALICE, BOB, media(MediaKind::Voice, "audio/ogg; codecs=opus"))
        .await
        .unwrap();
    told(&receiver, "message.any", "id", &full(true, &own)).await;
    let is_it =
        |entry: &wharf_simulator::InboxEntry| entry.kind == InboxKind::Message && entry.id.as_deref() == Some(&own);
    wharf.phone_shows(BOB, "the voice message", is_it).await;
    wharf
        .network
        .receipt(BOB, ALICE, &own, ReceiptKind::Played)
        .await
        .unwrap();
    let is_played = |event: &Value| event["event"] == "message.ack" && event["payload"]["ackName"] == "PLAYED";
    let ack = receiver.wait_for("PLAYED", is_played).await.event;
    assert_eq!(
        (&ack["payload"]["id"], &ack["payload"]["ack"]),
        (&json!(full(true, &own)), &json!(4))
    );
    wharf.finish().await;
}
