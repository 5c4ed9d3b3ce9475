//! Cases about finding: every condition on every kind of field, order, pages, counts, deletes by condition.

use jiff::Timestamp;
use wharf_core::store::{Cursor, Value};

use super::*;

pub(super) async fn verify(storage: &dyn Storage) {
    let store = fresh(storage, "q-conditions").await;
    fill(&*store).await;
    finds_by_each_condition(&*store).await;
    counts_what_it_finds(&*store).await;
    orders_by_each_field(&*store).await;
    pages_meet_without_gaps(&*store).await;
    deletes_by_condition(&*store).await;

    pages_while_documents_change(&*fresh(storage, "q-changes").await).await;
    caps_a_page(&*fresh(storage, "q-cap").await).await;
    matches_prefixes_as_text(&*fresh(storage, "q-prefix").await).await;
}

/// `a0` to `a8`: kind x, y or z; rank 0, 10 or 20; a second apart. `b` has no fields.
async fn fill(store: &dyn Store) {
    let mut batch = Batch::new().put(&THINGS, Document::new("b", ""));
    for number in 0..9 {
        let document = Document::new(format!("a{number}"), "")
            .with("kind", ["x", "y", "z"][number % 3])
            .with("rank", i64::try_from(number / 3).expect("small") * 10)
            .with("at", second(number));
        batch = batch.put(&THINGS, document);
    }
    store.write(batch).await.expect("documents can be stored");
}

fn second(number: usize) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + i64::try_from(number).expect("small")).expect("a valid time")
}

async fn finds_by_each_condition(store: &dyn Store) {
    use Condition::{AtLeast, AtMost, Equal, IdPrefix, In};
    let at = |number| Value::Time(second(number));
    let cases: [(Vec<Condition>, &[&str]); 16] = [
        (vec![Equal("kind", "y".into())], &["a1", "a4", "a7"]),
        (vec![Equal("rank", 10.into())], &["a3", "a4", "a5"]),
        (vec![Equal("at", at(8))], &["a8"]),
        (vec![AtLeast("kind", "z".into())], &["a2", "a5", "a8"]),
        (vec![AtLeast("rank", 11.into())], &["a6", "a7", "a8"]),
        (vec![AtLeast("at", at(7))], &["a7", "a8"]),
        (vec![AtMost("kind", "x".into())], &["a0", "a3", "a6"]),
        (vec![AtMost("rank", 0.into())], &["a0", "a1", "a2"]),
        (vec![AtMost("at", at(0))], &["a0"]),
        (
            vec![In("kind", vec!["x".into(), "nothing".into()])],
            &["a0", "a3", "a6"],
        ),
        (
            vec![In("rank", vec![0.into(), 20.into()]), Equal("kind", "z".into())],
            &["a2", "a8"],
        ),
        (vec![In("at", vec![at(1), at(1), at(2)])], &["a1", "a2"]),
        (vec![In("kind", Vec::new())], &[]),
        (vec![IdPrefix("b".into())], &["b"]),
        (
            vec![IdPrefix("a".into()), AtLeast("at", at(2)), AtMost("at", at(3))],
            &["a2", "a3"],
        ),
        (vec![AtLeast("rank", 10.into()), AtMost("rank", 0.into())], &[]),
    ];
    for (conditions, expected) in cases {
        let what = format!("{conditions:?}");
        let query = conditions.into_iter().fold(Query::all(), Query::filter);
        assert_eq!(ids(store, query).await, expected, "{what}");
    }
    let many = (0..1_000).map(Value::Integer).collect();
    let query = Query::all().filter(In("rank", many));
    assert_eq!(ids(store, query).await.len(), 9, "a condition takes a thousand values");
}

async fn counts_what_it_finds(store: &dyn Store) {
    let count = async |conditions| {
        store
            .count(&THINGS, conditions)
            .await
            .expect("documents can be counted")
    };
    assert_eq!(count(Vec::new()).await, 10);
    assert_eq!(count(vec![Condition::Equal("kind", "y".into())]).await, 3);
    assert_eq!(count(vec![Condition::IdPrefix("zzz".into())]).await, 0);
    assert_eq!(
        store
            .count(&ORDERS, Vec::new())
            .await
            .expect("an empty collection has a count"),
        0
    );
}

