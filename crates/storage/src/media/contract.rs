//! What every storage of media must do, as one call for its tests.
//!
//! Test code: it panics where a storage is wrong. Each case has a session of its own, so that they cannot help each other.

use std::io::Write as _;
use std::ops::Range;

use futures::TryStreamExt;
use tempfile::NamedTempFile;
use wharf_core::ids::SessionName;
use wharf_core::media::{FILE_NAME_BYTES_MAX, MediaKey, MediaMetadata, MediaStorage, MediaStorageError};

/// More than a part of an upload, more than many rows, and no multiple of either.
const LARGE_BYTES: usize = 20 * 1024 * 1024 + 7;
/// No piece of a file that is read may be larger.
const PIECE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Runs the whole suite.
pub async fn verify(storage: &dyn MediaStorage) {
    comes_back(storage).await;
    comes_back_in_parts(storage).await;
    is_replaced(storage).await;
    is_missing(storage).await;
    is_deleted(storage).await;
    goes_with_its_session(storage).await;
    has_an_odd_name(storage).await;
    is_large(storage).await;
    storage.check().await.expect("a file could be stored");
}

/// The key of a file in the session of one case.
pub fn key(session: &str, file: &str) -> MediaKey {
    MediaKey {
        session: session.parse().expect("the suite uses valid names"),
        file: file.parse().expect("the suite uses valid names"),
    }
}

/// Stores these bytes.
pub async fn put(storage: &dyn MediaStorage, key: &MediaKey, bytes: &[u8]) {
    let from = local(bytes);
    storage
        .put(key, &metadata(), from.path())
        .await
        .expect("a file can be stored");
}

/// All bytes of a file, or of a part of it.
pub async fn read(storage: &dyn MediaStorage, key: &MediaKey, range: Option<Range<u64>>) -> Vec<u8> {
    let file = storage.get(key, range).await.expect("the file is there");
    let (said, mut body, mut bytes) = (file.range.clone(), file.body, Vec::new());
    while let Some(piece) = body.try_next().await.expect("the file can be read") {
        assert!(piece.len() <= PIECE_BYTES_MAX, "{} bytes at once", piece.len());
        bytes.extend(piece);
    }
    assert_eq!(said.end - said.start, bytes.len() as u64, "{said:?}");
    bytes
}

/// Whether there is no such file.
pub async fn is_absent(storage: &dyn MediaStorage, key: &MediaKey) -> bool {
    matches!(storage.get(key, None).await, Err(MediaStorageError::NotFound))
}

fn metadata() -> MediaMetadata {
    MediaMetadata {
        mimetype: "image/jpeg".to_owned(),
        message_id: "false_12025550101@c.us_3EB0AA".to_owned(),
        // What a sender may write.
        filename: Some("Schöne Grüße\r\nX-Evil: 1\0 \u{202e}gpj.exe 100%".to_owned()),
    }
}

fn local(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("there is room for a file");
    file.write_all(bytes).expect("there is room for a file");
    file
}

/// Bytes that repeat nowhere near.
fn pattern(length: usize) -> Vec<u8> {
    let word = |index: usize| (index as u32).wrapping_mul(2_654_435_761).to_le_bytes();
    (0..length.div_ceil(4)).flat_map(word).take(length).collect()
}

async fn comes_back(storage: &dyn MediaStorage) {
    for (name, bytes) in [("a.jpg", pattern(70_001)), ("empty.bin", Vec::new())] {
        let key = key("comes-back", name);
        put(storage, &key, &bytes).await;
        assert_eq!(read(storage, &key, None).await, bytes, "{name}");
        let file = storage.get(&key, None).await.expect("the file is there");
        assert_eq!((file.size, file.range), (bytes.len() as u64, 0..bytes.len() as u64));
    }
}

async fn comes_back_in_parts(storage: &dyn MediaStorage) {
    let (key, bytes) = (key("parts", "a.jpg"), pattern(5_000));
    put(storage, &key, &bytes).await;
    for range in [0..1, 0..5_000, 17..4_711, 4_999..5_000] {
        let expected = &bytes[range.start as usize..range.end as usize];
        assert_eq!(read(storage, &key, Some(range.clone())).await, expected, "{range:?}");
        let file = storage.get(&key, Some(range.clone())).await.expect("the file is there");
        assert_eq!((file.size, file.range), (5_000, range));
    }
    assert_eq!(read(storage, &key, Some(4_990..9_999)).await, &bytes[4_990..]);
    for behind in [5_000..5_001, 9_000..9_999] {
        let outcome = storage.get(&key, Some(behind)).await.map(drop);
        assert!(
            matches!(outcome, Err(MediaStorageError::OutOfRange { size: 5_000 })),
            "{outcome:?}"
        );
    }
}

