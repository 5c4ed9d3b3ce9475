//! Where the URLs of files and the links of texts may lead: to public addresses and to what is allow-listed, in whatever
//! spelling, whatever they resolve to, and wherever they redirect.

use serde_json::{Value, json};
use url::form_urlencoded;
use wharf_core::engine::{Content, LinkPreview};

use crate::harness::{ALICE, Answer, Link, Reply, Site, Wharf, page, redirect};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";

/// What says in every answer why nothing was fetched.
const REASON: &str = "must be an http or https URL without credentials that leads to a public address; WHARF_EGRESS_ALLOW names \
                      the exceptions";

/// Every operation that fetches what a caller names, with what a request calls it.
fn doors(url: &str) -> [(&'static str, &'static str, Value); 8] {
    let file = json!({"chatId": ALICE, "file": {"url": url, "mimetype": "image/png"}, "convert": true});
    let preview = json!({"url": "https://example.com/", "title": "x", "image": {"url": url}});
    let buttons = json!({"chatId": ALICE, "headerImage": {"url": url}, "buttons": [{"text": "x"}]});
    [
        ("/api/sendImage", "file.url", file.clone()),
        ("/api/sendFile", "file.url", file.clone()),
        ("/api/sendVoice", "file.url", file.clone()),
        ("/api/sendVideo", "file.url", file),
        ("/api/sendButtons", "headerImage.url", buttons),
        ("/api/default/media/convert/voice", "url", json!({"url": url})),
        ("/api/default/media/convert/video", "url", json!({"url": url})),
        (
            "/api/send/link-custom-preview",
            "preview.image.url",
            json!({"chatId": ALICE, "text": "https://example.com/", "preview": preview}),
        ),
    ]
}

/// The preview of a text, or of a new one.
fn preview(content: &Content) -> Option<&LinkPreview> {
    match content {
        Content::Text { preview, .. } | Content::Edit { preview, .. } => preview.as_ref(),
        other => panic!("{other:?}"),
    }
}

/// Every operation that sends a text with a preview of what stands in it.
async fn say(wharf: &Wharf, text: &str) -> [Answer; 4] {
    let body = json!({"chatId": ALICE, "text": text});
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("phone", ALICE)
        .append_pair("text", text)
        .finish();
    let sent = wharf.post("/api/sendText", body.clone()).await;
    let own = format!(
        "/api/default/chats/{ALICE}/messages/{}",
        sent.json()["id"].as_str().unwrap()
    );
    [
        sent,
        wharf.post("/api/reply", body).await,
        wharf.get(&format!("/api/sendText?{query}")).await,
        wharf.put(&own, json!({ "text": text })).await,
    ]
}

/// No door leads there, and a text with it leaves without a preview.
async fn is_out_of_reach(wharf: &Wharf, link: &Link, url: &str) {
    for (path, field, body) in doors(url) {
        let answer = wharf.post(path, body).await;
        assert_eq!(answer.status, 400, "{path} {url}: {:?}", answer.json());
        assert_eq!(
            answer.json()["message"],
            json!([format!("{field} {REASON}")]),
            "{path} {url}"
        );
    }
    let before = link.engine.sent.lock().unwrap().len();
    for answer in say(wharf, url).await {
        assert!(matches!(answer.status, 200 | 201), "{url}: {answer:?}");
    }
    let sent = link.engine.sent.lock().unwrap().split_off(before);
    assert_eq!(sent.len(), 4, "only the texts have left");
    for request in sent {
        assert!(preview(&request.content).is_none(), "{url}");
    }
}

#[tokio::test]
async fn what_is_not_public_is_refused_in_every_spelling() {
    let canary = Site::start("127.0.0.1:0", |_| page("image/png", PNG)).await;
    let port = canary.address.port();
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    // A backslash ends the host as a slash does: what stands behind it is none.
    wharf.lookup().answers("good", &[&["127.0.0.1"]]);
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "１２７.０.０.１",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2001:0:7f00:1::]",
        "good@127.0.0.1",
        "good\\@127.0.0.1",
        "127.0.0.1#@good",
    ] {
        is_out_of_reach(&wharf, &link, &format!("http://{host}:{port}/")).await;
    }
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/x",
        "gopher://127.0.0.1/",
        "unix:/run/x",
        "data:text/plain,x",
        "http://",
        "HTTP://127.0.0.1/",
        "http:/\\127.0.0.1/",
        "ht\ntp://127.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://user:password@example.com/",
    ] {
        is_out_of_reach(&wharf, &link, url).await;
    }
    assert_eq!(canary.hits(), 0);
    wharf.stop().await;
}

