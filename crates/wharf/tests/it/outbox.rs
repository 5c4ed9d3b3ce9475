//! What becomes of events that are due to a receiver that is down, when something else changes meanwhile; and receivers that
//! answer in ways that no receiver should.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::try_join_all;
use serde_json::{Value, json};
use wharf_core::store::Batch;

use crate::support::receiver::Behaviour;
use crate::support::rigged::{Judge, Verdict};
use crate::support::{ALICE, BOB, CAROL, Receiver, TestWharf, within};

/// People who write a text each, which wait for a restart: twice as many as are read at a time.
const PEOPLE: usize = 300;
/// The most requests at the same time that can be asked for, nearly.
const CONCURRENCY: (&str, &str) = ("WHARF_WEBHOOK_CONCURRENCY", "250");
/// How long a receiver takes that is in no hurry.
const A_WHILE: Duration = Duration::from_millis(300);
/// Texts to a receiver that hangs or never ends: more than it gets requests at the same time.
const STUCK_TEXTS: usize = 20;
/// The longest that a receiver may take in the tests that let one hang.
const TIMEOUT: (&str, &str) = ("WHARF_WEBHOOK_TIMEOUT_SECONDS", "0.5");
/// Longer than any test, and how far the clock of a machine is set back.
const AN_HOUR: Duration = Duration::from_secs(60 * 60);

/// A webhook that is tried again soon, and as often as it takes.
fn webhook(url: &str) -> Value {
    let retries = json!({ "policy": "constant", "delaySeconds": 0.1, "attempts": 1_000 });
    json!({ "url": url, "events": ["message"], "retries": retries })
}

/// A server with the session `default`, linked to Alice, and these webhooks.
async fn linked(settings: &[(&str, &str)], webhooks: Value) -> TestWharf {
    let wharf = TestWharf::start_with(settings).await;
    let session = json!({ "name": "default", "config": { "webhooks": webhooks } });
    wharf.post("/api/sessions", session).await.expect(201);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf
}

/// Bob writes to Alice.
async fn write(wharf: &TestWharf, text: &str) {
    wharf.network.send(BOB, ALICE, text, None).await.unwrap();
}

/// Waits until an event of this text is in the log.
async fn logged(wharf: &TestWharf, text: &str) -> String {
    let search = async {
        let mut query = "/api/events?session=default&events=message&wait=5".to_owned();
        loop {
            let page = wharf.get(&query).await.expect(200);
            let events = page["events"].as_array().unwrap();
            if let Some(event) = events.iter().find(|event| event["payload"]["body"] == text) {
                return event["id"].as_str().unwrap().to_owned();
            }
            let cursor = page["cursor"].as_str().unwrap();
            query = format!("/api/events?session=default&events=message&wait=5&after={cursor}");
        }
    };
    within(&format!("{text:?} in the log"), search).await
}

/// The texts that a receiver got.
fn texts(receiver: &Receiver) -> Vec<String> {
    let text = |event: &Value| event["payload"]["body"].as_str().unwrap_or_default().to_owned();
    receiver.deliveries().iter().map(|it| text(&it.event)).collect()
}

async fn told(receiver: &Receiver, text: &str) {
    receiver.wait_for(text, |event| event["payload"]["body"] == text).await;
}

#[tokio::test]
async fn two_webhooks_with_the_same_url_get_every_event_each() {
    let receiver = Receiver::start().await;
    let wharf = linked(&[], json!([webhook(&receiver.url()), webhook(&receiver.url())])).await;
    // The first attempt of one of them fails, which is nothing to the other one.
    receiver.answer_next([StatusCode::BAD_GATEWAY]);
    write(&wharf, "twice").await;
    let came = receiver.wait_for_count(3).await;
    assert!(came.iter().all(|it| it.id() == came[0].id()));
    write(&wharf, "again").await;
    receiver.wait_for_count(5).await;
    assert_eq!(texts(&receiver), ["twice", "twice", "twice", "again", "again"]);
    wharf.finish().await;
}

