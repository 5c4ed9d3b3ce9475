//! Promise P4: a send with an `Idempotency-Key` leaves at most one message, however often it is repeated, and whatever
//! happens to the server in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use wharf_core::store::Batch;
use wharf_simulator::{Change, InboxEntry, InboxKind, ReceiptKind};

use crate::support::mortal::Mortal;
use crate::support::process::Process;
use crate::support::rigged::{Judge, Verdict, stored};
use crate::support::seeded::{Numbers, seed};
use crate::support::wharf::Answer;
use crate::support::{ALICE, BOB, KEY, Receiver, TestWharf, within};

fn text(text: &str) -> Value {
    json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "text": text })
}

async fn send(wharf: &TestWharf, key: &str, body: &Value) -> Answer {
    post(wharf, "/api/sendText", key, body).await
}

async fn post(wharf: &TestWharf, path: &str, key: &str, body: &Value) -> Answer {
    let request = wharf.request(Method::POST, path).json(body);
    let request = request.header("x-api-key", KEY).header("idempotency-key", key);
    wharf.send(request).await
}

/// How often a phone shows a text.
async fn shown(wharf: &TestWharf, number: &str, text: &str) -> usize {
    let (mut after, mut count) = (0, 0);
    loop {
        let page = wharf.network.inbox(number, after, Duration::ZERO).await.unwrap();
        if page.entries.is_empty() {
            return count;
        }
        let texts = page.entries.iter().filter(|entry| entry.kind == InboxKind::Message);
        count += texts.filter(|entry| entry.text.as_deref() == Some(text)).count();
        after = page.next;
    }
}

/// The ids of the events that tell of a message.
fn event_ids(receiver: &Receiver, message: &Value) -> BTreeSet<String> {
    let deliveries = receiver.deliveries();
    let told = deliveries
        .iter()
        .filter(|it| it.event["event"] == "message.any" && it.event["payload"]["id"] == *message);
    told.map(|it| it.id().to_owned()).collect()
}

#[tokio::test]
async fn fifty_parallel_requests_with_one_key_are_one_message() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let body = text("one of fifty");
    let answers = join_all((0..50).map(|_| send(&wharf, "k", &body))).await;
    let (sent, busy): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    for answer in &busy {
        answer.expect(409);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    for _ in &busy {
        let again = send(&wharf, "k", &body).await;
        assert_eq!((again.status, &again.body), (StatusCode::CREATED, &sent[0].body));
    }
    assert!(sent.iter().all(|answer| answer.body == sent[0].body), "{sent:?}");
    println!("{} were answered at once, {} were busy", sent.len(), busy.len());
    wharf.settled().await;
    assert_eq!(shown(&wharf, BOB, "one of fifty").await, 1);
    assert_eq!(
        wharf.network.metrics().repeated,
        0,
        "not even the network has seen it twice"
    );
    receiver.wait_for_event("message.any").await;
    assert_eq!(event_ids(&receiver, &sent[0].json()["id"]).len(), 1);
    wharf.finish().await;
}

/// Where a send is when the server crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Its message id is on disk, and nothing has left.
    Stored,
    /// It has left, and nothing says so.
    Left,
    /// It is kept with its answer, and told to nobody.
    Kept,
}

/// Stops a send there.
struct Failpoint {
    point: Point,
    is_reached: watch::Sender<bool>,
}

impl Failpoint {
    /// Whether this write is the one at which the send stops.
    fn is_at(&self, batch: &Batch) -> bool {
        let has = |collection| stored(batch, collection).next().is_some();
        match self.point {
            Point::Stored => has("sends") && !has("messages"),
            Point::Left => has("messages"),
            Point::Kept => has("sends") && has("messages"),
        }
    }

    async fn reached(&self) {
        let mut reached = self.is_reached.subscribe();
        within("the send to get there", reached.wait_for(|reached| *reached))
            .await
            .unwrap();
    }
}

