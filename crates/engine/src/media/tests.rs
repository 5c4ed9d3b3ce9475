//! Files on their way to the media hosts of a sandbox and back, with everything that can befall them there.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use url::Url;
use wacore::download::MediaType;
use wacore::net::{HttpClient as _, HttpRequest};
use wharf_core::clock::SystemClock;
use wharf_core::engine::{EngineError, Inbox, Lifecycle as _, Media as _, MediaError, Signal};
use wharf_core::ids::ChatId;
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};
use wharf_simulator::{ALICE, BOB, Env, NewMedia, Sandbox, SandboxServer, SandboxServerConfig, Seed};
use whatsapp_rust::download::DownloadParams;

use super::*;
use crate::connection::Connection;
use crate::http::Http;
use crate::network::Gate;
use crate::testing::options;
use crate::tls::Trust;
use crate::{Network, WhatsApp, WhatsAppConfig};

/// How long anything may take here; it takes milliseconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Larger than what a host is not asked about first.
const LARGE: usize = 6 * 1024 * 1024;

/// Passes on to the test what a connection reports.
struct Reports {
    signals: mpsc::UnboundedSender<Signal>,
    messages: mpsc::UnboundedSender<Message>,
}

#[async_trait]
impl Inbox for Reports {
    async fn commit(&self, messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        for message in messages {
            let _ = self.messages.send(message);
        }
        Ok(())
    }

    async fn find(&self, _chat: &ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    fn signal(&self, signal: Signal) {
        let _ = self.signals.send(signal);
    }
}

/// A session of Alice on a sandbox of its own.
struct Linked {
    server: SandboxServer,
    sandbox: Sandbox,
    connection: Connection,
    received: mpsc::UnboundedReceiver<Message>,
    folder: TempDir,
}

async fn serve() -> (SandboxServer, Sandbox) {
    let config = SandboxServerConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ..SandboxServerConfig::new(Env::system())
    };
    let sandbox = Sandbox::new(Env::system(), Seed::Fresh);
    let server = SandboxServer::start(config, sandbox.clone(), None).await.unwrap();
    (server, sandbox)
}

impl Linked {
    /// With the authority that the sandbox tells of.
    async fn new() -> Self {
        Self::trusting(None).await
    }

