//! Files in PostgreSQL: the contract, and what happens where it is away or does not let us.

use wharf_testing::Postgres;

use super::*;
use crate::media::contract::{self, key, put, read};

#[tokio::test]
async fn postgres_fulfils_the_contract() {
    let postgres = Postgres::start();
    let storage = PostgresMedia::new(&postgres.url()).unwrap();
    contract::verify(&storage).await;
    let chunks: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM wharf_media_chunk WHERE upload NOT IN (SELECT upload FROM wharf_media_file)",
    )
    .fetch_one(&storage.pool)
    .await
    .unwrap();
    assert_eq!(chunks, 0, "bytes without a file");
    storage.close().await;
    let outcome = storage.get(&key("comes-back", "a.jpg"), None).await;
    assert!(matches!(outcome, Err(MediaStorageError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn several_servers_make_the_tables_and_find_each_others_files() {
    let postgres = Postgres::start();
    let servers: Vec<_> = (0..4).map(|_| PostgresMedia::new(&postgres.url()).unwrap()).collect();
    let outcomes = futures::future::join_all(servers.iter().map(MediaStorage::check)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    put(&servers[0], &key("alice", "a.jpg"), b"shared").await;
    assert_eq!(read(&servers[3], &key("alice", "a.jpg"), None).await, b"shared");
}

#[tokio::test]
async fn a_database_that_is_away_comes_back_and_a_wrong_password_is_refused() {
    let mut postgres = Postgres::start();
    let storage = PostgresMedia::new(&postgres.url()).unwrap();
    put(&storage, &key("alice", "a.jpg"), b"kept").await;
    let wrong = PostgresMedia::new(&postgres.url().replace(Postgres::PASSWORD, "wrong")).unwrap();
    let outcome = wrong.check().await;
    assert!(matches!(outcome, Err(MediaStorageError::Refused(_))), "{outcome:?}");
    let missing = PostgresMedia::new(&postgres.url().replace("/postgres?", "/nowhere?")).unwrap();
    let outcome = missing.check().await;
    assert!(matches!(outcome, Err(MediaStorageError::Refused(_))), "{outcome:?}");

    postgres.stop();
    let outcome = storage.get(&key("alice", "a.jpg"), None).await;
    assert!(matches!(outcome, Err(MediaStorageError::Unavailable(_))), "{outcome:?}");
    postgres.start_again();
    assert_eq!(read(&storage, &key("alice", "a.jpg"), None).await, b"kept");
}

#[test]
fn other_texts_are_no_url_and_are_not_echoed() {
    for text in [
        "",
        "mysql://u:canary@h/d",
        "postgres//u:canary@h",
        "postgres://u:canary@h:port/d",
    ] {
        let error = PostgresMedia::new(text).err().unwrap();
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
