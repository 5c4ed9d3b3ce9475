//! Large files pass through the server without being held in its memory.

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wharf_simulator::{InboxEntry, InboxKind, MediaKind, NewMedia};

use crate::support::process::{Process, address, serve_on};
use crate::support::remote::Client;
use crate::support::samples::Samples;
use crate::support::{ALICE, BOB, KEY, Receiver, TestWharf, sha256};

/// How large the video is, in bytes.
const SIZE: usize = 100 * 1024 * 1024;
/// How much more memory the server may take than before, in KiB.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

/// Stands between the parts of a form.
const BOUNDARY: &str = "5f1e3c0b7a";

/// A server in a process of its own, so that its memory is its own.
struct Server {
    process: Process,
    client: Client,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(wharf: &TestWharf, allowed: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = wharf.sandbox_address().to_string();
        let mut command = serve_on(&sandbox, folder.path());
        command.env("WHARF_EGRESS_ALLOW", allowed).env("WAHA_LOG_LEVEL", "warn");
        command.env("WHATSAPP_FILES_FOLDER", folder.path().join("files"));
        let mut process = Process::start(command);
        let api = address(&process.line_with("wharf ").await);
        Self {
            client: Client::new(&api, &sandbox),
            process,
            url: format!("http://{api}"),
            _folder: folder,
        }
    }

    /// A line of what the system tells about the process, in KiB.
    fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|found| found.starts_with(line)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Does something, and fails where the server takes much more memory meanwhile; also answers how much, in KiB.
    async fn lean<T>(&self, what: &str, work: impl Future<Output = T>) -> (T, u64) {
        // Begins the peak anew (proc(5), `clear_refs`).
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
        let before = self.memory("VmRSS:");
        let done = work.await;
        let growth = self.memory("VmHWM:").saturating_sub(before);
        assert!(growth < GROWTH_KIB_MAX, "{what}: {growth} KiB more");
        (done, growth)
    }
}

/// A video that plays, and is large.
async fn large_video(samples: &Samples) -> PathBuf {
    let path = samples.folder().join("large.mp4");
    fs::copy(samples.video(), &path).unwrap();
    let padding = SIZE - fs::metadata(&path).unwrap().len() as usize;
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    // A box that players skip (ISO/IEC 14496-12, `free`). Not of one value, so that nothing makes it small.
    file.write_all(&(padding as u32).to_be_bytes()).unwrap();
    file.write_all(b"free").unwrap();
    let noise: Vec<u8> = (8..padding)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    file.write_all(&noise).unwrap();
    path
}

/// Serves the file at an address of this machine, as long as the task is kept.
async fn serve(path: &Path) -> (String, JoinSet<()>) {
    let bytes = axum::body::Bytes::from(fs::read(path).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route(
        "/large.mp4",
        get(move || async move { ([("content-type", "video/mp4")], bytes) }),
    );
    let mut task = JoinSet::new();
    task.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address.to_string(), task)
}

