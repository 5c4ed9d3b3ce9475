//! Sends that are repeated: one message and one answer, whatever comes between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;
use wharf_core::engine::EngineError;

use crate::crash::copy;
use crate::harness::{ALICE, Answer, BOB, Door, KEY, Link, PATIENCE, Wharf, said, text};
use crate::seeded::{Numbers, seed};

fn body(text: &str) -> Value {
    json!({"chatId": ALICE, "text": text})
}

async fn send(wharf: &Wharf, key: &str, body: &Value) -> Answer {
    let request = wharf.request(reqwest::Method::POST, "/api/sendText").json(body);
    let request = request.header("X-Api-Key", KEY).header("Idempotency-Key", key);
    wharf.send(request).await
}

/// The ids of the messages that have left.
fn left(link: &Link) -> Vec<String> {
    let texts = link.engine.sent.lock().unwrap();
    texts.iter().map(|text| text.id.clone()).collect()
}

#[tokio::test]
async fn the_same_key_and_body_are_one_message_and_one_answer() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.any"]).await;
    let first = send(&wharf, "k", &body("x")).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let reordered = json!({"text": "x", "chatId": ALICE});
    for (key, body) in [("k", body("x")), ("k", reordered), ("\"k\"", body("x"))] {
        let again = send(&wharf, key, &body).await;
        assert_eq!((again.status, &again.bytes), (201, &first.bytes));
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    }
    assert_eq!(left(&link).len(), 1);
    // What is told next is the next message.
    assert_eq!(send(&wharf, "other", &body("y")).await.status, 201);
    assert_eq!(receiver.event("message.any").await["payload"], first.json());
    assert_eq!(receiver.event("message.any").await["payload"]["body"], "y");
    wharf.stop().await;
}

#[tokio::test]
async fn a_repeat_tells_of_a_message_for_which_the_log_had_no_room() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.any"]).await;
    wharf.server_disk_is_full(true);
    let first = send(&wharf, "k", &body("x")).await;
    assert_eq!(first.status, 201, "it has left: {first:?}");
    wharf.server_disk_is_full(false);
    assert_eq!(send(&wharf, "k", &body("x")).await.bytes, first.bytes);
    assert_eq!(left(&link).len(), 1);
    assert_eq!(receiver.event("message.any").await["payload"], first.json());
    wharf.stop().await;
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let first = send(&wharf, "k", &body("x")).await;
    for other in [body("y"), json!({"chatId": BOB, "text": "x"})] {
        let refused = send(&wharf, "k", &other).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        let message = refused.json()["message"].to_string();
        assert!(
            message.contains("Idempotency-Key was used for another request"),
            "{message}"
        );
    }
    assert_eq!(send(&wharf, "k", &body("x")).await.bytes, first.bytes);
    assert_eq!(left(&link).len(), 1);
    wharf.stop().await;
}

#[tokio::test]
async fn a_key_under_way_is_answered_409_also_after_its_caller_has_hung_up() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let gate = link.engine.sending.shut();
    let hung_up = async {
        let request = body("x");
        let mut request = Box::pin(send(&wharf, "k", &request));
        tokio::select! {
            _ = &mut request => panic!("the send must wait"),
            () = gate.reached() => {}
        }
    };
    hung_up.await;
    let busy = send(&wharf, "k", &body("x")).await;
    assert_eq!(
        (busy.status, &busy.headers["retry-after"]),
        (409, &"1".parse().unwrap())
    );
    gate.let_one_pass();
    let repeated = async {
        loop {
            let answer = send(&wharf, "k", &body("x")).await;
            if answer.status != 409 {
                return answer;
            }
        }
    };
    let answer = timeout(PATIENCE, repeated).await.expect("it stays busy");
    assert_eq!(answer.json()["body"], "x");
    assert_eq!(answer.headers["idempotent-replayed"], "true");
    assert_eq!(left(&link).len(), 1);
    wharf.stop().await;
}

#[tokio::test]
async fn sessions_have_keys_of_their_own() {
    let mut wharf = Wharf::start().await;
    let (one, two) = (
        wharf.working("one", json!({})).await,
        wharf.working("two", json!({})).await,
    );
    let to = |session| json!({"session": session, "chatId": ALICE, "text": "x"});
    for session in ["one", "two", "one", "two"] {
        assert_eq!(send(&wharf, "k", &to(session)).await.status, 201);
    }
    assert_eq!((left(&one).len(), left(&two).len()), (1, 1));
    wharf.stop().await;
}

