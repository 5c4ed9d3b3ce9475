//! Promise P2 on a bad day: the server is killed again and again while the receiver is up and down. Each message arrives at
//! the receiver at least once, under one id; a websocket client that resumes after each kill gets each exactly once.
//!
//! A media storage that is away for a while costs no event and no file.
//!
//! A run prints its seed and its figures. `./dev endurance` makes it ten thousand messages and twenty kills, and a minute without
//! S3.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use wharf_simulator::{MediaKind, NewMedia};
use wharf_testing::S3;

use crate::storages::{in_s3, with_alice};
use crate::support::mortal::Mortal;
use crate::support::process::Process;
use crate::support::seeded::{Numbers, seed};
use crate::support::{ALICE, BOB, CAROL, KEY, Receiver};

/// The phones whose sessions are written to.
const LINKED: &[&str] = &[ALICE, BOB, CAROL];
/// People who write, each to all of them.
const PEOPLE: usize = 8;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often the receiver goes down between two kills.
const OUTAGES_PER_ROUND: usize = 2;

/// How much of everything.
struct Size {
    /// Rounds end with a kill.
    rounds: usize,
    /// Texts of one person to one session in a round.
    texts: usize,
    /// How long S3 is away, in seconds.
    without_s3: usize,
}

impl Size {
    fn of_this_run() -> Self {
        match std::env::var("WHARF_ENDURANCE").as_deref() {
            Ok("full") => Self {
                rounds: 20,
                texts: 21,
                without_s3: 60,
            },
            _ => Self {
                rounds: 6,
                texts: 14,
                without_s3: 2,
            },
        }
    }

    fn texts_of_round(&self) -> usize {
        self.texts * PEOPLE * LINKED.len()
    }

    fn all_texts(&self) -> usize {
        self.rounds * self.texts_of_round()
    }
}

/// Who takes part.
struct Run {
    size: Size,
    mortal: Mortal,
    receiver: Receiver,
    /// How many rounds of texts the people may have written.
    rounds: watch::Sender<usize>,
    written: watch::Sender<usize>,
}

impl Run {
    /// One person writes to all sessions in turn.
    async fn write(&self, number: &str) {
        let mut rounds = self.rounds.subscribe();
        for round in 0..self.size.rounds {
            rounds.wait_for(|rounds| *rounds > round).await.unwrap();
            for text in 0..self.size.texts {
                for linked in LINKED {
                    let text = format!("{number} to {linked} {round}.{text}");
                    self.mortal.write(number, linked, &text).await;
                    self.written.send_modify(|written| *written += 1);
                }
            }
        }
    }

    async fn written(&self, count: usize) {
        let mut written = self.written.subscribe();
        written.wait_for(|written| *written >= count).await.unwrap();
    }

    /// Kills the server once in each round, after any number of its webhooks, and leaves one running.
    async fn kill(&self, mut server: Process, mut chance: Numbers) -> Process {
        for round in 1..=self.size.rounds {
            self.rounds.send_replace(round);
            let webhooks = self.receiver.count() + below(&mut chance, self.size.texts_of_round());
            self.receiver.reached(webhooks).await;
            server = self.mortal.kill(server).await;
        }
        server
    }

    /// The receiver goes down after any number of texts, and is back some texts later.
    async fn go_up_and_down(&self, mut chance: Numbers) {
        let step = self.size.texts_of_round() / OUTAGES_PER_ROUND;
        for outage in 0..self.size.rounds * OUTAGES_PER_ROUND {
            let down = below(&mut chance, step - 1);
            let back = down + 1 + below(&mut chance, step - down - 1);
            self.written(outage * step + down).await;
            self.receiver.go_down().await;
            self.written(outage * step + back).await;
            self.receiver.come_back().await;
        }
    }

    /// Reads all messages from the log through websockets, each for as long as a server lives; answers the events' ids in
    /// the order in which they came.
    async fn follow(&self) -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), "oldest".to_owned());
        while ids.len() < self.size.all_texts() {
            let api = self.mortal.address().await;
            let url = format!("ws://{api}/ws?session=*&events=message&after={after}&x-api-key={KEY}");
            // It may have died between these two lines, and does so while it is read.
            let Ok((mut socket, _)) = connect_async(url).await else {
                continue;
            };
            while ids.len() < self.size.all_texts()
                && let Some(Ok(frame)) = socket.next().await
            {
                if let Message::Text(text) = frame {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    after = event["id"].as_str().unwrap().to_owned();
                    ids.push(after.clone());
                }
            }
        }
        ids
    }

    /// What came, once all of it has.
    async fn told(&self) -> Told {
        let mut told = Told::default();
        loop {
            for delivery in self.receiver.deliveries_after(told.requests) {
                told.requests += 1;
                let text = delivery.event["payload"]["body"].as_str().unwrap().to_owned();
                assert_eq!(delivery.event["event"], "message", "{:#}", delivery.event);
                told.ids.entry(text).or_default().insert(delivery.id().to_owned());
                let body = told
                    .bodies
                    .entry(delivery.id().to_owned())
                    .or_insert_with(|| delivery.body.clone());
                assert_eq!(*body, delivery.body, "an event is the same bytes each time");
            }
            if told.ids.len() == self.size.all_texts() {
                return told;
            }
            self.receiver.reached(told.requests + 1).await;
        }
    }
}

