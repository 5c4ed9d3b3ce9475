//! The rules of the store that the library's own in-memory store does not have, and (in [`oracle`]) that the rest is the
//! same. Everything runs on real files.

use std::collections::HashSet;
use std::sync::Mutex;

use bytes::Bytes;
use tempfile::TempDir;
use wacore::store::Device;
use wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, DeviceStore, LidPnMappingEntry, MsgSecretEntry, MsgSecretStore,
    PendingInboundKey, PendingInboundRow, ProtocolStore, SignalStore, TcTokenEntry,
};
use wacore_binary::Jid;
use wharf_core::engine::Closed;
use wharf_core::ids::SessionName;
use wharf_core::store::{Defect, Field, Storage};
use wharf_storage::{LocalConfig, LocalStorage};

use super::*;

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

    /// What the hook does.
    async fn see(&self, id: &str) {
        let marks = seen_marks(&[message(id)], self.clock.now());
        self.store.write(marks).await.expect("marks can be written");
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
async fn the_librarys_probe_passes() {
    let mut session = Session::start().await;
    // As client/builder.rs probe_durability_backend does it, which never calls a hook.
    let (jid, id) = ("0@s.whatsapp.net", "__wa_durability_probe_1_0__");
    let backend = &session.backend;
    backend
        .store_pending_inbound(jid, jid, id, b"probe")
        .await
        .expect("it is stored");
    let found = backend.get_pending_inbound(jid, jid, id).await.expect("it is found");
    assert_eq!(found.as_deref(), Some(&b"probe"[..]));
    backend
        .delete_pending_inbound(jid, jid, id)
        .await
        .expect("it is removed");
    assert!(session.lost.try_recv().is_err(), "a probe is no lost message");
}

#[tokio::test]
async fn a_redelivery_is_replayed_until_the_hook_has_committed() {
    let mut session = Session::start().await;
    session.store_pending("A").await;
    assert_eq!(session.pending("A").await.expect("there is a row"), Some(b"A".to_vec()));
    session.flush().await;
    session.restart();
    assert_eq!(session.pending("A").await.expect("there is a row"), Some(b"A".to_vec()));

    session.see("A").await;
    session.drop_pending("A").await;
    assert_eq!(session.pending("A").await.expect("it was committed"), None);
    assert!(session.lost.try_recv().is_err());
}

#[tokio::test]
async fn a_row_is_on_disk_when_the_signal_state_is_and_no_sooner() {
    static PENDING: Collection = Collection {
        name: "wa_pending_inbound",
        fields: &[Field::time("stored_at")],
    };
    let session = Session::start().await;
    session.store_pending("committed at once").await;
    session.drop_pending("committed at once").await;
    session.store_pending("open").await;
    let rows = async || {
        session
            .store
            .find(&PENDING, Query::all())
            .await
            .expect("they can be read")
    };
    assert!(rows().await.documents.is_empty());
    session.flush().await;
    let found = rows().await.documents;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].body.as_ref(), b"open");
    session.flush().await;
    assert_eq!(rows().await.documents[0].version, 1, "it is written once");
}

#[tokio::test]
async fn the_removal_of_a_row_joins_the_next_write() {
    let mut session = Session::start().await;
    session.store_pending("A").await;
    session.flush().await;
    session.see("A").await;
    session.drop_pending("A").await;
    session.restart();
    let replayed = session.pending("A").await.expect("there is a row");
    assert!(replayed.is_some(), "a process that dies before the next write replays");

    session.drop_pending("A").await;
    session.store_pending("B").await;
    session.flush().await;
    session.restart();
    assert_eq!(session.pending("A").await.expect("it was seen"), None);
    assert!(session.pending("B").await.expect("there is a row").is_some());
}

#[tokio::test]
async fn a_row_that_is_stored_again_is_kept() {
    let session = Session::start().await;
    for _ in 0..2 {
        session.store_pending("A").await;
        assert!(session.pending("A").await.expect("there is a row").is_some());
        session.drop_pending("A").await;
    }
}

