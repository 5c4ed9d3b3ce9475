//! Cases about writing: documents come back as they were, expectations hold, batches are all or nothing.

use futures::future::join_all;
use jiff::Timestamp;
use wharf_core::store::Value;

use super::*;

/// How large the large body is, in bytes.
const LARGE_BYTES: usize = 8 * 1024 * 1024;

/// How many writers compete.
const WRITERS: usize = 20;

/// How many times each of them writes.
const ROUNDS: usize = 5;

pub(super) async fn verify(storage: &dyn Storage) {
    comes_back_as_it_was(&*fresh(storage, "w-back").await).await;
    any_text_is_an_id(&*fresh(storage, "w-ids").await).await;
    takes_large_bodies(&*fresh(storage, "w-large").await).await;
    finds_many_at_once(&*fresh(storage, "w-many").await).await;
    keeps_expectations(&*fresh(storage, "w-expect").await).await;
    a_conflict_leaves_nothing(&*fresh(storage, "w-conflict").await).await;
    runs_a_batch_in_order(&*fresh(storage, "w-order").await).await;
    one_writer_wins(&*fresh(storage, "w-race").await).await;
    loses_no_increment(&*fresh(storage, "w-count").await).await;
    refuses_misuse(&*fresh(storage, "w-misuse").await).await;
    what_may_wait_is_not_overtaken(&*fresh(storage, "w-wait").await).await;
}

async fn comes_back_as_it_was(store: &dyn Store) {
    assert_eq!(get(store, "a").await, None, "nothing was stored yet");
    let time: Timestamp = "2026-03-01T12:00:00.123456Z".parse().expect("a valid time");
    let document = Document::new("a", &b"\0\xff body"[..])
        .with("at", time)
        .with("rank", i64::MIN)
        .with("kind", "");
    put(store, document.clone()).await;

    let found = get(store, "a").await.expect("it was stored");
    assert_eq!((&found.body, found.version), (&document.body, 1));
    assert_eq!(found.field("rank"), Some(&Value::Integer(i64::MIN)));
    assert_eq!(
        found.field("kind"),
        Some(&Value::Text(String::new())),
        "empty is not absent"
    );
    let millis = "2026-03-01T12:00:00.123Z".parse::<Timestamp>().expect("a valid time");
    assert_eq!(
        found.field("at"),
        Some(&Value::Time(millis)),
        "times are kept to the millisecond"
    );

    put(store, Document::new("a", "")).await;
    let found = get(store, "a").await.expect("it is still there");
    assert_eq!(
        (found.body.len(), found.version),
        (0, 2),
        "a write replaces the whole document"
    );
    assert!(found.fields.is_empty(), "fields that are not set are gone");

    let delete = || Batch::new().delete(&THINGS, "a");
    store.write(delete()).await.expect("a document can be removed");
    assert_eq!(get(store, "a").await, None);
    store.write(delete()).await.expect("removing what is not there is fine");
    store.write(Batch::new()).await.expect("an empty batch is fine");
    assert_eq!(store.get(&ORDERS, "a").await.expect("any collection can be read"), None);
}

async fn what_may_wait_is_not_overtaken(store: &dyn Store) {
    let patient = Batch::new().put(&THINGS, Document::new("a", "")).when_convenient();
    let (written, found) = futures::join!(store.write(patient), get(store, "a"));
    written.expect("it is written, also where nothing comes that it could join");
    assert!(found.is_some(), "a read keeps its place behind it");
    let patient = Batch::new().delete(&THINGS, "a").when_convenient();
    store
        .write(patient)
        .await
        .expect("it is written with nothing else to join");
    assert_eq!(get(store, "a").await, None);
}

async fn any_text_is_an_id(store: &dyn Store) {
    let odd = [
        "",
        " ",
        "'",
        "\"; DROP TABLE things; --",
        "%",
        "_",
        "\\",
        "a\0b",
        "a\0c",
        "a",
        "A",
        "é",
        "e\u{301}",
        "\u{10ffff}",
        "😀",
        "1NXX55501XX@s.whatsapp.net",
        &"x".repeat(900),
    ];
    for id in odd {
        put(store, Document::new(id, id.to_owned()).with("kind", id)).await;
    }
    for id in odd {
        let found = get(store, id).await.expect("it was stored");
        assert_eq!((found.id.as_str(), &found.body[..]), (id, id.as_bytes()));
        let same_kind = Query::all().filter(Condition::Equal("kind", id.into()));
        assert_eq!(ids(store, same_kind).await, [id], "text is compared byte by byte");
    }
    let mut in_order = odd.map(str::to_owned).to_vec();
    in_order.sort_unstable();
    assert_eq!(all_ids(store).await, in_order);
}

async fn takes_large_bodies(store: &dyn Store) {
    let body: Vec<u8> = (0..LARGE_BYTES).map(|index| index as u8).collect();
    put(store, Document::new("large", body.clone())).await;
    assert!(get(store, "large").await.expect("it was stored").body == body);
    let too_large = Document::new("larger", vec![0; crate::BODY_BYTES_MAX + 1]);
    let refused = store.write(Batch::new().put(&THINGS, too_large)).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
}

async fn finds_many_at_once(store: &dyn Store) {
    let names: Vec<String> = (0..1_000).map(|number| format!("n{number:04}")).collect();
    let stored = names.iter().filter(|name| name.ends_with('7'));
    let batch = stored.fold(Batch::new(), |batch, id| batch.put(&THINGS, Document::new(id, "")));
    store.write(batch).await.expect("a long batch can be written");

    let mut asked = names.clone();
    asked.extend(names[..10].iter().cloned());
    let found = store.get_many(&THINGS, &asked).await.expect("many can be read");
    let mut found: Vec<String> = found.into_iter().map(|document| document.id).collect();
    found.sort_unstable();
    let expected: Vec<String> = names.into_iter().filter(|name| name.ends_with('7')).collect();
    assert_eq!(found, expected, "each document once, also when it is asked for twice");
    assert!(store.get_many(&THINGS, &[]).await.expect("none can be read").is_empty());
}

