//! Events that wait for their files: none is lost, and none is told twice, wherever the server dies and whatever takes no files.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::sync::watch;
use url::Url;
use wharf_core::store::{Batch, Write};
use wharf_simulator::{MediaKind, NewMedia};
use wharf_testing::S3;

use crate::failpoints::tells;
use crate::support::mortal::Mortal;
use crate::support::rigged::{Judge, Verdict, stored};
use crate::support::seeded::{Numbers, seed};
use crate::support::{ALICE, BOB, KEY, Receiver, TestWharf, within};

const PICTURE: &[u8] = b"\xff\xd8\xff\xe0 what Bob has seen";
const CAPTION: &str = "what a view";
/// Pictures that come while the server is killed again and again.
const PICTURES: usize = 40;
/// How often it is killed.
const KILLS: u64 = 8;
/// Webhooks that may come after a start before the next kill.
const WEBHOOKS_TO_KILL_MAX: u64 = 6;

/// A step of what becomes of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// The job is written, with which the message is told of later.
    Job,
    /// The file is in the media storage, which is noted.
    File,
    /// The event is written, and the job removed.
    Event,
}

/// Stops everything before a step, or right after it.
struct Failpoint {
    step: Step,
    is_after: bool,
    is_reached: watch::Sender<bool>,
}

impl Failpoint {
    fn is_here(&self, batch: &Batch) -> bool {
        match self.step {
            Step::Job => stored(batch, "media_jobs").next().is_some(),
            Step::File => is_stored(batch),
            Step::Event => tells(batch, CAPTION),
        }
    }

    async fn reached(&self) {
        let mut reached = self.is_reached.subscribe();
        let reached = reached.wait_for(|is_reached| *is_reached);
        within("the failpoint to be reached", reached).await.unwrap();
    }
}

/// Whether a batch notes that a file is in the media storage.
fn is_stored(batch: &Batch) -> bool {
    batch.writes.iter().any(|write| {
        matches!(write, Write::Put { collection, document, .. }
            if collection.name == "media_files"
                && serde_json::from_slice::<Value>(&document.body).unwrap()["stored_at"].is_string())
    })
}

impl Judge for Failpoint {
    fn judge(&self, batch: &Batch) -> Verdict {
        match (self.is_here(batch), self.is_after) {
            (false, _) => Verdict::Pass,
            (true, true) => Verdict::Unheard,
            (true, false) => {
                self.is_reached.send_replace(true);
                Verdict::HoldBack
            }
        }
    }

    fn written(&self, batch: &Batch) {
        if self.is_after && self.is_here(batch) {
            self.is_reached.send_replace(true);
        }
    }
}

async fn bob_sends_a_picture(wharf: &TestWharf) -> String {
    let picture = NewMedia {
        caption: Some(CAPTION.to_owned()),
        ..NewMedia::new(MediaKind::Image, PICTURE)
    };
    wharf.network.send_message(BOB, ALICE, picture).await.unwrap()
}

/// The `message` events of Bob's pictures, by their ids: the URLs of their files.
fn told(receiver: &Receiver) -> BTreeMap<String, Value> {
    let deliveries = receiver.deliveries().into_iter().map(|delivery| delivery.event);
    let told = deliveries.filter(|event| event["event"] == "message" && event["payload"]["body"] == CAPTION);
    told.map(|event| (event["id"].to_string(), event["payload"]["media"]["url"].clone()))
        .collect()
}

fn path_of(url: &Value) -> String {
    let url: Url = url.as_str().unwrap_or_else(|| panic!("no url: {url}")).parse().unwrap();
    url.path().to_owned()
}