#[tokio::test]
async fn callers_have_keys_of_their_own() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let made = wharf
            .post("/api/keys", json!({"session": "default", "isAdmin": false}))
            .await;
        let request = wharf.request(reqwest::Method::POST, "/api/sendText").json(&body("x"));
        let request = request.header("X-Api-Key", made.json()["key"].as_str().unwrap());
        answers.push(wharf.send(request.header("Idempotency-Key", "k")).await);
    }
    answers.push(send(&wharf, "k", &body("x")).await);
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(!answer.headers.contains_key("idempotent-replayed"));
    }
    assert_eq!(left(&link).len(), 3, "nobody gets another caller's answer");
    wharf.stop().await;
}

#[tokio::test]
async fn a_key_is_1_to_255_visible_characters_and_sent_once() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let (long, too_long) = ("k".repeat(255), "k".repeat(256));
    for bad in ["", "\"\"", "two words", "tab\tbed", "schlüssel", &too_long] {
        let refused = send(&wharf, bad, &body("x")).await;
        assert_eq!(refused.status, 400, "{bad:?}: {refused:?}");
        let message = refused.json()["message"].to_string();
        assert!(message.contains("1 to 255 visible characters"), "{message}");
    }
    let twice = wharf.request(reqwest::Method::POST, "/api/sendText").json(&body("x"));
    let twice = twice.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    assert_eq!(wharf.send(twice.header("X-Api-Key", KEY)).await.status, 400);
    assert!(left(&link).is_empty());
    assert_eq!(send(&wharf, &long, &body("x")).await.status, 201);
    wharf.stop().await;
}

#[tokio::test]
async fn what_did_not_leave_frees_its_key() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let unknown = EngineError::UnknownRecipient(ALICE.parse().unwrap());
    link.engine.refuses.lock().unwrap().push_back(unknown);
    assert_eq!(send(&wharf, "k", &body("x")).await.status, 422);
    let bad = json!({"chatId": ALICE, "text": "x", "reply_to": "no id"});
    assert_eq!(send(&wharf, "k", &bad).await.status, 400);
    let mended = json!({"chatId": BOB, "text": "x"});
    assert_eq!(send(&wharf, "k", &mended).await.status, 201);
    wharf.stop().await;
}

#[tokio::test]
async fn what_may_have_left_is_sent_under_the_same_id_when_it_is_repeated() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    link.engine.sending_panics.store(true, Ordering::SeqCst);
    assert_eq!(send(&wharf, "k", &body("x")).await.status, 504);
    link.engine.sending_panics.store(false, Ordering::SeqCst);
    let timed_out = EngineError::TimedOut { seconds: 1 };
    link.engine.refuses.lock().unwrap().push_back(timed_out);
    assert_eq!(send(&wharf, "k", &body("x")).await.status, 504);
    assert_eq!(send(&wharf, "k", &body("y")).await.status, 422);
    let sent = send(&wharf, "k", &body("x")).await;
    assert_eq!(sent.status, 201);
    let ids = left(&link);
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert_eq!(ids[0], ids[1]);
    assert_eq!(sent.json()["id"], format!("true_{ALICE}_{}", ids[0]));
    wharf.stop().await;
}