impl Judge for Failpoint {
    fn judge(&self, batch: &Batch) -> Verdict {
        match (self.is_at(batch), self.point) {
            (false, _) => Verdict::Pass,
            (true, Point::Left) => {
                self.is_reached.send_replace(true);
                Verdict::HoldBack
            }
            (true, Point::Stored | Point::Kept) => Verdict::Unheard,
        }
    }

    fn written(&self, batch: &Batch) {
        if self.is_at(batch) {
            self.is_reached.send_replace(true);
        }
    }
}

/// A send that is cut short at a point, and repeated after the crash.
async fn repeated_after_a_crash(point: Point) {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let failpoint = Arc::new(Failpoint {
        point,
        is_reached: watch::Sender::new(false),
    });
    wharf.boot_rigged(Arc::clone(&failpoint) as _).await;
    wharf.wait_for_status("default", "WORKING").await;
    let body = text("through a crash");
    tokio::select! {
        answer = send(&wharf, "k", &body) => panic!("it must not be answered: {answer:?}"),
        () = failpoint.reached() => {}
    }
    if point != Point::Stored {
        let is_it = |entry: &InboxEntry| entry.text.as_deref() == Some("through a crash");
        wharf.phone_shows(BOB, "the text", is_it).await;
        wharf.phone_shows(ALICE, "the copy", is_it).await;
    }
    wharf.crash().await;

    wharf.boot().await;
    wharf.wait_for_status("default", "WORKING").await;
    let sent = send(&wharf, "k", &body).await;
    let id = sent.expect(201)["id"].clone();
    assert_eq!(send(&wharf, "k", &body).await.body, sent.body);
    assert_eq!(send(&wharf, "next", &text("next")).await.status, 201);
    receiver
        .wait_for("its event", |event| {
            event["event"] == "message.any" && event["payload"]["id"] == id
        })
        .await;
    let own_id = id.as_str().unwrap().rsplit('_').next().unwrap();
    wharf
        .network
        .receipt(BOB, ALICE, own_id, ReceiptKind::Read)
        .await
        .unwrap();
    receiver
        .wait_for("its last ack", |event| {
            event["payload"]["ackName"] == "READ" && event["payload"]["id"] == id
        })
        .await;
    wharf
        .phone_shows(BOB, "the next text", |entry| entry.text.as_deref() == Some("next"))
        .await;
    wharf.settled().await;
    assert_eq!(
        shown(&wharf, BOB, "through a crash").await,
        1,
        "at the recipient's phone"
    );
    assert_eq!(
        shown(&wharf, ALICE, "through a crash").await,
        1,
        "at the sender's phone"
    );
    // Only what had left comes a second time, to both phones, which know it by its id.
    let expected = if point == Point::Left { 2 } else { 0 };
    assert_eq!(wharf.network.metrics().repeated, expected, "{point:?}");
    assert_eq!(event_ids(&receiver, &id).len(), 1, "one event");
    wharf.finish().await;
}

#[tokio::test]
async fn a_send_that_was_stored_and_did_not_leave_leaves_when_it_is_repeated() {
    repeated_after_a_crash(Point::Stored).await;
}

#[tokio::test]
async fn a_send_that_left_and_was_not_kept_leaves_again_under_the_same_id() {
    repeated_after_a_crash(Point::Left).await;
}

#[tokio::test]
async fn a_send_that_was_kept_and_not_told_is_told_when_it_is_repeated() {
    repeated_after_a_crash(Point::Kept).await;
}

