//! Files of messages while something fails: hosts, the phone, the log, the server itself. No event is lost or told twice, and
//! nothing waits for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{interval, timeout};
use wharf_core::engine::{EngineError, MediaError};
use wharf_core::message::{Ack, Change, Message, MessageKind};
use wharf_core::store::{Batch, Collection, Document, Storage as _, StoreError};
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use crate::harness::{ALICE, LOOK_EVERY, Link, PATIENCE, Receiver, Wharf, text};
use crate::media::{HOLD, ack, file_of, own_picture, payload, picture};

static JOBS: Collection = Collection {
    name: "media_jobs",
    fields: &[],
};
static SESSIONS: Collection = Collection {
    name: "sessions",
    fields: &[],
};

/// Where the file of a picture of Alice's is served.
fn path(id: &str) -> String {
    format!("/api/files/default/false_{ALICE}_{id}.jpg")
}

fn reaction(target: &Message) -> Message {
    let mut reaction = text(ALICE, "R1", "");
    reaction.kind = MessageKind::Change(Change::Reaction {
        target: target.id.clone(),
        text: "👍".to_owned(),
    });
    reaction
}

fn revoke(target: &Message) -> Message {
    let mut revoke = text(ALICE, "D1", "");
    revoke.kind = MessageKind::Change(Change::Revoked {
        target: target.id.clone(),
    });
    revoke
}

/// Waits until the metrics say so.
async fn until_counted(wharf: &Wharf, line: &str) {
    let mut looking = interval(LOOK_EVERY);
    let counted = async {
        while !String::from_utf8_lossy(&wharf.get("/metrics").await.bytes).contains(line) {
            looking.tick().await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("no {line}"));
}

fn timed_out() -> MediaError {
    MediaError::Engine(EngineError::TimedOut { seconds: 60 })
}

fn refused() -> MediaError {
    let reason = "a media host answered 503".to_owned();
    MediaError::Engine(EngineError::Refused { reason })
}

/// A server whose session works, and does not try twice what comes damaged.
async fn trying_once() -> (Wharf, Receiver, Link) {
    let mut wharf = Wharf::start_with(&[("WHARF_MEDIA_TRIES", "1")]).await;
    let receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&["message"])]});
    let link = wharf.working("default", config).await;
    (wharf, receiver, link)
}

#[tokio::test]
async fn a_session_obeys_while_the_log_takes_nothing() {
    let (wharf, _receiver, link) = Wharf::telling(&["message"]).await;
    let downloading = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    downloading.reached().await;
    let writes = wharf.server_writes().shut();
    wharf.pass(HOLD);
    // The job tells, and will not hear any more of that, while the file is being fetched.
    writes.reached().await;
    wharf.server_writes().open();
    assert_eq!(wharf.post("/api/sessions/default/stop", json!({})).await.status, 201);
    assert_eq!(wharf.delete("/api/sessions/default").await.status, 200);
    wharf.stop().await;
}

#[tokio::test]
async fn acks_do_not_wait_for_an_event_that_was_told_and_nobody_heard_of_it() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.any", "message.ack"]).await;
    let downloading = link.engine.downloading.shut();
    link.receive(own_picture("M1")).await.unwrap();
    downloading.reached().await;
    ack(&link, "M1", Ack::Server);
    wharf.server_store_misreports(StoreError::Unavailable("as the test asked".into()));
    wharf.pass(HOLD);
    assert_eq!(payload(&mut receiver, "message.any").await["ack"], 0);
    assert_eq!(payload(&mut receiver, "message.ack").await["ack"], 1);
    // Though the file is still being fetched.
    until_counted(&wharf, "wharf_media_held_events 0\n").await;
    wharf.stop().await;
}

#[tokio::test]
async fn an_event_is_told_whose_job_was_written_though_the_answer_was_no() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    wharf.server_store_misreports(StoreError::Full);
    link.receive(picture("A1")).await.unwrap_err();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    wharf.stop().await;
}

#[tokio::test]
async fn an_event_outlives_what_panics() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    link.engine.downloading_panics.store(true, Ordering::SeqCst);
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");

    let downloading = link.engine.downloading.shut();
    link.receive(picture("A2")).await.unwrap();
    downloading.reached().await;
    let writes = wharf.server_writes().shut();
    wharf.pass(HOLD);
    writes.reached().await;
    wharf.server_store_panics(true);
    writes.let_one_pass();
    writes.reached().await;
    wharf.server_store_panics(false);
    wharf.server_writes().open();
    writes.let_one_pass();
    assert_eq!(
        payload(&mut receiver, "message").await["id"],
        format!("false_{ALICE}_A2")
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_picture_that_comes_twice_in_one_page_is_told_once() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    link.inbox
        .commit(vec![picture("A1"), picture("A1")], Batch::new())
        .await
        .unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "look");
    link.receive(text(ALICE, "A2", "next")).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "next");
    wharf.stop().await;
}

/// Does something to the store of a server that has ended.
async fn in_store_of(folder: &Arc<tempfile::TempDir>, change: impl AsyncFnOnce(&LocalStorage)) {
    let storage = LocalStorage::open(LocalConfig::new(folder.path(), "test"))
        .await
        .unwrap();
    change(&storage).await;
    storage.close().await;
}

