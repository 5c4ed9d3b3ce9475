//! The network as a whole: faults, metrics, reset, changes, shutdown.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn faults_are_replaced_and_read_back() {
    let (server, client) = start().await;
    let faults = json!({"faults": [
        {"match": {"stanza": "message", "direction": "out"}, "action": "drop", "count": 2},
        {"match": {"stanza": "iq", "xmlns": "encrypt"}, "action": "iq_error", "code": 503},
    ]});
    client.post("/admin/faults", faults).await.expect(200);
    let kept = client.get("/admin/faults").await.expect(200);
    assert_eq!(kept["faults"].as_array().unwrap().len(), 2);
    assert_eq!(kept["faults"][0]["action"], "drop");
    assert_eq!(kept["faults"][1]["code"], 503);
    client
        .post("/admin/faults", json!({"faults": [{"action": "explode"}]}))
        .await
        .refusal(422);
    client.post("/admin/faults", json!({"faults": []})).await.expect(200);
    assert_eq!(client.get("/admin/faults").await.expect(200), json!({"faults": []}));
    server.shutdown().await;
}

#[tokio::test]
async fn an_outage_resets_sockets_without_a_word() {
    let (server, client) = start().await;
    client.post("/admin/outage", json!({"on": true})).await.expect(204);
    let mut socket = TcpStream::connect(server.local_addr()).await.unwrap();
    let upgrade = "GET /ws/chat HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(Duration::from_secs(5), socket.read_to_end(&mut answer))
        .await
        .unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    // What may have arrived before is the upgrade itself, and no frame that closes it.
    assert!(answer.is_empty() || answer.ends_with(b"\r\n\r\n"), "{answer:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn killing_needs_a_device_and_a_mode() {
    let (server, client) = start().await;
    let kill = format!("/admin/devices/{ALICE}:1@s.whatsapp.net/kill");
    client.post(&kill, json!({"mode": "close"})).await.refusal(404);
    client
        .post(&kill, json!({"mode": "stream_error", "code": 503}))
        .await
        .refusal(404);
    client
        .post(&kill, json!({"mode": "conflict", "type": "replaced"}))
        .await
        .refusal(404);
    client
        .post(&kill, json!({"mode": "failure", "reason": 403}))
        .await
        .refusal(404);
    client.post(&kill, json!({"mode": "gently"})).await.refusal(422);
    let all = client.post("/admin/kill", json!({"mode": "close"})).await.expect(200);
    assert_eq!(all, json!({"killed": 0}));
    client.post("/admin/outage", json!({"on": true})).await.expect(204);
    client.post("/admin/outage", json!({"on": "maybe"})).await.refusal(422);
    server.shutdown().await;
}

#[tokio::test]
async fn a_quiet_network_has_nothing_to_object_to() {
    let (server, client) = start().await;
    let metrics = client.get("/admin/metrics").await.expect(200);
    for count in [
        "unknown_count",
        "malformed_count",
        "unacked_count",
        "unmatched_count",
        "connections",
        "prekeys_reused",
    ] {
        assert_eq!(metrics[count], 0, "{count}");
    }
    client.post("/admin/noise/rotate", json!({})).await.expect(204);
    server.shutdown().await;
}

#[tokio::test]
async fn a_reset_brings_the_fresh_network_back() {
    let (server, client) = start().await;
    client
        .post("/admin/phones", json!({"number": NOBODY}))
        .await
        .expect(201);
    client.post("/hook/me", json!({"event": "message"})).await.expect(200);
    let before = client.get("/admin/changes").await.expect(200);
    client.post("/admin/reset", json!({})).await.expect(204);
    client.get(&format!("/admin/phones/{NOBODY}")).await.refusal(404);
    client.get(&format!("/admin/phones/{ALICE}")).await.expect(200);
    assert_eq!(client.get("/hook").await.expect(200), json!([]));
    let after = client.get("/admin/changes").await.expect(200);
    assert_eq!(
        after["resets"].as_u64(),
        before["resets"].as_u64().map(|resets| resets + 1)
    );
    server.shutdown().await;
}

#[tokio::test]
async fn waiting_for_changes_ends_with_the_next_one() {
    let (server, client) = start().await;
    let now = client.get("/admin/changes").await.expect(200);
    let wait = format!("/admin/changes?after={}&wait=30", now["next"]);
    let (changes, _) = tokio::join!(client.get(&wait), client.post("/hook/me", json!(1)));
    let changes = changes.expect(200);
    assert_ne!(changes["next"], now["next"]);

    let wait = format!("/admin/changes?after={}&wait=30", changes["next"]);
    let (changes, _) = tokio::join!(
        client.get(&wait),
        client.post("/admin/phones", json!({"number": NOBODY}))
    );
    assert_ne!(changes.expect(200)["network"], now["network"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_stops_answers_those_who_wait() {
    let (server, client) = start().await;
    let now = client.get("/admin/changes").await.expect(200);
    let wait = format!("/admin/changes?after={}&wait=30", now["next"]);
    let stop = async {
        // Connections are accepted in order: once this one is answered, the server has the other.
        client.get("/hook").await.expect(200);
        timeout(Duration::from_secs(5), server.shutdown())
            .await
            .expect("the server waited for a long poll");
    };
    let (changes, ()) = tokio::join!(client.get(&wait), stop);
    assert_eq!(changes.expect(200)["next"], now["next"]);
}
