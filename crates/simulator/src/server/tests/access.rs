//! Who may talk to the sandbox: hosts, origins, the page's policy, and TLS.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{Answer, exchange};
use super::*;

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_everywhere() {
    let (server, client) = start().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/admin/phones"),
        ("POST", "/admin/reset"),
        ("POST", "/hook/me"),
        ("GET", "/nowhere"),
    ] {
        let refusal = client
            .send(method, path, &[("host", "evil.test")], "")
            .await
            .refusal(403);
        assert!(refusal.contains("add it with --allow-host evil.test"), "{refusal}");
        for origin in ["http://evil.test", "null"] {
            client.send(method, path, &[("origin", origin)], "").await.refusal(403);
        }
    }
    assert_eq!(client.get("/hook").await.expect(200), json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn the_page_itself_may_use_the_control_api() {
    let (server, client) = start().await;
    let origin = format!("http://{}", server.local_addr());
    let answer = client.send("GET", "/admin/phones", &[("origin", &origin)], "").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
    server.shutdown().await;
}

#[tokio::test]
async fn an_allowed_host_is_answered() {
    let config = SandboxServerConfig {
        allowed_hosts: vec!["sandbox.test".into()],
        ..config()
    };
    let (server, client) = start_with(config, None).await;
    client
        .send("GET", "/admin/phones", &[("host", "sandbox.test:3900")], "")
        .await
        .expect(200);
    client
        .send("GET", "/admin/phones", &[("host", "other.test:3900")], "")
        .await
        .refusal(403);
    server.shutdown().await;
}

#[tokio::test]
async fn clients_open_the_websocket_with_whatsapps_origin_or_none() {
    let (server, client) = start().await;
    let open = async |origin: Option<&'static str>| {
        let headers: Vec<_> = UPGRADE
            .into_iter()
            .chain(origin.map(|origin| ("origin", origin)))
            .collect();
        client.send("GET", "/ws/chat", &headers, "").await.status
    };
    assert_eq!(open(None).await, 101);
    assert_eq!(open(Some("https://web.whatsapp.com")).await, 101);
    assert_eq!(open(Some("https://evil.test")).await, 403);
    assert_eq!(open(Some("null")).await, 403);
    client.get("/ws/chat").await.refusal(400);
    server.shutdown().await;
}

#[tokio::test]
async fn clients_on_other_machines_open_the_websocket_by_any_name() {
    let (server, client) = start().await;
    let open = async |origin: Option<&'static str>| {
        let headers: Vec<_> = UPGRADE
            .into_iter()
            .chain([("host", "sandbox:3900")])
            .chain(origin.map(|origin| ("origin", origin)))
            .collect();
        client.send("GET", "/ws/chat", &headers, "").await.status
    };
    assert_eq!(open(None).await, 101);
    assert_eq!(open(Some("https://web.whatsapp.com")).await, 101);
    // A page whose own name resolves to this machine sends the same name twice.
    assert_eq!(open(Some("http://sandbox:3900")).await, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn the_page_has_a_strict_policy_and_nothing_inline() {
    let (server, client) = start().await;
    let page = client.get("/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{}",
        page.head
    );
    assert!(!page.head.contains("unsafe"), "{}", page.head);
    for inline in [
        " style=",
        " onclick=",
        "<style",
        "<script>",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!page.body.contains(inline), "the page contains {inline}");
    }
    // Every file that the page or one of its files names is there.
    let mut files = vec![page.body];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(content) = files.pop() {
        let is_path = |part: &&str| part.starts_with('/') && part.contains('.') && !part.contains(char::is_whitespace);
        for quoted in content.split('"').filter(is_path) {
            if seen.insert(quoted.to_owned()) {
                let file = client.get(quoted).await;
                assert_eq!(file.status, 200, "{quoted}");
                files.push(file.body);
            }
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
    client.get("/nowhere.js").await.refusal(404);
    server.shutdown().await;
}

/// A connection to the TLS listener.
async fn connect(server: &SandboxServer, name: &str, roots: RootCertStore) -> std::io::Result<TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.tls_addr()).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The same as one of WhatsApp's media hosts.
pub(super) async fn secure(server: &SandboxServer) -> TlsStream<TcpStream> {
    let roots = authority(Client::new(server.local_addr())).await;
    connect(server, "mmg.whatsapp.net", roots).await.unwrap()
}

async fn over_tls(server: &SandboxServer, name: &str, roots: RootCertStore, path: &str) -> std::io::Result<Answer> {
    let stream = connect(server, name, roots).await?;
    let headers: &[_] = if path == "/ws/chat" { &UPGRADE } else { &[] };
    Ok(exchange(stream, name, "GET", path, headers, "").await)
}

async fn authority(client: Client) -> RootCertStore {
    let pem = client.get("/admin/ca.pem").await;
    assert_eq!(pem.status, 200);
    assert!(!pem.body.contains("PRIVATE"));
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.body.as_bytes()).unwrap())
        .unwrap();
    roots
}

#[tokio::test]
async fn tls_is_trusted_with_the_sandboxs_authority_only() {
    let (server, client) = start().await;
    let roots = authority(client).await;
    for name in [
        "localhost",
        "127.0.0.1",
        "web.whatsapp.com",
        "mmg.whatsapp.net",
        "g.whatsapp.com",
    ] {
        let answer = over_tls(&server, name, roots.clone(), "/ws/chat").await.unwrap();
        assert_eq!(answer.status, 101, "{name}");
    }
    let (other, other_client) = start().await;
    let foreign = authority(other_client).await;
    assert!(over_tls(&server, "localhost", foreign, "/ws/chat").await.is_err());
    assert!(
        over_tls(&server, "localhost", RootCertStore::empty(), "/ws/chat")
            .await
            .is_err()
    );
    assert!(over_tls(&server, "example.test", roots, "/ws/chat").await.is_err());
    other.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn the_tls_listener_has_no_control_api() {
    let (server, client) = start().await;
    let roots = authority(client).await;
    for path in ["/", "/admin/phones", "/hook", "/admin/ca.pem"] {
        over_tls(&server, "web.whatsapp.com", roots.clone(), path)
            .await
            .unwrap()
            .refusal(404);
    }
    server.shutdown().await;
}
