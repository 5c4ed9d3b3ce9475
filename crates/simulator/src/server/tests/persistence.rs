//! The snapshot file: what survives, and what stops a start.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

/// A stop with its save takes less than this: the grace of one second, and room for a slow machine.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

#[tokio::test]
async fn the_network_and_its_authority_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.json");
    let (server, client) = start_with(keeping(&path), None).await;
    client
        .post("/admin/phones", json!({"number": NOBODY, "name": "Dora"}))
        .await
        .expect(201);
    let authority = client.get("/admin/ca.pem").await.body;
    server.shutdown().await;

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (server, client) = start_with(keeping(&path), None).await;
    let phone = client.get(&format!("/admin/phones/{NOBODY}")).await.expect(200);
    assert_eq!(phone["name"], "Dora");
    assert_eq!(client.get("/admin/ca.pem").await.body, authority);
    server.shutdown().await;
}

#[tokio::test]
async fn a_change_is_saved_without_a_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.json");
    let (server, client) = start_with(keeping(&path), None).await;
    client
        .post("/admin/phones", json!({"number": NOBODY}))
        .await
        .expect(201);
    let saved = async {
        while !std::fs::read_to_string(&path).unwrap().contains(NOBODY) {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), saved)
        .await
        .expect("the change was not saved");
    server.shutdown().await;
}

#[tokio::test]
async fn connections_that_do_not_end_hold_up_neither_the_stop_nor_the_save() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.json");
    let (server, client) = start_with(keeping(&path), None).await;
    // A TLS handshake that never begins. Connections are accepted in order: once the other one has ended, the server
    // has this one too.
    let _silent = TcpStream::connect(server.tls_addr()).await.unwrap();
    let mut other = TcpStream::connect(server.tls_addr()).await.unwrap();
    other.write_all(b"not tls\r\n\r\n").await.unwrap();
    let _ = other.read_to_end(&mut Vec::new()).await; // An alert or a reset: either way it was accepted.
    client
        .post("/admin/phones", json!({"number": NOBODY}))
        .await
        .expect(201);
    timeout(STOP_PATIENCE, server.shutdown())
        .await
        .expect("the server waited for a connection that says nothing");
    assert!(std::fs::read_to_string(&path).unwrap().contains(NOBODY));
}

#[tokio::test]
async fn a_damaged_snapshot_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.json");
    for content in ["", "{", "{}", "not json"] {
        std::fs::write(&path, content).unwrap();
        let Err(error) = load_or_new(Env::system(), Seed::Fresh, Some(&path)) else {
            panic!("{content:?} was accepted");
        };
        assert!(matches!(error, StartError::SnapshotDamaged { .. }), "{error:?}");
        assert!(error.to_string().contains("sandbox.json"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn what_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |config| {
        let sandbox = Sandbox::new(Env::system(), Seed::Empty);
        let Err(error) = SandboxServer::start(config, sandbox, None).await else {
            panic!("it started")
        };
        error
    };
    let error = start(keeping(&folder.path().join("missing/sandbox.json"))).await;
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(error.source().is_some());

    let (server, _) = start_with(config(), None).await;
    let taken = server.local_addr();
    let error = start(SandboxServerConfig {
        listen: taken,
        ..config()
    })
    .await;
    assert!(
        matches!(error, StartError::Listen { address, .. } if address == taken),
        "{error:?}"
    );
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    server.shutdown().await;
}
