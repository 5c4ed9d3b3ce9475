//! Which files there are, and until when: over real stores, with a clock that the test moves.

use std::sync::Mutex;

use async_trait::async_trait;
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wharf_core::media::MediaMetadata;
use wharf_core::store::Storage as _;
use wharf_storage::media::LocalMedia;
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// A clock that only the test moves.
struct Moved(watch::Sender<Timestamp>);

#[async_trait]
impl Clock for Moved {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        // The test owns the sender for as long as anybody sleeps.
        let _ = self.0.subscribe().wait_for(|now| *now >= moment).await;
    }
}

/// A folder that can be made to fail.
struct Failing {
    inner: LocalMedia,
    failure: Mutex<Option<fn() -> MediaStorageError>>,
}

impl Failing {
    fn check(&self) -> Result<(), MediaStorageError> {
        self.failure.lock().unwrap().map_or(Ok(()), |failure| Err(failure()))
    }
}

#[async_trait]
impl MediaStorage for Failing {
    async fn put(&self, key: &MediaKey, metadata: &MediaMetadata, from: &Path) -> Result<(), MediaStorageError> {
        self.check()?;
        self.inner.put(key, metadata, from).await
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<MediaFile, MediaStorageError> {
        self.inner.get(key, range).await
    }

    async fn delete(&self, key: &MediaKey) -> Result<(), MediaStorageError> {
        self.check()?;
        self.inner.delete(key).await
    }

    async fn delete_session(&self, session: &SessionName) -> Result<(), MediaStorageError> {
        self.check()?;
        self.inner.delete_session(session).await
    }

    async fn signed_url(&self, key: &MediaKey, _: Duration) -> Result<Option<String>, MediaStorageError> {
        self.check()?;
        Ok(Some(format!("https://s3.example.com/{key}?signed")))
    }

    fn location(&self, _: &MediaKey) -> Option<S3Location> {
        None
    }

    async fn check(&self) -> Result<Option<DiskSpace>, MediaStorageError> {
        self.check()?;
        self.inner.check().await
    }

    async fn close(&self) {}
}

struct Shelf {
    folder: TempDir,
    store: LocalStorage,
    storage: Arc<Failing>,
    clock: Arc<Moved>,
}

impl Shelf {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: LocalStorage::open(LocalConfig::new(folder.path(), "test"))
                .await
                .unwrap(),
            storage: Arc::new(Failing {
                inner: LocalMedia::new(folder.path().join("media")),
                failure: Mutex::default(),
            }),
            clock: Arc::new(Moved(watch::Sender::new(
                Timestamp::from_second(1_790_000_000).unwrap(),
            ))),
            folder,
        }
    }

    /// A library over what there is, as the next process would have it.
    fn library(&self, variables: &[(&str, &str)]) -> Arc<Library> {
        let config = Config::read(&variables.iter().copied().collect()).unwrap();
        let storage = Arc::clone(&self.storage) as Arc<dyn MediaStorage>;
        Library::new(storage, self.store.server(), Arc::clone(&self.clock) as _, &config)
    }

    fn pass(&self, time: SignedDuration) {
        self.clock.0.send_modify(|now| *now += time);
    }

    fn fail(&self, failure: Option<fn() -> MediaStorageError>) {
        *self.storage.failure.lock().unwrap() = failure;
    }

    fn source(&self, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.folder.path().join("source");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn names(&self, session: &str) -> Vec<String> {
        let folder = self.folder.path().join("media").join(session);
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    async fn save(&self, library: &Library, session: &str, id: &str) -> Result<StoredMedia, MediaStorageError> {
        let source = self.source(id.as_bytes());
        let (session, jpeg) = (name(session), Some("image/jpeg"));
        library
            .save(&session, &message(id), jpeg, Some("me.jpg"), &source)
            .await
    }
}

fn name(session: &str) -> SessionName {
    session.parse().unwrap()
}

fn message(id: &str) -> MessageId {
    MessageId {
        from_me: false,
        chat: "12025550101@c.us".parse().unwrap(),
        id: id.to_owned(),
        participant: None,
    }
}

async fn is_there(library: &Library, session: &str, id: &str) -> bool {
    let found = library.find(&name(session), &[message(id)]).await.unwrap();
    let served = library
        .find_file(Some(&name(session)), &format!("{}.jpg", message(id)))
        .await;
    assert_eq!(!found.is_empty(), served.unwrap().is_some(), "told of and served alike");
    !found.is_empty()
}

fn unavailable() -> MediaStorageError {
    MediaStorageError::Unavailable("the test says so".into())
}

#[tokio::test]
async fn a_file_is_at_its_messages_url() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[("WAHA_BASE_URL", "https://waha.example.com")]);
    let stored = shelf.save(&library, "alice", "3EB0AA").await.unwrap();
    assert_eq!(
        stored.url,
        "https://waha.example.com/api/files/alice/false_12025550101@c.us_3EB0AA.jpg"
    );
    let both = [message("3EB0AA"), message("3EB0BB")];
    let found = library.find(&name("alice"), &both).await.unwrap();
    assert_eq!(found, HashMap::from([(message("3EB0AA"), stored)]));
    assert!(library.find(&name("bob"), &both).await.unwrap().is_empty());

    let file = "false_12025550101@c.us_3EB0AA.jpg";
    for session in [Some(name("alice")), None] {
        let kept = library.find_file(session.as_ref(), file).await.unwrap().unwrap();
        assert_eq!((kept.size, kept.mimetype.as_str()), (6, "image/jpeg"));
        assert_eq!(kept.filename.as_deref(), Some("me.jpg"));
        let body = library.read(&kept, None).await.unwrap().body;
        let bytes: Vec<_> = body.try_collect().await.unwrap();
        assert_eq!(bytes.concat(), b"3EB0AA");
    }
    for (session, file) in [
        ("bob", file),
        ("alice", "false_12025550101@c.us_3EB0AA.png"),
        ("alice", "false_12025550101@c.us_3EB0AA"),
        ("alice", ""),
        ("alice", "../alice/false_12025550101@c.us_3EB0AA.jpg"),
    ] {
        assert!(
            library.find_file(Some(&name(session)), file).await.unwrap().is_none(),
            "{file}"
        );
    }
}

