//! The media hosts over TLS, as clients meet them.

use sha2::{Digest as _, Sha256};

use super::access::secure;
use super::client::{Answer, exchange};
use super::*;
use crate::media::token;

/// A server, and a token with which Alice may upload.
struct Hosts {
    server: SandboxServer,
    auth: String,
}

impl Hosts {
    async fn start(config: SandboxServerConfig) -> Self {
        let (server, _) = start_with(config, None).await;
        let auth = server.sandbox.admit(ALICE);
        Self { server, auth }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let stream = secure(&self.server).await;
        exchange(stream, "mmg.whatsapp.net", method, path, headers, body).await
    }

    async fn upload(&self, bytes: &str, more: &str) -> Answer {
        let name = name(bytes);
        let path = format!("/mms/image/{name}?auth={}&token={name}{more}", self.auth);
        self.send("POST", &path, &[("origin", "https://web.whatsapp.com")], bytes)
            .await
    }

    async fn uploaded(&self, bytes: &str) -> String {
        let answer = self.upload(bytes, "").await.expect(200);
        let direct_path = answer["direct_path"].as_str().unwrap().to_owned();
        assert_eq!(answer["url"], format!("https://mmg.whatsapp.net{direct_path}"));
        direct_path
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    fn malformed(&self) -> u64 {
        self.server.sandbox.metrics().malformed_count
    }
}

fn name(bytes: &str) -> String {
    token(&Sha256::digest(bytes))
}

fn fault(direction: &str, fault: serde_json::Value) -> crate::Fault {
    let mut wanted = serde_json::json!({ "match": { "direction": direction } });
    wanted
        .as_object_mut()
        .unwrap()
        .extend(fault.as_object().unwrap().clone());
    serde_json::from_value(wanted).unwrap()
}

#[tokio::test]
async fn a_file_is_fetched_where_its_uploader_was_told() {
    let hosts = Hosts::start(config()).await;
    let path = hosts.uploaded("0123456789").await;
    for address in [path.clone(), format!("{path}&hash=x&mms-type=image")] {
        let answer = hosts.get(&address).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "0123456789"));
    }
    let part = hosts.send("GET", &path, &[("range", "bytes=2-4")], "").await;
    assert_eq!((part.status, part.body.as_str()), (206, "234"));
    assert!(part.head.contains("content-range: bytes 2-4/10"), "{}", part.head);
    assert_eq!(hosts.malformed(), 0);
    let metrics = hosts.server.sandbox.metrics();
    assert_eq!((metrics.uploads, metrics.upload_bytes, metrics.downloads), (1, 10, 3));
    hosts.server.shutdown().await;
}

