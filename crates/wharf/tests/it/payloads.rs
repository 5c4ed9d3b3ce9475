//! The payloads of the events about messages, whole, as receivers get them.
//!
//! Ids, times and what changes from run to run are replaced by what they stand for.

use serde_json::{Map, Value, json};
use wharf_simulator::{Change, InboxEntry, MediaKind, NewContent, NewMedia, NewMessage, NewPoll, ReceiptKind};

use crate::support::{ALICE, BOB, Receiver, TestWharf};

/// What WhatsApp's own ids are called in the snapshot.
#[derive(Default)]
struct Names(Vec<(String, &'static str)>);

impl Names {
    fn add(&mut self, id: &str, name: &'static str) {
        self.0.push((own_id(id).to_owned(), name));
    }

    /// The value with nothing in it that another run would have otherwise.
    fn stable(&self, value: Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| self.field(name, value))
                    .collect(),
            ),
            Value::Array(values) => values.into_iter().map(|value| self.stable(value)).collect(),
            Value::String(text) => Value::String(self.text(text)),
            other => other,
        }
    }

    fn field(&self, name: String, value: Value) -> (String, Value) {
        let value = match (name.as_str(), value) {
            ("timestamp", Value::Number(_)) => json!("seconds"),
            ("_data", Value::Object(_)) => json!("…"),
            (_, value) => self.stable(value),
        };
        (name, value)
    }

    fn text(&self, text: String) -> String {
        let named = self.0.iter().fold(text, |text, (id, name)| text.replace(id, name));
        match named.split_once("/api/files/") {
            Some((_, file)) => format!("http://…/api/files/{file}"),
            None => named,
        }
    }
}

/// WhatsApp's own part of an id.
fn own_id(id: &str) -> &str {
    id.rsplit('_').next().unwrap()
}

/// The payload of the first event of this name that is wanted.
async fn payload(receiver: &Receiver, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let is_it = |event: &Value| event["event"] == name && wanted(&event["payload"]);
    let mut event = receiver.wait_for(name, is_it).await.event;
    event["payload"].take()
}

fn poll() -> NewPoll {
    NewPoll {
        name: "Lunch?".to_owned(),
        options: vec!["Soup".to_owned(), "Cake".to_owned()],
        multiple: false,
    }
}

/// Bob's, once Alice's session has it.
async fn from_bob(wharf: &TestWharf, receiver: &Receiver, message: impl Into<NewMessage>) -> (String, Value) {
    let id = wharf.network.send_message(BOB, ALICE, message).await.unwrap();
    let told = payload(receiver, "message", |it| own_id(it["id"].as_str().unwrap()) == id).await;
    (id, told)
}

#[tokio::test]
async fn the_payloads_of_events_about_messages_are_wahas() {
    let (wharf, receiver) = (TestWharf::start().await, Receiver::start().await);
    let (mut names, mut payloads) = (Names::default(), Map::new());
    // Before the session is linked, so that it has never seen it.
    let unknown = wharf
        .network
        .send_message(BOB, ALICE, NewContent::Poll(poll()))
        .await
        .unwrap();
    wharf.paired("default", ALICE, &receiver).await;
    names.add(&unknown, "UNKNOWN-POLL");

    let picture = NewMedia {
        caption: Some("look".to_owned()),
        mimetype: Some("image/jpeg".to_owned()),
        ..NewMedia::new(MediaKind::Image, "a picture")
    };
    let (id, told) = from_bob(&wharf, &receiver, picture).await;
    names.add(&id, "PICTURE");
    payloads.insert("message".to_owned(), told.clone());

    let reply = json!({ "chatId": format!("{BOB}@c.us"), "text": "nice", "reply_to": told["id"] });
    let sent = wharf.post("/api/sendText", reply).await.expect(201);
    let sent = own_id(sent["id"].as_str().unwrap()).to_owned();
    names.add(&sent, "REPLY");
    let is_sent = |it: &Value| it["id"].as_str().is_some_and(|id| own_id(id) == sent);
    payloads.insert(
        "message.any".to_owned(),
        payload(&receiver, "message.any", is_sent).await,
    );
    wharf
        .phone_shows(BOB, "the reply", |it: &InboxEntry| it.id.as_deref() == Some(&sent))
        .await;
    wharf
        .network
        .receipt(BOB, ALICE, &sent, ReceiptKind::Read)
        .await
        .unwrap();
    let is_read = |it: &Value| is_sent(it) && it["ackName"] == "READ";
    payloads.insert(
        "message.ack".to_owned(),
        payload(&receiver, "message.ack", is_read).await,
    );

    let id = wharf
        .network
        .change(BOB, ALICE, &sent, Change::React("👍".to_owned()))
        .await
        .unwrap();
    names.add(&id, "REACTION");
    payloads.insert(
        "message.reaction".to_owned(),
        payload(&receiver, "message.reaction", |_| true).await,
    );

    let (text, _) = from_bob(&wharf, &receiver, NewContent::Text("helo".to_owned(), None)).await;
    names.add(&text, "TEXT");
    let id = wharf
        .network
        .change(BOB, ALICE, &text, Change::Edit("hello".to_owned()))
        .await
        .unwrap();
    names.add(&id, "EDIT");
    payloads.insert(
        "message.edited".to_owned(),
        payload(&receiver, "message.edited", |_| true).await,
    );
    let id = wharf.network.change(BOB, ALICE, &text, Change::Revoke).await.unwrap();
    names.add(&id, "DELETION");
    payloads.insert(
        "message.revoked".to_owned(),
        payload(&receiver, "message.revoked", |_| true).await,
    );

    let ours = json!({ "name": "Tea?", "options": ["Yes", "No"], "multipleAnswers": false });
    let ours = json!({ "chatId": format!("{BOB}@c.us"), "poll": ours });
    let ours = wharf.post("/api/sendPoll", ours).await.expect(201);
    let ours = own_id(ours["id"].as_str().unwrap()).to_owned();
    names.add(&ours, "OUR-POLL");
    wharf
        .phone_shows(BOB, "the poll", |it: &InboxEntry| it.id.as_deref() == Some(&ours))
        .await;
    let vote = |option: &str| Change::Vote(vec![option.to_owned()]);
    let id = wharf.network.change(BOB, ALICE, &ours, vote("Yes")).await.unwrap();
    names.add(&id, "VOTE");
    payloads.insert("poll.vote".to_owned(), payload(&receiver, "poll.vote", |_| true).await);
    let id = wharf.network.change(BOB, ALICE, &unknown, vote("Soup")).await.unwrap();
    names.add(&id, "UNREADABLE-VOTE");
    payloads.insert(
        "poll.vote.failed".to_owned(),
        payload(&receiver, "poll.vote.failed", |_| true).await,
    );

    let messages = json!({ "direction": "out", "stanza": "message", "to": ALICE });
    let garbled = json!({ "match": messages, "action": "garble", "count": 2 });
    wharf
        .network
        .set_faults(vec![serde_json::from_value(garbled).unwrap()])
        .unwrap();
    let (id, _) = from_bob(&wharf, &receiver, NewContent::Text("once more".to_owned(), None)).await;
    names.add(&id, "GARBLED");
    payloads.insert(
        "message.waiting".to_owned(),
        payload(&receiver, "message.waiting", |_| true).await,
    );

    insta::assert_json_snapshot!(names.stable(Value::Object(payloads)));
    wharf.finish().await;
}
