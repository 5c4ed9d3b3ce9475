//! Media between the server and the media hosts of the network, where these do not do what they should.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use url::Url;
use wharf_simulator::{InboxEntry, InboxKind, MediaKind, NewMedia};

use crate::support::wharf::Answer;
use crate::support::{ALICE, BOB, Receiver, TestWharf};

const PICTURE: &[u8] = b"\xff\xd8\xff\xe0 as far as the hosts are concerned";

impl TestWharf {
    fn befalls_media(&self, direction: &str, fault: &Value, count: u32) {
        let mut wanted = json!({ "match": { "direction": direction }, "count": count });
        wanted
            .as_object_mut()
            .unwrap()
            .extend(fault.as_object().unwrap().clone());
        self.network
            .set_faults(vec![serde_json::from_value(wanted).unwrap()])
            .unwrap();
    }

    async fn bob_sends_a_picture(&self) -> String {
        let picture = NewMedia::new(MediaKind::Image, PICTURE);
        self.network.send_message(BOB, ALICE, picture).await.unwrap()
    }

    async fn sends_bob_a_picture(&self) -> Answer {
        let file = json!({ "mimetype": "image/jpeg", "filename": "a.jpg", "data": BASE64_STANDARD.encode(PICTURE) });
        let body = json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "file": file });
        self.post("/api/sendImage", body).await
    }
}

/// What the event of a picture of Bob's says of its file.
async fn media(receiver: &Receiver, id: &str) -> Value {
    let full = format!("false_{BOB}@c.us_{id}");
    let is_it = |event: &Value| event["event"] == "message" && event["payload"]["id"] == full;
    let told = receiver.wait_for("the picture", is_it).await;
    told.event["payload"]["media"].clone()
}

#[tokio::test]
async fn a_file_that_the_hosts_have_lost_comes_from_the_phone() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    wharf.befalls_media("download", &json!({ "action": "status", "code": 404 }), 1);
    let id = wharf.bob_sends_a_picture().await;
    let media = media(&receiver, &id).await;
    assert_eq!(media["error"], Value::Null, "{media:#}");
    let url: Url = media["url"].as_str().unwrap().parse().unwrap();
    assert_eq!(wharf.get(url.path()).await.body, PICTURE);
    let metrics = wharf.network.metrics();
    assert_eq!(
        metrics.stanzas.get("out:notification:mediaretry"),
        Some(&1),
        "the phone was asked once"
    );
    wharf.finish().await;
}

#[tokio::test]
async fn a_file_that_nobody_has_any_more_is_told_of_without_it() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let id = wharf.bob_sends_a_picture().await;
    wharf.network.lose_media(BOB, ALICE, &id, true).unwrap();
    wharf.boot().await;
    let media = media(&receiver, &id).await;
    assert_eq!(media["url"], Value::Null, "{media:#}");
    assert_eq!(media["mimetype"], "image/jpeg");
    assert!(media["error"]["message"].is_string(), "{media:#}");
    wharf.finish().await;
}

#[tokio::test]
async fn a_file_that_the_hosts_do_not_take_is_not_sent() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    wharf.befalls_media("upload", &json!({ "action": "status", "code": 503 }), 2);
    let refused = wharf.sends_bob_a_picture().await.expect(503);
    assert!(refused.to_string().contains("a media host answered 503"), "{refused:#}");
    wharf.befalls_media("upload", &json!({ "action": "status", "code": 415 }), 2);
    wharf.sends_bob_a_picture().await.expect(422);
    assert_eq!(wharf.network.faults(), []);
    let sent = wharf.sends_bob_a_picture().await.expect(201);
    let id = sent["id"].as_str().unwrap().rsplit('_').next().unwrap();
    let is_it = |entry: &InboxEntry| entry.kind == InboxKind::Message && entry.id.as_deref() == Some(id);
    wharf.phone_shows(BOB, "the picture", is_it).await;
    assert_eq!(wharf.network.file(BOB, ALICE, id).await.unwrap().1, PICTURE);
    let shown = wharf.network.messages(BOB, ALICE).unwrap();
    let pictures = shown.iter().filter(|message| message.content.media.is_some());
    assert_eq!(pictures.count(), 1, "what was refused was not sent");
    wharf.finish().await;
}

#[tokio::test]
async fn media_hosts_have_the_name_by_which_the_network_is_known() {
    let wharf = TestWharf::start_at("localhost", &[]).await;
    let receiver = Receiver::start().await;
    wharf.paired("default", ALICE, &receiver).await;
    let id = wharf.bob_sends_a_picture().await;
    assert!(media(&receiver, &id).await["url"].is_string());
    wharf.sends_bob_a_picture().await.expect(201);
    wharf.finish().await;
}
