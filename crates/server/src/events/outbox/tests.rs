//! The outbox on a real store.

use std::time::Duration;

use wharf_core::clock::{Clock, SystemClock};
use wharf_core::events::EventName;
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::random::SystemRandom;
use wharf_core::store::Storage;
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use super::*;
use crate::events::endpoints::{Endpoint, Endpoints, SetBy};
use crate::sessions::{Webhook, WebhookEvents};

const PAGE: usize = 100;

struct Played {
    outbox: Outbox,
    endpoint: Arc<Endpoint>,
    now: Timestamp,
    storage: LocalStorage,
    _folder: tempfile::TempDir,
}

impl Played {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(LocalConfig::new(folder.path(), "test"))
            .await
            .unwrap();
        let endpoints = Endpoints::open(storage.server(), None).await.unwrap();
        let session: SessionName = "a".parse().unwrap();
        let webhook = Webhook {
            url: "http://localhost/".to_owned(),
            events: WebhookEvents::only(vec![EventName::Message]),
            hmac: None,
            retries: None,
            custom_headers: None,
            insecure: None,
        };
        let change = endpoints.change(&session, &[webhook], SetBy::Admin).await.unwrap();
        endpoints.apply(change);
        Self {
            outbox: Outbox::new(storage.server()),
            endpoint: Arc::clone(&endpoints.of(&session)[0]),
            now: SystemClock.now(),
            storage,
            _folder: folder,
        }
    }

    async fn put(&self, seq: i64, chat: &ChatId, due_at: Timestamp) -> EventId {
        let event = EventId::new(self.now, &SystemRandom);
        let delivery = NewDelivery {
            endpoint: &self.endpoint,
            event: &event,
            chat: Some(chat),
            seq,
            now: due_at,
        };
        let (batch, due) = delivery.put(Batch::new()).unwrap();
        assert!(due.is_some());
        self.outbox.store.write(batch).await.unwrap();
        event
    }

    async fn page(&self, now: Timestamp) -> Vec<Due> {
        let page = self.outbox.due(&self.endpoint.id, now, None, PAGE).await.unwrap();
        page.deliveries
    }

    async fn due(&self) -> Vec<EventId> {
        let page = self.page(self.now).await;
        page.iter().map(|due| due.event().clone()).collect()
    }

    async fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.outbox.next_due(&self.endpoint.id, now).await.unwrap()
    }
}

fn noted(due: &Due, fate: Fate) -> Vec<Noted> {
    let mut due = due.clone();
    due.note(Attempt {
        at: 1,
        status: Some(500),
        ms: 2,
        error: (fate != Fate::Delivered).then(|| "no".to_owned()),
    });
    vec![Noted { due, fate }]
}

fn alice() -> ChatId {
    "12025550101@c.us".parse().unwrap()
}

#[tokio::test]
async fn what_is_due_comes_by_time_then_event_and_the_rest_later() {
    let played = Played::new().await;
    let (later, earlier) = (played.now + Duration::from_secs(60), played.now);
    let next = played.put(10, &alice(), later).await;
    let third = played.put(9, &alice(), earlier).await;
    let second = played.put(8, &alice(), earlier).await;
    let first = played.put(70, &alice(), earlier - Duration::from_millis(1)).await;
    assert_eq!(played.due().await, [first, second, third]);
    let all = played.page(later).await;
    assert_eq!(all.last().map(Due::event), Some(&next));
    let next_due = played.next_due(played.now).await.unwrap();
    assert_eq!(next_due.as_millisecond(), later.as_millisecond());
    for due in &all[..3] {
        played.outbox.note(&noted(due, Fate::Delivered)).await.unwrap();
    }
    assert!(played.due().await.is_empty());
    let oldest = played.outbox.oldest().await.unwrap().unwrap();
    assert_eq!(oldest.as_millisecond(), later.as_millisecond());
    assert_eq!(
        played.outbox.endpoints().await.unwrap(),
        std::slice::from_ref(&played.endpoint.id)
    );
    played.storage.close().await;
}