#[tokio::test]
async fn a_file_expires_when_it_should_also_across_restarts() {
    let shelf = Shelf::new().await;
    let usual = shelf.library(&[]);
    shelf.save(&usual, "alice", "A").await.unwrap();
    shelf.pass(MINUTE);
    shelf.save(&usual, "alice", "B").await.unwrap();
    // The next process removes nothing that is still good, however it is set itself.
    let next = shelf.library(&[("WHATSAPP_FILES_LIFETIME", "1")]);
    next.sweep().await.unwrap();
    assert_eq!(shelf.names("alice").len(), 2);

    shelf.pass(MINUTE * 2);
    assert!(!is_there(&next, "alice", "A").await, "expired, swept or not");
    let again = next.sweep().await.unwrap();
    assert_eq!(shelf.names("alice"), ["false_12025550101@c.us_B.jpg"]);
    assert_eq!(again, shelf.clock.now() + MINUTE);
    assert!(is_there(&next, "alice", "B").await);
    shelf.pass(MINUTE);
    assert_eq!(next.sweep().await.unwrap(), Timestamp::MAX);
    assert!(shelf.names("alice").is_empty());
}

#[tokio::test]
async fn the_sweeper_wakes_for_what_is_stored_while_it_sleeps() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[]);
    let mut tasks = tokio::task::JoinSet::new();
    let stop = CancellationToken::new();
    tasks.spawn(Arc::clone(&library).sweep_on(stop.clone()));
    shelf.save(&library, "alice", "A").await.unwrap();
    shelf.pass(MINUTE * 3);
    let id = record::id(&name("alice"), &message("A").to_string());
    while library.store.get(&FILES, &id).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(shelf.names("alice").is_empty());
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lifetime_beyond_all_clocks_keeps_files() {
    let shelf = Shelf::new().await;
    for lifetime in ["0", "4294967296000", "9223372036854775807"] {
        let library = shelf.library(&[("WHATSAPP_FILES_LIFETIME", lifetime)]);
        shelf.save(&library, "alice", "A").await.unwrap();
        shelf.pass(SignedDuration::from_hours(24 * 365));
        library.sweep().await.unwrap();
        assert!(is_there(&library, "alice", "A").await, "{lifetime}");
    }
}

#[tokio::test]
async fn what_was_begun_and_never_finished_is_told_of_to_nobody_and_removed() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[("WHATSAPP_FILES_LIFETIME", "0")]);
    shelf.fail(Some(unavailable));
    assert!(shelf.save(&library, "alice", "A").await.is_err());
    shelf.fail(None);
    assert!(!is_there(&library, "alice", "A").await);
    // As after a crash between the file and its record.
    let file = shelf.folder.path().join("media/alice/false_12025550101@c.us_A.jpg");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, b"orphan").unwrap();
    shelf.pass(ABANDONED_AFTER - MINUTE);
    library.sweep().await.unwrap();
    assert!(file.exists());
    shelf.pass(MINUTE);
    library.sweep().await.unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn a_file_that_is_stored_again_is_there_all_the_time() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[]);
    shelf.save(&library, "alice", "A").await.unwrap();
    shelf.pass(MINUTE);
    shelf.fail(Some(unavailable));
    assert!(shelf.save(&library, "alice", "A").await.is_err());
    assert!(is_there(&library, "alice", "A").await);
    shelf.fail(None);
    shelf.save(&library, "alice", "A").await.unwrap();
    shelf.pass(MINUTE * 2);
    assert!(is_there(&library, "alice", "A").await, "its time begins anew");
    let source = shelf.source(b"other");
    library
        .save(&name("alice"), &message("A"), Some("image/png"), None, &source)
        .await
        .unwrap();
    assert_eq!(shelf.names("alice"), ["false_12025550101@c.us_A.png"]);
}

