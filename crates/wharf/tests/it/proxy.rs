//! Proxies: everything of a session goes through its own, and a proxy that fails says so.
//!
//! The network's name is one that only the test's proxy resolves, so nothing can pass it by.

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::proxy::{SANDBOX_HOST, Speaks, TestProxy};
use crate::support::{ALICE, BOB, ECHO, Receiver, TestWharf};

const USER: &str = "wharf";
const PASSWORD: &str = "secret-of-the-proxy";

fn config(scheme: &str, proxy: &TestProxy, password: &str) -> Value {
    json!({ "server": format!("{scheme}{}", proxy.address), "username": USER, "password": password })
}

async fn create(wharf: &TestWharf, name: &str, proxy: &Value, receiver: &Receiver) {
    let webhook = json!({ "url": receiver.url(), "events": ["session.status", "message"] });
    let body = json!({ "name": name, "config": { "proxy": proxy, "webhooks": [webhook] } });
    let created = wharf.post("/api/sessions", body).await.expect(201);
    assert_eq!(created["config"]["proxy"], *proxy, "as it was given, as in WAHA");
}

/// Every way that the network knows of, and every way that went through the proxy.
fn assert_all_went_through(wharf: &TestWharf, proxy: &TestProxy) {
    let handshakes = wharf.network.metrics().handshakes;
    let connections = handshakes.xx + handshakes.xxfallback + handshakes.ik;
    assert!(connections >= 2, "one to pair and one to log in: {handshakes:?}");
    let name = format!("{SANDBOX_HOST}:{}", wharf.sandbox_address().port());
    let expected = vec![name; usize::try_from(connections).unwrap()];
    assert_eq!(proxy.opened(), expected, "tunnels opened");
}

async fn pair_send_and_receive(speaks: Speaks, scheme: &str) {
    let proxy = TestProxy::start(speaks, Some((USER, PASSWORD))).await;
    let mut wharf = TestWharf::start_at(SANDBOX_HOST, &[]).await;
    let receiver = Receiver::start().await;
    create(&wharf, "default", &config(scheme, &proxy, PASSWORD), &receiver).await;
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;

    let text = json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "text": "through the tunnel" });
    wharf.post("/api/sendText", text).await.expect(201);
    wharf
        .phone_shows(BOB, "the text", |entry| {
            entry.text.as_deref() == Some("through the tunnel")
        })
        .await;
    wharf.network.send(BOB, ALICE, "and back", None).await.unwrap();
    receiver
        .wait_for("the answer", |event| event["payload"]["body"] == "and back")
        .await;
    wharf.settled().await;
    assert_all_went_through(&wharf, &proxy);

    // The proxy is remembered with the session.
    wharf.restart().await;
    wharf.wait_for_status("default", "WORKING").await;
    assert_all_went_through(&wharf, &proxy);
    assert_eq!(proxy.refused(), 0);
    wharf.finish().await;
}

#[tokio::test]
async fn everything_of_a_session_goes_through_its_http_proxy() {
    pair_send_and_receive(Speaks::Http, "").await;
}

#[tokio::test]
async fn everything_of_a_session_goes_through_its_socks_proxy() {
    pair_send_and_receive(Speaks::Socks5, "socks5://").await;
}

#[tokio::test]
async fn a_session_goes_through_the_global_proxy_unless_it_has_its_own() {
    let (global, own) = (
        TestProxy::start(Speaks::Http, Some((USER, PASSWORD))).await,
        TestProxy::start(Speaks::Socks5, None).await,
    );
    let server = global.address.to_string();
    let settings = [
        ("WHATSAPP_PROXY_SERVER", server.as_str()),
        ("WHATSAPP_PROXY_SERVER_USERNAME", USER),
        ("WHATSAPP_PROXY_SERVER_PASSWORD", PASSWORD),
    ];
    let wharf = TestWharf::start_at(SANDBOX_HOST, &settings).await;
    wharf
        .post("/api/sessions", json!({ "name": "plain" }))
        .await
        .expect(201);
    wharf.wait_for_status("plain", "SCAN_QR_CODE").await;
    assert_eq!((global.opened().len(), own.opened().len()), (1, 0));

    let config = json!({ "proxy": { "server": format!("socks5h://{}", own.address) } });
    let body = json!({ "name": "special", "config": config });
    wharf.post("/api/sessions", body).await.expect(201);
    wharf.wait_for_status("special", "SCAN_QR_CODE").await;
    assert_eq!((global.opened().len(), own.opened().len()), (1, 1));
}