#[tokio::test]
async fn a_job_that_cannot_be_read_does_not_keep_its_message_from_arriving_again() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let downloading = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    downloading.reached().await;
    let folder = wharf.stop().await;
    let id = format!("default|{}", picture("A1").stanza);
    in_store_of(&folder, async |storage| {
        assert!(storage.server().get(&JOBS, &id).await.unwrap().is_some());
        let damaged = Batch::new().put(&JOBS, Document::new(id, "what is this?"));
        storage.server().write(damaged).await.unwrap();
    })
    .await;
    let mut wharf = Wharf::on(folder).await;
    let link = wharf.link().await;
    link.work();
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    wharf.stop().await;
}

#[tokio::test]
async fn what_waits_outlives_a_start_that_cannot_read_its_session() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let downloading = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    downloading.reached().await;
    let folder = wharf.stop().await;
    let mut session = None;
    in_store_of(&folder, async |storage| {
        session = storage.server().get(&SESSIONS, "default").await.unwrap();
        let damaged = Batch::new().put(&SESSIONS, Document::new("default", "what is this?"));
        storage.server().write(damaged).await.unwrap();
    })
    .await;
    let folder = Wharf::on(folder).await.stop().await;
    in_store_of(&folder, async |storage| {
        let mended = Batch::new().put(&SESSIONS, session.unwrap());
        storage.server().write(mended).await.unwrap();
    })
    .await;
    let mut wharf = Wharf::on(folder).await;
    wharf.link().await.work();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    wharf.stop().await;
}

#[tokio::test]
async fn a_picture_that_fits_the_store_but_not_the_log_is_told_in_a_reduced_form() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message", "message.reaction"]).await;
    let downloading = link.engine.downloading.shut();
    let mut large = picture("A1");
    // Six bytes each, and the event has them twice.
    large.body = "\u{1}".repeat(2_000_000);
    link.receive(large.clone()).await.unwrap();
    downloading.reached().await;
    // It has the message told first, and is not lost with it.
    link.receive(reaction(&large)).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(told["body"].as_str().unwrap().len(), 64 * 1024);
    assert!(told["_data"]["error"].is_string());
    let told = payload(&mut receiver, "message.reaction").await;
    assert_eq!(told["reaction"]["text"], "👍");
    wharf.stop().await;
}

#[tokio::test]
async fn a_message_can_be_deleted_that_is_too_large_to_be_told_of_whole() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message.revoked"]).await;
    let large = text(ALICE, "A1", &"x".repeat(10 * 1024 * 1024));
    link.receive(large.clone()).await.unwrap();
    link.receive(revoke(&large)).await.unwrap();
    let told = payload(&mut receiver, "message.revoked").await;
    assert_eq!(
        (&told["revokedMessageId"], &told["before"]),
        (&json!("A1"), &Value::Null)
    );
    let all = wharf
        .get(&format!("/api/messages?session=default&chatId={ALICE}&limit=10"))
        .await;
    assert_eq!(all.json()[0]["body"], "");
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_waits_for_hosts_that_are_out_of_reach() {
    let (wharf, mut receiver, link) = trying_once().await;
    link.engine
        .undownloadable
        .lock()
        .unwrap()
        .extend([refused(), timed_out()]);
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    link.engine
        .undownloadable
        .lock()
        .unwrap()
        .push_back(MediaError::Damaged);
    link.receive(picture("A2")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert!(told["media"]["error"]["details"].is_string(), "{told}");
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_waits_for_a_phone_that_is_off() {
    let (wharf, mut receiver, link) = trying_once().await;
    let lost = || MediaError::Gone;
    link.engine
        .undownloadable
        .lock()
        .unwrap()
        .extend([lost(), lost(), lost()]);
    link.engine.unasked.lock().unwrap().extend([timed_out(), timed_out()]);
    link.receive(picture("A1")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_is_fetched_that_nobody_could_try_for_days() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let downloading = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    downloading.reached().await;
    let mut wharf = wharf.restart().await;
    let link = wharf.link().await;
    wharf.pass(Duration::from_secs(3 * 24 * 60 * 60));
    assert_eq!(payload(&mut receiver, "message").await["media"]["url"], Value::Null);
    link.work();
    wharf.until_served(&path("A1")).await;
    wharf.stop().await;
}

#[tokio::test]
async fn the_file_of_what_was_deleted_for_everyone_is_not_fetched() {
    let (wharf, mut receiver, link) = Wharf::telling(&["message", "message.revoked"]).await;
    let downloading = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    downloading.reached().await;
    link.receive(revoke(&picture("A1"))).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "look");
    payload(&mut receiver, "message.revoked").await;
    downloading.let_one_pass();
    link.engine.downloading.open();
    link.receive(picture("A2")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    assert_eq!(wharf.get(&path("A1")).await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn the_files_of_an_account_are_not_fetched_for_the_next_one() {
    let (mut wharf, mut receiver, link) = Wharf::telling(&["message"]).await;
    let downloading = link.engine.downloading.shut();
    link.receive(picture("A1")).await.unwrap();
    downloading.reached().await;
    assert_eq!(wharf.post("/api/sessions/default/logout", json!({})).await.status, 201);
    // At once, as that account's.
    let told = receiver.event("message").await;
    assert!(told["me"]["id"].is_string(), "{told}");
    assert_eq!(told["payload"]["media"]["url"], Value::Null);
    let link = wharf.link().await;
    link.work();
    link.receive(picture("A2")).await.unwrap();
    let told = payload(&mut receiver, "message").await;
    assert_eq!(file_of(&wharf, &told).await, b"the file");
    assert_eq!(wharf.get(&path("A1")).await.status, 404);
    wharf.stop().await;
}
