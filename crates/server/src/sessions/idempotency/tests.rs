//! Keys on a real store and a clock that is moved.

use super::*;
use jiff::SignedDuration;
use tempfile::TempDir;
use wharf_core::store::Storage as _;
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use crate::sessions::messages::tests::text;

const ALICE: &str = "12025550101@c.us";

/// A time that the test moves.
struct Moved(Mutex<Timestamp>);

impl Moved {
    fn by(&self, hours: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_hours(hours);
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct World {
    sends: Arc<Sends>,
    store: Arc<dyn Store>,
    clock: Arc<Moved>,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(LocalConfig::new(folder.path(), "test"))
            .await
            .unwrap();
        let store = storage.session(&"a".parse().unwrap()).await.unwrap();
        let clock = Arc::new(Moved(Mutex::new(Timestamp::from_second(1_790_000_000).unwrap())));
        Self {
            sends: Sends::new(
                Arc::clone(&store),
                Arc::clone(&clock) as _,
                Duration::from_secs(48 * 3600),
            ),
            store,
            clock,
            _folder: folder,
        }
    }

    async fn open(&self, key: &IdempotencyKey) -> Claim {
        match self.sends.claim(key.clone(), None).await.unwrap() {
            Known::Open(claim) => claim,
            Known::Answered { answer, .. } => panic!("{answer:?}"),
        }
    }

    /// A send that ends well.
    async fn send(&self, key: &IdempotencyKey, message_id: &str, body: &str) {
        let claim = self.open(key).await;
        let reservation = claim.reserve(message_id).await.unwrap();
        let body = RawValue::from_string(body.to_owned()).unwrap();
        let answered = reservation.answered(&text(true, ALICE, message_id, "x"), &body);
        self.store.write(answered.unwrap()).await.unwrap();
    }

    async fn count(&self) -> u64 {
        self.store.count(&SENDS, Vec::new()).await.unwrap()
    }
}

fn key(name: &str, request: &str) -> IdempotencyKey {
    IdempotencyKey::new("caller", name, &[request.as_bytes()])
}

#[test]
fn callers_and_keys_are_told_apart_wherever_one_ends_and_the_other_begins() {
    let id = |caller, key| IdempotencyKey::new(caller, key, &[b"x"]).id;
    let ids = [id("a", "bc"), id("ab", "c"), id("", "abc"), id("abc", ""), id("a", "b")];
    let different: HashSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len());
}

#[tokio::test]
async fn an_answer_comes_back_byte_for_byte() {
    let world = World::new().await;
    let body = r#"{"b":1.50,  "a":"grüß \u0064ich"}"#;
    world.send(&key("k", "x"), "M1", body).await;
    for _ in 0..2 {
        let Known::Answered { answer, stanza, .. } = world.sends.claim(key("k", "x"), None).await.unwrap() else {
            panic!("it has an answer");
        };
        assert_eq!((answer.body.as_ref(), answer.is_repeated), (body.as_bytes(), true));
        assert_eq!(stanza, text(true, ALICE, "M1", "x").stanza);
    }
}

#[tokio::test]
async fn a_key_is_claimed_once_and_is_for_one_request() {
    let world = World::new().await;
    let claim = world.open(&key("k", "x")).await;
    assert!(matches!(
        world.sends.claim(key("k", "x"), None).await,
        Err(SendError::UnderWay)
    ));
    world.open(&key("other", "x")).await;
    claim.reserve("M1").await.unwrap();
    drop(claim);
    assert!(matches!(
        world.sends.claim(key("k", "y"), None).await,
        Err(SendError::KeyUsed)
    ));
    assert_eq!(world.open(&key("k", "x")).await.message_id(), Some("M1"));
}

#[tokio::test]
async fn what_certainly_did_not_leave_frees_its_key_and_the_rest_keeps_its_id() {
    let world = World::new().await;
    let key = key("k", "x");
    let refused = || EngineError::Refused {
        reason: "no".to_owned(),
    };
    let claim = world.open(&key).await;
    claim.reserve("M1").await.unwrap().failed(&refused()).await;
    drop(claim);
    assert_eq!(world.count().await, 0);

    let claim = world.open(&key).await;
    let timed_out = EngineError::TimedOut { seconds: 1 };
    claim.reserve("M2").await.unwrap().failed(&timed_out).await;
    drop(claim);
    // What is certain of the second try says nothing about the first one.
    let claim = world.open(&key).await;
    claim.reserve("M3").await.unwrap().failed(&refused()).await;
    drop(claim);
    assert_eq!(world.open(&key).await.message_id(), Some("M2"));
}

#[tokio::test]
async fn keys_are_forgotten_after_their_time_and_taken_away_by_the_next_send() {
    let world = World::new().await;
    world.send(&key("first", "x"), "M1", "{}").await;
    world.clock.by(1);
    world.send(&key("second", "x"), "M2", "{}").await;
    world.clock.by(46);
    let known = world.sends.claim(key("first", "x"), None).await.unwrap();
    assert!(matches!(known, Known::Answered { .. }), "after 47 hours");
    world.clock.by(1);
    // Also with another body: it is a new key again.
    assert_eq!(
        world.open(&key("first", "y")).await.message_id(),
        None,
        "after 48 hours"
    );
    assert_eq!(world.count().await, 2);
    world.send(&key("third", "x"), "M3", "{}").await;
    assert_eq!(world.count().await, 2, "the first one is gone");
}

#[tokio::test]
async fn an_id_that_a_caller_gave_is_for_one_request_whoever_sends_it() {
    let world = World::new().await;
    let given = GivenId {
        id: "M1".to_owned(),
        chat: Some(ALICE.parse().unwrap()),
    };
    let claim = |name| world.sends.claim(key(name, "x"), Some(&given));
    let Ok(Known::Open(first)) = claim("one").await else {
        panic!("nobody has it");
    };
    assert!(matches!(claim("two").await, Err(SendError::UnderWay)));
    let timed_out = EngineError::TimedOut { seconds: 1 };
    first.reserve("M1").await.unwrap().failed(&timed_out).await;
    drop(first);
    assert!(
        matches!(claim("two").await, Err(SendError::IdUsed(_))),
        "it may have left"
    );
    assert!(matches!(claim("one").await, Ok(Known::Open(_))));
}
