//! Who is let in.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use tokio_tungstenite::connect_async;

use crate::support::process::{Process, address, serve_with_sandbox};
use crate::support::remote::Client;
use crate::support::{KEY, TestWharf};

#[tokio::test]
async fn the_refusal_is_wahas_and_says_where_to_look() {
    let wharf = TestWharf::start().await;
    let body = wharf
        .send(wharf.request(Method::GET, "/api/sessions"))
        .await
        .expect(401);
    assert_eq!(body["statusCode"], 401);
    assert_eq!(body["message"], "Unauthorized");
    assert!(body.to_string().contains("X-Api-Key"), "{body}");
}

#[tokio::test]
async fn a_key_that_is_configured_as_digest_is_sent_plain() {
    let digest = hex::encode(Sha512::digest("plain text"));
    let wharf = TestWharf::start_with(&[("WAHA_API_KEY", &format!("sha512:{digest}"))]).await;
    for (key, status) in [("plain text", 200), (digest.as_str(), 401), (KEY, 401)] {
        let answer = wharf
            .send(wharf.request(Method::GET, "/api/sessions").header("x-api-key", key))
            .await;
        assert_eq!(answer.status, status, "{key}");
    }
}

#[tokio::test]
async fn excluded_paths_are_whole_paths_in_both_spellings() {
    for name in ["WAHA_API_KEY_EXCLUDE_PATH", "WHATSAPP_API_KEY_EXCLUDE_PATH"] {
        let wharf = TestWharf::start_with(&[(name, "health, api/server/(.*)us,api/*/me")]).await;
        for (path, status) in [
            ("/health", 200),
            ("/health/", 200),
            ("/healthy", 404),
            ("/api/server/status", 200),
            ("/api/sessions/default/me", 404),
            ("/api/server/version", 401),
            ("/api/sessions", 401),
            ("/api/sessions?x=health", 401),
            ("/api/server/status/x", 404),
            ("/api/health", 404),
        ] {
            let answer = wharf.send(wharf.request(Method::GET, path)).await;
            assert_eq!(answer.status, status, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn the_key_has_two_names_and_can_be_done_without() {
    let empty = ("WAHA_API_KEY", "");
    let old = TestWharf::start_with(&[empty, ("WHATSAPP_API_KEY", "old name")]).await;
    for (key, status) in [("old name", 200), ("another", 401)] {
        let request = old.request(Method::GET, "/api/sessions").header("x-api-key", key);
        assert_eq!(old.send(request).await.status, status, "{key}");
    }
    let free = TestWharf::start_with(&[empty, ("WAHA_NO_API_KEY", "True")]).await;
    free.send(free.request(Method::GET, "/api/sessions")).await.expect(200);
}

#[tokio::test]
async fn a_missing_key_is_said_before_the_body_is_looked_at() {
    let wharf = TestWharf::start().await;
    let request = wharf
        .request(Method::POST, "/api/sendText")
        .header("content-type", "application/json")
        .body("{broken");
    wharf.send(request).await.expect(401);
    let request = wharf.request(Method::POST, "/api/sessions").header("x-api-key", KEY);
    let body = wharf
        .send(request.header("content-type", "application/json").body("{broken"))
        .await
        .expect(400);
    assert_eq!(body["error"], "Bad Request");
    assert!(body["message"].is_string(), "{body}");
    assert_eq!(wharf.get("/api/sessions?all=true").await.expect(200), json!([]));
}

#[tokio::test]
async fn keys_outlive_the_process_and_stand_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let serve = || {
        let mut serve = serve_with_sandbox(folder.path());
        serve.env("WAHA_API_KEY", KEY).env("WAHA_LOG_LEVEL", "trace");
        let log = File::options().create(true).append(true).open(&log).unwrap();
        Process::start_logging_to(log, serve)
    };
    let mut server = serve();
    let api = address(&server.line_with("wharf ").await);
    let client = Client::new(&api, "");
    let key = client.api("POST", "/api/keys", json!({ "session": "default" })).await;
    let text = key["key"].as_str().unwrap();
    // Right and wrong ones, in every place.
    let wrong = "a-wrong-key-that-belongs-into-no-log";
    for key in [KEY, text, wrong] {
        let _ = connect_async(format!("ws://{api}/ws?x-api-key={key}")).await;
        let in_query = format!("/api/default/auth/qr?x-api-key={key}");
        let unwelcome = format!("/api/default/chats?x-api-key={key}");
        let statuses = [
            client.status_with("/api/sessions", Some(key)).await,
            client.status_with(&in_query, None).await,
            client.status_with(&unwelcome, None).await,
        ];
        let expected = if key == wrong { [401; 3] } else { [200, 404, 401] };
        assert_eq!(statuses, expected, "{key}");
    }
    let (_, mut printed) = server.terminate().await;
    let mut server = serve();
    let api = address(&server.line_with("wharf ").await);
    assert_eq!(client.at(&api).api("GET", "/api/keys", Value::Null).await, json!([key]));
    printed.push_str(&server.terminate().await.1);
    printed.push_str(&fs::read_to_string(&log).unwrap());
    assert!(printed.contains("request completed"), "{printed}");
    let master = folder.path().join(".sessions/master-key");
    assert_eq!(fs::metadata(&master).unwrap().permissions().mode() & 0o777, 0o600);
    let master = fs::read_to_string(master).unwrap();
    for secret in [KEY, text, wrong, &master] {
        let line = printed.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
