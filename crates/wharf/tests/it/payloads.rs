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

/// A session of Alice's, and the payloads of what it has told.
struct Story {
    wharf: TestWharf,
    receiver: Receiver,
    names: Names,
    payloads: Map<String, Value>,
}

impl Story {
    /// Keeps the payload of the first event of this name that is wanted.
    async fn tells(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let payload = payload(&self.receiver, name, wanted).await;
        self.payloads.insert(name.to_owned(), payload.clone());
        payload
    }

    /// Bob changes a message, and its event is told.
    async fn bob_changes(&mut self, id: &str, change: Change, name: &'static str, event: &str) {
        let id = self.wharf.network.change(BOB, ALICE, id, change).await.unwrap();
        self.names.add(&id, name);
        self.tells(event, |_| true).await;
    }

    /// Sends something to Bob, and answers its id when his phone shows it.
    async fn bob_gets(&mut self, path: &str, mut body: Value, name: &'static str) -> String {
        body["chatId"] = format!("{BOB}@c.us").into();
        let sent = self.wharf.post(path, body).await.expect(201);
        let id = own_id(sent["id"].as_str().unwrap()).to_owned();
        self.names.add(&id, name);
        let is_it = |it: &InboxEntry| it.id.as_deref() == Some(&id);
        self.wharf.phone_shows(BOB, name, is_it).await;
        id
    }

    async fn a_picture_is_answered(&mut self) {
        let picture = NewMedia {
            caption: Some("look".to_owned()),
            mimetype: Some("image/jpeg".to_owned()),
            ..NewMedia::new(MediaKind::Image, "a picture")
        };
        let (id, told) = from_bob(&self.wharf, &self.receiver, picture).await;
        self.names.add(&id, "PICTURE");
        let reply = json!({ "text": "nice", "reply_to": told["id"] });
        self.payloads.insert("message".to_owned(), told);
        let sent = self.bob_gets("/api/sendText", reply, "REPLY").await;
        let is_sent = |it: &Value| it["id"].as_str().is_some_and(|id| own_id(id) == sent);
        self.tells("message.any", is_sent).await;
        let read = self.wharf.network.receipt(BOB, ALICE, &sent, ReceiptKind::Read);
        read.await.unwrap();
        self.tells("message.ack", |it| is_sent(it) && it["ackName"] == "READ")
            .await;
        let react = Change::React("👍".to_owned());
        self.bob_changes(&sent, react, "REACTION", "message.reaction").await;
    }

    async fn a_text_is_edited_and_deleted(&mut self) {
        let helo = NewContent::Text("helo".to_owned(), None);
        let (text, _) = from_bob(&self.wharf, &self.receiver, helo).await;
        self.names.add(&text, "TEXT");
        let edit = Change::Edit("hello".to_owned());
        self.bob_changes(&text, edit, "EDIT", "message.edited").await;
        self.bob_changes(&text, Change::Revoke, "DELETION", "message.revoked")
            .await;
    }

    /// Bob votes in a poll of ours, and in one that the session has never seen.
    async fn polls_are_voted_in(&mut self, unknown: &str) {
        let poll = json!({ "poll": { "name": "Tea?", "options": ["Yes", "No"], "multipleAnswers": false } });
        let ours = self.bob_gets("/api/sendPoll", poll, "OUR-POLL").await;
        let vote = |option: &str| Change::Vote(vec![option.to_owned()]);
        self.bob_changes(&ours, vote("Yes"), "VOTE", "poll.vote").await;
        self.names.add(unknown, "UNKNOWN-POLL");
        self.bob_changes(unknown, vote("Soup"), "UNREADABLE-VOTE", "poll.vote.failed")
            .await;
    }

    async fn a_text_arrives_garbled(&mut self) {
        let messages = json!({ "direction": "out", "stanza": "message", "to": ALICE });
        let garbled = json!({ "match": messages, "action": "garble", "count": 2 });
        let faults = vec![serde_json::from_value(garbled).unwrap()];
        self.wharf.network.set_faults(faults).unwrap();
        let text = NewContent::Text("once more".to_owned(), None);
        let (id, _) = from_bob(&self.wharf, &self.receiver, text).await;
        self.names.add(&id, "GARBLED");
        self.tells("message.waiting", |_| true).await;
    }
}

#[tokio::test]
async fn the_payloads_of_events_about_messages_are_wahas() {
    let (wharf, receiver) = (TestWharf::start().await, Receiver::start().await);
    // Before the session is linked, so that it has never seen it.
    let unknown = wharf.network.send_message(BOB, ALICE, NewContent::Poll(poll()));
    let unknown = unknown.await.unwrap();
    wharf.paired("default", ALICE, &receiver).await;
    let mut story = Story {
        wharf,
        receiver,
        names: Names::default(),
        payloads: Map::new(),
    };
    story.a_picture_is_answered().await;
    story.a_text_is_edited_and_deleted().await;
    story.polls_are_voted_in(&unknown).await;
    story.a_text_arrives_garbled().await;
    insta::assert_json_snapshot!(story.names.stable(Value::Object(story.payloads)));
    story.wharf.finish().await;
}
