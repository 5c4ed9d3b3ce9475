//! Where webhooks may lead, by who set them, and whose certificates are taken.

use std::sync::Arc;

use axum::http::Method;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::harness::{ALICE, Answer, PATIENCE, Receiver, Wharf, text};

/// A key that may change the session `a`.
async fn key_of_session(wharf: &Wharf) -> String {
    let actions = json!({"read": true, "setting": true});
    let made = wharf
        .post(
            "/api/keys",
            json!({"isAdmin": false, "session": "a", "isActive": true, "actions": actions}),
        )
        .await;
    made.json()["key"].as_str().unwrap().to_owned()
}

async fn update(wharf: &Wharf, key: &str, config: Value) -> Answer {
    let request = wharf.request(Method::PUT, "/api/sessions/a").header("X-Api-Key", key);
    wharf.send(request.json(&json!({"config": config}))).await
}

#[tokio::test]
async fn a_key_of_a_session_sets_public_and_allow_listed_webhooks_only() {
    let mut wharf = Wharf::start_with(&[("WHARF_EGRESS_ALLOW", "10.7.0.0/16,n8n:5678")]).await;
    let receiver = Receiver::start().await;
    let by_admin = receiver.webhook(&["message"]);
    wharf.working("a", json!({"webhooks": [by_admin.clone()]})).await;
    let key = key_of_session(&wharf).await;
    for (url, insecure, status) in [
        ("https://example.com/", false, 200),
        ("http://10.7.1.1/", false, 200),
        ("http://n8n:5678/", false, 200),
        ("http://10.8.1.1/", false, 400),
        ("http://127.0.0.1:3000/", false, 400),
        ("http://localhost:3000/", false, 400),
        ("http://[::ffff:127.0.0.1]/", false, 400),
        ("http://169.254.169.254/", false, 400),
        ("https://example.com/", true, 400),
    ] {
        let webhook = json!({"url": url, "events": ["message"], "insecure": insecure});
        // What the administrator has set stays, untouched, wherever it leads.
        let answer = update(&wharf, &key, json!({"webhooks": [by_admin.clone(), webhook]})).await;
        assert_eq!(answer.status, status, "{url}: {:?}", answer.json());
        if status == 400 {
            let message = answer.json()["message"][0].as_str().unwrap().to_owned();
            assert!(message.starts_with("config.webhooks."), "{message}");
        }
    }
    let listed = wharf.get("/api/webhooks").await.json();
    let set_by = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|webhook| webhook["setBy"].as_str().unwrap());
    let mut set_by: Vec<_> = set_by.collect();
    set_by.sort_unstable();
    assert_eq!(set_by, ["admin", "session"]);
    // Changed in any way, it is the tenant's.
    let mut changed = by_admin;
    changed["events"] = json!(["message.any"]);
    assert_eq!(update(&wharf, &key, json!({"webhooks": [changed]})).await.status, 400);
    wharf.stop().await;
}

#[tokio::test]
async fn where_a_webhook_of_a_tenant_leads_is_checked_with_every_request() {
    let mut wharf = Wharf::start_with(&[("WHARF_EGRESS_ALLOW", "127.0.0.1")]).await;
    let mut receiver = Receiver::start().await;
    let first = wharf.working("a", json!({})).await;
    let key = key_of_session(&wharf).await;
    let webhook = json!({"url": receiver.url, "events": ["message"]});
    assert_eq!(update(&wharf, &key, json!({"webhooks": [webhook]})).await.status, 200);
    drop(first);
    let link = wharf.link().await;
    link.work();
    wharf.until_status("a", "WORKING").await;
    link.receive(text(ALICE, "A1", "allowed")).await.unwrap();
    assert_eq!(receiver.post().await.body["payload"]["body"], "allowed");

    // The same data, and nothing is allowed any more.
    let mut wharf = Wharf::on(wharf.stop().await).await;
    let link = wharf.link().await;
    link.work();
    wharf.until_status("a", "WORKING").await;
    link.receive(text(ALICE, "A2", "not allowed")).await.unwrap();
    let log = wharf.get("/api/events?events=message").await.json();
    let path = format!("/api/events/{}/deliveries", log["events"][1]["id"].as_str().unwrap());
    let tried = wharf.until_answer(&path, |answer| answer[0]["attempted"] != 0).await;
    let error = tried[0]["attempts"][0]["error"].as_str().unwrap();
    assert_eq!(
        error,
        "address is not a public one; WHARF_EGRESS_ALLOW has the exceptions"
    );
    assert!(receiver.has_no_post());
    wharf.stop().await;
}

/// Answers every request inside TLS with 200. Its port, its certificate, and what arrives.
async fn tls_receiver(tasks: &mut JoinSet<()>) -> (u16, String, mpsc::UnboundedReceiver<()>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, arrived) = mpsc::unbounded_channel();
    tasks.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            let mut bytes = vec![0; 64 * 1024];
            if socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                sender.send(()).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                socket.write_all(answer).await.unwrap();
                let _ = socket.shutdown().await;
            }
        }
    });
    (port, cert.pem(), arrived)
}

#[tokio::test]
async fn certificates_are_verified_unless_an_authority_is_added_or_the_webhook_does_without() {
    let mut tasks = JoinSet::new();
    let (port, pem, mut arrived) = tls_receiver(&mut tasks).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let authority = [("WHARF_EGRESS_CA_FILE", file.path().to_str().unwrap())];
    for (variables, insecure, arrives) in [
        (&[][..], false, false),
        (&[][..], true, true),
        (&authority[..], false, true),
    ] {
        let mut wharf = Wharf::start_with(variables).await;
        let webhook = json!({
            "url": format!("https://localhost:{port}/"),
            "events": ["message"],
            "insecure": insecure,
        });
        let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
        link.receive(text(ALICE, "A1", "x")).await.unwrap();
        let log = wharf.get("/api/events?events=message").await.json();
        let path = format!("/api/events/{}/deliveries", log["events"][0]["id"].as_str().unwrap());
        let tried = wharf.until_answer(&path, |answer| answer[0]["attempted"] != 0).await;
        match arrives {
            true => timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap(),
            false => {
                let error = tried[0]["attempts"][0]["error"].as_str().unwrap();
                assert!(error.contains("certificate"), "{error}");
                assert!(arrived.try_recv().is_err());
            }
        }
        wharf.stop().await;
    }
}