#[tokio::test]
async fn a_delivery_that_failed_waits_anew_and_a_dead_one_until_it_is_replayed() {
    let played = Played::new().await;
    let event = played.put(1, &alice(), played.now).await;
    let again_at = played.now + Duration::from_secs(2);
    let page = played.page(played.now).await;
    played
        .outbox
        .note(&noted(&page[0], Fate::Again(again_at)))
        .await
        .unwrap();
    assert!(played.due().await.is_empty());
    let page = played.page(again_at).await;
    assert_eq!(page[0].failures(), 1);
    played.outbox.note(&noted(&page[0], Fate::Dead)).await.unwrap();
    assert_eq!(played.next_due(Timestamp::MIN).await, None);
    assert!(played.outbox.endpoints().await.unwrap().is_empty());

    let session = "a".parse().unwrap();
    assert_eq!(played.outbox.dead_count().await.unwrap(), 1);
    let dead = played.outbox.dead(Some(&session), None, PAGE).await.unwrap().unwrap();
    assert_eq!((dead.deliveries.len(), dead.has_more), (1, false));
    let known = played
        .outbox
        .find(std::slice::from_ref(&played.endpoint.id), &[&event])
        .await
        .unwrap();
    assert_eq!((known[0].state, known[0].attempted()), (DeliveryState::Dead, 2));
    let replayed = NewDelivery {
        endpoint: &played.endpoint,
        event: &event,
        chat: None,
        seq: 1,
        now: played.now,
    };
    let again = replayed.again(known.first()).unwrap();
    played.outbox.write_each_if_unchanged(vec![again]).await.unwrap();
    let page = played.page(played.now).await;
    assert_eq!((page[0].failures(), page[0].chat()), (0, Some(&alice())));
    assert_eq!(played.outbox.dead_count().await.unwrap(), 0);
    played.storage.close().await;
}

#[tokio::test]
async fn what_was_changed_meanwhile_is_not_noted_but_all_else_is() {
    let played = Played::new().await;
    for seq in 1..=3 {
        played.put(seq, &alice(), played.now).await;
    }
    let page = played.page(played.now).await;
    let forgotten = Batch::new().delete(&DELIVERIES, &page[1].id);
    played.outbox.store.write(forgotten).await.unwrap();
    let all: Vec<Noted> = page.iter().flat_map(|due| noted(due, Fate::Dead)).collect();
    played.outbox.note(&all).await.unwrap();
    assert!(played.due().await.is_empty());
    assert_eq!(played.outbox.dead_count().await.unwrap(), 2);
    played.storage.close().await;
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_holds_up_nobody() {
    let played = Played::new().await;
    let bad = played.put(1, &alice(), played.now).await;
    let good = played.put(2, &alice(), played.now).await;
    let id = format!("{}.{bad}", played.endpoint.id);
    let mut document = played.outbox.store.get(&DELIVERIES, &id).await.unwrap().unwrap();
    document.body = "{".into();
    let batch = Batch::new().put(&DELIVERIES, document);
    played.outbox.store.write(batch).await.unwrap();
    for _ in 0..2 {
        assert_eq!(played.due().await, std::slice::from_ref(&good));
    }
    let left = played.outbox.store.get(&DELIVERIES, &id).await.unwrap().unwrap();
    assert_eq!(left.field("queue"), None);
    played.storage.close().await;
}

#[tokio::test]
async fn a_chat_that_nobody_could_type_is_delivered() {
    let played = Played::new().await;
    let chat = ChatId::new(ChatKind::Phone, "abc_@|~");
    let event = played.put(1, &chat, played.now).await;
    assert_eq!(played.due().await, [event]);
    played.storage.close().await;
}

#[test]
fn a_full_mailbox_says_that_something_was_missed() {
    let (mailboxes, id) = (Mailboxes::default(), EndpointId::stored("a.x"));
    let due = |seq| Due::played(None, seq);
    let seqs = |mailbox: &Mailbox| mailbox.take_new().iter().map(Due::seq).collect::<Vec<_>>();
    mailboxes.put(&id, due(1));
    let untaken = futures::FutureExt::now_or_never(mailboxes.untaken()).unwrap();
    let (_, mailbox) = &untaken[0];
    assert_eq!(seqs(mailbox), [1]);
    for seq in 0..1_000 {
        mailboxes.put(&id, due(seq));
    }
    assert!(seqs(mailbox).is_empty() && mailbox.take_missed() && !mailbox.take_missed());
    mailboxes.put(&id, due(7));
    assert!(!mailboxes.give_back(&id, mailbox));
    assert_eq!(seqs(mailbox), [7]);
    assert!(mailboxes.give_back(&id, mailbox));
}
