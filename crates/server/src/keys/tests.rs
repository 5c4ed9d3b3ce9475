//! Keys over a store in memory: what is kept of them, and when a change counts.

use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wharf_core::clock::SystemClock;
use wharf_core::random::SystemRandom;
use wharf_core::store::{Condition, Document, Expect, Write};

use super::*;

/// A store that keeps keys in memory, and is full when it is told to be.
#[derive(Default)]
struct MemoryStore {
    documents: Mutex<BTreeMap<String, Document>>,
    is_full: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, _: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.documents.lock().unwrap().get(id).cloned())
    }

    async fn get_many(&self, _: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        let documents = self.documents.lock().unwrap();
        Ok(ids.iter().filter_map(|id| documents.get(id).cloned()).collect())
    }

    async fn find(&self, _: &'static Collection, _: Query) -> Result<Page, StoreError> {
        let documents = self.documents.lock().unwrap().values().cloned().collect();
        Ok(Page { documents, next: None })
    }

    async fn count(&self, _: &'static Collection, _: Vec<Condition>) -> Result<u64, StoreError> {
        panic!("nobody counts keys in the store")
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        if self.is_full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError::Full);
        }
        for write in batch.writes {
            match write {
                Write::Put { document, expect, .. } => {
                    assert_eq!(expect, Expect::Anything);
                    self.documents.lock().unwrap().insert(document.id.clone(), document);
                }
                Write::Delete { id, .. } => {
                    self.documents.lock().unwrap().remove(&id);
                }
                Write::DeleteWhere { .. } => panic!("keys are deleted one by one"),
            }
        }
        Ok(())
    }
}

async fn open(store: &Arc<MemoryStore>, master: &str) -> Arc<Keys> {
    let master = MasterKey::new(master);
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let store = Arc::clone(store) as Arc<dyn Store>;
    Keys::open(store, clock, random, Some(&master), TaskTracker::new())
        .await
        .unwrap()
}

fn session(name: &str) -> Grant {
    Grant::Session {
        name: name.parse().unwrap(),
        actions: None,
    }
}

#[tokio::test]
async fn a_key_opens_from_its_creation_to_its_deletion_also_after_a_restart() {
    let store = Arc::<MemoryStore>::default();
    let keys = open(&store, "master").await;
    let (key, text) = keys.create(session("a"), true).await.unwrap();
    assert!(text.starts_with("key_") && text.len() == 4 + 2 * KEY_BYTES);
    assert_eq!(keys.find(&text).unwrap().id, key.id);
    let keys = open(&store, "master").await;
    let found = keys.find(&text).unwrap();
    assert_eq!((&found.id, &found.grant), (&key.id, &key.grant));
    assert_eq!(keys.text(&found).as_deref(), Some(text.as_str()));
    for other in [
        "",
        "key_",
        &text[1..],
        &text.to_uppercase(),
        &format!("{text} "),
        &key.id,
    ] {
        assert!(keys.find(other).is_none(), "{other}");
    }
    keys.delete(key.id.clone()).await.unwrap();
    assert!(keys.find(&text).is_none() && found.changed.is_cancelled());
    assert!(open(&store, "master").await.find(&text).is_none());
    assert!(matches!(keys.delete(key.id.clone()).await, Err(KeyError::Unknown(_))));
}