#[tokio::test]
async fn what_a_name_resolves_to_counts_and_one_bad_address_is_enough() {
    let canary = Site::start("127.0.0.1:0", |_| page("image/png", PNG)).await;
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    for (name, addresses) in [
        ("inside.example", &["127.0.0.1"][..]),
        ("inside6.example", &["::1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("mixed.example", &["203.0.114.7", "127.0.0.1"]),
        ("metadata.example", &["169.254.169.254"]),
    ] {
        wharf.lookup().answers(name, &[addresses]);
        let url = format!("http://{name}:{}/", canary.address.port());
        is_out_of_reach(&wharf, &link, &url).await;
        assert!(wharf.lookup().asked(name) > 0);
    }
    assert_eq!(canary.hits(), 0);
    wharf.stop().await;
}

#[tokio::test]
async fn a_name_that_changes_its_mind_never_gets_where_it_may_not() {
    const RUNS: usize = 200;
    let canary = Site::start("127.0.0.1:0", |_| page("image/png", PNG)).await;
    let port = canary.address.port();
    // Another address of this machine stands for a public one.
    let site = Site::start(&format!("127.0.0.2:{port}"), |_| page("image/png", PNG)).await;
    let allowed = format!("127.0.0.2:{port}");
    let mut wharf = Wharf::start_with(&[("WHARF_EGRESS_ALLOW", &allowed)]).await;
    let _link = wharf.working("default", json!({})).await;
    wharf
        .lookup()
        .answers("rebinds.example", &[&["127.0.0.2"], &["127.0.0.1"]]);
    let body = json!({"chatId": ALICE, "file": {"url": format!("http://rebinds.example:{port}/x.png")}});
    let mut sent = 0;
    for _ in 0..RUNS {
        let answer = wharf.post("/api/sendFile", body.clone()).await;
        match answer.status {
            201 => sent += 1,
            status => assert_eq!(status, 400, "{:?}", answer.json()),
        }
    }
    assert_eq!((sent, site.hits(), canary.hits()), (RUNS / 2, RUNS / 2, 0));
    wharf.stop().await;
}

#[tokio::test]
async fn each_redirect_is_checked_and_no_more_than_three_are_followed() {
    let canary = Site::start("127.0.0.1:0", |_| page("image/png", PNG)).await;
    let port = canary.address.port();
    let site = Site::start(&format!("127.0.0.2:{port}"), move |path| match path {
        "/metadata" => redirect("http://169.254.169.254/latest/meta-data"),
        "/file" => redirect("file:///etc/passwd"),
        "/credentials" => redirect(&format!("http://me:secret@127.0.0.2:{port}/picture.png")),
        "/inside" => redirect(&format!("http://127.0.0.1:{port}/")),
        "/name" => redirect(&format!("http://inside.example:{port}/")),
        "/inside-at-last" => redirect("/2"),
        "/2" => redirect("/inside"),
        "/fine" => redirect("/fine-2"),
        "/fine-2" => redirect("fine-3"),
        "/fine-3" => redirect(&format!("http://127.0.0.2:{port}/picture.png")),
        "/round" => redirect("/round"),
        _ => page("image/png", PNG),
    })
    .await;
    let allowed = format!("127.0.0.2:{port}");
    let mut wharf = Wharf::start_with(&[("WHARF_EGRESS_ALLOW", &allowed)]).await;
    let link = wharf.working("default", json!({})).await;
    wharf.lookup().answers("inside.example", &[&["127.0.0.1"]]);
    for path in [
        "/metadata",
        "/file",
        "/credentials",
        "/inside",
        "/name",
        "/inside-at-last",
    ] {
        is_out_of_reach(&wharf, &link, &site.url(path)).await;
    }
    let send = |path: &str| {
        wharf.post(
            "/api/sendImage",
            json!({"chatId": ALICE, "file": {"url": site.url(path)}}),
        )
    };
    assert_eq!(send("/fine").await.status, 201);
    let round = send("/round").await;
    assert_eq!(round.status, 422);
    assert_eq!(round.json()["message"], "file.url redirects more than 3 times");
    assert_eq!(canary.hits(), 0);
    wharf.stop().await;
}

#[tokio::test]
async fn an_answer_that_abuses_us_is_given_up() {
    let site = Site::start("127.0.0.1:0", |path| {
        let ok = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes();
        match path {
            "/endless" => Reply::Endless(ok("")),
            "/claims" => Reply::Stall(ok("content-length: 1000000000\r\n")),
            "/stalls" => Reply::Stall(ok("content-length: 10\r\n")),
            "/breaks-off" => Reply::Bytes([ok("content-length: 10\r\n"), b"half".to_vec()].concat()),
            "/packed" => {
                Reply::Bytes([ok("content-encoding: gzip\r\ncontent-length: 4\r\n"), b"bomb".to_vec()].concat())
            }
            "/headers" => Reply::Bytes(ok(&"x: y\r\n".repeat(100_000))),
            "/head" => Reply::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec()),
            "/nothing" => page("image/png", b""),
            "/page" => page("image/png", b"<!DOCTYPE html><html><script>alert(1)</script>"),
            _ => Reply::Bytes(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        }
    })
    .await;
    let allowed = site.address.to_string();
    let mut wharf = Wharf::start_with(&[
        ("WHARF_EGRESS_ALLOW", &allowed),
        ("WHARF_FILE_BYTES_MAX", "100000"),
        ("WHARF_FILE_SECONDS_MAX", "1"),
    ])
    .await;
    let link = wharf.working("default", json!({})).await;
    for (path, status, expected) in [
        ("/endless", 422, "file.url is larger than 100000 bytes"),
        ("/claims", 422, "file.url is larger than 100000 bytes"),
        ("/stalls", 422, "file.url takes too long to answer"),
        ("/breaks-off", 422, "file.url cannot be fetched"),
        ("/packed", 422, "file.url answers with compressed content"),
        ("/headers", 422, "file.url cannot be fetched"),
        ("/head", 422, "file.url cannot be fetched"),
        ("/nothing", 400, "file is empty"),
        (
            "/page",
            400,
            "file must be a picture (JPEG, PNG, WebP or GIF), but its content is text/html",
        ),
        ("/missing", 422, "file.url answers with status 404"),
    ] {
        let body = json!({"chatId": ALICE, "file": {"url": site.url(path), "mimetype": "image/png"}});
        let answer = wharf.post("/api/sendImage", body).await;
        let told = answer.json()["message"].to_string();
        assert!(
            answer.status == status && told.contains(expected),
            "{path}: {} {told}",
            answer.status
        );
    }
    assert!(link.engine.sent.lock().unwrap().is_empty());
    let left = std::fs::read_dir(wharf.temp_folder()).unwrap().count();
    assert_eq!(left, 0, "what was fetched is not left behind");
    wharf.stop().await;
}