#[tokio::test]
async fn who_sends_again_is_told_that_it_is_there() {
    let hosts = Hosts::start(config()).await;
    assert_eq!(hosts.upload("", "&resume=1").await.expect(200)["resume"], "0");
    let path = hosts.uploaded("file").await;
    let name = name("file");
    let check = format!("/mms/image/{name}?auth={}&token={name}&resume=1", hosts.auth);
    let answer = hosts.send("POST", &check, &[], "").await.expect(200);
    assert_eq!(
        (&answer["resume"], &answer["direct_path"]),
        (&"complete".into(), &path.into())
    );
    hosts.server.shutdown().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_goes_on() {
    let hosts = Hosts::start(config()).await;
    let name = name("0123456789");
    let path = format!("/mms/video/{name}?auth={}&token={name}", hosts.auth);
    let mut stream = secure(&hosts.server).await;
    let head = format!("POST {path} HTTP/1.1\r\nhost: mmg.whatsapp.net\r\ncontent-length: 10\r\n\r\n0123");
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
        .await
        .unwrap();
    drop(stream);
    // The server finds out that the client is gone in its own time.
    let there = async {
        loop {
            let answer = hosts
                .send("POST", &format!("{path}&resume=1"), &[], "")
                .await
                .expect(200);
            if answer["resume"] == "4" {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), there).await.unwrap();
    let wrong = hosts
        .send("POST", &format!("{path}&file_offset=3"), &[], "3456789")
        .await;
    assert_eq!(wrong.refusal(400), "the upload broke off at another offset");
    let answer = hosts
        .send("POST", &format!("{path}&file_offset=4"), &[], "456789")
        .await
        .expect(200);
    let fetched = hosts.get(answer["direct_path"].as_str().unwrap()).await;
    assert_eq!(fetched.body, "0123456789");
    hosts.server.shutdown().await;
}

#[tokio::test]
async fn what_no_correct_client_asks_for_is_counted() {
    let hosts = Hosts::start(config()).await;
    let path = hosts.uploaded("file").await;
    let (good, auth) = (name("file"), hosts.auth.clone());
    let mut counted = 0;
    for (path, body, status) in [
        (format!("/mms/image/{good}?auth={auth}&token={good}"), "another", 400),
        (format!("/mms/image/{good}?auth={auth}&token=other"), "file", 400),
        (format!("/mms/image/short?auth={auth}&token=short"), "file", 400),
        (
            format!("/mms/image/..%2F..%2Fx?auth={auth}&token=..%2F..%2Fx"),
            "file",
            400,
        ),
        (
            format!("/mms/image/..%2F..%2Fx?auth={auth}&token=..%2F..%2Fx&file_offset=1"),
            "file",
            400,
        ),
        (format!("/mms/cats/{good}?auth={auth}&token={good}"), "file", 400),
    ] {
        assert_eq!(hosts.send("POST", &path, &[], body).await.status, status, "{path}");
        counted += 1;
        assert_eq!(hosts.malformed(), counted, "{path}");
    }
    for mangled in [
        path.replace("&oh=", "&oh=1"),
        path.replace('?', "&"),
        "/v/image/x.enc".to_owned(),
    ] {
        assert_eq!(hosts.get(&mangled).await.status, 403, "{mangled}");
        counted += 1;
        assert_eq!(hosts.malformed(), counted, "{mangled}");
    }
    let stranger = hosts
        .send(
            "POST",
            &format!("/mms/image/{good}?auth=other&token={good}"),
            &[],
            "file",
        )
        .await;
    assert_eq!(
        (stranger.status, hosts.malformed()),
        (401, counted),
        "a token that is too old is no mistake"
    );
    hosts.server.shutdown().await;
}

#[tokio::test]
async fn faults_befall_media() {
    let hosts = Hosts::start(config()).await;
    let path = hosts.uploaded("0123456789").await;
    let set = |wanted| hosts.server.sandbox.set_faults(vec![wanted]).unwrap();
    set(fault("download", serde_json::json!({"action": "status", "code": 404})));
    assert_eq!(hosts.get(&path).await.status, 404);
    set(fault("download", serde_json::json!({"action": "corrupt"})));
    assert_eq!(hosts.get(&path).await.body, "0123446789");
    set(fault("download", serde_json::json!({"action": "truncate"})));
    assert_eq!(hosts.get(&path).await.body, "01234");
    set(fault("upload", serde_json::json!({"action": "status", "code": 507})));
    assert_eq!(hosts.upload("other", "").await.status, 507);
    assert_eq!(hosts.get(&path).await.body, "0123456789");
    hosts.server.shutdown().await;
}

#[tokio::test]
async fn the_hosts_lose_a_file_and_the_phone_too_if_told_so() {
    let (server, client) = start().await;
    let media = serde_json::json!({"kind": "document", "mimetype": "text/plain", "filename": "a.txt", "data": "YQ=="});
    let sent = client.post(
        "/admin/phones/12025550102/send",
        serde_json::json!({"to": ALICE, "media": media}),
    );
    let id = sent.await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/phones/{BOB}/lose-media");
    let bytes = || async {
        client
            .get(&format!("/admin/phones/{BOB}/chats/{ALICE}/{id}/media"))
            .await
            .status
    };
    client
        .post(&path, serde_json::json!({"chat": ALICE, "id": id}))
        .await
        .expect(204);
    assert_eq!(bytes().await, 200, "the phone has it");
    client
        .post(&path, serde_json::json!({"chat": ALICE, "id": id, "phone": true}))
        .await
        .expect(204);
    assert_eq!(bytes().await, 409, "it is gone");
    client
        .post(&path, serde_json::json!({"chat": ALICE, "id": "none"}))
        .await
        .refusal(404);
    server.shutdown().await;
}

#[tokio::test]
async fn media_outlive_the_process_beside_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("network.json");
    let hosts = Hosts::start(keeping(&snapshot)).await;
    let path = hosts.uploaded("file").await;
    hosts.server.shutdown().await;
    let hosts = Hosts::start(keeping(&snapshot)).await;
    assert_eq!(hosts.get(&path).await.body, "file");
    hosts.server.sandbox.reset().await;
    assert_eq!(hosts.get(&path).await.status, 404);
    hosts.server.shutdown().await;
}
