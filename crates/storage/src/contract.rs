//! What every backend of the storage port must do, as one call for its tests.
//!
//! Test code: it panics where a backend is wrong. Each case has a session of its own, so that they cannot help each other.

use std::sync::Arc;

use wharf_core::ids::SessionName;
use wharf_core::store::{
    Batch, Collection, Condition, Document, Expect, Field, PAGE_DOCUMENTS_MAX, Query, Storage, Store, StoreError,
};

mod queries;
mod sessions;
mod writes;

/// The collection of the cases.
static THINGS: Collection = Collection {
    name: "things",
    fields: &[Field::text("kind"), Field::integer("rank"), Field::time("at")],
};

/// A collection with the name of a word of SQL, and no fields.
static ORDERS: Collection = Collection {
    name: "order",
    fields: &[],
};

/// Runs the whole suite. `open` opens the same storage each time, after the one before was closed.
pub async fn verify(open: impl AsyncFn() -> Arc<dyn Storage>) {
    let storage = open().await;
    writes::verify(&*storage).await;
    queries::verify(&*storage).await;
    sessions::verify(&*storage).await;
    storage.check().await.expect("a write works");
    sessions::leave_something(&*storage).await;
    storage.close().await;
    sessions::fails_after_close(&*storage).await;
    drop(storage);

    let storage = open().await;
    sessions::find_it_again(&*storage).await;
    storage.close().await;
}

/// The store of a new session for one case.
async fn fresh(storage: &dyn Storage, case: &str) -> Arc<dyn Store> {
    let name = session_name(case);
    storage.delete_session(&name).await.expect("sessions can be deleted");
    storage.session(&name).await.expect("sessions can be made")
}

fn session_name(name: &str) -> SessionName {
    name.parse().expect("the suite uses valid names")
}

async fn put(store: &dyn Store, document: Document) {
    let batch = Batch::new().put(&THINGS, document);
    store.write(batch).await.expect("a document can be stored");
}

async fn get(store: &dyn Store, id: &str) -> Option<Document> {
    store.get(&THINGS, id).await.expect("documents can be read")
}

/// The ids of all that a query finds, page by page.
async fn ids(store: &dyn Store, query: Query) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after = query.after.clone();
    loop {
        let query = query.clone().after(after);
        let page = store.find(&THINGS, query).await.expect("documents can be found");
        ids.extend(page.documents.into_iter().map(|document| document.id));
        match page.next {
            Some(next) => after = Some(next),
            None => return ids,
        }
    }
}

async fn all_ids(store: &dyn Store) -> Vec<String> {
    ids(store, Query::all()).await
}

fn is_conflict<T>(result: Result<T, StoreError>, with: &str) -> bool {
    matches!(result, Err(StoreError::Conflict { collection: "things", id }) if id == with)
}