#[tokio::test]
async fn files_go_with_their_session_also_where_the_storage_is_away() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[("WHATSAPP_FILES_LIFETIME", "0")]);
    for id in ["A", "B", "C"] {
        shelf.save(&library, "alice", id).await.unwrap();
        shelf.save(&library, "bob", id).await.unwrap();
    }
    library.delete_session(&name("bob")).await.unwrap();
    assert!(shelf.names("bob").is_empty() && !is_there(&library, "bob", "A").await);

    shelf.fail(Some(unavailable));
    library.delete_session(&name("alice")).await.unwrap();
    assert!(!is_there(&library, "alice", "A").await);
    assert_eq!(shelf.names("alice").len(), 3);
    assert!(library.sweep().await.is_err());
    // A new session of this name is not in the way of that.
    shelf.fail(None);
    shelf.save(&library, "alice", "D").await.unwrap();
    library.sweep().await.unwrap();
    assert_eq!(shelf.names("alice"), ["false_12025550101@c.us_D.jpg"]);
    assert!(is_there(&library, "alice", "D").await);
}

#[tokio::test]
async fn one_file_that_cannot_be_removed_is_in_nobodys_way() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[]);
    shelf.save(&library, "alice", "A").await.unwrap();
    shelf.pass(MINUTE * 4);
    shelf.fail(Some(|| MediaStorageError::Internal("the test says so".into())));
    let next = library.sweep().await.unwrap();
    assert!(next > shelf.clock.now(), "it is tried later, not at once");
    shelf.fail(None);
    shelf.pass(MINUTE);
    library.sweep().await.unwrap();
    assert!(shelf.names("alice").is_empty());
}

#[tokio::test]
async fn signed_urls_are_told_where_the_storage_serves_files_itself() {
    let shelf = Shelf::new().await;
    let s3 = [
        ("WAHA_MEDIA_STORAGE", "S3"),
        ("WAHA_S3_BUCKET", "waha"),
        ("WAHA_S3_ACCESS_KEY_ID", "id"),
        ("WAHA_S3_SECRET_ACCESS_KEY", "secret"),
    ];
    let library = shelf.library(&s3);
    let stored = shelf.save(&library, "alice", "A").await.unwrap();
    assert_eq!(
        stored.url,
        "https://s3.example.com/alice/false_12025550101@c.us_A.jpg?signed"
    );
    let proxied: Vec<_> = s3.into_iter().chain([("WAHA_S3_PROXY_FILES", "True")]).collect();
    let found = shelf
        .library(&proxied)
        .find(&name("alice"), &[message("A")])
        .await
        .unwrap();
    assert!(
        found[&message("A")]
            .url
            .starts_with("http://localhost:3000/api/files/alice/")
    );
}

#[tokio::test]
async fn too_little_room_and_a_storage_that_is_away_are_not_well() {
    let shelf = Shelf::new().await;
    assert!(matches!(shelf.library(&[]).check().await, Health::Up(Some(_))));
    let much = shelf.library(&[("WHATSAPP_HEALTH_MEDIA_FILES_THRESHOLD_MB", "4294967295")]);
    assert!(matches!(much.check().await, Health::Down { space: Some(_), .. }));
    shelf.fail(Some(unavailable));
    assert!(matches!(
        shelf.library(&[]).check().await,
        Health::Down { space: None, .. }
    ));
}

#[tokio::test]
async fn one_at_a_time_stores_or_removes_a_file() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[]);
    shelf.save(&library, "alice", "A").await.unwrap();
    shelf.pass(MINUTE * 10);
    let claim = library
        .claim(&record::id(&name("alice"), &names::stem(&message("A"))))
        .unwrap();
    let next = library.sweep().await.unwrap();
    assert!(next < Timestamp::MAX, "it is looked at again");
    assert_eq!(shelf.names("alice").len(), 1);
    let removed = async {
        drop(claim);
        library.sweep().await.unwrap();
    };
    let save = || shelf.save(&library, "alice", "A");
    let ((), first, second) = tokio::join!(removed, save(), save());
    assert_eq!(first.unwrap(), second.unwrap());
    assert!(is_there(&library, "alice", "A").await);
    assert_eq!(shelf.names("alice").len(), 1);
}

#[tokio::test]
async fn the_readers_of_one_session_leave_seats_to_others() {
    let shelf = Shelf::new().await;
    let library = shelf.library(&[]);
    let kept = async |session: &str| {
        shelf.save(&library, session, "A").await.unwrap();
        let file = shelf.names(session).remove(0);
        library.find_file(Some(&name(session)), &file).await.unwrap().unwrap()
    };
    let (alice, bob) = (kept("alice").await, kept("bob").await);
    let seats: Vec<_> = std::iter::from_fn(|| library.seat(&alice)).collect();
    assert_eq!(seats.len(), READS_PER_SESSION_MAX);
    assert!(library.seat(&bob).is_some());
    drop(seats);
    assert!(library.seat(&alice).is_some());
}
