//! The rules of the store that the library's own in-memory store does not have (those of inbound messages in [`inbound`]), and
//! (in [`oracle`]) that the rest is the same. Everything runs on real files.

use std::collections::HashSet;
use std::sync::Mutex;

use bytes::Bytes;
use tempfile::TempDir;
use wacore::store::Device;
use wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, DeviceStore, LidPnMappingEntry, MsgSecretEntry, MsgSecretStore,
    PendingInboundKey, PendingInboundRow, ProtocolStore, SignalStore, TcTokenEntry,
};
use wacore::types::events::InboundMessage;
use wacore::types::message::MessageInfo;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use wharf_core::engine::Closed;
use wharf_core::ids::SessionName;
use wharf_core::store::{Defect, Field, Page, Storage, Write};
use wharf_storage::{LocalConfig, LocalStorage};

use super::*;

mod inbound;
mod oracle;

const CHAT: &str = "15555550101@s.whatsapp.net";
const SENDER: &str = "15555550101:3@s.whatsapp.net";

/// A clock that tests move.
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    fn pass(&self, hours: i64) {
        let mut now = self.0.lock().expect("no test panics with it");
        *now += SignedDuration::from_hours(hours);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no test panics with it")
    }
}

/// A session's files, and the store that the library would get.
struct Session {
    _folder: TempDir,
    storage: LocalStorage,
    store: Arc<dyn Store>,
    clock: Arc<HandClock>,
    backend: Backend,
    ending: Arc<Ending>,
    lost: mpsc::Receiver<LostInbound>,
}

impl Session {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder for the test");
        let config = LocalConfig::new(folder.path(), "webjs");
        let storage = LocalStorage::open(config).await.expect("it can be opened");
        let name: SessionName = "default".parse().expect("a valid name");
        let store = storage.session(&name).await.expect("it can be made");
        let clock = Arc::new(HandClock(Mutex::new(
            "2026-03-01T12:00:00Z".parse().expect("a valid time"),
        )));
        let ending = Arc::new(Ending::default());
        let (backend, lost) = Backend::new(Arc::clone(&store), clock.clone(), ending.clone());
        Self {
            _folder: folder,
            storage,
            store,
            clock,
            backend,
            ending,
            lost,
        }
    }

    /// What a new process finds: the same files, nothing in memory.
    fn restart(&mut self) {
        self.ending = Arc::default();
        let ending = Arc::clone(&self.ending);
        (self.backend, self.lost) = Backend::new(Arc::clone(&self.store), self.clock.clone(), ending);
    }

    async fn pending(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.backend.get_pending_inbound(CHAT, SENDER, id).await
    }

    async fn store_pending(&self, id: &str) {
        let stored = self
            .backend
            .store_pending_inbound(CHAT, SENDER, id, id.as_bytes())
            .await;
        stored.expect("a row can be stored");
    }

    /// What the library writes when it flushes what it has in memory.
    async fn flush(&self) {
        let flushed = self.backend.put_session(SENDER, b"session").await;
        flushed.expect("it can be written");
    }

    async fn drop_pending(&self, id: &str) {
        let dropped = self.backend.delete_pending_inbound(CHAT, SENDER, id).await;
        dropped.expect("a row can be removed");
    }

    /// The first commit of the hook.
    async fn see(&self, id: &str) {
        let rows = self.backend.rows(&[message(id)]);
        let marks = rows.and(seen_marks(&[message(id)], self.clock.now()));
        self.store.write(marks).await.expect("marks can be written");
    }

    /// The ids of the rows on disk.
    async fn rows(&self) -> Vec<String> {
        static PENDING: Collection = Collection {
            name: "wa_pending_inbound",
            fields: &[Field::time("stored_at")],
        };
        let rows = self.store.find(&PENDING, Query::all()).await.expect("they can be read");
        let ids = rows.documents.into_iter().map(|row| row.id);
        ids.map(|id| last_part(&id, &join([CHAT, SENDER, ""])).to_owned())
            .collect()
    }

    async fn sweep(&self) {
        self.backend.sweep(self.clock.now()).await.expect("a sweep works");
    }
}

fn message(id: &str) -> PendingInboundKey<'_> {
    PendingInboundKey {
        chat: CHAT,
        sender: SENDER,
        id,
    }
}

