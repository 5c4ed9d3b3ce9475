//! Cases about sessions: they do not see each other, can be deleted at any time, and are found again after a restart.

use futures::future::join_all;

use super::*;

/// How many sessions are used at the same time.
const SESSIONS: usize = 20;

pub(super) async fn verify(storage: &dyn Storage) {
    are_apart(storage).await;
    differ_by_case(storage).await;
    can_be_deleted(storage).await;
    can_be_deleted_while_written(storage).await;
    work_side_by_side(storage).await;
}

pub(super) async fn leave_something(storage: &dyn Storage) {
    put(&*storage.server(), Document::new("left", "server").with("kind", "k")).await;
    put(
        &*fresh(storage, "s-left").await,
        Document::new("left", "session").with("kind", "k"),
    )
    .await;
}

pub(super) async fn find_it_again(storage: &dyn Storage) {
    let session = storage
        .session(&session_name("s-left"))
        .await
        .expect("it can be opened");
    for (store, body) in [(storage.server(), "server"), (session, "session")] {
        let found = get(&*store, "left").await.expect("it was stored before");
        assert_eq!((&found.body[..], found.version), (body.as_bytes(), 1));
        let by_field = Query::all().filter(Condition::Equal("kind", "k".into()));
        assert_eq!(ids(&*store, by_field).await, ["left"]);
    }
    let deleted = storage
        .session(&session_name("s-deleted"))
        .await
        .expect("it can be made");
    assert_eq!(get(&*deleted, "a").await, None, "what was deleted does not come back");
}

pub(super) async fn fails_after_close(storage: &dyn Storage) {
    assert!(storage.check().await.is_err());
    assert!(storage.server().get(&THINGS, "left").await.is_err());
    assert!(storage.session(&session_name("s-left")).await.is_err());
}

async fn are_apart(storage: &dyn Storage) {
    let (one, two) = (fresh(storage, "s-one").await, fresh(storage, "s-two").await);
    put(&*one, Document::new("same", "one")).await;
    put(&*two, Document::new("same", "two")).await;
    put(&*storage.server(), Document::new("same", "server")).await;
    assert_eq!(get(&*one, "same").await.expect("it was stored").body, "one");
    assert_eq!(get(&*two, "same").await.expect("it was stored").body, "two");
    assert_eq!(
        get(&*storage.server(), "same").await.expect("it was stored").body,
        "server"
    );

    let again = storage
        .session(&session_name("s-one"))
        .await
        .expect("it is open already");
    assert_eq!(get(&*again, "same").await.expect("both see the same").body, "one");
}

async fn differ_by_case(storage: &dyn Storage) {
    let names = ["s-case", "S-case", "S-CASE"];
    for name in names {
        put(&*fresh(storage, name).await, Document::new("name", name)).await;
    }
    for name in names {
        let store = storage.session(&session_name(name)).await.expect("it was made");
        assert_eq!(get(&*store, "name").await.expect("it was stored").body, name);
    }
}

async fn can_be_deleted(storage: &dyn Storage) {
    let name = session_name("s-deleted");
    let store = fresh(storage, "s-deleted").await;
    put(&*store, Document::new("a", "")).await;
    storage
        .delete_session(&name)
        .await
        .expect("an open session can be deleted");
    storage
        .delete_session(&name)
        .await
        .expect("deleting what is not there is fine");
    let gone = store.get(&THINGS, "a").await;
    assert!(!matches!(gone, Ok(Some(_))), "an old handle does not bring it back");
    let store = storage.session(&name).await.expect("it can be made again");
    assert_eq!(get(&*store, "a").await, None);
}

async fn can_be_deleted_while_written(storage: &dyn Storage) {
    let name = session_name("s-busy");
    let store = fresh(storage, "s-busy").await;
    let writers = (0..SESSIONS).map(|writer| {
        let store = &store;
        async move {
            // Ends when the session is gone, at the latest when the numbers are.
            for number in 0..10_000 {
                let document = Document::new(format!("{writer} {number}"), "");
                if store.write(Batch::new().put(&THINGS, document)).await.is_err() {
                    return true;
                }
            }
            false
        }
    });
    let delete = async {
        while store
            .count(&THINGS, Vec::new())
            .await
            .expect("documents can be counted")
            < 100
        {
            tokio::task::yield_now().await;
        }
        storage
            .delete_session(&name)
            .await
            .expect("a busy session can be deleted");
    };
    let (ended, ()) = tokio::join!(join_all(writers), delete);
    assert!(ended.into_iter().all(|ended| ended), "writes to a deleted session fail");
    let store = storage.session(&name).await.expect("it can be made again");
    assert!(all_ids(&*store).await.is_empty());
}

async fn work_side_by_side(storage: &dyn Storage) {
    let work = (0..SESSIONS).map(|number| async move {
        let store = fresh(storage, &format!("s-side-{number}")).await;
        for round in 0..10 {
            put(&*store, Document::new(format!("{round}"), number.to_string())).await;
        }
        (number, store)
    });
    for (number, store) in join_all(work).await {
        let page = store.find(&THINGS, Query::all()).await.expect("documents can be found");
        assert_eq!(page.documents.len(), 10);
        assert!(
            page.documents
                .iter()
                .all(|document| document.body == number.to_string())
        );
        let name = session_name(&format!("s-side-{number}"));
        storage.delete_session(&name).await.expect("sessions can be deleted");
    }
}
