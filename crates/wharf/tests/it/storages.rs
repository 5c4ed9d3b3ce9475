//! Where the files of messages are kept, and who gets them: on a disk, in S3 and in PostgreSQL.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use wharf_simulator::{MediaKind, NewMedia};
use wharf_testing::{Postgres, S3};

use crate::support::wharf::Answer;
use crate::support::{ALICE, BOB, KEY, Receiver, TestWharf, within};

/// What Bob sends; nobody looks into it.
const BYTES: &[u8] = b"0123456789 is not really a picture";

/// The settings of a bucket.
pub(crate) fn in_s3(s3: &S3) -> Vec<(&'static str, String)> {
    vec![
        ("WAHA_MEDIA_STORAGE", "S3".to_owned()),
        ("WAHA_S3_REGION", S3::REGION.to_owned()),
        ("WAHA_S3_BUCKET", S3::BUCKET.to_owned()),
        ("WAHA_S3_ACCESS_KEY_ID", S3::ACCESS_KEY_ID.to_owned()),
        ("WAHA_S3_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY.to_owned()),
        ("WAHA_S3_ENDPOINT", s3.url()),
        ("WAHA_S3_FORCE_PATH_STYLE", "True".to_owned()),
    ]
}

/// A server with these settings, whose session `default` is linked to Alice.
pub(crate) async fn with_alice(settings: &[(&'static str, String)]) -> (TestWharf, Receiver) {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let wharf = TestWharf::start_with(&settings).await;
    let receiver = Receiver::start().await;
    wharf.paired("default", ALICE, &receiver).await;
    (wharf, receiver)
}

/// Bob sends a file to Alice: the message as her session tells of it.
async fn bob_sends(wharf: &TestWharf, receiver: &Receiver, mimetype: &str, filename: Option<&str>) -> Value {
    let kind = match mimetype.starts_with("image/jpeg") {
        true => MediaKind::Image,
        false => MediaKind::Document,
    };
    let media = NewMedia {
        mimetype: Some(mimetype.to_owned()),
        filename: filename.map(str::to_owned),
        ..NewMedia::new(kind, BYTES.to_vec())
    };
    let id = wharf.network.send_message(BOB, ALICE, media).await.unwrap();
    let full = format!("false_{BOB}@c.us_{id}");
    let told = receiver.wait_for("Bob's file", |event| {
        event["event"] == "message" && event["payload"]["id"] == full
    });
    told.await.event["payload"].clone()
}

/// The part of a URL that the server has to see.
fn path_of(media: &Value) -> String {
    let url: url::Url = media["url"]
        .as_str()
        .unwrap_or_else(|| panic!("no url: {media}"))
        .parse()
        .unwrap();
    url.path().to_owned()
}

async fn get(wharf: &TestWharf, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = wharf.request(Method::GET, path).header("x-api-key", KEY);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    wharf.send(request).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
        .unwrap_or_default()
}

/// What plain `curl` gets: status and body.
async fn curl(url: &str) -> (String, Vec<u8>) {
    let said = Command::new("curl")
        .args(["--silent", "--write-out", "%{stderr}%{http_code}", url])
        .output()
        .await
        .unwrap();
    (String::from_utf8(said.stderr).unwrap(), said.stdout)
}

/// Reads a file of the session `default` with every operation there is, and answers which those are.
pub(crate) async fn read_in_every_way(wharf: &TestWharf, receiver: &Receiver) -> [(&'static str, &'static str); 2] {
    let message = bob_sends(wharf, receiver, "image/jpeg", None).await;
    let path = path_of(&message["media"]);
    for path in [path.clone(), path.replace("/default/", "/")] {
        assert_eq!(get(wharf, &path, &[]).await.status.as_u16(), 200, "{path}");
    }
    [("get", "/api/files/{session}/{file}"), ("get", "/api/files/{file}")]
}

#[tokio::test]
async fn a_file_is_served_as_players_and_browsers_ask_for_it() {
    let (wharf, receiver) = with_alice(&[]).await;
    let message = bob_sends(&wharf, &receiver, "image/jpeg", None).await;
    let (id, media) = (message["id"].as_str().unwrap(), &message["media"]);
    let (path, name) = (path_of(media), format!("{id}.jpg"));
    assert_eq!(path, format!("/api/files/default/{name}"));
    assert!(media.get("s3").is_none(), "{media}");

    let whole = get(&wharf, &path, &[]).await;
    assert_eq!((whole.status.as_u16(), whole.body.as_slice()), (200, BYTES));
    assert_eq!(whole.content_type, "image/jpeg");
    assert!(header(&whole, "content-disposition").starts_with("inline; "));
    assert_eq!(header(&whole, "x-content-type-options"), "nosniff");
    assert_eq!(header(&whole, "content-security-policy"), "sandbox; default-src 'none'");
    let tag = header(&whole, "etag");

    for (range, status, content_range, body) in [
        ("bytes=0-3", 206, "bytes 0-3/34", &BYTES[..4]),
        ("bytes=-7", 206, "bytes 27-33/34", &BYTES[27..]),
        ("bytes=30-999", 206, "bytes 30-33/34", &BYTES[30..]),
        ("bytes=34-", 416, "bytes */34", &[]),
        ("bytes=0-1,3-4", 200, "", BYTES),
    ] {
        let part = get(&wharf, &path, &[("range", range)]).await;
        assert_eq!((part.status.as_u16(), part.body.as_slice()), (status, body), "{range}");
        assert_eq!(header(&part, "content-range"), content_range, "{range}");
    }
    let same = get(&wharf, &path, &[("if-none-match", tag)]).await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    let part = get(&wharf, &path, &[("range", "bytes=0-3"), ("if-range", tag)]).await;
    assert_eq!(part.status.as_u16(), 206);
    let other = get(&wharf, &path, &[("range", "bytes=0-3"), ("if-range", "\"other\"")]).await;
    assert_eq!(other.status.as_u16(), 200);
    let head = wharf.request(Method::HEAD, &path).header("x-api-key", KEY);
    let head = wharf.send(head).await;
    assert_eq!((head.status.as_u16(), header(&head, "content-length")), (200, "34"));

    let old = get(&wharf, &format!("/api/files/{name}"), &[]).await;
    assert_eq!(old.body, BYTES);
    for missing in [
        "/api/files/default/nothing.jpg",
        "/api/files/nobody/nothing.jpg",
        "/api/files/nothing.jpg",
        "/api/files/default/..%2f..%2fetc%2fpasswd",
        "/api/files/.hidden",
    ] {
        let body = get(&wharf, missing, &[]).await.expect(404);
        assert_eq!(body["error"]["key"], "FILE_NOT_FOUND", "{missing}");
    }
    wharf.finish().await;
}

#[tokio::test]
async fn what_could_run_in_a_browser_is_for_download() {
    let (wharf, receiver) = with_alice(&[]).await;
    for (mimetype, filename, extension) in [
        ("text/html", "../../<b>\u{202e}lmth.evil\r\n", "html"),
        ("image/svg+xml", "drawing.svg", "svg"),
        ("application/x-msdownload", "Grüße.exe", "exe"),
        ("nonsense\r\nX-Evil: 1", "a", "bin"),
    ] {
        let message = bob_sends(&wharf, &receiver, mimetype, Some(filename)).await;
        let path = path_of(&message["media"]);
        assert!(path.ends_with(&format!(".{extension}")), "{path}");
        let answer = get(&wharf, &path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, BYTES));
        let disposition = header(&answer, "content-disposition");
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
        assert!(
            !disposition.contains("..%2F") && !disposition.contains("%E2%80%AE"),
            "{disposition}"
        );
        assert_eq!(
            header(&answer, "content-security-policy"),
            "sandbox; default-src 'none'"
        );
        assert_eq!(header(&answer, "x-evil"), "");
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_key_of_a_session_gets_that_sessions_files_only() {
    let (wharf, receiver) = with_alice(&[]).await;
    let message = bob_sends(&wharf, &receiver, "image/jpeg", None).await;
    let path = path_of(&message["media"]);
    let old = path.replace("/default/", "/");
    let other = json!({ "name": "other", "start": false });
    wharf.post("/api/sessions", other).await.expect(201);
    let mut keys = Vec::new();
    for session in ["default", "other"] {
        let answer = wharf.post("/api/keys/media", json!({ "session": session })).await;
        keys.push(answer.expect(201)["key"].as_str().unwrap().to_owned());
    }
    for (key, path, status) in [
        (&keys[0], &path, 200),
        (&keys[0], &old, 200),
        (&keys[1], &path, 403),
        (&keys[1], &old, 404),
    ] {
        let answer = wharf
            .send(wharf.request(Method::GET, path).header("x-api-key", key))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        let in_query = format!("{path}?x-api-key={key}");
        let answer = wharf.send(wharf.request(Method::GET, &in_query)).await;
        assert_eq!(answer.status.as_u16(), status, "{path} by query");
    }
    for path in [&path, &old] {
        wharf.send(wharf.request(Method::GET, path)).await.expect(401);
    }
    wharf.finish().await;
}

#[tokio::test]
async fn files_outlive_a_restart_and_a_logout_and_go_with_their_session() {
    let (mut wharf, receiver) = with_alice(&[("WHATSAPP_FILES_LIFETIME", "3600".to_owned())]).await;
    let message = bob_sends(&wharf, &receiver, "image/jpeg", None).await;
    let path = path_of(&message["media"]);
    wharf.settled().await;
    wharf.restart().await;
    assert_eq!(get(&wharf, &path, &[]).await.body, BYTES);
    wharf.wait_for_status("default", "WORKING").await;
    wharf.post("/api/sessions/default/logout", json!({})).await.expect(201);
    assert_eq!(get(&wharf, &path, &[]).await.body, BYTES);
    wharf.delete("/api/sessions/default").await.expect(200);
    get(&wharf, &path, &[]).await.expect(404);
    wharf.finish().await;
}

#[tokio::test]
async fn a_url_of_s3_ends_when_it_expires() {
    let s3 = S3::start().await;
    let mut settings = in_s3(&s3);
    settings.push(("WHARF_S3_SIGNED_URL_SECONDS", "1".to_owned()));
    let (wharf, receiver) = with_alice(&settings).await;
    let message = bob_sends(&wharf, &receiver, "image/jpeg", None).await;
    let url = message["media"]["url"].as_str().unwrap();
    let (status, said) = within("the url to expire", async {
        loop {
            match curl(url).await {
                (status, _) if status == "200" => {}
                refused => return refused,
            }
        }
    })
    .await;
    let said = String::from_utf8(said).unwrap();
    assert!(status == "403" && said.contains("expired"), "{status} {said}");
    wharf.finish().await;
}

#[tokio::test]
async fn a_url_of_s3_works_with_curl() {
    let s3 = S3::start().await;
    let (wharf, receiver) = with_alice(&in_s3(&s3)).await;
    let message = bob_sends(&wharf, &receiver, "image/jpeg", Some("me.jpg")).await;
    let (id, media) = (message["id"].as_str().unwrap(), &message["media"]);
    let key = format!("default/{id}.jpg");
    assert_eq!(media["s3"], json!({ "Bucket": S3::BUCKET, "Key": key }));
    assert_eq!(s3.keys(), [key.as_str()]);
    let url = media["url"].as_str().unwrap();
    assert!(url.starts_with(&s3.url()), "{url}");
    assert_eq!(curl(url).await, ("200".to_owned(), BYTES.to_vec()));
    let flipped = match url.strip_suffix('0') {
        Some(start) => format!("{start}1"),
        None => format!("{}0", &url[..url.len() - 1]),
    };
    let (status, said) = curl(&flipped).await;
    let said = String::from_utf8(said).unwrap();
    assert!(
        status == "403" && said.contains("SignatureDoesNotMatch"),
        "{status} {said}"
    );

    // It is served here as well, and a later answer has a new url.
    let own = get(&wharf, &format!("/api/files/{key}"), &[("range", "bytes=0-3")]).await;
    assert_eq!((own.status.as_u16(), own.body.as_slice()), (206, &BYTES[..4]));
    let later = wharf
        .get(&format!("/api/messages?session=default&chatId={BOB}@c.us&limit=1"))
        .await
        .expect(200);
    let anew = later[0]["media"]["url"].as_str().unwrap_or_else(|| panic!("{later:#}"));
    assert_eq!(curl(anew).await.0, "200");
    wharf.delete("/api/sessions/default").await.expect(200);
    assert!(s3.keys().is_empty());
    wharf.finish().await;
}

#[tokio::test]
async fn files_of_s3_can_come_through_the_server() {
    let s3 = S3::start().await;
    let mut settings = in_s3(&s3);
    settings.push(("WAHA_S3_PROXY_FILES", "True".to_owned()));
    let (wharf, receiver) = with_alice(&settings).await;
    let message = bob_sends(&wharf, &receiver, "image/jpeg", None).await;
    let media = &message["media"];
    assert_eq!(media["s3"]["Bucket"], S3::BUCKET);
    let path = path_of(media);
    assert_eq!(
        path,
        format!("/api/files/default/{}.jpg", message["id"].as_str().unwrap())
    );
    assert_eq!(get(&wharf, &path, &[]).await.body, BYTES);
    wharf.finish().await;
}

#[tokio::test]
async fn files_can_be_in_postgres() {
    let postgres = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let settings = [
        ("WAHA_MEDIA_STORAGE", "POSTGRESQL".to_owned()),
        ("WAHA_MEDIA_POSTGRESQL_URL", postgres.url()),
    ];
    let (wharf, receiver) = with_alice(&settings).await;
    let message = bob_sends(&wharf, &receiver, "image/jpeg", None).await;
    let path = path_of(&message["media"]);
    assert_eq!(get(&wharf, &path, &[]).await.body, BYTES);
    let part = get(&wharf, &path, &[("range", "bytes=4-9")]).await;
    assert_eq!((part.status.as_u16(), part.body.as_slice()), (206, &BYTES[4..10]));
    wharf.delete("/api/sessions/default").await.expect(200);
    get(&wharf, &path, &[]).await.expect(404);
    wharf.finish().await;
}

#[tokio::test]
async fn a_storage_that_is_away_keeps_no_server_from_starting() {
    let mut s3 = S3::start().await;
    s3.stop().await;
    let settings = in_s3(&s3);
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let wharf = TestWharf::start_with(&settings).await;
    let health = wharf.get("/health").await.expect(503);
    assert_eq!(health["error"]["mediaFiles.space"]["status"], "down");
    assert_eq!(health["info"]["storage"]["status"], "up");
    assert!(!health.to_string().contains(S3::SECRET_ACCESS_KEY), "{health}");
    s3.start_again().await;
    let health = wharf.get("/health").await.expect(200);
    assert_eq!(health["info"]["mediaFiles.space"]["status"], "up");
}

#[tokio::test]
async fn health_looks_at_the_room_for_files() {
    let wharf = TestWharf::start().await;
    let space = wharf.get("/health").await.expect(200)["info"]["mediaFiles.space"].clone();
    assert!(
        space["free"].as_u64().unwrap() > space["threshold"].as_u64().unwrap(),
        "{space}"
    );
    let much = ("WHATSAPP_HEALTH_MEDIA_FILES_THRESHOLD_MB", "4294967295");
    let wharf = TestWharf::start_with(&[much]).await;
    let health = wharf.get("/health").await.expect(503);
    assert_eq!(health["error"]["mediaFiles.space"]["status"], "down");
}
