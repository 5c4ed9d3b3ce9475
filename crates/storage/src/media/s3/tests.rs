//! Files in a bucket: the contract on two implementations, and what a signed URL is good for.

use std::net::SocketAddr;

use wharf_testing::{Moto, S3};

use super::*;
use crate::media::contract::{self, is_absent, key, put, read};

fn config(endpoint: &str) -> S3Config {
    S3Config {
        region: S3::REGION.to_owned(),
        bucket: S3::BUCKET.to_owned(),
        access_key_id: S3::ACCESS_KEY_ID.to_owned(),
        secret_access_key: S3::SECRET_ACCESS_KEY.to_owned(),
        endpoint: Some(endpoint.parse().unwrap()),
        path_style: true,
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever has a signed url uses any client")]
fn anybody() -> Client {
    // The program installs it; tests have no main.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

/// What plain `curl` gets.
async fn status(url: &str) -> u16 {
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url]);
    let said = curl.output().await.expect("curl can be run").stdout;
    String::from_utf8(said).unwrap().parse().unwrap()
}

#[tokio::test]
async fn s3_that_checks_signatures_fulfils_the_contract() {
    let s3 = S3::start().await;
    contract::verify(&S3Media::new(&config(&s3.url())).unwrap()).await;
}

#[tokio::test]
async fn another_s3_fulfils_the_contract() {
    let moto = Moto::start();
    let storage = S3Media::new(&config(moto.url())).unwrap();
    let missing_bucket = storage.check().await;
    assert!(
        matches!(missing_bucket, Err(MediaStorageError::Refused(_))),
        "{missing_bucket:?}"
    );
    let made = anybody().put(format!("{}/{}", moto.url(), S3::BUCKET));
    let made = made
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request",
        )
        .body(
            "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>",
        );
    assert_eq!(made.send().await.unwrap().status().as_u16(), 200);
    contract::verify(&storage).await;
}

#[tokio::test]
async fn the_bucket_can_stand_in_the_hosts_name() {
    let s3 = S3::start().await;
    let virtual_hosted = S3Config {
        path_style: false,
        endpoint: Some(format!("http://localhost:{}", s3.address().port()).parse().unwrap()),
        ..config(&s3.url())
    };
    assert_eq!(
        addressed(virtual_hosted.endpoint.as_ref().unwrap(), &virtual_hosted).unwrap(),
        format!("http://{}.localhost:{}", S3::BUCKET, s3.address().port())
    );
    // That name resolves nowhere by itself.
    let client = resolving(&format!("{}.localhost", S3::BUCKET), s3.address());
    let storage = S3Media::with_client(&virtual_hosted, client).unwrap();
    put(&storage, &key("alice", "a.jpg"), b"by name").await;
    assert_eq!(read(&storage, &key("alice", "a.jpg"), None).await, b"by name");
    assert_eq!(s3.keys(), ["alice/a.jpg"]);

    let amazon = S3Media::new(&S3Config {
        endpoint: None,
        ..virtual_hosted
    });
    let url = amazon
        .unwrap()
        .signed_url(&key("alice", "a.jpg"), Duration::from_secs(60))
        .await;
    let url = url.unwrap().unwrap();
    assert!(
        url.starts_with("https://wharf-test.s3.eu-west-1.amazonaws.com/alice/a.jpg?"),
        "{url}"
    );
}

#[expect(clippy::disallowed_methods, reason = "the same client, for which a name is made up")]
fn resolving(name: &str, address: SocketAddr) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().resolve(name, address).build().unwrap()
}