#[tokio::test]
async fn a_store_that_fails_is_never_taken_for_an_empty_one() {
    let session = Session::start().await;
    session.storage.close().await;
    assert!(matches!(session.pending("A").await, Err(LibraryError::Database(_))));
    assert!(session.backend.load().await.is_err());
    assert!(session.backend.exists().await.is_err());
    assert!(session.backend.get_session(SENDER).await.is_err());
    // What could not be removed is not forgotten, nor what could not be written.
    session.drop_pending("A").await;
    session.store_pending("B").await;
    assert!(session.backend.put_session(SENDER, b"session").await.is_err());
    assert_eq!(session.pending("A").await.expect("it was committed"), None);
    assert!(session.pending("B").await.expect("there is a row").is_some());
}

#[tokio::test]
async fn a_damaged_record_ends_the_connection_and_says_which_it_is() {
    static IDENTITIES: Collection = Collection {
        name: "wa_identities",
        fields: &[],
    };
    static PREKEYS: Collection = Collection {
        name: "wa_prekeys",
        fields: &[],
    };
    let mut session = Session::start().await;
    let damage = Batch::new()
        .put(&IDENTITIES, Document::new("short", vec![7; 31]))
        .put(&PREKEYS, Document::new("no number", ""));
    session.store.write(damage).await.expect("it can be written");
    let identity = session.backend.load_identity("short").await.map(|_| ());
    assert_damaged(&session, identity, "short");
    session.restart();
    let prekey = session.backend.get_max_prekey_id().await.map(|_| ());
    assert_damaged(&session, prekey, "no number");
}

#[track_caller]
fn assert_damaged(session: &Session, outcome: Result<()>, id: &str) {
    assert!(matches!(outcome, Err(LibraryError::Database(_))), "{outcome:?}");
    let Closed::StoreUnusable(unusable) = session.ending.reason() else {
        panic!("{:?}", session.ending.reason());
    };
    assert_eq!(unusable.why, Defect::Corrupt);
    assert!(unusable.cause.contains(id), "{unusable:?}");
}

#[tokio::test]
async fn the_secret_of_a_message_is_on_disk_with_it_as_the_library_keeps_it() {
    static SECRETS: Collection = Collection {
        name: "wa_msg_secrets",
        fields: &[Field::time("expires_at")],
    };
    let session = Session::start().await;
    let (chat, sender): (Jid, Jid) = (CHAT.parse().expect("valid"), SENDER.parse().expect("valid"));
    let now = session.clock.now();
    let mut info = MessageInfo {
        id: "A".to_owned(),
        timestamp: now.to_string().parse().expect("it is a time"),
        ..Default::default()
    };
    info.source.chat = chat.clone();
    info.source.sender = sender.clone();
    let context = wa::MessageContextInfo {
        message_secret: Some(vec![7; 32]),
        ..Default::default()
    };
    let message = wa::Message {
        conversation: Some("hi".to_owned()),
        message_context_info: context.into(),
        ..Default::default()
    };
    let inbound = InboundMessage::builder()
        .message(Arc::new(message))
        .info(Arc::new(info))
        .build();
    let batch = secrets(&[inbound], now);
    session.store.write(batch).await.expect("it can be written");

    let month_s = 30 * 24 * 3600;
    let (sent_at, expires_at) = (now.as_second(), now.as_second() + month_s);
    let entry = MsgSecretEntry::new(&chat, &sender, "A", [7; 32], expires_at, sent_at);
    let found = session
        .backend
        .get_msg_secret_with_ts(&entry.chat, &entry.sender, "A")
        .await;
    assert_eq!(found.expect("it can be read"), Some((vec![7; 32], sent_at)));
    session
        .backend
        .put_msg_secrets(vec![entry])
        .await
        .expect("it is stored");
    let records = session
        .store
        .find(&SECRETS, Query::all())
        .await
        .expect("they can be read");
    let versions: Vec<_> = records.documents.iter().map(|record| record.version).collect();
    assert_eq!(versions, [1], "what is there is not written again");
}

