//! Following a log on a real store, while others append to it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wharf_core::clock::{Clock, SystemClock};
use wharf_core::events::EventName;
use wharf_core::ids::SessionName;
use wharf_core::random::SystemRandom;
use wharf_core::store::{Batch, Collection, Document, Storage, Store};
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use super::*;
use crate::config::{Dialect, EventsConfig};
use crate::events::SetBy;
use crate::events::outbox::DELIVERIES;
use crate::events::retention::Keeper;
use crate::events::{EventSource, Identity, NewEvent, ServerEnvironment};
use crate::sessions::{SessionConfig, Webhook, WebhookEvents};

/// The longest that a test waits.
pub(in crate::events) const PATIENCE: Duration = Duration::from_secs(20);

/// The longest that a client may take for one event.
const STALL_MAX: Duration = Duration::from_millis(100);

/// A log, and its store.
pub(in crate::events) struct Played {
    pub(in crate::events) log: Arc<EventLog>,
    gate: Arc<Gate>,
    clock: Arc<SetClock>,
    stop: CancellationToken,
    _keeper: JoinSet<()>,
    _folder: tempfile::TempDir,
}

/// The machine's clock, set so far ahead.
#[derive(Default)]
struct SetClock {
    minutes: AtomicI64,
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_mins(self.minutes.load(Ordering::SeqCst))
    }
}

/// A store whose writes can be stopped half-way.
struct Gate {
    store: Arc<dyn Store>,
    /// Writes that come while it is shut wait before they are made.
    is_shut: AtomicBool,
    /// Writes are made, but their callers hear that they failed.
    lies: AtomicBool,
    /// What they hear then: that the disk is full, or that nobody knows.
    says_full: AtomicBool,
    /// The most deliveries that one write has removed, while somebody wants to know.
    removed_max: AtomicU64,
    counts_removed: AtomicBool,
    /// Writes that wait.
    waiting: Semaphore,
    free: Semaphore,
}

impl Played {
    pub(in crate::events) async fn new() -> Self {
        Self::with(1024 * 1024 * 1024).await
    }

    async fn with(bytes_max: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(LocalConfig::new(folder.path(), "test")).await;
        let gate = Arc::new(Gate {
            store: storage.unwrap().server(),
            is_shut: AtomicBool::new(false),
            lies: AtomicBool::new(false),
            says_full: AtomicBool::new(false),
            removed_max: AtomicU64::new(0),
            counts_removed: AtomicBool::new(false),
            waiting: Semaphore::new(0),
            free: Semaphore::new(0),
        });
        let clock = Arc::<SetClock>::default();
        let (log, keeper) = opened(Arc::clone(&gate), Arc::clone(&clock), bytes_max).await;
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(keeper.run(stop.clone()));
        Self {
            log,
            gate,
            clock,
            stop,
            _keeper: tasks,
            _folder: folder,
        }
    }

    async fn append(&self, session: &str, text: &str) {
        append(&self.log, session, text).await.unwrap();
    }

    pub(in crate::events) async fn follow(&self, query: &str) -> Follow {
        let start = Start::parse(query).unwrap().unwrap_or(Start::Oldest);
        let filter = Filter::parse(query).unwrap();
        Follow::new(Arc::clone(&self.log), filter, &start).await.unwrap()
    }

    /// Appends so many messages at once.
    pub(in crate::events) async fn append_many(&self, session: &str, count: usize) {
        let event = || NewEvent::new(EventName::Message, &"text", Identity::Fresh).unwrap();
        let events = (0..count).map(|_| event()).collect();
        let appended = self.log.append(&source(session), events, Batch::new()).await;
        appended.unwrap();
    }

    /// Gives a session a webhook for messages.
    pub(in crate::events) async fn listen(&self, session: &str) {
        let webhook = Webhook {
            url: "http://one/".to_owned(),
            events: WebhookEvents::only(vec![EventName::Message]),
            hmac: None,
            retries: None,
            custom_headers: None,
            insecure: None,
        };
        let (session, endpoints) = (session.parse().unwrap(), self.log.endpoints());
        let mut change = endpoints.change(&session, &[webhook], SetBy::Admin).await.unwrap();
        self.gate.write(change.take_batch()).await.unwrap();
        endpoints.apply(change);
    }

    /// Sets the clock so far ahead of the machine's.
    pub(in crate::events) fn set_clock(&self, minutes: i64) {
        self.clock.minutes.store(minutes, Ordering::SeqCst);
    }