/// A form with a chat, a caption and a file (RFC 7578).
fn form(chat: &str, file: &[u8]) -> Vec<u8> {
    let fields = [("chatId", chat), ("caption", "by multipart")];
    let mut body = Vec::with_capacity(file.len() + 1024);
    for (name, value) in fields {
        write!(
            body,
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
        .unwrap();
    }
    let file_name = "name=\"file\"; filename=\"large.mp4\"\r\ncontent-type: video/mp4";
    write!(
        body,
        "--{BOUNDARY}\r\ncontent-disposition: form-data; {file_name}\r\n\r\n"
    )
    .unwrap();
    body.extend_from_slice(file);
    write!(body, "\r\n--{BOUNDARY}--\r\n").unwrap();
    body
}

impl Server {
    /// Links Alice, and sends something small: what is done for the first time takes memory of its own.
    async fn warm_up(&self, wharf: &TestWharf, samples: &Samples, receiver: &Receiver) {
        let webhooks = json!([{ "url": receiver.url(), "events": ["message"] }]);
        let session = json!({ "name": "default", "config": { "webhooks": webhooks } });
        self.client.api("POST", "/api/sessions", session).await;
        let qr = self.client.api("GET", "/api/default/auth/qr?format=raw", Value::Null);
        wharf
            .network
            .scan(ALICE, qr.await["value"].as_str().unwrap())
            .await
            .unwrap();
        self.client.status("default", "WORKING").await;
        let data = BASE64.encode(fs::read(samples.notes()).unwrap());
        let file = json!({ "data": data, "filename": "notes.txt", "mimetype": "text/plain" });
        let small = json!({ "chatId": format!("{BOB}@c.us"), "file": file });
        self.client.api("POST", "/api/sendFile", small).await;
    }

    async fn sends_by_url(&self, source: &str) -> u64 {
        let file = json!({ "url": format!("http://{source}/large.mp4"), "mimetype": "video/mp4" });
        let request = json!({ "chatId": format!("{BOB}@c.us"), "file": file, "caption": "by url" });
        let sending = self.client.api("POST", "/api/sendVideo", request);
        self.lean("by url", sending).await.1
    }

    async fn sends_by_multipart(&self, bytes: &[u8]) -> u64 {
        let request = http_client().post(format!("{}/api/sendVideo", self.url));
        let request = request.header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        let body = form(&format!("{BOB}@c.us"), bytes);
        let sending = request.header("x-api-key", KEY).body(body).send();
        let (answer, growth) = self.lean("by multipart", sending).await;
        assert_eq!(answer.unwrap().status(), 201);
        growth
    }

    /// Bob sends the video; answers where its file is.
    async fn gets(&self, wharf: &TestWharf, receiver: &Receiver, bytes: Vec<u8>) -> (String, u64) {
        let video = NewMedia {
            caption: Some("incoming".to_owned()),
            ..NewMedia::new(MediaKind::Video, bytes)
        };
        let coming = async {
            wharf.network.send_message(BOB, ALICE, video).await.unwrap();
            let is_it = |it: &Value| it["payload"]["body"] == "incoming";
            receiver.wait_for("the video", is_it).await.event
        };
        let (event, growth) = self.lean("incoming", coming).await;
        let url = event["payload"]["media"]["url"].as_str().expect("the file is there");
        // It names the port that was asked for, which was any.
        let path = &url[url.find("/api/files/").expect("a file of this server")..];
        (format!("{}{path}", self.url), growth)
    }
}

#[tokio::test]
async fn a_video_of_100_mib_passes_in_both_directions() {
    let (wharf, samples, receiver) = (TestWharf::start().await, Samples::make().await, Receiver::start().await);
    let path = large_video(&samples).await;
    let (bytes, (source, _task)) = (fs::read(&path).unwrap(), serve(&path).await);
    let digest = sha256(&bytes);
    let server = Server::start(&wharf, &source).await;
    server.warm_up(&wharf, &samples, &receiver).await;

    let by_url = server.sends_by_url(&source).await;
    let by_multipart = server.sends_by_multipart(&bytes).await;
    for caption in ["by url", "by multipart"] {
        let is_it = |it: &InboxEntry| it.kind == InboxKind::Message && it.text.as_deref() == Some(caption);
        let entry = wharf.phone_shows(BOB, caption, is_it).await;
        let (_, file) = wharf.network.file(BOB, ALICE, &entry.id.unwrap()).await.unwrap();
        assert_eq!(sha256(&file), digest, "{caption}");
    }

    let (url, incoming) = server.gets(&wharf, &receiver, bytes).await;
    let fetching = async {
        let answer = http_client().get(url).header("x-api-key", KEY).send().await.unwrap();
        answer.bytes().await.unwrap()
    };
    let (file, fetched) = server.lean("fetched", fetching).await;
    assert_eq!(sha256(&file), digest);
    println!("KiB more: by url {by_url}, by multipart {by_multipart}, incoming {incoming}, fetched {fetched}");
    wharf.settled().await;
    assert_eq!(server.process.terminate().await.0, Some(0));
    wharf.finish().await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client of the tests calls the server under test, not the outside"
)]
fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