#[tokio::test]
async fn a_picture_is_told_of_once_and_with_its_file_wherever_the_server_dies() {
    for (step, is_after) in [
        (Step::Job, false),
        (Step::Job, true),
        (Step::File, false),
        (Step::File, true),
        (Step::Event, false),
        (Step::Event, true),
    ] {
        let (mut wharf, receiver) = TestWharf::with_alice().await;
        wharf.stop().await;
        let failpoint = Arc::new(Failpoint {
            step,
            is_after,
            is_reached: watch::Sender::new(false),
        });
        wharf.boot_rigged(Arc::clone(&failpoint) as _).await;
        wharf.wait_for_status("default", "WORKING").await;
        bob_sends_a_picture(&wharf).await;
        failpoint.reached().await;
        wharf.crash().await;
        wharf.boot().await;
        receiver
            .wait_for("the picture", |event| event["payload"]["body"] == CAPTION)
            .await;
        wharf.settled().await;
        wharf.restart().await;
        wharf.wait_for_status("default", "WORKING").await;
        wharf.settled().await;
        let told = told(&receiver);
        assert_eq!(told.len(), 1, "{step:?} {is_after}: {told:?}");
        let path = path_of(told.values().next().unwrap());
        assert_eq!(wharf.get(&path).await.body, PICTURE, "{step:?} {is_after}");
        wharf.finish().await;
    }
}

#[tokio::test]
async fn pictures_survive_kill_9() {
    let media = tempfile::tempdir().unwrap();
    let folder = media.path().display().to_string();
    let settings = [
        ("WHATSAPP_FILES_FOLDER", folder.as_str()),
        ("WHATSAPP_FILES_LIFETIME", "0"),
        ("WHATSAPP_API_PORT", "0"),
    ];
    let (mortal, mut server) = Mortal::start(&settings).await;
    let receiver = Receiver::start().await;
    let webhooks = json!([{ "url": receiver.url(), "events": ["message"] }]);
    mortal.link("default", ALICE, webhooks).await;
    let mut chance = Numbers::of(seed());
    let file = json!({ "kind": "image", "data": BASE64_STANDARD.encode(PICTURE), "caption": CAPTION });
    let mut ids = Vec::new();
    for round in 0..KILLS {
        let webhooks = receiver.count();
        for _ in 0..PICTURES / usize::try_from(KILLS).unwrap() {
            let body = json!({ "to": ALICE, "media": file });
            let sent = mortal.network().admin(&format!("/admin/phones/{BOB}/send"), body).await;
            ids.push(format!("false_{BOB}@c.us_{}", sent["id"].as_str().unwrap()));
        }
        // In the middle of what becomes of them.
        let more = usize::try_from(chance.below(WEBHOOKS_TO_KILL_MAX)).unwrap();
        within("some webhooks", receiver.reached(webhooks + more)).await;
        server = mortal.kill(server).await;
        eprintln!("killed {} times", round + 1);
    }
    let is_told = |id: &String, receiver: &Receiver| {
        let deliveries = receiver.deliveries().into_iter();
        let mut events: Vec<Value> = deliveries
            .map(|delivery| delivery.event)
            .filter(|event| event["payload"]["id"] == *id)
            .collect();
        events.sort_by_key(|event| event["id"].to_string());
        events.dedup_by_key(|event| event["id"].to_string());
        events
    };
    for id in &ids {
        within("every picture", async {
            let mut count = 0;
            while is_told(id, &receiver).is_empty() {
                count = receiver.count().max(count) + 1;
                receiver.reached(count).await;
            }
        })
        .await;
    }
    within("everything to be acknowledged", mortal.settled(ALICE)).await;
    let client = mortal.client().await;
    for id in &ids {
        let events = is_told(id, &receiver);
        assert_eq!(events.len(), 1, "{events:#?}");
        let path = format!("/api/files/default/{id}.jpg");
        within("the file", async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
            while client.status_with(&path, Some(KEY)).await != 200 {
                ticks.tick().await;
            }
        })
        .await;
    }
    mortal.finish(server).await;
}