#[tokio::test]
async fn the_store_never_has_the_key_itself() {
    let store = Arc::<MemoryStore>::default();
    let (_, text) = open(&store, "master").await.create(Grant::Admin, true).await.unwrap();
    let documents = store.documents.lock().unwrap();
    assert_eq!(documents.len(), 1);
    for document in documents.values() {
        let body = String::from_utf8_lossy(&document.body);
        assert!(
            !body.contains(&text[4..]) && !body.contains(&BASE64_STANDARD.encode(&text)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn under_another_master_key_keys_work_but_are_not_shown() {
    let store = Arc::<MemoryStore>::default();
    let keys = open(&store, "master").await;
    let (_, text) = keys.create(session("a"), true).await.unwrap();
    keys.for_purpose(Purpose::Media, "a".parse().unwrap()).await.unwrap();
    let keys = open(&store, "another master").await;
    let found = keys.find(&text).unwrap();
    assert_eq!(keys.text(&found), None);
    let media = keys.for_purpose(Purpose::Media, "a".parse().unwrap()).await;
    assert!(matches!(media, Err(KeyError::Unreadable(_))));
    // It can be made anew.
    keys.delete("key_id_media_a".to_owned()).await.unwrap();
    keys.for_purpose(Purpose::Media, "a".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_change_counts_at_once_and_ends_what_the_key_has_opened() {
    let store = Arc::<MemoryStore>::default();
    let keys = open(&store, "master").await;
    let (key, text) = keys.create(session("a"), true).await.unwrap();
    let caller = Caller::with(Arc::clone(&key));
    let opened = caller.revoked();
    assert!(caller.may(Action::Send) && !caller.may(Action::Delete) && !caller.is_admin());
    keys.update(key.id.clone(), session("b"), true).await.unwrap();
    assert!(opened.is_cancelled());
    let changed = keys.find(&text).unwrap();
    assert_eq!(changed.grant, session("b"));
    keys.update(key.id.clone(), session("b"), false).await.unwrap();
    assert!(keys.find(&text).is_none() && changed.changed.is_cancelled());
    assert_eq!(keys.all().len(), 1);
    assert!(open(&store, "master").await.find(&text).is_none());
    keys.update(key.id.clone(), session("b"), true).await.unwrap();
    assert!(keys.find(&text).is_some());
}

#[tokio::test]
async fn what_cannot_be_stored_changes_nothing() {
    let store = Arc::<MemoryStore>::default();
    let keys = open(&store, "master").await;
    let (key, text) = keys.create(session("a"), true).await.unwrap();
    store.is_full.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(keys.create(Grant::Admin, true).await.is_err());
    assert!(keys.update(key.id.clone(), Grant::Admin, true).await.is_err());
    assert!(keys.delete(key.id.clone()).await.is_err());
    assert_eq!((keys.all().len(), &keys.find(&text).unwrap().grant), (1, &session("a")));
    assert!(!key.changed.is_cancelled());
}

#[tokio::test]
async fn a_session_has_one_key_for_each_purpose_and_loses_all_with_itself() {
    let store = Arc::<MemoryStore>::default();
    let keys = open(&store, "master").await;
    let name: SessionName = "a".parse().unwrap();
    let (media, text) = keys.for_purpose(Purpose::Media, name.clone()).await.unwrap();
    let (_, again) = keys.for_purpose(Purpose::Media, name.clone()).await.unwrap();
    let (control, other) = keys.for_purpose(Purpose::Control, name.clone()).await.unwrap();
    assert_eq!((text.as_str(), text == other), (again.as_str(), false));
    let may = |key: &Arc<Key>| {
        let caller = Caller::with(Arc::clone(key));
        Action::ALL
            .into_iter()
            .filter(|action| caller.may(*action))
            .collect::<Vec<_>>()
    };
    assert_eq!((may(&media), may(&control)), (vec![], vec![Action::Control]));
    // Nobody gives it more, and only an administrator switches it on again.
    let fixed = keys.update(media.id.clone(), Grant::Admin, true).await;
    assert!(matches!(fixed, Err(KeyError::Fixed(_))));
    keys.update(media.id.clone(), media.grant.clone(), false).await.unwrap();
    let off = keys.for_purpose(Purpose::Media, name.clone()).await;
    assert!(matches!(off, Err(KeyError::Inactive(_))));
    let (_, stays) = keys.create(session("b"), true).await.unwrap();
    keys.forget(&name).await.unwrap();
    keys.forget(&name).await.unwrap();
    assert_eq!(keys.all().len(), 1);
    assert!(keys.find(&stays).is_some() && keys.find(&other).is_none() && control.changed.is_cancelled());
    assert_eq!(open(&store, "master").await.all().len(), 1);
}

#[tokio::test]
async fn a_document_that_cannot_be_read_opens_nothing_and_locks_nobody_out() {
    let store = Arc::<MemoryStore>::default();
    let (_, text) = open(&store, "master").await.create(session("a"), true).await.unwrap();
    for body in [
        "",
        "{}",
        r#"{"digest":"AA==","sealed":null,"grant":"Admin","is_active":true}"#,
    ] {
        let document = Document::new("key_id_0", body.to_owned());
        store.documents.lock().unwrap().insert(document.id.clone(), document);
        let keys = open(&store, "master").await;
        assert_eq!(keys.all().len(), 1, "{body}");
        assert!(keys.find(&text).is_some(), "{body}");
    }
}

#[tokio::test]
async fn keys_that_were_asked_for_with_a_key_do_not_outlive_its_rights() {
    let store = Arc::<MemoryStore>::default();
    let keys = open(&store, "master").await;
    let name: SessionName = "a".parse().unwrap();
    let (key, _) = keys.create(session("a"), true).await.unwrap();
    let (media, text) = keys.for_purpose(Purpose::Media, name.clone()).await.unwrap();
    let (control, _) = keys.for_purpose(Purpose::Control, name.clone()).await.unwrap();
    keys.update(control.id.clone(), control.grant.clone(), false)
        .await
        .unwrap();
    keys.update(key.id.clone(), session("b"), true).await.unwrap();
    assert!(keys.find(&text).is_none() && media.changed.is_cancelled());
    // What an administrator has switched off is not made anew by that.
    let off = keys.for_purpose(Purpose::Control, name.clone()).await;
    assert!(matches!(off, Err(KeyError::Inactive(_))));
    let (_, text) = keys.for_purpose(Purpose::Media, name).await.unwrap();
    keys.delete(key.id.clone()).await.unwrap();
    assert!(keys.find(&text).is_some(), "the key is of another session now");
    assert_eq!(open(&store, "master").await.all().len(), 2);
}