#[tokio::test]
async fn votes_in_a_poll_that_left_twice_can_be_read() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let failpoint = Arc::new(Failpoint {
        point: Point::Left,
        is_reached: watch::Sender::new(false),
    });
    wharf.boot_rigged(Arc::clone(&failpoint) as _).await;
    wharf.wait_for_status("default", "WORKING").await;
    let poll = json!({ "name": "Lunch?", "options": ["Soup", "Bread"], "multipleAnswers": false });
    let body = json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "poll": poll });
    tokio::select! {
        answer = post(&wharf, "/api/sendPoll", "k", &body) => panic!("it must not be answered: {answer:?}"),
        () = failpoint.reached() => {}
    }
    let is_poll = |entry: &InboxEntry| entry.content.as_ref().is_some_and(|content| content.poll.is_some());
    let shown = wharf.phone_shows(BOB, "the poll", is_poll).await;
    wharf.crash().await;

    wharf.boot().await;
    wharf.wait_for_status("default", "WORKING").await;
    post(&wharf, "/api/sendPoll", "k", &body).await.expect(201);
    // Bob's phone has the secret of the first time, and what is kept here is of the second.
    let vote = Change::Vote(vec!["Soup".to_owned()]);
    let id = shown.id.as_deref().unwrap();
    wharf.network.change(BOB, ALICE, id, vote).await.unwrap();
    let told = receiver
        .wait_for("the vote", |event| {
            event["event"].as_str().unwrap_or_default().starts_with("poll.vote")
        })
        .await;
    assert_eq!(told.event["event"], "poll.vote");
    assert_eq!(told.event["payload"]["vote"]["selectedOptions"], json!(["Soup"]));
    wharf.finish().await;
}

/// What is written together with the record of a key: whether a message is.
#[derive(Default)]
struct Records(Mutex<Vec<bool>>);

impl Judge for Records {
    fn judge(&self, batch: &Batch) -> Verdict {
        let has = |collection| stored(batch, collection).next().is_some();
        if has("sends") {
            self.0.lock().unwrap().push(has("messages"));
        }
        Verdict::Pass
    }

    fn written(&self, _: &Batch) {}
}

#[tokio::test]
async fn a_key_costs_one_commit_and_no_key_none() {
    let (mut wharf, _receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let records = Arc::new(Records::default());
    wharf.boot_rigged(Arc::clone(&records) as _).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.post("/api/sendText", text("without")).await.expect(201);
    assert!(records.0.lock().unwrap().is_empty());
    send(&wharf, "k", &text("with")).await.expect(201);
    let with_message = [false, true];
    assert_eq!(
        *records.0.lock().unwrap(),
        with_message,
        "the id before, the answer with the message"
    );
    wharf.finish().await;
}

/// How often the server is killed while it sends.
const KILLS: usize = 8;
/// Who sends at the same time.
const SENDERS: usize = 6;
/// Messages of each.
const MESSAGES: usize = 25;
/// Answers that may come after a start before the next kill.
const ANSWERS_TO_KILL_MAX: u64 = 20;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends under keys to a server that dies again and again.
struct Senders {
    mortal: Mortal,
    /// What each key was answered.
    answers: watch::Sender<BTreeMap<String, Bytes>>,
    requests: watch::Sender<usize>,
}

impl Senders {
    /// One request; `None` where it is to be repeated.
    async fn ask(&self, key: &str, number: &str) -> Option<Bytes> {
        let body = json!({ "session": "default", "chatId": number, "text": key });
        self.requests.send_modify(|requests| *requests += 1);
        let answer = self.mortal.client().await.send_once("/api/sendText", key, body).await;
        match answer.ok()? {
            (StatusCode::CREATED, body) => Some(body),
            (StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, _) => None,
            // The session is about to connect.
            (StatusCode::UNPROCESSABLE_ENTITY, body) if body.starts_with(b"{\"error\":\"Session status") => None,
            (status, body) => panic!("{key}: {status} {body:?}"),
        }
    }

    /// One sender: each message until it is answered.
    async fn send(&self, sender: usize, number: &str) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for message in 0..MESSAGES {
            let key = format!("{sender}.{message}");
            let answer = loop {
                match self.ask(&key, number).await {
                    Some(answer) => break answer,
                    None => ticks.tick().await,
                };
            };
            self.answers.send_modify(|answers| drop(answers.insert(key, answer)));
        }
    }

    async fn kill(&self, mut server: Process, chance: &mut Numbers) -> Process {
        for _ in 0..KILLS {
            let more = usize::try_from(chance.below(ANSWERS_TO_KILL_MAX)).unwrap();
            let due = self.answers.borrow().len() + more;
            let due = due.min(SENDERS * MESSAGES - 1);
            let mut answers = self.answers.subscribe();
            answers.wait_for(|answers| answers.len() >= due).await.unwrap();
            server = self.mortal.kill(server).await;
        }
        server
    }
}