    async fn trusting(authority: Option<String>) -> Self {
        let (server, sandbox) = serve().await;
        let url = Url::parse(&format!("ws://{}/ws/chat", server.local_addr())).unwrap();
        let whatsapp = WhatsApp::new(WhatsAppConfig {
            network: Network::Sandbox { url, authority },
            clock: Arc::new(SystemClock),
            version: None,
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut signals) = mpsc::unbounded_channel();
        let (messages, received) = mpsc::unbounded_channel();
        let reports = Reports {
            signals: sender,
            messages,
        };
        let options = options(folder.path()).await;
        let connection = Connection::open(&whatsapp, options, Arc::new(reports)).await.unwrap();
        let linked = async {
            loop {
                match signals.recv().await.expect("the connection reports until it is closed") {
                    Signal::QrCode { code, .. } => {
                        sandbox.scan(ALICE, &code).await.unwrap();
                    }
                    Signal::Connected(_) => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(STEP_TIMEOUT, linked).await.unwrap();
        Self {
            server,
            sandbox,
            connection,
            received,
            folder,
        }
    }

    /// Bob sends Alice a picture; answers it as it arrives here.
    async fn picture(&mut self, bytes: &[u8]) -> Message {
        let media = json!({ "kind": "image", "mimetype": "image/jpeg", "data": BASE64_STANDARD.encode(bytes) });
        let media: NewMedia = serde_json::from_value(media).unwrap();
        let id = self.sandbox.send_message(BOB, ALICE, media).await.unwrap();
        let arrived = tokio::time::timeout(STEP_TIMEOUT, self.received.recv()).await.unwrap();
        arrived.filter(|message| message.id.id == id).unwrap()
    }

    async fn fetch(&self, message: &Message) -> Result<Vec<u8>, MediaError> {
        let path = self.folder.path().join("fetched");
        self.connection.download(message, &path, FILE_BYTES_MAX).await?;
        Ok(std::fs::read(&path).unwrap())
    }

    async fn upload(&self, bytes: &[u8], kind: MediaType) -> Result<Uploaded, EngineError> {
        let path = self.folder.path().join("plain");
        std::fs::write(&path, bytes).unwrap();
        self.connection.upload(&path, kind).await
    }

    async fn download(&self, file: &DownloadParams) -> Result<Vec<u8>, MediaError> {
        let path = self.folder.path().join("fetched");
        let length = self.connection.download_to(file, &path, u64::MAX).await;
        assert_eq!(path.exists(), length.is_ok(), "there is a file where it is whole");
        let bytes = std::fs::read(&path).unwrap_or_default();
        length.map(|length| {
            assert_eq!(bytes.len() as u64, length);
            bytes
        })
    }

    fn fault(&self, direction: &str, fault: &serde_json::Value, count: u32) {
        let mut wanted = json!({ "match": { "direction": direction }, "count": count });
        wanted
            .as_object_mut()
            .unwrap()
            .extend(fault.as_object().unwrap().clone());
        self.sandbox
            .set_faults(vec![serde_json::from_value(wanted).unwrap()])
            .unwrap();
    }

    async fn end(self) {
        assert_eq!(self.sandbox.metrics().malformed, []);
        self.connection.disconnect().await;
        self.server.shutdown().await;
    }
}

fn file(uploaded: &Uploaded, kind: MediaType) -> DownloadParams {
    DownloadParams::encrypted(
        &uploaded.direct_path,
        &uploaded.media_key,
        &uploaded.file_sha256,
        &uploaded.file_enc_sha256,
        uploaded.file_length,
        kind,
    )
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_that_goes_up_comes_back_as_it_was() {
    let linked = Linked::new().await;
    for (kind, length) in [
        (MediaType::Image, 1),
        (MediaType::Sticker, 0),
        (MediaType::Document, 16 * 1024),
        (MediaType::Video, LARGE),
    ] {
        let plain = bytes(length);
        let uploaded = linked.upload(&plain, kind).await.unwrap();
        assert_eq!(uploaded.file_length, length as u64);
        assert_eq!(uploaded.streaming_sidecar.is_some(), kind == MediaType::Video);
        assert!(uploaded.url.ends_with(&uploaded.direct_path), "{}", uploaded.url);
        assert_eq!(
            linked.download(&file(&uploaded, kind)).await.unwrap(),
            plain,
            "{kind:?}"
        );
    }
    let left = std::fs::read_dir(linked.folder.path()).unwrap().count();
    assert_eq!(
        left, 3,
        "the store, the file and what was fetched, but no encrypted copy"
    );
    linked.end().await;
}

#[tokio::test]
async fn an_upload_goes_on_with_a_fresh_token_or_at_another_host() {
    let linked = Linked::new().await;
    for (fault, count) in [
        (json!({ "action": "status", "code": 401 }), 1),
        (json!({ "action": "status", "code": 503 }), 1),
        (json!({ "action": "drop" }), 1),
    ] {
        linked.fault("upload", &fault, count);
        linked.upload(b"picture", MediaType::Image).await.unwrap();
        assert_eq!(linked.sandbox.faults(), [], "{fault} befell it");
    }
    linked.end().await;
}

#[tokio::test]
async fn hosts_that_cannot_take_a_file_now_do_not_refuse_it() {
    let linked = Linked::new().await;
    for code in [429, 500, 503] {
        linked.fault("upload", &json!({ "action": "status", "code": code }), 2);
        let error = linked.upload(b"picture", MediaType::Image).await.err().unwrap();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{code}: {error:?}");
    }
    linked.fault("upload", &json!({ "action": "status", "code": 415 }), 2);
    let error = linked.upload(b"picture", MediaType::Image).await.err().unwrap();
    assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
    linked.end().await;
}

#[tokio::test]
async fn a_file_that_comes_damaged_is_fetched_from_another_host() {
    let linked = Linked::new().await;
    let plain = bytes(300_000);
    let uploaded = linked.upload(&plain, MediaType::Video).await.unwrap();
    let file = file(&uploaded, MediaType::Video);
    for fault in ["corrupt", "truncate", "drop"] {
        linked.fault("download", &json!({ "action": fault }), 1);
        assert_eq!(linked.download(&file).await.unwrap(), plain, "{fault}");
        assert_eq!(linked.sandbox.faults(), [], "{fault} befell it");
    }
    linked.fault("download", &json!({ "action": "corrupt" }), 2);
    assert!(matches!(linked.download(&file).await, Err(MediaError::Damaged)));
    linked.fault("download", &json!({ "action": "truncate" }), 2);
    assert!(matches!(linked.download(&file).await, Err(MediaError::Engine(_))));
    for code in [403, 404, 410] {
        linked.fault("download", &json!({ "action": "status", "code": code }), 1);
        assert!(matches!(linked.download(&file).await, Err(MediaError::Gone)), "{code}");
    }
    linked.end().await;
}

#[tokio::test]
async fn a_file_that_is_not_what_the_message_says_is_no_file() {
    let linked = Linked::new().await;
    let uploaded = linked.upload(b"picture", MediaType::Image).await.unwrap();
    let said = || file(&uploaded, MediaType::Image);
    let other = || vec![0; 32];
    for lie in [
        DownloadParams {
            file_sha256: other(),
            ..said()
        },
        DownloadParams {
            media_key: Some(other()),
            ..said()
        },
        DownloadParams {
            media_type: MediaType::Audio,
            ..said()
        },
    ] {
        assert!(matches!(linked.download(&lie).await, Err(MediaError::Forged)));
    }
    let other_upload = DownloadParams {
        file_enc_sha256: Some(other()),
        ..said()
    };
    assert!(matches!(linked.download(&other_upload).await, Err(MediaError::Damaged)));
    for elsewhere in ["@127.0.0.2/x", ".example.com/x", ""] {
        let lie = DownloadParams {
            direct_path: elsewhere.to_owned(),
            ..said()
        };
        assert!(
            matches!(linked.download(&lie).await, Err(MediaError::None)),
            "{elsewhere}"
        );
    }
    for file_length in [6, 8, FILE_BYTES_MAX + 1] {
        let boast = DownloadParams { file_length, ..said() };
        assert_eq!(
            linked.download(&boast).await.unwrap(),
            b"picture",
            "the length is no matter"
        );
    }
    linked.end().await;
}

#[tokio::test]
async fn no_more_is_fetched_than_is_wanted() {
    let linked = Linked::new().await;
    let uploaded = linked.upload(b"picture", MediaType::Image).await.unwrap();
    let said = |file_length| wa::message::ImageMessage {
        direct_path: Some(uploaded.direct_path.clone()),
        media_key: Some(uploaded.media_key.to_vec()),
        file_sha256: Some(uploaded.file_sha256.to_vec()),
        file_enc_sha256: Some(uploaded.file_enc_sha256.to_vec()),
        file_length,
        ..Default::default()
    };
    let path = linked.folder.path().join("fetched");
    for (told, bytes_max, fits) in [
        (Some(7), 7, true),
        (None, 7, true),
        (Some(7), 6, false),
        (None, 6, false),
    ] {
        let fetched = linked.connection.download_to(&said(told), &path, bytes_max).await;
        match fits {
            true => assert_eq!(fetched.unwrap(), 7),
            false => assert!(
                matches!(fetched, Err(MediaError::TooLarge { max: 6 })),
                "{told:?}: {fetched:?}"
            ),
        }
    }
    assert!(!path.exists(), "nothing is left of what is too large");
    linked.end().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_says_so() {
    let linked = Linked::new().await;
    let uploaded = linked.upload(b"picture", MediaType::Image).await.unwrap();
    let nowhere = linked.folder.path().join("no/such/folder");
    let fetched = linked
        .connection
        .download_to(&file(&uploaded, MediaType::Image), &nowhere, u64::MAX)
        .await;
    assert!(matches!(fetched, Err(MediaError::Disk(_))), "{fetched:?}");
    linked.end().await;
}

#[tokio::test]
async fn a_file_that_the_hosts_have_lost_comes_from_the_phone() {
    let mut linked = Linked::new().await;
    let message = linked.picture(b"picture").await;
    assert_eq!(linked.fetch(&message).await.unwrap(), b"picture");
    linked.sandbox.lose_media(ALICE, BOB, &message.id.id, false).unwrap();
    assert!(matches!(linked.fetch(&message).await, Err(MediaError::Gone)));
    let moved = linked.connection.request_reupload(&message).await.unwrap();
    assert_eq!(linked.fetch(&moved).await.unwrap(), b"picture");
    linked.sandbox.lose_media(ALICE, BOB, &message.id.id, true).unwrap();
    assert!(matches!(linked.fetch(&moved).await, Err(MediaError::Gone)));
    let asked = linked.connection.request_reupload(&moved).await;
    assert!(matches!(asked, Err(MediaError::Lost)), "{asked:?}");
    linked.sandbox.settled(STEP_TIMEOUT).await.unwrap();
    linked.end().await;
}

#[tokio::test]
async fn a_sandbox_that_starts_anew_is_asked_for_its_authority_again() {
    let (first, second) = (serve().await.0, serve().await.0);
    // As if the second one had taken the place of the first one.
    let place = Url::parse(&format!("ws://{}/ws/chat", second.local_addr())).unwrap();
    let gate = Gate::new(&Network::sandbox(place.clone())).unwrap();
    let trust = Trust::sandbox(&place, None).unwrap();
    trust.authority.as_ref().unwrap().learn(first.authority()).unwrap();
    let http = Http::new(gate, &trust, None).unwrap();
    let request = || HttpRequest::get(format!("https://{}/v/image/x.enc", second.tls_addr()));
    let refused = http.execute(request()).await.unwrap_err();
    assert!(
        crate::error::one_line(refused.as_ref()).contains("certificate"),
        "{refused:?}"
    );
    assert_eq!(http.execute(request()).await.unwrap().status_code, 403);
    for server in [first, second] {
        server.shutdown().await;
    }
}

#[tokio::test]
async fn doubts_of_one_request_are_no_matter_to_another_one() {
    let (server, _) = serve().await;
    let place = Url::parse(&format!("ws://{}/ws/chat", server.local_addr())).unwrap();
    let gate = Gate::new(&Network::sandbox(place.clone())).unwrap();
    let trust = Trust::sandbox(&place, None).unwrap();
    let authority = trust.authority.unwrap();
    authority.learn(server.authority()).unwrap();
    authority.doubt();
    // It asked before there was a doubt, and connects after it.
    let config = trust.config;
    let authority = None;
    let connecting = Http::new(gate, &Trust { config, authority }, None).unwrap();
    let request = HttpRequest::get(format!("https://{}/v/image/x.enc", server.tls_addr()));
    assert_eq!(connecting.execute(request).await.unwrap().status_code, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn only_the_authority_of_the_sandbox_is_trusted() {
    let (other, _) = serve().await;
    let foreign = other.authority().to_owned();
    other.shutdown().await;
    let linked = Linked::trusting(Some(foreign)).await;
    let error = linked.upload(b"picture", MediaType::Image).await.err().unwrap();
    assert!(crate::error::one_line(&error).contains("certificate"), "{error:?}");
    assert_eq!(linked.sandbox.metrics().uploads, 0);
    linked.end().await;
}