#[tokio::test]
async fn what_is_due_when_a_webhook_is_replaced_goes_to_the_old_one_and_the_rest_to_the_new_one() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let wharf = linked(&[], json!([webhook(&old.url())])).await;
    old.go_down().await;
    write(&wharf, "before").await;
    logged(&wharf, "before").await;
    let changed = json!({ "config": { "webhooks": [webhook(&new.url())] } });
    wharf.put("/api/sessions/default", changed).await.expect(200);
    wharf.wait_for_status("default", "WORKING").await;
    write(&wharf, "after").await;
    told(&new, "after").await;
    old.come_back().await;
    told(&old, "before").await;
    assert_eq!(
        (texts(&old), texts(&new)),
        (vec!["before".to_owned()], vec!["after".to_owned()])
    );
    wharf.finish().await;
}

#[tokio::test]
async fn what_is_due_is_sent_as_the_webhook_is_configured_now() {
    let receiver = Receiver::start().await;
    let with_header = |value: &str| {
        let mut webhook = webhook(&receiver.url());
        webhook["customHeaders"] = json!([{ "name": "X-Token", "value": value }]);
        json!({ "config": { "webhooks": [webhook] } })
    };
    let wharf = linked(&[], with_header("wrong")["config"]["webhooks"].clone()).await;
    receiver.answer_always(StatusCode::UNAUTHORIZED);
    write(&wharf, "locked out").await;
    told(&receiver, "locked out").await;
    wharf
        .put("/api/sessions/default", with_header("right"))
        .await
        .expect(200);
    let mended = async {
        while receiver.deliveries().last().unwrap().header("x-token") != "right" {
            receiver.reached(receiver.count() + 1).await;
        }
    };
    within("an attempt with the new header", mended).await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_logout_does_not_cancel_what_is_due() {
    let receiver = Receiver::start().await;
    let wharf = linked(&[], json!([webhook(&receiver.url())])).await;
    receiver.go_down().await;
    write(&wharf, "before the logout").await;
    logged(&wharf, "before the logout").await;
    wharf.settled().await;
    wharf.post("/api/sessions/default/logout", json!({})).await.expect(201);
    receiver.come_back().await;
    told(&receiver, "before the logout").await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_deleted_session_leaves_nothing_that_is_due() {
    let receiver = Receiver::start().await;
    let wharf = linked(&[], json!([webhook(&receiver.url())])).await;
    receiver.go_down().await;
    write(&wharf, "of a deleted session").await;
    let id = logged(&wharf, "of a deleted session").await;
    wharf.settled().await;
    wharf.delete("/api/sessions/default").await.expect(200);
    receiver.come_back().await;
    // A session of the same name and with the same webhook inherits nothing, and proves that the receiver is asked.
    wharf.paired("default", CAROL, &receiver).await;
    wharf.get(&format!("/api/events/{id}")).await.expect(404);
    let before = receiver.count();
    wharf.network.send(BOB, CAROL, "of the new one", None).await.unwrap();
    told(&receiver, "of the new one").await;
    assert!(before > 0, "the status of the new session");
    assert!(!texts(&receiver).contains(&"of a deleted session".to_owned()));
    wharf.finish().await;
}

#[tokio::test]
async fn a_backlog_outlives_a_restart_however_many_requests_a_receiver_gets() {
    let receiver = Receiver::start().await;
    let mut wharf = linked(&[CONCURRENCY], json!([webhook(&receiver.url())])).await;
    receiver.go_down().await;
    let people = (0..PEOPLE).map(|_| wharf.network.create_phone(None, None));
    let people = try_join_all(people).await.unwrap();
    for phone in &people {
        wharf.network.send(&phone.number, ALICE, "waits", None).await.unwrap();
    }
    wharf.settled().await;
    wharf.stop().await;
    // So that more are under way than are read at a time.
    receiver.answer_always(Behaviour::Slow(A_WHILE));
    receiver.come_back().await;
    wharf.boot().await;
    let all = async {
        while distinct(&receiver) < PEOPLE {
            receiver.reached(receiver.count() + 1).await;
        }
    };
    within("the whole backlog", all).await;
    wharf.finish().await;
}

/// Lets everything pass.
struct Lenient;

impl Judge for Lenient {
    fn judge(&self, _: &Batch) -> Verdict {
        Verdict::Pass
    }

    fn written(&self, _: &Batch) {}
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_up_nothing_that_is_new() {
    let receiver = Receiver::start().await;
    let mut wharf = linked(&[], json!([webhook(&receiver.url())])).await;
    wharf.stop().await;
    wharf.server_time.pass(AN_HOUR);
    wharf.boot_rigged(Arc::new(Lenient)).await;
    wharf.wait_for_status("default", "WORKING").await;
    write(&wharf, "before").await;
    told(&receiver, "before").await;
    wharf.server_time.set_back(AN_HOUR);
    // Three failures in a row, and each is tried again in time.
    receiver.answer_next([StatusCode::BAD_GATEWAY; 3]);
    for text in ["after", "later"] {
        write(&wharf, text).await;
        told(&receiver, text).await;
    }
    receiver.wait_for_count(1 + 2 + 3).await;
    let page = wharf.get("/api/events?events=message").await.expect(200);
    let logged: Vec<_> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["payload"]["body"])
        .collect();
    assert_eq!(logged, ["before", "after", "later"], "the log keeps its order");
    wharf.finish().await;
}

#[tokio::test]
async fn receivers_that_hang_stream_for_ever_or_cut_the_line_hold_nothing_up() {
    let good = Receiver::start().await;
    let bad = [
        // (what it does, whether the event has arrived)
        (Behaviour::Hang, false),
        (Behaviour::Reset, false),
        (Behaviour::Slow(AN_HOUR), false),
        (Behaviour::Endless, true),
        (Behaviour::HalfBody, true),
        (Behaviour::AnswerAndReset, true),
    ];
    let mut receivers = Vec::new();
    for (behaviour, arrives) in bad {
        let receiver = Receiver::start().await;
        receiver.answer_always(behaviour.clone());
        receivers.push((behaviour, arrives, receiver));
    }
    let urls = receivers.iter().map(|(_, _, receiver)| receiver.url());
    let webhooks: Vec<_> = urls.chain([good.url()]).map(|url| webhook(&url)).collect();
    let wharf = linked(&[TIMEOUT], json!(webhooks)).await;
    for text in 0..STUCK_TEXTS {
        // Chats of their own: one that hangs holds up its own chat.
        let number = wharf.network.create_phone(None, None).await.unwrap().number;
        let text = format!("text {text}");
        wharf.network.send(&number, ALICE, &text, None).await.unwrap();
    }
    good.wait_for_count(STUCK_TEXTS).await;
    assert_eq!(good.count(), STUCK_TEXTS, "a good one gets each once");
    for (behaviour, arrives, receiver) in &receivers {
        let all = async {
            while distinct(receiver) < STUCK_TEXTS {
                receiver.reached(receiver.count() + 1).await;
            }
        };
        if *arrives {
            within(&format!("all texts at one that does {behaviour:?}"), all).await;
            continue;
        }
        // It gets them again, once it is well.
        receiver.answer_always(StatusCode::OK);
        within(&format!("all texts at one that did {behaviour:?}"), all).await;
    }
    wharf.finish().await;
}

/// How many different events a receiver got.
fn distinct(receiver: &Receiver) -> usize {
    let mut ids: Vec<_> = receiver.deliveries().iter().map(|it| it.id().to_owned()).collect();
    ids.sort();
    ids.dedup();
    ids.len()
}

#[tokio::test]
async fn redirects_lead_nowhere() {
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let wharf = linked(&[], json!([webhook(&receiver.url())])).await;
    let statuses = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
    ];
    receiver.answer_next(statuses.map(|status| Behaviour::redirect(status, elsewhere.url())));
    write(&wharf, "follow me").await;
    receiver.wait_for_count(statuses.len() + 1).await;
    write(&wharf, "next").await;
    told(&receiver, "next").await;
    assert_eq!((receiver.count(), elsewhere.count()), (statuses.len() + 2, 0));
    wharf.finish().await;
}
