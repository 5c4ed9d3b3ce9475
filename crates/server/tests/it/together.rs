//! Messages that wait for each other's commits are kept and told together, and each is told once, whatever ends half-way.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wharf_core::message::Message;
use wharf_core::store::StoreError;

use crate::crash::copy;
use crate::harness::{ALICE, Link, Wharf, text};

/// Messages that wait behind the first one.
const WAITING: usize = 20;

/// The first message, and those that come while it is kept.
fn messages() -> (Message, Vec<Message>) {
    let waiting = (0..WAITING).map(|number| text(ALICE, &format!("A{number}"), "waits"));
    (text(ALICE, "FIRST", "is first"), waiting.collect())
}

/// How many events of the name `message` the log has of each message.
async fn told(wharf: &Wharf) -> BTreeMap<String, usize> {
    let page = wharf.get("/api/events?session=a&events=message&limit=100").await.json();
    let mut told = BTreeMap::new();
    for event in page["events"].as_array().unwrap() {
        let Value::String(id) = &event["payload"]["id"] else {
            panic!("{event}");
        };
        *told.entry(id.clone()).or_default() += 1;
    }
    told
}

async fn assert_told_once(wharf: &Wharf) {
    let told = told(wharf).await;
    assert_eq!(told.len(), WAITING + 1, "{told:?}");
    assert!(told.values().all(|count| *count == 1), "{told:?}");
}

/// Hands a message over in a task of its own.
fn receive(
    tasks: &mut JoinSet<Result<(), StoreError>>,
    link: &Arc<Link>,
    message: Message,
) -> tokio::task::AbortHandle {
    let link = Arc::clone(link);
    tasks.spawn(async move { link.receive(message).await })
}

#[tokio::test]
async fn what_is_kept_together_and_not_told_before_a_crash_is_told_once() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("a", json!({})).await;
    let gate = wharf.server_writes().shut();
    let crashed = Arc::new(tempfile::tempdir().unwrap());
    let (first, waiting) = messages();
    let all = join_all([first].into_iter().chain(waiting).map(|message| link.receive(message)));
    let crash = async {
        gate.reached().await;
        gate.let_one_pass();
        // All others are kept now, and none is told.
        gate.reached().await;
        copy(wharf.folder(), crashed.path());
        wharf.server_writes().open();
        gate.let_one_pass();
    };
    let (kept, ()) = tokio::join!(all, crash);
    assert!(kept.iter().all(Result::is_ok), "{kept:?}");
    assert_told_once(&wharf).await;
    wharf.stop().await;

    let mut wharf = Wharf::on(crashed).await;
    assert_eq!(told(&wharf).await.len(), 1);
    let link = wharf.link().await;
    let (first, waiting) = messages();
    let again = join_all([first].into_iter().chain(waiting).map(|message| link.receive(message))).await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    assert_told_once(&wharf).await;
    wharf.stop().await;
}

#[tokio::test]
async fn who_gives_up_while_it_keeps_for_others_leaves_them_to_the_next() {
    let mut wharf = Wharf::start().await;
    let link = Arc::new(wharf.working("a", json!({})).await);
    let gate = wharf.server_writes().shut();
    let (first, waiting) = messages();
    let mut tasks = JoinSet::new();
    receive(&mut tasks, &link, first);
    gate.reached().await;
    let mut waiting = waiting.into_iter();
    let leader = waiting.next().unwrap();
    let leading = receive(&mut tasks, &link, leader.clone());
    // In its place before the others come.
    tokio::task::yield_now().await;
    for message in waiting {
        receive(&mut tasks, &link, message);
    }
    tokio::task::yield_now().await;
    gate.let_one_pass();
    gate.reached().await;
    leading.abort();
    wharf.server_writes().open();
    let mut kept = 0;
    while let Some(outcome) = tasks.join_next().await {
        kept += outcome.map_or(0, |outcome| outcome.map(|()| 1).unwrap());
    }
    assert_eq!(kept, WAITING, "all but the one that gave up");
    assert_eq!(told(&wharf).await.len(), WAITING);
    // It was not acknowledged, and comes again.
    link.receive(leader).await.unwrap();
    assert_told_once(&wharf).await;
    wharf.stop().await;
}
