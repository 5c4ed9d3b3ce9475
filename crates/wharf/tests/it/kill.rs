//! Promises P1 to P3 under `kill -9`: nothing that WhatsApp handed over is lost, each event has one id, chats keep their
//! order, however often and whenever the server dies.
//!
//! A run prints its seed, which repeats its kills as far as the machine's timing allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use wharf_core::store::{Collection, Field, Query, Storage};
use wharf_storage::{LocalConfig, LocalStorage};

use crate::support::mortal::Mortal;
use crate::support::process::Process;
use crate::support::seeded::{Numbers, seed};
use crate::support::{ALICE, Receiver};

/// People who write to the session.
const CHATS: usize = 20;
/// Texts that each of them writes.
const TEXTS_PER_CHAT: usize = 50;
/// How often the server is killed.
const KILLS: usize = 10;
/// Texts that each person writes between two kills.
const TEXTS_PER_ROUND: usize = TEXTS_PER_CHAT / KILLS;
/// The fewest kills that must hit stanzas which the network waits for; else the test would prove little.
const HITS_MIN: u64 = 3;
/// Texts that may be lost and asked for again: those whose Signal state was flushed in the moment before their row was handed
/// over. There is none in most runs, and many where rows are missing.
const LATE_MAX: usize = 5;
/// Webhooks that may come after a start before the next kill: fewer than a round brings, so that all kills happen.
const WEBHOOKS_TO_KILL_MAX: usize = 160;
/// Texts that the session itself may send after a start before the others write again.
const SENDS_TO_ROUND_MAX: usize = 5;
/// How long a kill waits for stanzas that it can hit.
const OPEN_WITHIN: Duration = Duration::from_secs(1);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that dies and comes back, and who else takes part.
struct Run {
    mortal: Mortal,
    receiver: Receiver,
    /// How many rounds of texts the people may have written.
    rounds: watch::Sender<usize>,
    /// The ids of what the session has sent.
    sent: watch::Sender<Vec<String>>,
}

impl Run {
    /// One person writes, some texts a round.
    async fn write(&self, number: &str) {
        let mut rounds = self.rounds.subscribe();
        for text in 0..TEXTS_PER_CHAT {
            let round = text / TEXTS_PER_ROUND;
            rounds.wait_for(|rounds| *rounds > round).await.unwrap();
            self.mortal.write(number, ALICE, &text_of(number, text)).await;
        }
    }

    /// The session writes to everybody in turn, until it is dropped.
    async fn send(&self, numbers: &[String]) {
        for (count, number) in numbers.iter().cycle().enumerate() {
            let client = self.mortal.client().await;
            let body = json!({ "session": "default", "chatId": number, "text": format!("own {count}") });
            // What fails here was cut off by a kill.
            if let Ok(message) = client.try_api("POST", "/api/sendText", body).await {
                let id = message["id"].as_str().unwrap().to_owned();
                self.sent.send_modify(|sent| sent.push(id));
            }
        }
    }

    /// Kills the server again and again, after any number of sends and webhooks, and leaves one running.
    async fn kill(&self, mut server: Process, chance: &mut Numbers) -> Process {
        for round in 1..=KILLS {
            let sends = self.sent.borrow().len() + roll(chance, SENDS_TO_ROUND_MAX);
            self.sent
                .subscribe()
                .wait_for(|sent| sent.len() >= sends)
                .await
                .unwrap();
            self.rounds.send_replace(round);
            let webhooks = self.receiver.count() + roll(chance, WEBHOOKS_TO_KILL_MAX);
            self.receiver.reached(webhooks).await;
            // Where nothing is open any more, this kill hits nothing.
            let _ = timeout(OPEN_WITHIN, self.until_stanzas_are_open()).await;
            server = self.mortal.kill(server).await;
        }
        server
    }

    async fn until_stanzas_are_open(&self) {
        while self.mortal.open_stanzas(ALICE).await == 0 {}
    }

    /// How often each message of ours has come to the phones of these people, by WhatsApp's own ids.
    async fn arrived(&self, numbers: &[String]) -> BTreeMap<String, usize> {
        let mut arrived = BTreeMap::new();
        for number in numbers {
            let mut after = 0;
            loop {
                let page = format!("/admin/phones/{number}/inbox?after={after}");
                let page = self.mortal.network().look(&page).await;
                let entries = page["entries"].as_array().unwrap();
                if entries.is_empty() {
                    break;
                }
                for entry in entries
                    .iter()
                    .filter(|entry| entry["kind"] == "message" && entry["from"] == ALICE)
                {
                    let id = entry["id"].as_str().unwrap().to_owned();
                    *arrived.entry(id).or_default() += 1;
                }
                after = page["next"].as_u64().unwrap();
            }
        }
        arrived
    }

