//! Delivery to webhooks whose receivers are down, busy or gone: retries, the breaker, and what receivers ask for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wharf_core::message::Message;
use wharf_core::store::Batch;

use crate::harness::{ALICE, Receiver, Wharf, text};

/// How often a test looks whether something came.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;

/// The server's time of a post, in milliseconds.
async fn posted_at(receiver: &mut Receiver) -> i64 {
    let post = receiver.post().await;
    post.headers["x-webhook-timestamp"].to_str().unwrap().parse().unwrap()
}

/// What became of the only delivery of an event, once it is as it should be.
async fn delivery(wharf: &Wharf, event: &str, state: &str, attempted: u64) -> Value {
    let path = format!("/api/events/{event}/deliveries");
    wharf
        .until_answer(&path, |answer| {
            answer[0]["state"] == state && answer[0]["attempted"] == attempted
        })
        .await[0]
        .clone()
}

#[tokio::test]
async fn after_its_own_retries_a_webhook_is_tried_for_three_days_and_then_no_more() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    receiver.always_answers(500);
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"attempts": 2, "delaySeconds": 1}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    link.receive(text(ALICE, "A1", "x")).await.unwrap();
    let first = receiver.post().await;
    let event = first.body["id"].as_str().unwrap();
    let mut at: i64 = first.headers["x-webhook-timestamp"].to_str().unwrap().parse().unwrap();
    let minutes = [5, 30, 2 * 60, 5 * 60, 10 * 60, 14 * 60, 20 * 60, 24 * 60];
    let usual = [1_000, 1_000]
        .into_iter()
        .chain(minutes.map(|minutes| minutes * MINUTE_MS));
    for (attempt, usual) in usual.enumerate() {
        // Noted, so that it waits by the clock.
        delivery(&wharf, event, "due", attempt as u64 + 1).await;
        wharf.pass(Duration::from_millis(usual as u64 * 7 / 10));
        assert!(
            attempt < 2 || receiver.has_no_post(),
            "attempt {attempt} came too early"
        );
        wharf.pass(Duration::from_millis(usual as u64 / 2));
        let next = posted_at(&mut receiver).await;
        let (gap, most) = (next - at, usual * 12 / 10 + 1_000);
        assert!(
            gap >= usual * 8 / 10 && gap <= most.max(usual + 5_000),
            "{gap} ms instead of {usual}"
        );
        at = next;
    }
    let dead = delivery(&wharf, event, "dead", 11).await;
    assert_eq!(dead["attempts"].as_array().unwrap().len(), 11);
    assert_eq!(dead["attempts"][10]["status"], 500);
    wharf.stop().await;
}

#[tokio::test]
async fn without_the_slow_retries_a_webhook_gives_up_as_in_waha() {
    let mut wharf = Wharf::start_with(&[("WHARF_WEBHOOK_SLOW_RETRIES", "False")]).await;
    let mut receiver = Receiver::start().await;
    receiver.always_answers(500);
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"attempts": 1, "delaySeconds": 0.01}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    link.receive(text(ALICE, "A1", "x")).await.unwrap();
    let event = receiver.post().await.body["id"].as_str().unwrap().to_owned();
    receiver.post().await;
    delivery(&wharf, &event, "dead", 2).await;
    let page = wharf.get("/api/webhooks/dead?session=a").await.json();
    assert_eq!(page["deliveries"][0]["event"], event);
    assert_eq!(page.get("cursor"), None);
    wharf.stop().await;
}

/// How many attempts have failed so far, by the server's own count.
async fn failed(wharf: &Wharf) -> usize {
    let page = wharf.get("/metrics").await;
    let page = String::from_utf8_lossy(&page.bytes).into_owned();
    let count = page
        .lines()
        .find_map(|line| line.strip_prefix("wharf_webhook_attempts_total{result=\"failed\"} "));
    count.unwrap().parse().unwrap()
}