#[tokio::test]
async fn objects_carry_what_waha_notes() {
    let s3 = S3::start().await;
    let storage = S3Media::new(&config(&s3.url())).unwrap();
    let picture = key("alice", "a.jpg");
    put(&storage, &picture, b"picture").await;
    assert_eq!(
        storage.location(&picture),
        Some(S3Location {
            bucket: S3::BUCKET.to_owned(),
            key: "alice/a.jpg".to_owned()
        })
    );
    let url = storage
        .signed_url(&picture, Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    let answer = anybody().get(&url).send().await.unwrap();
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("x-amz-meta-waha-session").as_deref(), Some("alice"));
    assert_eq!(
        header("x-amz-meta-waha-message-id").as_deref(),
        Some("false_12025550101@c.us_3EB0AA")
    );
    assert_eq!(
        header("x-amz-meta-waha-media-file-name").as_deref(),
        Some("Sch%C3%B6ne Gr%C3%BC%C3%9Fe%0D%0AX-Evil: 1%00 %E2%80%AEgpj.exe 100%25")
    );
    assert_eq!(header("content-type").as_deref(), Some("image/jpeg"));
    assert_eq!(header("content-disposition"), None);
    assert_eq!(answer.bytes().await.unwrap(), "picture");

    let page = MediaMetadata {
        mimetype: "text/html".to_owned(),
        message_id: "m".to_owned(),
        filename: None,
    };
    let source = tempfile::NamedTempFile::new().unwrap();
    storage
        .put(&key("alice", "a.html"), &page, source.path())
        .await
        .unwrap();
    let url = storage
        .signed_url(&key("alice", "a.html"), Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    let answer = anybody().get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], "attachment");
}

#[tokio::test]
async fn a_signed_url_reads_one_file_until_it_expires() {
    let s3 = S3::start().await;
    let storage = S3Media::new(&config(&s3.url())).unwrap();
    put(&storage, &key("alice", "a.jpg"), b"picture").await;
    put(&storage, &key("alice", "b.jpg"), b"other").await;
    let signed = |seconds| {
        let storage = &storage;
        async move {
            let url = storage
                .signed_url(&key("alice", "a.jpg"), Duration::from_secs(seconds))
                .await;
            url.unwrap().unwrap()
        }
    };
    let url = signed(60).await;
    assert!(!url.contains(S3::SECRET_ACCESS_KEY));
    assert_eq!(status(&url).await, 200);

    // One digit of the signature, another file, another method, none at all.
    let (start, last) = url.split_at(url.len() - 1);
    let flipped = format!("{start}{}", if last == "0" { "1" } else { "0" });
    assert_eq!(status(&flipped).await, 403);
    assert_eq!(status(&url.replace("a.jpg", "b.jpg")).await, 403);
    let deleted = anybody().delete(&url).send().await.unwrap().status();
    assert_eq!(deleted.as_u16(), 403);
    assert_eq!(status(url.split('?').next().unwrap()).await, 403);

    let short = signed(1).await;
    while status(&short).await == 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status(&short).await, 403);
    storage.delete(&key("alice", "a.jpg")).await.unwrap();
    assert_eq!(status(&url).await, 404);
}

#[tokio::test]
async fn wrong_keys_are_refused_and_a_storage_that_is_away_comes_back() {
    let mut s3 = S3::start().await;
    let wrong = S3Config {
        secret_access_key: "wrong".to_owned(),
        ..config(&s3.url())
    };
    assert!(!format!("{wrong:?}").contains("wrong"));
    let refused = S3Media::new(&wrong).unwrap();
    let outcome = refused.check().await;
    assert!(matches!(outcome, Err(MediaStorageError::Refused(_))), "{outcome:?}");
    let outcome = refused.get(&key("alice", "a.jpg"), None).await;
    assert!(matches!(outcome, Err(MediaStorageError::Refused(_))), "{outcome:?}");

    let storage = S3Media::new(&config(&s3.url())).unwrap();
    put(&storage, &key("alice", "a.jpg"), b"kept").await;
    s3.stop().await;
    let outcome = storage.get(&key("alice", "a.jpg"), None).await;
    assert!(matches!(outcome, Err(MediaStorageError::Unavailable(_))), "{outcome:?}");
    let outcome = storage.check().await;
    assert!(matches!(outcome, Err(MediaStorageError::Unavailable(_))), "{outcome:?}");
    s3.start_again().await;
    assert_eq!(read(&storage, &key("alice", "a.jpg"), None).await, b"kept");
    assert!(is_absent(&storage, &key("alice", "b.jpg")).await);
}

#[test]
fn what_senders_write_fits_into_a_header() {
    assert_eq!(printable(" a b.jpg "), "a b.jpg");
    assert_eq!(printable("\r\n"), "%0D%0A");
    assert!(printable(&"ä".repeat(FILENAME_BYTES_MAX)).len() <= FILENAME_BYTES_MAX);
}
