//! What is particular to local files: their modes, their damage, their lock, and closing them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use wharf_core::store::{Expect, Field, Value};

use super::*;

static THINGS: Collection = Collection {
    name: "things",
    fields: &[Field::text("kind")],
};

/// The same collection in a later version.
static MORE_THINGS: Collection = Collection {
    name: "things",
    fields: &[Field::text("kind"), Field::integer("rank")],
};

fn config(base: &TempDir) -> LocalConfig {
    LocalConfig::new(base.path(), "webjs")
}

async fn open(base: &TempDir) -> LocalStorage {
    LocalStorage::open(config(base)).await.expect("it can be opened")
}

fn name(name: &str) -> SessionName {
    name.parse().expect("a valid name")
}

async fn put(store: &dyn Store, id: &str) {
    let batch = Batch::new().put(&THINGS, Document::new(id, "body"));
    store.write(batch).await.expect("it can be written");
}

async fn has(store: &dyn Store, id: &str) -> bool {
    store.get(&THINGS, id).await.expect("it can be read").is_some()
}

/// The file that an error says is damaged.
fn damaged<T>(result: Result<T, StoreError>) -> PathBuf {
    match result {
        Err(StoreError::Corrupt { file, .. }) => file,
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("damage was not noticed"),
    }
}

/// A base folder whose session `alice` has a document, all closed.
async fn with_alice() -> (TempDir, PathBuf) {
    let base = TempDir::new().expect("a folder for the test");
    let storage = open(&base).await;
    put(&*storage.session(&name("alice")).await.expect("it can be made"), "a").await;
    storage.close().await;
    let file = base.path().join("webjs/alice/session.sqlite3");
    (base, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_fulfil_the_contract() {
    let base = TempDir::new().expect("a folder for the test");
    let open = async || Arc::new(open(&base).await) as Arc<dyn Storage>;
    crate::contract::verify(open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_one_file_fulfils_the_contract() {
    let base = TempDir::new().expect("a folder for the test");
    let open = async || {
        let config = LocalConfig {
            open_sessions_max: 1,
            ..config(&base)
        };
        Arc::new(LocalStorage::open(config).await.expect("it can be opened")) as Arc<dyn Storage>
    };
    crate::contract::verify(open).await;
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_what_is_stored() {
    use std::os::unix::fs::PermissionsExt;
    let base = TempDir::new().expect("a folder for the test");
    let storage = open(&base).await;
    put(&*storage.session(&name("alice")).await.expect("it can be made"), "a").await;

    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let namespace = base.path().join("webjs");
    let mut files = 0;
    for folder in [namespace.clone(), namespace.join("alice")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(
        files >= 7,
        "two databases with -wal and -shm, and the lock; found {files}"
    );
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_ends() {
    let base = TempDir::new().expect("a folder for the test");
    let first = open(&base).await;
    let refused = LocalStorage::open(config(&base)).await.expect_err("it is in use");
    let StoreError::Unavailable(cause) = &refused else {
        panic!("another error: {refused:?}");
    };
    assert!(cause.to_string().contains("another process uses"), "{cause}");

    let elsewhere = LocalConfig::new(base.path(), "noweb");
    let other = LocalStorage::open(elsewhere)
        .await
        .expect("another namespace is another folder");
    other.close().await;
    first.close().await;
    open(&base).await.close().await;
}

#[tokio::test]
async fn sessions_may_lie_elsewhere_and_are_one_processes_there_too() {
    let base = TempDir::new().expect("a folder for the test");
    let of = |namespace: &str| LocalConfig {
        session_namespace: "mine".to_owned(),
        ..LocalConfig::new(base.path(), namespace)
    };
    let first = LocalStorage::open(of("all")).await.expect("it can be opened");
    put(&*first.session(&name("alice")).await.expect("it can be made"), "a").await;
    assert!(base.path().join("all/wharf.sqlite3").is_file());
    assert!(base.path().join("mine/alice/session.sqlite3").is_file());
    let refused = LocalStorage::open(of("other")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    first.close().await;
    let second = LocalStorage::open(of("other")).await.expect("the first has ended");
    let alice = second.session(&name("alice")).await.expect("it can be opened");
    assert!(has(&*alice, "a").await);
    second.close().await;
}

#[tokio::test]
async fn damage_is_an_error_that_names_the_file_and_changes_nothing() {
    let damages: [fn(&Path); 5] = [
        |file| fs::write(file, "").expect("it can be written"),
        |file| fs::write(file, vec![7; 8192]).expect("it can be written"),
        |file| {
            let bytes = fs::read(file).expect("it can be read");
            fs::write(file, &bytes[..bytes.len() - 4096]).expect("it can be written");
        },
        |file| {
            let mut bytes = fs::read(file).expect("it can be read");
            bytes[4096..8192].fill(0xff);
            fs::write(file, bytes).expect("it can be written");
        },
        |file| {
            fs::rename(file, file.with_extension("moved")).expect("it can be moved");
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let (base, file) = with_alice().await;
        damage(&file);
        let before = fs::read(&file).ok();
        let storage = open(&base).await;
        let found = match storage.session(&name("alice")).await {
            Ok(store) => damaged(store.get(&THINGS, "a").await),
            error => damaged(error),
        };
        assert_eq!(found, file, "damage {number}");
        assert_eq!(fs::read(&file).ok(), before, "damage {number}");

        storage
            .session(&name("bob"))
            .await
            .expect("other sessions are not touched");
        storage
            .delete_session(&name("alice"))
            .await
            .expect("a damaged session can be deleted");
        let fresh = storage.session(&name("alice")).await.expect("and made anew");
        assert!(!has(&*fresh, "a").await);
        storage.close().await;
    }
}

#[tokio::test]
async fn files_of_others_and_of_newer_versions_are_refused() {
    for (pragma, says) in [
        ("application_id = 1", "another program"),
        ("user_version = 2", "layout is 2"),
    ] {
        let (base, file) = with_alice().await;
        let connection = rusqlite::Connection::open(&file).expect("it can be opened");
        connection
            .execute_batch(&format!("PRAGMA {pragma}"))
            .expect("it can be changed");
        connection.close().expect("it can be closed");

        let storage = open(&base).await;
        match storage.session(&name("alice")).await {
            Err(StoreError::Corrupt { cause, .. }) => assert!(cause.to_string().contains(says), "{cause}"),
            Err(error) => panic!("another error: {error:?}"),
            Ok(_) => panic!("it was accepted"),
        }
        storage.close().await;
    }
}

#[tokio::test]
async fn what_a_crash_left_while_making_a_file_is_no_damage() {
    let base = TempDir::new().expect("a folder for the test");
    let folder = base.path().join("webjs/alice");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("session.sqlite3.new"), "").expect("a file");
    fs::write(folder.join("session.sqlite3.new-journal"), "half").expect("a file");
    let removed = base.path().join("webjs/bob.deleted");
    fs::create_dir_all(&removed).expect("a folder");

    let storage = open(&base).await;
    assert!(!removed.exists(), "an interrupted removal is finished");
    put(&*storage.session(&name("alice")).await.expect("it can be made"), "a").await;
    storage.close().await;
}

#[tokio::test]
async fn an_idle_file_closes_and_its_handle_stays_valid() {
    let base = TempDir::new().expect("a folder for the test");
    let config = LocalConfig {
        session_idle_timeout: Duration::from_millis(1),
        ..config(&base)
    };
    let storage = LocalStorage::open(config).await.expect("it can be opened");
    let store = storage.session(&name("alice")).await.expect("it can be made");
    for round in 0..3 {
        put(&*store, &format!("{round}")).await;
        storage.pool.empty().await;
        assert_eq!(storage.open_sessions(), 0);
        let wal = base.path().join("webjs/alice/session.sqlite3-wal");
        assert!(!wal.exists(), "closing leaves one file");
    }
    assert!(has(&*store, "0").await && has(&*store, "2").await);
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sessions_than_places_all_get_their_turn() {
    let base = TempDir::new().expect("a folder for the test");
    let config = LocalConfig {
        open_sessions_max: 3,
        session_idle_timeout: Duration::from_secs(3600),
        ..config(&base)
    };
    let storage = LocalStorage::open(config).await.expect("it can be opened");
    let work = (0..12).map(|number| {
        let storage = &storage;
        async move {
            let store = storage
                .session(&name(&format!("s{number}")))
                .await
                .expect("it can be made");
            for round in 0..4 {
                put(&*store, &format!("{round}")).await;
                assert!(storage.open_sessions() <= 3);
            }
            assert!(has(&*store, "3").await);
        }
    });
    futures::future::join_all(work).await;
    storage.close().await;
}

#[tokio::test]
async fn a_field_added_later_gets_its_column() {
    let (base, _) = with_alice().await;
    let storage = open(&base).await;
    let store = storage.session(&name("alice")).await.expect("it can be opened");
    let found = store.get(&MORE_THINGS, "a").await.expect("it can be read");
    assert!(found.expect("it is there").fields.is_empty());
    let batch = Batch::new().put(&MORE_THINGS, Document::new("b", "").with("rank", 3));
    store.write(batch).await.expect("it can be written");
    let found = store
        .get(&MORE_THINGS, "b")
        .await
        .expect("it can be read")
        .expect("it is there");
    assert_eq!(found.field("rank"), Some(&Value::Integer(3)));
    put(&*store, "c").await;
    storage.close().await;
}

#[tokio::test]
async fn a_table_that_a_conflict_undoes_is_made_again() {
    let base = TempDir::new().expect("a folder for the test");
    let storage = open(&base).await;
    let store = storage.session(&name("alice")).await.expect("it can be made");
    put(&*store, "taken").await;
    let check = |id: &str| Batch::new().put(&CHECKS, Document::new(id, ""));
    let taken = Document::new("taken", "");
    let refused = store.write(check("first").put_if(&THINGS, taken, Expect::Absent)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    store.write(check("second")).await.expect("the table is there again");
    let left = store
        .count(&CHECKS, Vec::new())
        .await
        .expect("documents can be counted");
    assert_eq!(left, 1, "the batch left nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_held_by_another_program_is_unavailable_for_a_while() {
    let (base, file) = with_alice().await;
    let config = LocalConfig {
        busy_timeout: Duration::from_millis(20),
        ..config(&base)
    };
    let storage = LocalStorage::open(config).await.expect("it can be opened");
    let store = storage.session(&name("alice")).await.expect("it can be opened");
    let other = rusqlite::Connection::open(&file).expect("it can be opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("it can be held");
    let refused = store.write(Batch::new().put(&THINGS, Document::new("b", ""))).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    other.execute_batch("ROLLBACK").expect("it can be let go");
    put(&*store, "b").await;
    assert!(has(&*store, "a").await && has(&*store, "b").await);
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_one_call_is_no_matter_of_its_group() {
    let base = TempDir::new().expect("a folder for the test");
    let storage = open(&base).await;
    let store = storage.server();
    put(&*store, "first").await;
    let other = rusqlite::Connection::open(base.path().join("webjs/wharf.sqlite3")).expect("it can be opened");
    other
        .execute_batch(
            "CREATE TRIGGER odd BEFORE INSERT ON things WHEN new.id = 'odd' BEGIN SELECT RAISE(ABORT, 'odd'); END",
        )
        .expect("it can be made");
    // What may wait is one group with what comes next.
    let when_convenient = |id: &str| Batch::new().put(&THINGS, Document::new(id, "")).when_convenient();
    let writes = ["a", "odd", "b"].map(|id| store.write(when_convenient(id)));
    let outcomes = futures::future::join_all(writes).await;
    assert!(
        matches!(&outcomes[..], [Ok(()), Err(StoreError::Internal(_)), Ok(())]),
        "{outcomes:?}"
    );
    assert!(has(&*store, "a").await && has(&*store, "b").await && !has(&*store, "odd").await);
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_a_call_and_not_the_file() {
    let base = TempDir::new().expect("a folder for the test");
    let storage = open(&base).await;
    put(&*storage.server, "before").await;
    // Undone with the panic, because it is of the same group; or tried by itself. Either way its caller knows.
    let write = storage
        .server
        .write(Batch::new().put(&THINGS, Document::new("beside", "")));
    let (written, error) = futures::future::join(write, storage.server.panic()).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(written.is_ok(), has(&*storage.server, "beside").await);
    put(&*storage.server, "after").await;
    assert!(has(&*storage.server, "before").await && has(&*storage.server, "after").await);
    storage.close().await;
    let again = open(&base).await;
    assert!(has(&*again.server, "after").await);
    again.close().await;
}