async fn is_replaced(storage: &dyn MediaStorage) {
    let key = key("replaced", "a.jpg");
    for bytes in [pattern(3_000_000), b"short".to_vec(), pattern(100_000)] {
        put(storage, &key, &bytes).await;
        assert_eq!(read(storage, &key, None).await, bytes);
    }
    let (one, other) = (local(&pattern(400_000)), local(&pattern(300_000)));
    let metadata = metadata();
    let outcomes = tokio::join!(
        storage.put(&key, &metadata, one.path()),
        storage.put(&key, &metadata, other.path())
    );
    assert!(outcomes.0.is_ok() && outcomes.1.is_ok(), "{outcomes:?}");
    let found = read(storage, &key, None).await;
    assert!(found == pattern(400_000) || found == pattern(300_000));
}

async fn is_missing(storage: &dyn MediaStorage) {
    let missing = key("missing", "a.jpg");
    assert!(is_absent(storage, &missing).await);
    put(storage, &key("missing", "b.jpg"), b"other").await;
    assert!(is_absent(storage, &missing).await);
    let part = storage.get(&missing, Some(0..1)).await.map(drop);
    assert!(matches!(part, Err(MediaStorageError::NotFound)), "{part:?}");
    storage.delete(&missing).await.expect("what is gone can be deleted");
    let nobody: SessionName = "nobody".parse().expect("a name");
    storage
        .delete_session(&nobody)
        .await
        .expect("what is gone can be deleted");
}

async fn is_deleted(storage: &dyn MediaStorage) {
    let (gone, kept) = (key("deleted", "a.jpg"), key("deleted", "a.jpg.jpg"));
    put(storage, &gone, b"gone").await;
    put(storage, &kept, b"kept").await;
    storage.delete(&gone).await.expect("a file can be deleted");
    assert!(is_absent(storage, &gone).await);
    assert_eq!(read(storage, &kept, None).await, b"kept");
    put(storage, &gone, b"again").await;
    assert_eq!(read(storage, &gone, None).await, b"again");
}

async fn goes_with_its_session(storage: &dyn MediaStorage) {
    let other = key("session-ab", "a.jpg");
    put(storage, &other, b"another's").await;
    let files: Vec<_> = (0..7)
        .map(|number| key("session-a", &format!("{number}.jpg")))
        .collect();
    for file in &files {
        put(storage, file, b"one of many").await;
    }
    storage
        .delete_session(&files[0].session)
        .await
        .expect("a session's files can be deleted");
    for file in &files {
        assert!(is_absent(storage, file).await, "{file}");
    }
    assert_eq!(read(storage, &other, None).await, b"another's");
    put(storage, &files[0], b"anew").await;
    assert_eq!(read(storage, &files[0], None).await, b"anew");
}

async fn has_an_odd_name(storage: &dyn MediaStorage) {
    let long = "a".repeat(FILE_NAME_BYTES_MAX);
    let names = [
        "false_120363000000000001@g.us_3EB0AA_12025550102@c.us.jpeg",
        "a+b=c:d@e.f-g_h.oga",
        "1..2",
        "A.JPG",
        "a.jpg",
        "a.jpg.",
        long.as_str(),
    ];
    for name in names {
        put(storage, &key("odd", name), name.as_bytes()).await;
    }
    for name in names {
        assert_eq!(read(storage, &key("odd", name), None).await, name.as_bytes());
    }
}

async fn is_large(storage: &dyn MediaStorage) {
    let (key, bytes) = (key("large", "a.mp4"), pattern(LARGE_BYTES));
    put(storage, &key, &bytes).await;
    assert!(
        read(storage, &key, None).await == bytes,
        "the large file came back otherwise"
    );
    let part = 9 * 1024 * 1024 - 3..LARGE_BYTES as u64 - 5;
    let expected = &bytes[part.start as usize..part.end as usize];
    assert!(
        read(storage, &key, Some(part)).await == expected,
        "a part of it came back otherwise"
    );
    storage.delete(&key).await.expect("a file can be deleted");
}