/// What the receiver was told.
#[derive(Default)]
struct Told {
    requests: usize,
    /// The event ids of each text.
    ids: BTreeMap<String, BTreeSet<String>>,
    /// What each event's body was the first time.
    bodies: BTreeMap<String, Bytes>,
}

/// A number below `limit`, 0 where there is none.
fn below(chance: &mut Numbers, limit: usize) -> usize {
    usize::try_from(chance.below(limit.max(1) as u64)).unwrap()
}

#[tokio::test]
async fn every_message_arrives_under_one_id_however_often_server_and_receiver_fail() {
    let seed = seed();
    let (mortal, server) = Mortal::start(&[]).await;
    let run = Run {
        size: Size::of_this_run(),
        mortal,
        receiver: Receiver::start().await,
        rounds: watch::Sender::new(0),
        written: watch::Sender::new(0),
    };
    let retries = json!({ "policy": "constant", "delaySeconds": 0.2, "attempts": 1_000 });
    let webhook = json!({ "url": run.receiver.url(), "events": ["message", "message.waiting"], "retries": retries });
    for number in LINKED {
        run.mortal.link(&format!("of-{number}"), number, json!([webhook])).await;
    }
    let people = run.mortal.people(PEOPLE).await;

    let began = Instant::now();
    let (killing, outages) = (Numbers::of(seed), Numbers::of(!seed));
    let all = async {
        let writing = join_all(people.iter().map(|number| run.write(number)));
        let receiving = async {
            run.go_up_and_down(outages).await;
            run.told().await
        };
        let (server, _, told, followed) = tokio::join!(run.kill(server, killing), writing, receiving, run.follow());
        for number in LINKED {
            run.mortal.settled(number).await;
        }
        (server, told, followed)
    };
    let (server, told, followed) = timeout(PATIENCE, all).await.unwrap_or_else(|_| {
        panic!(
            "it takes too long: {} of {} written",
            *run.written.borrow(),
            run.size.all_texts()
        )
    });
    let seconds = began.elapsed().as_secs_f64();
    let remains = run.mortal.finish(server).await;

    let several: Vec<_> = told.ids.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(several.is_empty(), "texts with several events: {several:#?}");
    let distinct: BTreeSet<_> = followed.iter().collect();
    assert_eq!(distinct.len(), followed.len(), "the websocket has no duplicates");
    assert!(distinct.into_iter().eq(told.bodies.keys()), "the websocket has no gaps");
    println!(
        "{} messages in {seconds:.1} s: {} kills, {} of which hit unacknowledged stanzas, {} outages of the receiver; {} \
         requests, {} of them repetitions",
        run.size.all_texts(),
        run.size.rounds,
        remains.metrics["cut_off"],
        run.size.rounds * OUTAGES_PER_ROUND,
        told.requests,
        told.requests - run.size.all_texts(),
    );
}

#[tokio::test]
async fn pictures_survive_an_outage_of_s3() {
    let (mut s3, seconds) = (S3::start().await, Size::of_this_run().without_s3);
    let mut settings = in_s3(&s3);
    settings.push(("WAHA_S3_PROXY_FILES", "True".to_owned()));
    settings.push(("WHARF_MEDIA_HOLD_SECONDS", "1".to_owned()));
    let (wharf, receiver) = with_alice(&settings).await;
    s3.stop().await;
    let began = Instant::now();
    let mut every_second = interval(Duration::from_secs(1));
    let mut ids = Vec::new();
    // One picture in each second of the outage.
    while ids.len() < seconds {
        every_second.tick().await;
        let picture = NewMedia::new(MediaKind::Image, format!("picture {}", ids.len()));
        ids.push(wharf.network.send_message(BOB, ALICE, picture).await.unwrap());
    }
    every_second.tick().await;
    let away = began.elapsed();
    s3.start_again().await;
    for (number, id) in ids.iter().enumerate() {
        let full = format!("false_{BOB}@c.us_{id}");
        let is_it = |event: &Value| event["event"] == "message" && event["payload"]["id"] == full;
        receiver.wait_for("a picture", is_it).await;
        let path = format!("/api/files/default/{full}.jpg");
        let there = async {
            let mut ticks = interval(Duration::from_millis(20));
            loop {
                let answer = wharf.get(&path).await;
                if answer.status == 200 {
                    return answer.body;
                }
                ticks.tick().await;
            }
        };
        let body = timeout(PATIENCE, there).await.expect("the file never came");
        assert_eq!(body, format!("picture {number}").into_bytes());
    }
    println!(
        "{} pictures, S3 away for {away:.1?}: all told of, all files there {:.1?} after the outage began",
        ids.len(),
        began.elapsed()
    );
    let told: BTreeSet<String> = receiver
        .deliveries()
        .iter()
        .filter(|delivery| delivery.event["event"] == "message")
        .map(|delivery| delivery.event["id"].to_string())
        .collect();
    assert_eq!(told.len(), ids.len(), "each has one event");
    wharf.finish().await;
}