/// Takes the requests to a receiver until it counts as down: all that came have failed. Returns how many.
async fn down(wharf: &Wharf, receiver: &mut Receiver) -> usize {
    let mut tried = 0;
    loop {
        match receiver.post_within(LOOK_EVERY).await {
            Some(_) => tried += 1,
            None if tried >= 5 && tried == failed(wharf).await => return tried,
            None => {}
        }
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_gets_one_request_for_each_step_and_everything_once_it_is_back() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    receiver.always_answers(500);
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"delaySeconds": 1_000}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    let many = (0..300).map(|number| text(&format!("1202555{number:04}@c.us"), "M", "x"));
    link.inbox.commit(many.collect(), Batch::new()).await.unwrap();
    // Some at once, less with each failure, and none once it is clear.
    let mut tried = down(&wharf, &mut receiver).await;
    assert!(tried <= 12, "{tried} requests to a receiver that is down");
    for _ in 0..3 {
        wharf.pass(Duration::from_secs(15));
        receiver.post().await;
        tried += 1;
        while failed(&wharf).await < tried {}
        assert!(receiver.has_no_post());
    }
    receiver.always_answers(200);
    wharf.pass(Duration::from_secs(15));
    let mut arrived = HashSet::new();
    while arrived.len() < 300 - tried {
        arrived.insert(receiver.post().await.body["payload"]["id"].to_string());
    }
    wharf.pass(Duration::from_secs(1_000));
    while arrived.len() < 300 {
        arrived.insert(receiver.post().await.body["payload"]["id"].to_string());
    }
    wharf.stop().await;
}

/// Texts in many chats, one each.
fn in_chats(count: usize) -> Vec<Message> {
    let one = |number| text(&format!("1202555{number:04}@c.us"), "M", "x");
    (0..count).map(one).collect()
}

/// Takes events until so many different ones have come.
async fn arrive(receiver: &mut Receiver, count: usize) {
    let mut arrived = HashSet::new();
    while arrived.len() < count {
        arrived.insert(receiver.post().await.body["id"].to_string());
    }
}

#[tokio::test]
async fn what_had_to_wait_is_spread_over_time() {
    let mut wharf = Wharf::start_with(&[("WHARF_WEBHOOK_BACKLOG_PER_SECOND", "20")]).await;
    let mut receiver = Receiver::start().await;
    receiver.always_answers(500);
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"delaySeconds": 1_000}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    link.inbox.commit(in_chats(40), Batch::new()).await.unwrap();
    let waiting = 40 - down(&wharf, &mut receiver).await;
    receiver.always_answers(200);
    let back = Instant::now();
    wharf.pass(Duration::from_secs(15));
    arrive(&mut receiver, waiting).await;
    // The first needs no turn of the others, and a turn may be a little early where one before was late.
    let spread = Duration::from_millis(50) * (waiting as u32 - 2);
    assert!(back.elapsed() >= spread, "{waiting} events in {:?}", back.elapsed());
    wharf.stop().await;
}

#[tokio::test]
async fn more_may_be_under_way_than_are_read_at_a_time() {
    let mut wharf = Wharf::start_with(&[("WHARF_WEBHOOK_CONCURRENCY", "200")]).await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    link.inbox.commit(in_chats(600), Batch::new()).await.unwrap();
    arrive(&mut receiver, 600).await;
    wharf.stop().await;
}

#[tokio::test]
async fn what_cannot_be_noted_for_a_while_holds_nothing_up_afterwards() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    let gate = wharf.server_writes().shut();
    let (inbox, committed) = (Arc::clone(&link.inbox), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    let told = Arc::clone(&committed);
    tasks.spawn(async move {
        inbox.commit(in_chats(300), Batch::new()).await.unwrap();
        told.notify_one();
    });
    // The log is written, and nothing after that.
    gate.reached().await;
    wharf.server_disk_is_full(false);
    gate.let_one_pass();
    committed.notified().await;
    let mut posts = 0;
    gate.reached().await;
    wharf.server_disk_is_full(true);
    wharf.server_writes().open();
    gate.let_one_pass();
    while posts < 129 {
        receiver.post().await;
        posts += 1;
    }
    wharf.server_disk_is_full(false);
    while posts < 300 {
        receiver.post().await;
        posts += 1;
    }
    wharf.stop().await;
}

#[tokio::test]
async fn many_receivers_that_hang_delay_nobody_else() {
    let mut wharf = Wharf::start().await;
    let mut hanging = Vec::new();
    for _ in 0..30 {
        let receiver = Receiver::start().await;
        receiver.hang();
        hanging.push(receiver);
    }
    let mut quick = Receiver::start().await;
    let webhooks: Vec<_> = hanging.iter().map(|receiver| receiver.webhook(&["message"])).collect();
    let slow = wharf.working("slow", json!({"webhooks": webhooks})).await;
    slow.inbox.commit(in_chats(40), Batch::new()).await.unwrap();
    for receiver in &mut hanging {
        receiver.post().await;
    }
    let link = wharf
        .working("quick", json!({"webhooks": [quick.webhook(&["message"])]}))
        .await;
    link.inbox.commit(in_chats(40), Batch::new()).await.unwrap();
    arrive(&mut quick, 40).await;
    wharf.stop().await;
}