#[tokio::test]
async fn sweeps_remove_what_is_past_its_time_and_nothing_else() {
    let mut session = Session::start().await;
    let backend = &session.backend;
    session.store_pending("waiting").await;
    session.see("seen").await;
    backend
        .store_sent_message(CHAT, "sent", b"payload")
        .await
        .expect("it is stored");
    backend
        .save_base_key(SENDER, "base", b"key")
        .await
        .expect("it is stored");
    let in_a_day = session.clock.now().as_second() + 24 * 3600;
    for (id, expires_at) in [("day", in_a_day), ("ever", 0)] {
        let secret = MsgSecretEntry {
            chat: CHAT.into(),
            sender: SENDER.into(),
            msg_id: id.into(),
            secret: [7; 32],
            expires_at,
            message_ts: 0,
        };
        backend.put_msg_secrets(vec![secret]).await.expect("it is stored");
    }
    let has_secret = async |id| {
        backend
            .get_msg_secret(CHAT, SENDER, id)
            .await
            .expect("it can be read")
            .is_some()
    };
    let has_base_key = async || {
        backend
            .has_same_base_key(SENDER, "base", b"key")
            .await
            .expect("it can be read")
    };

    session.clock.pass(25);
    session.sweep().await;
    assert!(!has_secret("day").await && has_secret("ever").await);
    assert!(has_base_key().await);

    session.clock.pass(6 * 24);
    session.sweep().await;
    assert!(!has_base_key().await);
    let sent = backend.take_sent_message(CHAT, "sent").await.expect("it can be read");
    assert_eq!(sent, None);
    assert_eq!(session.pending("seen").await.expect("it is marked"), None);

    session.clock.pass(7 * 24);
    session.sweep().await;
    assert!(
        session.pending("seen").await.is_err(),
        "two weeks later it counts as never seen"
    );
    assert!(session.pending("waiting").await.expect("a month is not over").is_some());

    session.clock.pass(17 * 24);
    session.sweep().await;
    assert!(has_secret("ever").await);
    session.restart();
    assert!(session.pending("waiting").await.is_err());
}

#[tokio::test]
async fn the_librarys_own_sweeps_remove_nothing() {
    let session = Session::start().await;
    let backend = &session.backend;
    session.store_pending("A").await;
    backend
        .store_sent_message(CHAT, "A", b"payload")
        .await
        .expect("it is stored");
    backend.token_received(CHAT, b"token", 1).await.expect("it is stored");
    backend
        .put_msg_secret(CHAT, SENDER, "A", &[7; 32])
        .await
        .expect("it is stored");
    let removed = [
        backend.delete_expired_pending_inbound(i64::MAX).await,
        backend.delete_expired_sent_messages(i64::MAX).await,
        backend.delete_expired_tc_tokens(i64::MAX, i64::MAX).await,
        backend.delete_expired_msg_secrets(i64::MAX).await,
    ];
    assert!(removed.into_iter().all(|removed| matches!(removed, Ok(0))));
    assert!(session.pending("A").await.expect("there is a row").is_some());
    assert!(backend.get_tc_token(CHAT).await.expect("it can be read").is_some());
    assert!(
        backend
            .get_msg_secret(CHAT, SENDER, "A")
            .await
            .expect("it can be read")
            .is_some()
    );
    assert!(
        backend
            .take_sent_message(CHAT, "A")
            .await
            .expect("it can be read")
            .is_some()
    );
}

#[tokio::test]
async fn a_token_stays_while_either_side_uses_it() {
    let session = Session::start().await;
    let now = session.clock.now().as_second();
    session
        .backend
        .store_received_tc_token(CHAT, b"token", now)
        .await
        .expect("it is stored");
    session.clock.pass(150 * 24);
    let now = session.clock.now().as_second();
    session
        .backend
        .touch_tc_token_sender_timestamp(CHAT, now)
        .await
        .expect("it is stored");
    session.clock.pass(150 * 24);
    session.sweep().await;
    let jids = session.backend.get_all_tc_token_jids().await.expect("they can be read");
    assert_eq!(jids, [CHAT], "we used it 150 days ago");
    session.clock.pass(51 * 24);
    session.sweep().await;
    assert!(
        session
            .backend
            .get_all_tc_token_jids()
            .await
            .expect("they can be read")
            .is_empty()
    );
}