    /// What the webhook was told, once it was told everything or nothing more comes.
    async fn told(&self, sent: &[String]) -> Vec<Value> {
        let events = || -> Vec<Value> { self.receiver.deliveries().into_iter().map(|it| it.event).collect() };
        let complete = async {
            loop {
                let told = events();
                let has_all = |name, sent| Told::of(name, &told).has_all(sent);
                if has_all("message", &[]) && has_all("message.any", sent) {
                    return;
                }
                self.receiver.reached(told.len() + 1).await;
            }
        };
        // What is missing, if anything, is said by who looks at it.
        let _ = timeout(PATIENCE, complete).await;
        events()
    }

    /// The texts that a crash lost after WhatsApp's Signal state was written, and that were asked for again: the server
    /// says so. They come later than their place in the chat.
    fn late_texts(&self, events: &[Value]) -> BTreeSet<String> {
        let log = std::fs::read_to_string(self.mortal.folder.path().join("server.log")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let asked = lines.filter(|line| line["fields"]["message"] == "a message was lost and is asked for again");
        let ids: Vec<_> = asked
            .map(|line| line["fields"]["id"].as_str().unwrap().to_owned())
            .collect();
        let payloads = events.iter().map(|event| &event["payload"]);
        let late = payloads.filter(|payload| {
            ids.iter()
                .any(|id| payload["id"].as_str().is_some_and(|it| it.ends_with(id)))
        });
        late.filter_map(|payload| payload["body"].as_str().map(str::to_owned))
            .collect()
    }
}

/// What was sent has come to its phone, once. A send is answered when it is handed to the system; what a kill throws away of
/// that, WhatsApp has never acknowledged, and it is no more than the session was just sending.
fn check_arrived(sent: &[String], arrived: &BTreeMap<String, usize>, logged: &[Value]) {
    let acked = logged.iter().filter(|event| event["event"] == "message.ack");
    let acked: BTreeSet<_> = acked.map(|event| event["payload"]["id"].as_str().unwrap()).collect();
    let mut thrown_away = 0;
    for id in sent {
        let own = id.rsplit('_').next().unwrap();
        match arrived.get(own) {
            Some(1) => {}
            None if !acked.contains(id.as_str()) => thrown_away += 1,
            other => panic!("{id} at the phone: {other:?}"),
        }
    }
    assert!(
        thrown_away <= KILLS,
        "{thrown_away} messages were sent and never arrived"
    );
}

/// A number up to `max`.
fn roll(chance: &mut Numbers, max: usize) -> usize {
    usize::try_from(chance.below(max as u64 + 1)).unwrap()
}

fn text_of(number: &str, text: usize) -> String {
    format!("{number} {text:02}")
}

/// What was told under one name of an event.
#[derive(Default)]
struct Told {
    /// The texts that each chat was told of, in the order of their first telling.
    texts: BTreeMap<String, Vec<String>>,
    /// The event ids of each message.
    ids: BTreeMap<String, BTreeSet<String>>,
}

impl Told {
    fn of<'a>(name: &str, events: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut told = Self::default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for event in events.into_iter().filter(|event| event["event"] == name) {
            let payload = &event["payload"];
            let ids = told.ids.entry(text(&payload["id"])).or_default();
            if ids.is_empty() && payload["fromMe"] == false {
                let chat = told.texts.entry(text(&payload["from"])).or_default();
                chat.push(text(&payload["body"]));
            }
            ids.insert(text(&event["id"]));
        }
        told
    }

    /// Whether it has everything that everybody wrote, and these messages.
    fn has_all(&self, sent: &[String]) -> bool {
        self.texts.values().map(Vec::len).sum::<usize>() >= CHATS * TEXTS_PER_CHAT
            && sent.iter().all(|id| self.ids.contains_key(id))
    }

    /// Everything that everybody wrote, once, under one id each, and in order but for the texts that are late.
    fn check(&self, what: &str, numbers: &[String], late: &BTreeSet<String>) {
        for (message, ids) in &self.ids {
            assert_eq!(ids.len(), 1, "{what}: {message} has several events: {ids:?}");
        }
        for number in numbers {
            let told = self.texts.get(&format!("{number}@c.us")).cloned().unwrap_or_default();
            let mut sorted = told.clone();
            sorted.sort();
            let expected: Vec<_> = (0..TEXTS_PER_CHAT).map(|text| text_of(number, text)).collect();
            assert_eq!(sorted, expected, "{what}: what {number} wrote, each once");
            let in_time = |texts: Vec<String>| {
                texts
                    .into_iter()
                    .filter(|text| !late.contains(text))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                in_time(told),
                in_time(expected),
                "{what}: the order of what {number} wrote"
            );
        }
    }
}