#[tokio::test]
async fn a_message_too_large_for_a_row_holds_nothing_up() {
    let mut session = Session::start().await;
    let huge = vec![0; wharf_storage::BODY_BYTES_MAX + 1];
    let row = |id, message| PendingInboundRow {
        chat: CHAT,
        sender: SENDER,
        id,
        message,
    };
    let rows = [row("A", &b"a"[..]), row("HUGE", &huge), row("B", b"b")];
    let stored = session.backend.store_pending_inbound_batch(&rows).await;
    stored.expect("the hook can go on with all of them");
    session.flush().await;
    session.restart();
    for id in ["A", "B"] {
        assert!(session.pending(id).await.expect("there is a row").is_some(), "{id}");
    }
    assert!(
        session.pending("HUGE").await.is_err(),
        "it has none to be replayed from"
    );
}

#[tokio::test]
async fn a_redelivery_that_was_never_stored_is_not_acknowledged_and_reported() {
    let mut session = Session::start().await;
    let asked = session.clock.now();
    for tries in 0..=4 {
        if tries == 4 {
            // Not before: whoever was asked may only be slow.
            session.clock.pass(1);
        }
        let answer = session.pending("A").await;
        assert!(matches!(answer, Err(LibraryError::Validation(_))), "{answer:?}");
        let notice = session.lost.try_recv().expect("the session is told");
        let expected = LostInbound {
            chat: CHAT.to_owned(),
            sender: SENDER.to_owned(),
            id: "A".to_owned(),
            given_up: (tries == 4).then_some(asked),
        };
        assert_eq!(notice, expected);
        if tries < 4 {
            session.backend.count_try(&notice).await.expect("it can be noted");
        }
        session.restart();
    }
    session.see("A").await;
    assert_eq!(
        session.pending("A").await.expect("it was told of"),
        None,
        "it would come back for ever"
    );
    let other = session.backend.get_pending_inbound(CHAT, CHAT, "A").await;
    assert!(other.is_err(), "the tries of one message are not those of another");
}

#[tokio::test]
async fn a_lost_message_is_found_by_whichever_address_its_people_have() {
    let session = Session::start().await;
    let lost = |chat: &str, sender: &str, id: &str| LostInbound {
        chat: chat.to_owned(),
        sender: sender.to_owned(),
        id: id.to_owned(),
        given_up: None,
    };
    let (lid, device, group) = (
        "100000000000002@lid",
        "100000000000002:3@lid",
        "120363000000000001@g.us",
    );
    for (chat, sender, id) in [
        (lid, device, "A"),
        (lid, device, "AA"),
        (group, device, "A"),
        (group, CHAT, "B"),
    ] {
        let noted = session.backend.count_try(&lost(chat, sender, id)).await;
        noted.expect("it can be noted");
    }
    let jid = |text: &str| text.parse::<Jid>().expect("a valid address");
    let people = [jid(lid), jid("12025550102@s.whatsapp.net")];
    for (chats, id, expected) in [
        (&people[..], "A", Some((lid, device))),
        (&people[..], "B", None),
        (&[jid(group)], "A", Some((group, device))),
        (&[jid(group)], "B", None),
    ] {
        let found = session
            .backend
            .lost(chats, &people, id)
            .await
            .expect("they can be read");
        let expected = expected.map(|(chat, sender)| (chat.to_owned(), sender.to_owned()));
        assert_eq!(found, Vec::from_iter(expected), "{chats:?} {id}");
    }
}

#[tokio::test]
async fn what_could_not_be_asked_for_is_never_given_up() {
    let mut session = Session::start().await;
    for _ in 0..10 {
        assert!(session.pending("A").await.is_err());
        assert_eq!(session.lost.try_recv().expect("the session is told").given_up, None);
    }
}

#[tokio::test]
async fn a_lost_message_that_its_sender_sent_again_is_acknowledged() {
    let mut session = Session::start().await;
    assert!(session.pending("A").await.is_err());
    session.see("A").await;
    session.restart();
    assert_eq!(session.pending("A").await.expect("it was seen"), None);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_told_of_once() {
    let mut session = Session::start().await;
    assert!(!session.backend.was_told(&message("A")).await.expect("it can be read"));
    let marks = told_marks(&message("A"), session.clock.now());
    session.backend.mark(marks).await.expect("marks can be written");
    session.restart();
    assert!(session.backend.was_told(&message("A")).await.expect("it can be read"));
    assert!(!session.backend.was_told(&message("B")).await.expect("it can be read"));
}

#[tokio::test]
async fn notices_that_nobody_reads_hold_nothing_up() {
    let session = Session::start().await;
    for number in 0..=LOST_NOTICES_MAX {
        assert!(session.pending(&number.to_string()).await.is_err());
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