#[tokio::test]
async fn a_given_id_is_used_once_in_a_chat() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let made = wharf.get("/api/default/new-message-id").await;
    assert_eq!(made.status, 200);
    let id = made.json()["id"].clone();
    let with_id = |chat, text, id: &Value| json!({"chatId": chat, "text": text, "id": id});
    let first = wharf.post("/api/sendText", with_id(ALICE, "x", &id)).await;
    assert_eq!(first.json()["id"], format!("true_{ALICE}_{}", id.as_str().unwrap()));
    let again = wharf.post("/api/sendText", with_id(ALICE, "x", &id)).await;
    assert_eq!(
        (again.status, &again.bytes),
        (201, &first.bytes),
        "it repeats the request"
    );
    let other_key = send(&wharf, "k", &with_id(ALICE, "x", &id)).await;
    let other_text = wharf.post("/api/sendText", with_id(ALICE, "y", &id)).await;
    for refused in [other_key, other_text] {
        assert_eq!(refused.status, 422, "{refused:?}");
        let message = refused.json()["message"].to_string();
        assert!(message.contains("is the id of another message"), "{message}");
    }
    assert_eq!(wharf.post("/api/sendText", with_id(BOB, "y", &id)).await.status, 201);

    // One that the server made is taken as well.
    let sent = wharf.post("/api/sendText", body("z")).await.json();
    let refused = wharf.post("/api/sendText", with_id(ALICE, "y", &sent["id"])).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let nonsense = wharf.post("/api/sendText", with_id(ALICE, "y", &json!("no id"))).await;
    assert_eq!(nonsense.status, 400, "{nonsense:?}");
    assert_eq!(left(&link).len(), 3);
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_that_a_crash_kept_from_being_told_is_told_when_it_is_repeated() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.any"]).await;
    let crashed = Arc::new(tempfile::tempdir().unwrap());
    let gate = wharf.server_writes().shut();
    let crash = async {
        // The message is kept with its answer, and its event is not logged.
        gate.reached().await;
        copy(wharf.folder(), crashed.path());
        wharf.server_writes().open();
        gate.let_one_pass();
    };
    let request = body("x");
    let sent = tokio::join!(send(&wharf, "k", &request), crash).0;
    let id = receiver.event("message.any").await["id"].clone();
    wharf.stop().await;
    drop(link);

    let mut wharf = Wharf::on(crashed).await;
    let link = wharf.link().await;
    link.work();
    for _ in 0..2 {
        assert_eq!(send(&wharf, "k", &body("x")).await.bytes, sent.bytes);
    }
    assert_eq!(send(&wharf, "next", &body("y")).await.status, 201);
    let told = receiver.event("message.any").await;
    assert_eq!((&told["id"], &told["payload"]), (&id, &sent.json()));
    assert_eq!(receiver.event("message.any").await["payload"]["body"], "y");
    assert_eq!(left(&link).len(), 1);
    wharf.stop().await;
}

#[tokio::test]
async fn a_change_that_was_told_before_a_crash_is_the_same_event_when_it_is_repeated() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.reaction", "message.any"]).await;
    link.receive(text(ALICE, "A1", "hello")).await.unwrap();
    receiver.event("message.any").await;
    let react = async |wharf: &Wharf| {
        let request = wharf.request(reqwest::Method::PUT, "/api/reaction");
        let request = request.header("X-Api-Key", KEY).header("Idempotency-Key", "k");
        let body = json!({"messageId": format!("false_{ALICE}_A1"), "reaction": "👍"});
        wharf.send(request.json(&body)).await
    };
    let crashed = Arc::new(tempfile::tempdir().unwrap());
    let gate = wharf.session_writes().shut();
    let crash = async {
        gate.reached().await;
        gate.let_one_pass();
        // It has left and is told of, and its effect and its answer are not kept.
        gate.reached().await;
        copy(wharf.folder(), crashed.path());
        wharf.session_writes().open();
        gate.let_one_pass();
    };
    assert_eq!(tokio::join!(react(&wharf), crash).0.status, 200);
    let told = receiver.event("message.reaction").await;
    wharf.stop().await;
    drop(link);

    let mut wharf = Wharf::on(crashed).await;
    let link = wharf.link().await;
    link.work();
    wharf.until_status("default", "WORKING").await;
    let (first, again) = (react(&wharf).await, react(&wharf).await);
    assert_eq!((first.status, &again.bytes), (200, &first.bytes));
    assert_eq!(left(&link).len(), 1, "it may not have left");
    let logged = wharf
        .get("/api/events?session=default&events=message.reaction")
        .await
        .json();
    let ids: Vec<_> = logged["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["id"])
        .collect();
    assert_eq!(ids, [&told["id"]]);
    wharf.stop().await;
}

/// Steps of a random play, and the keys that they share.
const STEPS: usize = 60;
const KEYS: u64 = 4;

/// Requests under a few keys, with whatever may come between.
struct Play {
    wharf: Wharf,
    link: Link,
    /// The ids of all messages that have left under each key, over all crashes.
    left: BTreeMap<String, BTreeSet<String>>,
    /// What each key was answered.
    answers: BTreeMap<String, Bytes>,
}