#[tokio::test]
async fn the_device_comes_back_whole() {
    let session = Session::start().await;
    let backend = &session.backend;
    assert!(!backend.exists().await.expect("it can be read"));
    assert!(backend.load().await.expect("it can be read").is_none());

    let mut device = Device::new();
    device.pn = Some("15555550101:7@s.whatsapp.net".parse().expect("a valid id"));
    device.lid = Some("100000000000001:7@lid".parse().expect("a valid id"));
    device.account = Some(Arc::new(waproto::whatsapp::ADVSignedDeviceIdentity {
        details: Some(vec![1, 2, 3]),
        account_signature_key: Some(vec![4; 32]),
        account_signature: Some(vec![5; 64]),
        device_signature: Some(vec![6; 64]),
    }));
    device.push_name = "Zoë \"Z\" 🚢".to_owned();
    device.edge_routing_info = Some(vec![0, 255]);
    device.next_pre_key_id = u32::MAX;
    device.login_counter = 9;
    device.lid_migrated = true;
    device.nct_salt = Some(vec![1]);
    backend.save(&device).await.expect("it can be stored");

    let found = backend.load().await.expect("it can be read").expect("it was stored");
    let as_json = |device: &Device| serde_json::to_value(device).expect("it can be encoded");
    assert_eq!(as_json(&found), as_json(&device));
    assert_eq!(found.account, device.account);
    assert_eq!(found.pn, device.pn);
    assert_eq!(
        found.identity_key.private_key.serialize(),
        device.identity_key.private_key.serialize()
    );
    assert_eq!(backend.create().await.expect("it is there"), 1);
    let kept = backend.load().await.expect("it can be read").expect("it was stored");
    assert_eq!(
        kept.registration_id, device.registration_id,
        "making what is there changes nothing"
    );
}

#[tokio::test]
async fn a_device_that_cannot_be_read_is_an_error() {
    let session = Session::start().await;
    session.backend.create().await.expect("it can be made");
    let half = Document::new("device", &b"{\"pn\":nul"[..]);
    session
        .backend
        .put(&device::DEVICE, half)
        .await
        .expect("it can be written");
    assert_damaged(&session, session.backend.load().await.map(|_| ()), "device");
    assert!(
        session.backend.exists().await.expect("it is there"),
        "so no new device is made"
    );
}

#[tokio::test]
async fn a_sent_message_is_taken_once() {
    let session = Session::start().await;
    session
        .backend
        .store_sent_message(CHAT, "A", b"payload")
        .await
        .expect("it is stored");
    let takes = (0..10).map(|_| session.backend.take_sent_message(CHAT, "A"));
    let taken = futures::future::join_all(takes).await;
    let found = taken.into_iter().filter(|taken| matches!(taken, Ok(Some(_)))).count();
    assert_eq!(found, 1);
}

#[tokio::test]
async fn a_number_belongs_to_the_lid_that_was_learnt_last() {
    let session = Session::start().await;
    let mapping = |lid: &str, updated_at| LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: "15555550102".to_owned(),
        created_at: 1,
        updated_at,
        learning_source: "usync".to_owned(),
    };
    let mappings = [mapping("2", 30), mapping("1", 20), mapping("3", 10)];
    session
        .backend
        .put_lid_mappings(&mappings)
        .await
        .expect("they are stored");
    let found = session
        .backend
        .get_pn_mapping("15555550102")
        .await
        .expect("it can be read");
    assert_eq!(found.map(|mapping| mapping.lid).as_deref(), Some("2"));
}

#[tokio::test]
async fn used_prekeys_do_not_come_back() {
    let session = Session::start().await;
    let backend = &session.backend;
    // As many as the library makes at pairing.
    let keys: Vec<(u32, Bytes)> = (1..=812).map(|id| (id, Bytes::from(vec![1; 64]))).collect();
    backend
        .store_prekeys_batch(&keys, false)
        .await
        .expect("they are stored");
    backend.remove_prekey(812).await.expect("it is removed");
    backend
        .mark_prekeys_uploaded(&[811, 812])
        .await
        .expect("they are marked");
    assert_eq!(backend.load_prekey(812).await.expect("it can be read"), None);
    assert_eq!(backend.get_max_prekey_id().await.expect("it can be read"), 811);
    let ids: Vec<u32> = (1..=900).collect();
    assert_eq!(
        backend.load_prekeys_batch(&ids).await.expect("they can be read").len(),
        811
    );
}

#[test]
fn joined_ids_cannot_be_mistaken() {
    let parts = ["", "a", "1:a", ":", "0:", "a:b"];
    let mut ids = HashSet::new();
    for first in parts {
        for second in parts {
            for third in parts {
                assert!(ids.insert(join([first, second, third])), "{first} {second} {third}");
            }
            let id = join([first, second]);
            assert_eq!(last_part(&id, &prefix(first)), second);
        }
    }
}