#[tokio::test]
async fn sessions_share_a_list_of_proxies_in_turn_and_keep_theirs() {
    let (first, second) = (
        TestProxy::start(Speaks::Http, None).await,
        TestProxy::start(Speaks::Http, None).await,
    );
    let list = format!("{},{}", first.address, second.address);
    let mut wharf = TestWharf::start_at(SANDBOX_HOST, &[("WHATSAPP_PROXY_SERVER_LIST", &list)]).await;
    for name in ["z", "b", "c"] {
        wharf.post("/api/sessions", json!({ "name": name })).await.expect(201);
        wharf.wait_for_status(name, "SCAN_QR_CODE").await;
    }
    assert_eq!((first.opened().len(), second.opened().len()), (2, 1));
    wharf.delete("/api/sessions/z").await.expect(200);
    wharf.restart().await;
    for name in ["b", "c"] {
        wharf.wait_for_status(name, "SCAN_QR_CODE").await;
    }
    assert_eq!((first.opened().len(), second.opened().len()), (3, 2));
}

#[tokio::test]
async fn a_proxy_that_refuses_the_login_is_told_and_tried_again() {
    let proxy = TestProxy::start(Speaks::Http, Some((USER, PASSWORD))).await;
    let wharf = TestWharf::start_at(SANDBOX_HOST, &[]).await;
    let receiver = Receiver::start().await;
    create(&wharf, "default", &config("", &proxy, "a-wrong-guess"), &receiver).await;

    let told = receiver
        .wait_for("the proxy's refusal", |event| {
            event["payload"]["data"]["reason"] == "PROXY_FAILED"
        })
        .await;
    let message = told.event["payload"]["data"]["message"].as_str().unwrap().to_owned();
    assert_eq!(told.event["payload"]["status"], "STARTING");
    assert!(message.contains("it refused the credentials"), "{message}");

    let text = json!({ "session": "default", "chatId": format!("{ECHO}@c.us"), "text": "Hi" });
    let refusal = wharf.post("/api/sendText", text).await.expect(422).to_string();
    assert!(refusal.contains("it refused the credentials"), "{refusal}");
    for shown in [message, refusal] {
        assert!(!shown.contains("a-wrong-guess"), "{shown}");
    }
    assert!(proxy.refused() >= 1);

    // Nothing was sent past it; and it is tried again, so that a proxy that was out of quota comes back by itself.
    proxy.ask_for(Some((USER, "a-wrong-guess")));
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    let handshakes = wharf.network.metrics().handshakes;
    assert_eq!(proxy.opened().len() as u64, handshakes.xx);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_told_and_can_be_changed() {
    // Nobody else gets a port that is bound, and nobody listens there.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gone = socket.local_addr().unwrap();
    let wharf = TestWharf::start_at(SANDBOX_HOST, &[]).await;
    let receiver = Receiver::start().await;
    let wrong = json!({ "server": format!("socks5://{gone}") });
    create(&wharf, "default", &wrong, &receiver).await;
    let told = receiver
        .wait_for("the missing proxy", |event| {
            event["payload"]["data"]["reason"] == "PROXY_FAILED"
        })
        .await;
    let message = told.event["payload"]["data"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("the proxy socks5h://{gone} cannot be reached")),
        "{message}"
    );

    let proxy = TestProxy::start(Speaks::Socks5, None).await;
    let right = json!({ "config": { "proxy": { "server": format!("socks5://{}", proxy.address) } } });
    wharf.put("/api/sessions/default", right).await.expect(200);
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    assert_eq!(proxy.opened().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_dies_takes_down_only_its_own_sessions() {
    let (proxy, other) = (
        TestProxy::start(Speaks::Socks5, None).await,
        TestProxy::start(Speaks::Http, None).await,
    );
    let server = other.address.to_string();
    let wharf = TestWharf::start_at(SANDBOX_HOST, &[("WHATSAPP_PROXY_SERVER", &server)]).await;
    let receiver = Receiver::start().await;
    wharf.paired("bob", BOB, &receiver).await;
    let own = json!({ "server": format!("socks5://{}", proxy.address) });
    create(&wharf, "alice", &own, &receiver).await;
    wharf.scan("alice", ALICE).await;
    wharf.wait_for_status("alice", "WORKING").await;
    wharf.settled().await;

    drop(proxy);
    let told = receiver
        .wait_for("the dead proxy", |event| {
            event["payload"]["data"]["reason"] == "PROXY_FAILED"
        })
        .await;
    assert_eq!(told.event["session"], "alice");
    let text = json!({ "session": "bob", "chatId": format!("{ECHO}@c.us"), "text": "still here" });
    wharf.post("/api/sendText", text).await.expect(201);
    assert_eq!(wharf.get("/api/sessions/bob").await.expect(200)["status"], "WORKING");
    assert_eq!(wharf.get("/api/sessions/alice").await.expect(200)["status"], "STARTING");
    wharf.finish().await;
}

#[tokio::test]
async fn what_is_no_proxy_is_refused_without_showing_it() {
    let wharf = TestWharf::start().await;
    for server in [
        "",
        "socks4://localhost:1080",
        "me:hunter2@localhost:3128",
        "localhost:port",
    ] {
        let body = json!({ "config": { "proxy": { "server": server } } });
        let refusal = wharf.post("/api/sessions", body).await.expect(400);
        let message = refusal["message"][0].as_str().unwrap();
        assert!(message.starts_with("config.proxy.server "), "{refusal}");
        assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    }
}