async fn keeps_expectations(store: &dyn Store) {
    let write = async |id: &str, expect| {
        let batch = Batch::new().put_if(&THINGS, Document::new(id, "").with("rank", 1), expect);
        store.write(batch).await
    };
    assert!(
        is_conflict(write("a", Expect::Version(1)).await, "a"),
        "there is none yet"
    );
    write("a", Expect::Absent).await.expect("there is none yet");
    assert!(is_conflict(write("a", Expect::Absent).await, "a"));
    assert!(is_conflict(write("a", Expect::Version(2)).await, "a"));
    write("a", Expect::Version(1)).await.expect("it has this version");
    assert!(is_conflict(write("a", Expect::Version(1)).await, "a"), "versions go up");
    write("a", Expect::Anything).await.expect("nothing is expected");
    assert_eq!(get(store, "a").await.expect("it was stored").version, 3);
    write("b", Expect::Version(0))
        .await
        .expect("version 0 was never stored");
    assert!(is_conflict(write("b", Expect::Version(0)).await, "b"));
}

async fn a_conflict_leaves_nothing(store: &dyn Store) {
    put(store, Document::new("kept", "old").with("rank", 1)).await;
    let batch = Batch::new()
        .put(&THINGS, Document::new("new", ""))
        .put(&THINGS, Document::new("kept", "changed"))
        .delete_where(&THINGS, vec![Condition::AtLeast("rank", 0.into())])
        .put(&ORDERS, Document::new("first of its collection", ""))
        .put_if(&THINGS, Document::new("kept", "conflict"), Expect::Version(9))
        .put(&THINGS, Document::new("after", ""));
    // Others at the same time are not disturbed.
    let others = (0..WRITERS).map(|number| async move {
        put(store, Document::new(format!("other {number:02}"), "")).await;
    });
    let (result, _) = tokio::join!(store.write(batch), join_all(others));
    assert!(is_conflict(result, "kept"));
    assert_eq!(get(store, "kept").await.expect("it is still there").body, "old");
    assert_eq!(all_ids(store).await.len(), 1 + WRITERS);
    let orders = store
        .count(&ORDERS, Vec::new())
        .await
        .expect("documents can be counted");
    assert_eq!(orders, 0);
}

async fn runs_a_batch_in_order(store: &dyn Store) {
    let batch = Batch::new()
        .put(&THINGS, Document::new("a", "1"))
        .delete(&THINGS, "a")
        .put_if(&THINGS, Document::new("a", "2").with("rank", 5), Expect::Absent)
        .put_if(&THINGS, Document::new("a", "3").with("rank", 6), Expect::Version(1))
        .delete_where(&THINGS, vec![Condition::Equal("rank", 5.into())])
        .put(&THINGS, Document::new("b", "").with("rank", 5));
    store.write(batch).await.expect("each change sees the ones before");
    assert_eq!(get(store, "a").await.expect("rank 5 was gone by then").body, "3");
    assert!(get(store, "b").await.is_some());
}

async fn one_writer_wins(store: &dyn Store) {
    let writers = (0..WRITERS).map(|number| {
        let document = Document::new("prize", number.to_string());
        store.write(Batch::new().put_if(&THINGS, document, Expect::Absent))
    });
    let results = join_all(writers).await;
    let winners: Vec<usize> = (0..WRITERS).filter(|number| results[*number].is_ok()).collect();
    assert_eq!(winners.len(), 1, "exactly one finds no document");
    let losers = results.into_iter().filter(Result::is_err);
    assert!(losers.into_iter().all(|result| is_conflict(result, "prize")));
    let prize = get(store, "prize").await.expect("somebody won");
    assert_eq!(prize.body, winners[0].to_string());
}

async fn loses_no_increment(store: &dyn Store) {
    put(store, Document::new("counter", "0")).await;
    let increment = async || loop {
        let counter = get(store, "counter").await.expect("it was stored");
        let count: usize = String::from_utf8_lossy(&counter.body).parse().expect("a number");
        let next = Document::new("counter", (count + 1).to_string());
        let batch = Batch::new().put_if(&THINGS, next, Expect::Version(counter.version));
        match store.write(batch).await {
            Ok(()) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("a write failed: {error:?}"),
        }
    };
    let writer = async || {
        for _ in 0..ROUNDS {
            increment().await;
        }
    };
    join_all((0..WRITERS).map(|_| writer())).await;
    let counter = get(store, "counter").await.expect("it was stored");
    assert_eq!(counter.body, (WRITERS * ROUNDS).to_string());
}

async fn refuses_misuse(store: &dyn Store) {
    put(store, Document::new("kept", "")).await;
    let refused = [
        Batch::new().delete_where(&THINGS, Vec::new()),
        Batch::new().delete_where(&THINGS, vec![Condition::IdPrefix(String::new())]),
        Batch::new().delete_where(&THINGS, vec![Condition::Equal("unknown", 1.into())]),
        Batch::new().put(&THINGS, Document::new("a", "").with("unknown", 1)),
        Batch::new().put(&THINGS, Document::new("a", "").with("rank", "one")),
    ];
    for batch in refused {
        let what = format!("{batch:?}");
        let result = store.write(Batch::new().delete(&THINGS, "kept").and(batch)).await;
        assert!(matches!(result, Err(StoreError::Internal(_))), "{what}: {result:?}");
    }
    assert_eq!(all_ids(store).await, ["kept"], "nothing of a refused batch is done");
}
