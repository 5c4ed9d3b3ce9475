//! The outbox on a real store.

use wharf_core::clock::{Clock, SystemClock};
use wharf_core::ids::ChatKind;
use wharf_core::random::SystemRandom;
use wharf_core::store::Storage;
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use super::*;

struct Played {
    outbox: Outbox,
    now: Timestamp,
    session: SessionName,
    storage: LocalStorage,
    _folder: tempfile::TempDir,
}

impl Played {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(LocalConfig::new(folder.path(), "test"))
            .await
            .unwrap();
        Self {
            outbox: Outbox::new(storage.server()),
            now: SystemClock.now(),
            session: "a".parse().unwrap(),
            storage,
            _folder: folder,
        }
    }

    /// Puts a delivery for the global webhook.
    async fn put(&self, seq: i64, chat: &ChatId, due_at: Timestamp) -> EventId {
        let event = EventId::new(self.now, &SystemRandom);
        let delivery = NewDelivery {
            event: &event,
            session: &self.session,
            chat: Some(chat),
            target: Target::Global,
            seq,
            now: due_at,
        };
        let batch = delivery.put(Batch::new()).unwrap();
        self.outbox.store.write(batch).await.unwrap();
        event
    }

    async fn due(&self) -> Vec<EventId> {
        let page = self.outbox.due(GLOBAL_ENDPOINT, self.now, None).await.unwrap();
        page.deliveries.iter().map(|due| due.event().clone()).collect()
    }
}

fn alice() -> ChatId {
    "12025550101@c.us".parse().unwrap()
}

#[tokio::test]
async fn what_is_due_comes_by_time_then_event_and_the_rest_later() {
    let played = Played::new().await;
    let (later, earlier) = (played.now + std::time::Duration::from_secs(60), played.now);
    let next = played.put(10, &alice(), later).await;
    let third = played.put(9, &alice(), earlier).await;
    let second = played.put(8, &alice(), earlier).await;
    let first = played
        .put(70, &alice(), earlier - std::time::Duration::from_millis(1))
        .await;
    assert_eq!(played.due().await, [first, second, third]);
    let all = played
        .outbox
        .due(GLOBAL_ENDPOINT, later, None)
        .await
        .unwrap()
        .deliveries;
    assert_eq!(all.last().map(Due::event), Some(&next));
    for due in &all[..3] {
        played.outbox.done(due).await.unwrap();
    }
    let next_due = played.outbox.next_due(GLOBAL_ENDPOINT).await.unwrap().unwrap();
    assert_eq!(next_due.as_millisecond(), later.as_millisecond());
    assert_eq!(played.outbox.endpoints().await.unwrap(), [GLOBAL_ENDPOINT]);
    played.storage.close().await;
}

#[tokio::test]
async fn a_delivery_that_failed_waits_anew_and_a_dead_one_no_more() {
    let played = Played::new().await;
    played.put(1, &alice(), played.now).await;
    let page = played.outbox.due(GLOBAL_ENDPOINT, played.now, None).await.unwrap();
    let again_at = played.now + std::time::Duration::from_secs(2);
    played
        .outbox
        .failed(&page.deliveries[0], "no", Some(again_at))
        .await
        .unwrap();
    assert!(played.due().await.is_empty());
    let page = played.outbox.due(GLOBAL_ENDPOINT, again_at, None).await.unwrap();
    assert_eq!(page.deliveries[0].failures(), 1);
    played.outbox.failed(&page.deliveries[0], "no", None).await.unwrap();
    assert_eq!(played.outbox.next_due(GLOBAL_ENDPOINT).await.unwrap(), None);
    assert!(played.outbox.endpoints().await.unwrap().is_empty());
    played.storage.close().await;
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_is_dead_and_holds_up_nobody() {
    let played = Played::new().await;
    let bad = played.put(1, &alice(), played.now).await;
    let good = played.put(2, &alice(), played.now).await;
    let id = format!("{bad}.{GLOBAL_ENDPOINT}");
    let mut document = played.outbox.store.get(&DELIVERIES, &id).await.unwrap().unwrap();
    document.body = "{".into();
    played
        .outbox
        .store
        .write(Batch::new().put(&DELIVERIES, document))
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(played.due().await, std::slice::from_ref(&good));
    }
    let dead = played.outbox.store.get(&DELIVERIES, &id).await.unwrap().unwrap();
    assert_eq!(dead.field("queue"), None);
    played.storage.close().await;
}

#[tokio::test]
async fn a_chat_that_nobody_could_type_is_delivered() {
    let played = Played::new().await;
    let event = played
        .put(1, &ChatId::new(ChatKind::Phone, "abc_@|~"), played.now)
        .await;
    assert_eq!(played.due().await, [event]);
    played.storage.close().await;
}