impl Senders {
    /// Fifty requests with one key at the same time while the server is killed, and fifty more until all are answered.
    async fn fifty_through_a_kill(&self, server: Process, number: &str) -> Process {
        let key = "0.fifty";
        let ask = || join_all((0..50).map(|_| self.ask(key, number)));
        let before = self.requests.borrow().wrapping_add(50);
        let mut requests = self.requests.subscribe();
        let kill = async {
            requests.wait_for(|requests| *requests >= before).await.unwrap();
            self.mortal.kill(server).await
        };
        let (mut answers, server) = tokio::join!(ask(), kill);
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let all = async {
            loop {
                ticks.tick().await;
                let more = ask().await;
                let is_all = more.iter().all(Option::is_some);
                answers.extend(more);
                if is_all {
                    return answers.into_iter().flatten().collect::<Vec<_>>();
                }
            }
        };
        let answers = timeout(PATIENCE, all).await.expect("it stays busy");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        self.answers
            .send_modify(|all| drop(all.insert(key.to_owned(), answers[0].clone())));
        server
    }
}

#[tokio::test]
async fn every_key_is_one_message_whenever_the_server_is_killed() {
    let mut chance = Numbers::of(seed());
    let receiver = Receiver::start().await;
    let (mortal, server) = Mortal::start(&[]).await;
    let webhook = json!([{ "url": receiver.url(), "events": ["message.any"] }]);
    mortal.link("default", ALICE, webhook).await;
    let numbers = mortal.people(SENDERS).await;
    let senders = Senders {
        mortal,
        answers: watch::Sender::default(),
        requests: watch::Sender::default(),
    };
    let sending = join_all(
        numbers
            .iter()
            .enumerate()
            .map(|(sender, number)| senders.send(sender, number)),
    );
    let all = async { tokio::join!(senders.kill(server, &mut chance), sending).0 };
    let server = timeout(PATIENCE, all).await.expect("it takes too long");
    let server = senders.fifty_through_a_kill(server, &numbers[0]).await;
    let answers = senders.answers.borrow().clone();
    for (key, answer) in &answers {
        let sender: usize = key.split('.').next().unwrap().parse().unwrap();
        let again = senders.ask(key, &numbers[sender]).await;
        assert_eq!(again.as_ref(), Some(answer), "{key} after all kills");
    }
    senders.mortal.settled(ALICE).await;
    let mut arrived = BTreeMap::new();
    for number in &numbers {
        let inbox = senders.mortal.texts_at(number).await;
        inbox
            .into_iter()
            .for_each(|text| *arrived.entry(text).or_insert(0) += 1);
    }
    let once: BTreeMap<String, i32> = answers.keys().map(|key| (key.clone(), 1)).collect();
    assert_eq!(arrived, once, "each key is one message at its phone");
    let ids: Vec<Value> = answers
        .values()
        .map(|answer| serde_json::from_slice::<Value>(answer).unwrap()["id"].clone())
        .collect();
    for id in &ids {
        receiver
            .wait_for("its event", |event| event["payload"]["id"] == *id)
            .await;
        assert_eq!(event_ids(&receiver, id).len(), 1, "{id}");
    }
    let requests = *senders.requests.borrow();
    let remains = senders.mortal.finish(server).await;
    println!(
        "{} keys, {KILLS} kills, {requests} requests; {} copies came to phones that had them",
        answers.len(),
        remains.metrics["repeated"]
    );
}