/// The events in the log of a server that has ended, in the order of the log, and how many messages its session has.
async fn stored(folder: &Path) -> (Vec<Value>, u64) {
    static EVENTS: Collection = Collection {
        name: "events",
        fields: &[Field::integer("seq")],
    };
    static MESSAGES: Collection = Collection {
        name: "messages",
        fields: &[],
    };
    let config = LocalConfig::new(folder.join(".sessions"), "webjs");
    let storage = LocalStorage::open(config).await.unwrap();
    let (log, mut events, mut after) = (storage.server(), Vec::new(), None);
    loop {
        let query = Query::all().ascending("seq").after(after);
        let page = log.find(&EVENTS, query).await.unwrap();
        events.extend(
            page.documents
                .iter()
                .map(|it| serde_json::from_slice(&it.body).unwrap()),
        );
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let session = storage.session(&"default".parse().unwrap()).await.unwrap();
    let messages = session.count(&MESSAGES, Vec::new()).await.unwrap();
    drop((log, session));
    storage.close().await;
    (events, messages)
}

#[tokio::test]
async fn a_thousand_texts_survive_ten_kills() {
    let mut chance = Numbers::of(seed());
    let (mortal, server) = Mortal::start(&[]).await;
    let run = Run {
        mortal,
        receiver: Receiver::start().await,
        rounds: watch::Sender::new(0),
        sent: watch::Sender::default(),
    };
    let events = ["message", "message.any", "message.waiting", "session.status"];
    let webhooks = json!([{ "url": run.receiver.url(), "events": events }]);
    run.mortal.link("default", ALICE, webhooks).await;
    let numbers = run.mortal.people(CHATS).await;
    let all = async {
        let writing = join_all(numbers.iter().map(|number| run.write(number)));
        let killing = async { tokio::join!(run.kill(server, &mut chance), writing).0 };
        let server = tokio::select! {
            server = killing => server,
            () = run.send(&numbers) => unreachable!("it sends for ever"),
        };
        run.mortal.settled(ALICE).await;
        server
    };
    let server = timeout(PATIENCE, all).await.expect("it takes too long");
    let sent = run.sent.borrow().clone();
    let told = run.told(&sent).await;
    let arrived = run.arrived(&numbers).await;
    let late = run.late_texts(&told);
    let remains = run.mortal.finish(server).await;
    let (logged, messages) = stored(remains.folder.path()).await;
    let hits = remains.metrics["cut_off"].as_u64().unwrap();
    println!(
        "{hits} of {KILLS} kills hit unacknowledged stanzas; {} sent, {} asked for again",
        sent.len(),
        late.len()
    );
    assert!(late.len() <= LATE_MAX, "{late:?} were asked for again");
    for name in ["message", "message.any"] {
        Told::of(name, &told).check(&format!("{name} at the webhook"), &numbers, &late);
        Told::of(name, &logged).check(&format!("{name} in the log"), &numbers, &late);
    }
    for (what, events) in [("at the webhook", &told), ("in the log", &logged)] {
        let waiting = Told::of("message.waiting", events).ids;
        assert!(waiting.is_empty(), "{what}: everything was delivered: {waiting:?}");
    }
    check_arrived(&sent, &arrived, &logged);
    let any = Told::of("message.any", &told);
    assert!(
        sent.iter().all(|id| any.ids.contains_key(id)),
        "what was sent is told of"
    );
    assert!(
        messages >= (CHATS * TEXTS_PER_CHAT + sent.len()) as u64,
        "{messages} messages are stored"
    );
    assert!(hits >= HITS_MIN, "only {hits} kills hit unacknowledged stanzas");
}