#[tokio::test]
async fn what_waited_longer_than_all_its_retries_for_a_receiver_that_is_down_is_dead() {
    let mut wharf = Wharf::start_with(&[("WHARF_WEBHOOK_SLOW_RETRIES", "False")]).await;
    let mut receiver = Receiver::start().await;
    receiver.always_answers(500);
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"delaySeconds": 2, "attempts": 3}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    let many = (0..200).map(|number| text(ALICE, &format!("M{number}"), "x"));
    link.inbox.commit(many.collect(), Batch::new()).await.unwrap();
    down(&wharf, &mut receiver).await;
    wharf.pass(Duration::from_secs(3_600));
    let dead = wharf
        .until_answer("/api/webhooks/dead?limit=1000", |page| {
            page["deliveries"].as_array().is_some_and(|dead| dead.len() >= 190)
        })
        .await;
    let attempts = &dead["deliveries"][189]["attempts"];
    let error = attempts[attempts.as_array().unwrap().len() - 1]["error"]
        .as_str()
        .unwrap();
    assert!(error.starts_with("not tried: the receiver has failed"), "{error}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_disables_its_webhook_until_it_is_set_anew_or_asked_for_a_replay() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["message"])]});
    let link = wharf.working("a", config.clone()).await;
    receiver.answers(&[410]);
    link.receive(text(ALICE, "A1", "gone")).await.unwrap();
    let gone = receiver.post().await.body["id"].as_str().unwrap().to_owned();
    delivery(&wharf, &gone, "dead", 1).await;
    link.receive(text(ALICE, "A2", "after")).await.unwrap();
    let log = wharf.get("/api/events?events=message").await.json();
    let after = log["events"][1]["id"].as_str().unwrap();
    let dead = delivery(&wharf, after, "dead", 0).await;
    assert!(dead["attempts"][0]["error"].as_str().unwrap().contains("410"), "{dead}");
    let webhooks = wharf.get("/api/webhooks").await.json();
    assert!(
        webhooks[0]["disabled"]["reason"].as_str().unwrap().contains("410"),
        "{webhooks}"
    );

    let answer = wharf.post(&format!("/api/events/{gone}/replay"), json!({})).await;
    assert_eq!((answer.status, answer.json()["deliveries"].clone()), (201, json!(1)));
    assert_eq!(receiver.post().await.body["payload"]["body"], "gone");
    link.receive(text(ALICE, "A3", "back")).await.unwrap();
    assert_eq!(receiver.post().await.body["payload"]["body"], "back");

    receiver.answers(&[410]);
    link.receive(text(ALICE, "A4", "gone again")).await.unwrap();
    let gone = receiver.post().await.body["id"].as_str().unwrap().to_owned();
    delivery(&wharf, &gone, "dead", 1).await;
    // Also over a restart.
    let mut wharf = wharf.restart().await;
    assert!(wharf.get("/api/webhooks").await.json()[0]["disabled"].is_object());
    wharf.put("/api/sessions/a", json!({"config": config})).await;
    let link = wharf.link().await;
    let link = if link.inbox.commit(Vec::new(), Batch::new()).await.is_ok() {
        link
    } else {
        wharf.link().await
    };
    link.work();
    wharf.until_status("a", "WORKING").await;
    link.receive(text(ALICE, "A5", "set anew")).await.unwrap();
    assert_eq!(receiver.post().await.body["payload"]["body"], "set anew");
    wharf.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_left_alone_for_as_long_as_it_asks_but_at_most_an_hour() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let link = wharf
        .working("a", json!({"webhooks": [receiver.webhook(&["message"])]}))
        .await;
    for (status, asked_for, seconds) in [
        (429, "120".to_owned(), 120),
        (503, "999999".to_owned(), 3_600),
        (503, "Fri, 31 Dec 2100 23:59:59 GMT".to_owned(), 3_600),
    ] {
        receiver.answers(&[status]);
        receiver.retry_after(&asked_for);
        link.receive(text(ALICE, &asked_for, "x")).await.unwrap();
        let first = receiver.post().await;
        let event = first.body["id"].as_str().unwrap();
        delivery(&wharf, event, "due", 1).await;
        // What comes meanwhile waits as well.
        let other = format!("{asked_for} and another");
        link.receive(text(ALICE, &other, "x")).await.unwrap();
        wharf.pass(Duration::from_secs(seconds - 10));
        assert!(
            receiver.post_within(Duration::from_millis(200)).await.is_none(),
            "{asked_for}"
        );
        wharf.pass(Duration::from_secs(10));
        let mut ids = [receiver.post().await.body, receiver.post().await.body].map(|body| body["id"].to_string());
        ids.sort();
        assert!(ids.contains(&first.body["id"].to_string()));
    }
    wharf.stop().await;
}