/// Where a request meets the end of the server, by what it passes there.
#[derive(Clone, Copy)]
enum Death {
    /// A write to the session's store: the message id, or the message with its answer.
    Keeping,
    /// It has left.
    Sending,
    /// A write to the log.
    Telling,
}

impl Play {
    async fn start() -> Self {
        let mut wharf = Wharf::start().await;
        let link = wharf.working("default", json!({})).await;
        Self {
            wharf,
            link,
            left: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    async fn step(mut self, chance: &mut Numbers) -> Self {
        let key = format!("k{}", chance.below(KEYS));
        let text = match chance.below(5) {
            0 => format!("{key} unusual"),
            _ => format!("{key} usual"),
        };
        let engine = Arc::clone(&self.link.engine);
        let refuse = |error| engine.refuses.lock().unwrap().push_back(error);
        match chance.below(8) {
            0 => return Box::pin(self.die(&key, &text, Death::Keeping)).await,
            1 => return Box::pin(self.die(&key, &text, Death::Sending)).await,
            2 => return Box::pin(self.die(&key, &text, Death::Telling)).await,
            3 => refuse(EngineError::UnknownRecipient(ALICE.parse().unwrap())),
            4 => refuse(EngineError::TimedOut { seconds: 1 }),
            5 => engine.sending_panics.store(true, Ordering::SeqCst),
            _ => {}
        }
        let answer = send(&self.wharf, &key, &body(&text)).await;
        self.note(&key, &answer);
        engine.refuses.lock().unwrap().clear();
        engine.sending_panics.store(false, Ordering::SeqCst);
        self.count();
        self
    }

    /// Sends, unless the server dies on the way; goes on with what is on disk then.
    async fn die(mut self, key: &str, text: &str, death: Death) -> Self {
        let door: &Door = match death {
            Death::Keeping => self.wharf.session_writes(),
            Death::Sending => &self.link.engine.sending,
            Death::Telling => self.wharf.server_writes(),
        };
        let gate = door.shut();
        let request = body(text);
        let mut request = Box::pin(send(&self.wharf, key, &request));
        let answer = tokio::select! {
            answer = &mut request => Some(answer),
            () = gate.reached() => None,
        };
        let crashed = Arc::new(tempfile::tempdir().unwrap());
        copy(self.wharf.folder(), crashed.path());
        door.open();
        gate.let_one_pass();
        drop(request);
        if let Some(answer) = answer {
            self.note(key, &answer);
        }
        self.count();
        // What it still does, nobody sees.
        self.wharf.stop().await;
        let mut wharf = Wharf::on(crashed).await;
        let link = wharf.link().await;
        link.work();
        wharf.until_status("default", "WORKING").await;
        Self { wharf, link, ..self }
    }

    fn note(&mut self, key: &str, answer: &Answer) {
        if answer.status == 201 {
            let first = self
                .answers
                .entry(key.to_owned())
                .or_insert_with(|| answer.bytes.clone());
            assert_eq!(*first, answer.bytes, "{key} has two answers");
        }
    }

    /// Takes up what has left.
    fn count(&mut self) {
        for text in self.link.engine.sent.lock().unwrap().drain(..) {
            let key = said(&text).split(' ').next().unwrap().to_owned();
            self.left.entry(key).or_default().insert(text.id);
        }
    }
}

#[tokio::test]
async fn whatever_comes_between_a_key_leaves_one_message() {
    let mut chance = Numbers::of(seed());
    let mut play = Play::start().await;
    for _ in 0..STEPS {
        play = Box::pin(play.step(&mut chance)).await;
    }
    for key in 0..KEYS {
        let key = format!("k{key}");
        let usual = send(&play.wharf, &key, &body(&format!("{key} usual"))).await;
        let unusual = send(&play.wharf, &key, &body(&format!("{key} unusual"))).await;
        // Whichever left first has the key.
        let (answer, refused) = if usual.status == 201 {
            (usual, unusual)
        } else {
            (unusual, usual)
        };
        assert_eq!(
            (answer.status, refused.status),
            (201, 422),
            "{key}: {answer:?} {refused:?}"
        );
        play.note(&key, &answer);
        play.count();
        let left = &play.left[&key];
        assert_eq!(left.len(), 1, "{key}: {left:?}");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert!(id.ends_with(left.first().unwrap()), "{id}");
    }
    play.wharf.stop().await;
}