#[tokio::test]
async fn a_storage_that_is_down_for_a_while_costs_no_event_and_no_file() {
    let mut s3 = S3::start().await;
    let url = s3.url();
    let settings = [
        ("WAHA_MEDIA_STORAGE", "S3"),
        ("WAHA_S3_REGION", S3::REGION),
        ("WAHA_S3_BUCKET", S3::BUCKET),
        ("WAHA_S3_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("WAHA_S3_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
        ("WAHA_S3_ENDPOINT", url.as_str()),
        ("WAHA_S3_FORCE_PATH_STYLE", "True"),
        ("WAHA_S3_PROXY_FILES", "True"),
        ("WHARF_MEDIA_HOLD_SECONDS", "1"),
    ];
    let wharf = TestWharf::start_with(&settings).await;
    let receiver = Receiver::start().await;
    wharf.paired("default", ALICE, &receiver).await;
    s3.stop().await;
    let id = bob_sends_a_picture(&wharf).await;
    let event = receiver
        .wait_for("the picture", |event| event["payload"]["body"] == CAPTION)
        .await
        .event;
    assert_eq!(event["payload"]["media"]["url"], Value::Null);
    assert!(event["payload"]["media"]["error"].is_object(), "{event:#}");
    s3.start_again().await;
    served(&wharf, &id).await;
    let all = wharf
        .get(&format!("/api/messages?session=default&chatId={BOB}@c.us&limit=10"))
        .await
        .expect(200);
    let media = &all[0]["media"];
    assert_eq!(
        path_of(&media["url"]),
        format!("/api/files/default/false_{BOB}@c.us_{id}.jpg")
    );
    assert_eq!(media["s3"]["Bucket"], S3::BUCKET);
    wharf.finish().await;
}

#[tokio::test]
async fn a_folder_that_takes_no_files_for_a_while_costs_no_event_and_no_file() {
    let wharf = TestWharf::start_with(&[("WHARF_MEDIA_HOLD_SECONDS", "1")]).await;
    let receiver = Receiver::start().await;
    wharf.paired("default", ALICE, &receiver).await;
    let folder = wharf.base_dir().parent().unwrap().join("media");
    let _ = std::fs::remove_dir_all(&folder);
    // Nothing can be made in what is no folder.
    std::fs::write(&folder, "").unwrap();
    let id = bob_sends_a_picture(&wharf).await;
    let event = receiver
        .wait_for("the picture", |event| event["payload"]["body"] == CAPTION)
        .await
        .event;
    assert_eq!(event["payload"]["media"]["url"], Value::Null);
    std::fs::remove_file(&folder).unwrap();
    served(&wharf, &id).await;
    wharf.finish().await;
}

#[tokio::test]
async fn what_is_sent_is_answered_at_once_and_told_of_with_its_file_before_its_acks() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let file = json!({ "mimetype": "image/jpeg", "filename": "a.jpg", "data": BASE64_STANDARD.encode(PICTURE) });
    let body = json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "file": file, "caption": CAPTION });
    let answer = wharf.post("/api/sendImage", body).await.expect(201);
    assert_eq!(
        (&answer["hasMedia"], &answer["media"]["url"]),
        (&json!(true), &Value::Null)
    );
    let id = answer["id"].clone();
    receiver
        .wait_for("an ack", |event| {
            event["event"] == "message.ack" && event["payload"]["id"] == id
        })
        .await;
    let events: Vec<Value> = receiver
        .deliveries()
        .into_iter()
        .map(|delivery| delivery.event)
        .collect();
    let first = events.iter().find(|event| event["payload"]["id"] == id).unwrap();
    assert_eq!(
        (&first["event"], &first["payload"]["source"]),
        (&json!("message.any"), &json!("api"))
    );
    let path = path_of(&first["payload"]["media"]["url"]);
    assert_eq!(wharf.get(&path).await.body, PICTURE);
    wharf.finish().await;
}

/// Waits until the file of Bob's message is there.
async fn served(wharf: &TestWharf, id: &str) {
    let path = format!("/api/files/default/false_{BOB}@c.us_{id}.jpg");
    within("the file", async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        while wharf.get(&path).await.status != 200 {
            ticks.tick().await;
        }
    })
    .await;
    assert_eq!(wharf.get(&path).await.body, PICTURE);
}