    /// Tells of an event that is not stored, which takes no time.
    pub(in crate::events) fn tell(&self, text: &str) {
        let event = LoggedEvent {
            id: EventId::new(SystemClock.now(), &SystemRandom),
            seq: 0,
            name: EventName::Message,
            session: "a".parse().unwrap(),
            at: SystemClock.now(),
            body: serde_json::json!({ "payload": text }).to_string().into(),
        };
        self.log.order.reserve(vec![event]).written();
    }

    /// Appends while the gate is shut; returns once it waits there.
    async fn append_at_gate(&self, text: &'static str) -> JoinSet<()> {
        let (log, mut tasks) = (Arc::clone(&self.log), JoinSet::new());
        self.gate.is_shut.store(true, Ordering::SeqCst);
        tasks.spawn(async move { append(&log, "a", text).await.unwrap() });
        self.gate.waiting.acquire().await.unwrap().forget();
        self.gate.is_shut.store(false, Ordering::SeqCst);
        tasks
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Store for Gate {
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        self.store.get(collection, id).await
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        self.store.get_many(collection, ids).await
    }

    async fn find(&self, collection: &'static Collection, query: Query) -> Result<wharf_core::store::Page, StoreError> {
        self.store.find(collection, query).await
    }

    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError> {
        self.store.count(collection, conditions).await
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        if self.is_shut.load(Ordering::SeqCst) {
            self.waiting.add_permits(1);
            self.free.acquire().await.unwrap().forget();
        }
        match self.counts_removed.load(Ordering::SeqCst) {
            true => {
                let before = self.count(&DELIVERIES, Vec::new()).await?;
                self.store.write(batch).await?;
                let removed = before - self.count(&DELIVERIES, Vec::new()).await?;
                self.removed_max.fetch_max(removed, Ordering::SeqCst);
            }
            false => self.store.write(batch).await?,
        }
        match self.lies.load(Ordering::SeqCst) {
            true if self.says_full.load(Ordering::SeqCst) => Err(StoreError::Full),
            true => Err(StoreError::Unavailable("the connection broke".into())),
            false => Ok(()),
        }
    }
}

/// A log on what is stored.
async fn opened(gate: Arc<Gate>, clock: Arc<SetClock>, bytes_max: u64) -> (Arc<EventLog>, Keeper) {
    let config = EventsConfig {
        kept_for: SignedDuration::from_hours(1),
        bytes_max,
        stall_max: STALL_MAX,
    };
    let environment = ServerEnvironment::new(Dialect::Webjs, "");
    let random = Arc::new(SystemRandom);
    let opened = EventLog::open(gate, clock, random, Dialect::Webjs, environment, None, &config).await;
    opened.unwrap()
}

fn source(session: &str) -> EventSource {
    EventSource {
        session: session.parse().unwrap(),
        config: Arc::new(SessionConfig::default()),
        me: None,
    }
}

async fn append(log: &EventLog, session: &str, text: &str) -> Result<(), StoreError> {
    let event = NewEvent::new(EventName::Message, &text, Identity::Fresh)?;
    log.append(&source(session), vec![event], Batch::new()).await
}

/// What was appended, as the envelope says it.
fn text(event: &LoggedEvent) -> String {
    let envelope: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
    envelope["payload"].as_str().unwrap().to_owned()
}

async fn next(follow: &mut Follow) -> String {
    let next = timeout(PATIENCE, follow.next()).await.expect("nothing came");
    text(&next.unwrap())
}

/// All that is there, in pages of this size, each from the cursor of the one before.
async fn paged(played: &Played, query: &str, limit: usize) -> Vec<String> {
    let (mut texts, mut cursor) = (Vec::new(), "oldest".to_owned());
    loop {
        let mut follow = played.follow(&format!("{query}&after={cursor}")).await;
        let events = follow.page(limit, Duration::ZERO).await.unwrap();
        if events.is_empty() {
            return texts;
        }
        assert!(events.len() <= limit);
        texts.extend(events.iter().map(|event| text(event)));
        cursor = follow.cursor().to_owned();
    }
}

/// Appends from so many tasks at a time, each its own texts in their order.
fn append_from(played: &Played, tasks: usize, each: usize) -> JoinSet<()> {
    let mut appending = JoinSet::new();
    for task in 0..tasks {
        let log = Arc::clone(&played.log);
        appending.spawn(async move {
            for number in 0..each {
                // Of different lengths, so that they are at different places.
                let text = format!("{task}-{number}{}", " ".repeat(number % 50));
                append(&log, if task % 2 == 0 { "a" } else { "b" }, &text)
                    .await
                    .unwrap();
            }
        });
    }
    appending
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_miss_nothing_and_get_nothing_twice_while_others_append() {
    let (played, tasks, each) = (Played::new().await, 8, 400);
    let mut live = played.follow("after=newest").await;
    let mut appending = append_from(&played, tasks, each);
    let (mut heard, mut last) = (Vec::new(), 0);
    // More than what is kept in memory, and the follower begins in between: both ways of reading take their part.
    let mut late = None;
    for count in 0..tasks * each {
        let event = timeout(PATIENCE, live.next()).await.expect("nothing came").unwrap();
        assert!(event.seq > last, "out of order");
        last = event.seq;
        heard.push(text(&event));
        if count == tasks * each / 3 {
            late = Some(played.follow(&format!("after={}", event.id)).await);
        }
    }
    while let Some(done) = appending.join_next().await {
        done.unwrap();
    }
    assert_eq!(heard.iter().collect::<HashSet<_>>().len(), tasks * each);
    let mut late = late.unwrap();
    for expected in &heard[tasks * each / 3 + 1..] {
        assert_eq!(next(&mut late).await, *expected);
    }
    assert_eq!(paged(&played, "", 77).await, heard);
    let of_a: Vec<_> = heard
        .iter()
        .filter(|text| text.split('-').next().unwrap().parse::<usize>().unwrap() % 2 == 0)
        .cloned()
        .collect();
    assert_eq!(paged(&played, "session=a", 1_000).await, of_a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_followed_while_others_append_skips_nothing() {
    let (played, tasks, each) = (Played::new().await, 6, 200);
    let mut appending = append_from(&played, tasks, each);
    let (mut read, mut cursor) = (Vec::new(), "oldest".to_owned());
    while read.len() < tasks * each {
        let mut follow = played.follow(&format!("after={cursor}")).await;
        let page = follow.page(10, PATIENCE).await.unwrap();
        assert!(!page.is_empty(), "only {} came", read.len());
        read.extend(page.iter().map(|event| text(event)));
        cursor = follow.cursor().to_owned();
    }
    while let Some(done) = appending.join_next().await {
        done.unwrap();
    }
    assert_eq!(read.iter().collect::<HashSet<_>>().len(), tasks * each);
    assert_eq!(paged(&played, "", 1_000).await, read);
}

#[tokio::test]
async fn what_was_logged_later_waits_for_what_comes_before_it() {
    let played = Played::new().await;
    let mut follow = played.follow("").await;
    let mut first = played.append_at_gate("first").await;
    played.append("a", "second").await;
    assert!(paged(&played, "", 10).await.is_empty(), "told before the first one");
    assert!(follow.page(10, Duration::ZERO).await.unwrap().is_empty());
    played.gate.free.add_permits(1);
    first.join_next().await.unwrap().unwrap();
    assert_eq!(next(&mut follow).await, "first");
    assert_eq!(next(&mut follow).await, "second");
}

#[tokio::test]
async fn who_gives_up_an_append_holds_nobody_back_for_ever() {
    let played = Played::new().await;
    let mut follow = played.follow("").await;
    let first = played.append_at_gate("first").await;
    played.append("a", "second").await;
    // Before it was written.
    drop(first);
    assert_eq!(next(&mut follow).await, "second");
    assert_eq!(paged(&played, "", 10).await, ["second"]);
}

#[tokio::test]
async fn what_was_written_although_it_failed_is_told_in_its_place() {
    // A disk may be full after the commit, too.
    for says_full in [false, true] {
        let played = Played::new().await;
        let mut follow = played.follow("after=newest").await;
        played.gate.says_full.store(says_full, Ordering::SeqCst);
        played.gate.lies.store(true, Ordering::SeqCst);
        append(&played.log, "a", "first").await.unwrap_err();
        played.gate.lies.store(false, Ordering::SeqCst);
        played.append("a", "second").await;
        assert_eq!(next(&mut follow).await, "first");
        assert_eq!(next(&mut follow).await, "second");
        assert_eq!(paged(&played, "", 10).await, ["first", "second"]);
    }
}

#[tokio::test]
async fn who_goes_on_behind_what_is_not_told_yet_hears_only_what_comes_after_it() {
    let played = Played::new().await;
    let mut first = played.append_at_gate("first").await;
    // Stored, and known to webhooks, but told after the first one only.
    played.append("a", "second").await;
    let stored = played.log.store.find(&EVENTS, Query::all()).await.unwrap().documents;
    let mut follow = played.follow(&format!("after={}", stored[0].id)).await;
    assert!(follow.page(10, Duration::ZERO).await.unwrap().is_empty());
    played.gate.free.add_permits(1);
    first.join_next().await.unwrap().unwrap();
    played.append("a", "third").await;
    assert_eq!(next(&mut follow).await, "third");
}

#[tokio::test]
async fn who_gives_up_reading_leaves_nothing_behind_that_waits_for_its_turn() {
    let played = Played::new().await;
    played.append("a", "first").await;
    let turns = u32::try_from(READERS_MAX).unwrap();
    let busy = played.log.readers.acquire_many(turns).await.unwrap();
    for _ in 0..100 {
        let mut follow = played.follow("").await;
        assert!(futures::poll!(std::pin::pin!(follow.next())).is_pending());
    }
    played.log.readings.close();
    timeout(PATIENCE, played.log.readings.wait())
        .await
        .expect("pages that nobody wants still wait for their turn");
    drop(busy);
}

#[tokio::test]
async fn a_reader_that_lags_goes_on_with_the_store() {
    let played = Played::new().await;
    let mut follow = played.follow("after=newest").await;
    let (count, long) = (1_500, "x".repeat(500));
    for number in 0..count {
        played.append("a", &format!("{number} {long}")).await;
    }
    for number in 0..count {
        assert_eq!(next(&mut follow).await, format!("{number} {long}"));
        let bytes: usize = follow.ready.iter().map(|event| event.body.len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "more than a page is held");
    }
}

#[tokio::test]
async fn a_page_has_no_more_bytes_than_it_may() {
    let played = Played::new().await;
    let long = "x".repeat(100_000);
    for _ in 0..10 {
        played.append("a", &long).await;
    }
    let mut follow = played.follow("").await;
    for _ in 0..10 {
        next(&mut follow).await;
        let bytes: usize = follow.ready.iter().map(|event| event.body.len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes}");
    }
    let huge = "x".repeat(600_000);
    for _ in 0..8 {
        played.append("b", &huge).await;
    }
    let mut follow = played.follow("session=b").await;
    let events = follow.page(10, Duration::ZERO).await.unwrap();
    assert_eq!(events.len(), 7, "an answer ends with the event that fills it");
    assert_eq!(follow.page(10, Duration::ZERO).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_among_many_others_is_found_however_far_behind_it_is() {
    let event = |name| NewEvent::new(name, &"text", Identity::Fresh).unwrap();
    // In the last page that one answer looks through, and in one behind it.
    for pages in [ANSWER_PAGES_MAX - 1, ANSWER_PAGES_MAX + 1] {
        let played = Played::new().await;
        for _ in 0..pages {
            let others = (0..PAGE_EVENTS_MAX).map(|_| event(EventName::Message)).collect();
            played.log.append(&source("a"), others, Batch::new()).await.unwrap();
        }
        let wanted = vec![event(EventName::SessionStatus)];
        played.log.append(&source("a"), wanted, Batch::new()).await.unwrap();
        let (mut cursor, mut found) = ("oldest".to_owned(), Vec::new());
        while found.is_empty() {
            let mut follow = played.follow(&format!("events=session.status&after={cursor}")).await;
            found = follow.page(10, Duration::ZERO).await.unwrap();
            assert_ne!(cursor, follow.cursor(), "it gets nowhere");
            cursor = follow.cursor().to_owned();
        }
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test]
async fn cursors_name_no_other_session_and_are_there_where_nothing_is() {
    let played = Played::new().await;
    let mut nothing = played.follow("after=newest").await;
    assert!(nothing.page(10, Duration::ZERO).await.unwrap().is_empty());
    assert_eq!(nothing.cursor(), "oldest");
    played.append("a", "of a").await;
    played.append("b", "of b").await;
    let all = played.follow("after=newest").await;
    let mut of_a = played.follow("session=a&events=message.ack").await;
    assert!(of_a.page(10, Duration::ZERO).await.unwrap().is_empty());
    assert_ne!(of_a.cursor(), all.cursor());
    let mut behind = played.follow(&format!("after={}", of_a.cursor())).await;
    assert_eq!(next(&mut behind).await, "of b");
    let own: SessionName = "a".parse().unwrap();
    let confined = || Filter::parse("").unwrap().confined_to(Some(&own)).unwrap();
    let foreign = Start::read(all.cursor()).unwrap();
    let refused = Follow::new(Arc::clone(&played.log), confined(), &foreign).await;
    assert!(matches!(refused, Err(FollowError::UnknownEvent(_))));
    let newest = Follow::new(Arc::clone(&played.log), confined(), &Start::Newest).await;
    assert_eq!(newest.unwrap().cursor(), of_a.cursor());
}

#[tokio::test]
async fn what_is_too_much_goes_and_who_still_wants_it_is_told() {
    let played = Played::with(64 * 1024).await;
    let mut slow = played.follow("").await;
    played.append("a", "the first").await;
    let first = played.log.order.told().newest.unwrap();
    let gone = async {
        while played.log.get(&first).await.unwrap().is_some() {
            played.append("a", &"x".repeat(500)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the first event is never removed");
    assert!(matches!(slow.next().await, Err(FollowError::Behind)));
    let start = Start::After(first.clone());
    let refused = Follow::new(Arc::clone(&played.log), Filter::parse("").unwrap(), &start).await;
    assert!(matches!(refused, Err(FollowError::UnknownEvent(id)) if id == first));
    let kept = paged(&played, "", 1_000).await;
    assert!(!kept.is_empty() && !kept.contains(&"the first".to_owned()));
}

#[tokio::test]
async fn a_session_that_is_forgotten_takes_its_events_and_no_others() {
    let played = Played::new().await;
    for number in 0..600 {
        played.append("a", &number.to_string()).await;
    }
    played.append("ab", "of another session").await;
    played.append("a", "the last").await;
    let last = played.log.order.told().newest.unwrap();
    played.log.forget(&"a".parse().unwrap(), Batch::new()).await.unwrap();
    assert_eq!(paged(&played, "", 1_000).await, ["of another session"]);
    assert!(paged(&played, "session=a", 1_000).await.is_empty());
    // Who reads all sessions goes on where it was, who may read only that one does not.
    played.append("ab", "later").await;
    let mut behind = played.follow(&format!("after={last}")).await;
    assert_eq!(next(&mut behind).await, "later");
    let own: SessionName = "a".parse().unwrap();
    let confined = Filter::parse("").unwrap().confined_to(Some(&own)).unwrap();
    let refused = Follow::new(Arc::clone(&played.log), confined, &Start::After(last)).await;
    assert!(matches!(refused, Err(FollowError::UnknownEvent(_))));
}

#[tokio::test]
async fn a_session_that_is_forgotten_keeps_the_store_busy_for_a_moment_at_a_time_only() {
    let played = Played::new().await;
    for session in ["a", "b"] {
        played.listen(session).await;
    }
    for session in ["a", "b"] {
        played.append_many(session, 600).await;
    }
    assert_eq!(played.gate.count(&DELIVERIES, Vec::new()).await.unwrap(), 1_200);
    played.gate.counts_removed.store(true, Ordering::SeqCst);
    played.log.forget(&"a".parse().unwrap(), Batch::new()).await.unwrap();
    assert_eq!(played.gate.count(&DELIVERIES, Vec::new()).await.unwrap(), 600);
    let removed_max = played.gate.removed_max.load(Ordering::SeqCst);
    assert!(removed_max <= 128, "{removed_max} at once");
}

#[tokio::test]
async fn places_of_forgotten_events_are_not_given_again() {
    let played = Played::new().await;
    played.append("ab", "kept").await;
    played.append("a", "the last of all").await;
    let last = played.log.order.told();
    played.log.forget(&"a".parse().unwrap(), Batch::new()).await.unwrap();
    let again = opened(Arc::clone(&played.gate), Arc::default(), u64::MAX).await.0;
    assert_eq!(again.order.told().seq, last.seq);
    append(&again, "ab", "after a restart").await.unwrap();
    let start = Start::After(last.newest.unwrap());
    let follow = Follow::new(again, Filter::parse("").unwrap(), &start).await;
    assert_eq!(next(&mut follow.unwrap()).await, "after a restart");
}
