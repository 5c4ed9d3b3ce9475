//! What is shown of the links in texts, and where their pages are fetched from.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wharf_core::engine::{Content, LinkPreview};

use crate::harness::{ALICE, Link, Reply, Site, Wharf, page};

const PAGE: &str = r#"<!doctype html><title>Plain</title><meta property="og:title" content="A &amp; B">
    <meta property="og:description" content="What it is"><meta property="og:image" content="/p.png">"#;

/// A site with a page that describes itself, at an address of this machine.
async fn site() -> Site {
    let mut picture = Cursor::new(Vec::new());
    let image = DynamicImage::from(RgbImage::new(1_600, 800));
    image.write_to(&mut picture, ImageFormat::Png).unwrap();
    let picture = picture.into_inner();
    Site::start("127.0.0.1:0", move |path| match path {
        "/p.png" => page("image/png", &picture),
        "/slow" => Reply::Stall(Vec::new()),
        "/untitled" => page("text/html", b"<p>nothing"),
        "/without-picture" => page("text/html", b"<title>T</title><meta property=og:image content=/slow>"),
        "/large" => Reply::Endless(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<title>Large</title>".to_vec()),
        _ => page("text/html; charset=utf-8", PAGE.as_bytes()),
    })
    .await
}

fn preview(link: &Link) -> Option<LinkPreview> {
    match &link.engine.sent.lock().unwrap().last().unwrap().content {
        Content::Text { preview, .. } => preview.clone(),
        other => panic!("{other:?}"),
    }
}

async fn said(wharf: &Wharf, link: &Link, mut body: Value) -> Option<LinkPreview> {
    body["chatId"] = ALICE.into();
    let answer = wharf.post("/api/sendText", body).await;
    assert_eq!(answer.status, 201, "{:?}", answer.json());
    preview(link)
}

#[tokio::test]
async fn a_text_with_a_link_shows_what_its_page_says_of_itself() {
    let site = site().await;
    let allowed = site.address.to_string();
    let mut wharf = Wharf::start_with(&[("WHARF_EGRESS_ALLOW", &allowed), ("WHARF_LINK_PREVIEW_SECONDS", "3")]).await;
    let link = wharf.working("default", json!({})).await;
    let text = format!("Look: {}.", site.url("/a"));
    let shown = said(&wharf, &link, json!({"text": text})).await.unwrap();
    assert_eq!(
        (shown.url, shown.title.as_str(), shown.description.as_deref()),
        (site.url("/a"), "A & B", Some("What it is"))
    );
    let small = image::load_from_memory(&shown.thumbnail.unwrap()).unwrap();
    assert_eq!((small.width(), small.height()), (100, 50));
    assert!(shown.picture.is_none());
    let shown = said(&wharf, &link, json!({"text": text, "linkPreviewHighQuality": true})).await;
    let picture = shown.unwrap().picture.unwrap();
    assert_eq!((picture.width, picture.height), (800, 400));
    assert!(!picture.path.exists(), "it is gone once it was sent");
    let hits = site.hits();
    assert!(
        said(&wharf, &link, json!({"text": text, "linkPreview": false}))
            .await
            .is_none()
    );
    assert!(said(&wharf, &link, json!({"text": "no link"})).await.is_none());
    assert_eq!(site.hits(), hits);
    wharf.stop().await;
}

#[tokio::test]
async fn a_preview_that_cannot_be_had_keeps_no_text_from_being_sent() {
    let site = site().await;
    let allowed = site.address.to_string();
    let mut wharf = Wharf::start_with(&[("WHARF_EGRESS_ALLOW", &allowed), ("WHARF_LINK_PREVIEW_SECONDS", "0.5")]).await;
    let link = wharf.working("default", json!({})).await;
    for path in ["/slow", "/untitled"] {
        assert!(
            said(&wharf, &link, json!({"text": site.url(path)})).await.is_none(),
            "{path}"
        );
    }
    for (path, title) in [("/without-picture", "T"), ("/large", "Large")] {
        let shown = said(&wharf, &link, json!({"text": site.url(path)})).await.unwrap();
        assert_eq!((shown.title.as_str(), shown.thumbnail), (title, None), "{path}");
    }
    wharf.stop().await;
}

/// A proxy that takes CONNECT; its address, and what it was asked for.
async fn proxy(tasks: &mut JoinSet<()>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let notes = Arc::clone(&asked);
    tasks.spawn(async move {
        let mut tunnels = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            notes.lock().unwrap().push(target.clone());
            tunnels.spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_session_with_a_proxy_fetches_pages_through_it_and_names_are_resolved_here() {
    let (site, mut tasks) = (site().await, JoinSet::new());
    let (address, asked) = proxy(&mut tasks).await;
    let allowed = site.address.to_string();
    let mut wharf = Wharf::start_with(&[("WHARF_EGRESS_ALLOW", &allowed)]).await;
    let link = wharf.working("default", json!({"proxy": {"server": address}})).await;
    let port = site.address.port();
    wharf.lookup().answers("page.example", &[&["127.0.0.1"]]);
    wharf.lookup().answers("inside.example", &[&["10.0.0.1"]]);
    let shown = said(&wharf, &link, json!({"text": format!("http://page.example:{port}/a")}))
        .await
        .unwrap();
    assert_eq!(shown.title, "A & B");
    assert!(shown.thumbnail.is_some());
    assert_eq!(
        *asked.lock().unwrap(),
        vec![site.address.to_string(); 2],
        "the page and its picture, by their address"
    );
    assert!(
        said(&wharf, &link, json!({"text": "http://inside.example/"}))
            .await
            .is_none()
    );
    assert_eq!(asked.lock().unwrap().len(), 2);
    wharf.stop().await;
}