async fn orders_by_each_field(store: &dyn Store) {
    let by_kind = ["a0", "a3", "a6", "a1", "a4", "a7", "a2", "a5", "a8"];
    let by_time = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"];
    for (field, expected) in [("kind", by_kind), ("rank", by_time), ("at", by_time)] {
        assert_eq!(
            ids(store, Query::all().ascending(field)).await,
            expected,
            "{field}, smallest first"
        );
        let mut backwards = expected;
        backwards.reverse();
        assert_eq!(
            ids(store, Query::all().descending(field)).await,
            backwards,
            "{field}, largest first"
        );
    }
    let mut all = Query::all();
    all.descending = true;
    assert_eq!(
        ids(store, all).await.first().map(String::as_str),
        Some("b"),
        "by id alone, largest first"
    );
}

async fn pages_meet_without_gaps(store: &dyn Store) {
    for field in [None, Some("kind"), Some("rank"), Some("at")] {
        for descending in [false, true] {
            let query = |limit| Query {
                order_by: field,
                descending,
                ..Query::all().limit(limit)
            };
            let whole = ids(store, query(PAGE_DOCUMENTS_MAX)).await;
            for limit in 1..=whole.len() + 1 {
                let pages = ids(store, query(limit)).await;
                assert_eq!(pages, whole, "{field:?} in pages of {limit}, descending: {descending}");
            }
        }
    }
    let page = store
        .find(&THINGS, Query::all().limit(0))
        .await
        .expect("a page may be empty");
    assert_eq!((page.documents.len(), page.next), (0, None));
    let page = store
        .find(&THINGS, Query::all().limit(10))
        .await
        .expect("documents can be found");
    assert_eq!(page.next, None, "the last page says so, also when it is full");

    let without_value = Cursor {
        value: None,
        id: "a1".into(),
    };
    let result = store
        .find(&THINGS, Query::all().ascending("rank").after(Some(without_value)))
        .await;
    assert!(
        matches!(result, Err(StoreError::Internal(_))),
        "a cursor of another order: {result:?}"
    );
}

async fn deletes_by_condition(store: &dyn Store) {
    let batch = Batch::new()
        .delete_where(
            &THINGS,
            vec![
                Condition::AtLeast("at", second(2).into()),
                Condition::AtMost("at", second(5).into()),
            ],
        )
        .delete_where(&THINGS, vec![Condition::Equal("kind", "x".into())])
        .delete_where(&THINGS, vec![Condition::In("rank", vec![77.into()])]);
    store.write(batch).await.expect("documents can be removed by condition");
    assert_eq!(all_ids(store).await, ["a1", "a7", "a8", "b"]);
}

async fn pages_while_documents_change(store: &dyn Store) {
    for number in 0..6 {
        put(store, Document::new(format!("{number}"), "").with("rank", 1)).await;
    }
    let query = || Query::all().ascending("rank").limit(2);
    let page = store.find(&THINGS, query()).await.expect("documents can be found");
    let first: Vec<&str> = page.documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(first, ["0", "1"]);

    // The document at the cursor goes, one before it and one behind it come, one behind it moves to the end.
    store
        .write(Batch::new().delete(&THINGS, "1"))
        .await
        .expect("a document can be removed");
    for (id, rank) in [("00", 1), ("25", 1), ("3", 2)] {
        put(store, Document::new(id, "").with("rank", rank)).await;
    }
    let rest = ids(store, query().after(page.next)).await;
    assert_eq!(rest, ["2", "25", "4", "5", "3"]);
}

async fn caps_a_page(store: &dyn Store) {
    let batch = (0..=PAGE_DOCUMENTS_MAX).fold(Batch::new(), |batch, number| {
        batch.put(&THINGS, Document::new(format!("{number:05}"), ""))
    });
    store.write(batch).await.expect("documents can be stored");
    let page = store
        .find(&THINGS, Query::all().limit(usize::MAX))
        .await
        .expect("documents can be found");
    assert_eq!(page.documents.len(), PAGE_DOCUMENTS_MAX);
    assert!(page.next.is_some());
    assert_eq!(all_ids(store).await.len(), PAGE_DOCUMENTS_MAX + 1);
}

async fn matches_prefixes_as_text(store: &dyn Store) {
    for id in ["a%", "a%b", "a_", "ab", "A%", "a\u{10ffff}", "a\u{10ffff}b", "b"] {
        put(store, Document::new(id, "")).await;
    }
    let with = async |prefix: &str| ids(store, Query::all().filter(Condition::IdPrefix(prefix.to_owned()))).await;
    assert_eq!(with("a%").await, ["a%", "a%b"], "no sign has a meaning of its own");
    assert_eq!(with("a\u{10ffff}").await, ["a\u{10ffff}", "a\u{10ffff}b"]);
    assert_eq!(with("").await.len(), 8);
}
