//! Handshakes, pairing, login, and how the network refuses what it does not know.

use super::*;

#[tokio::test]
async fn a_device_pairs_and_logs_in_with_full_and_resumed_handshakes() {
    let sandbox = sandbox();
    let (mut device, client) = paired(&sandbox).await;
    drop(client);
    Client::resume(&sandbox, &mut device).await.expect("success").await;
    sandbox.rotate_noise_key();
    let before = device.server_static.clone();
    Client::resume(&sandbox, &mut device).await.expect("success").await;
    assert_ne!(device.server_static, before);
    let metrics = sandbox.metrics();
    assert_eq!(
        metrics.handshakes,
        Handshakes {
            xx: 2,
            ik: 1,
            xxfallback: 1
        }
    );
    assert_eq!(
        (metrics.unknown_count, metrics.malformed_count, metrics.unmatched_count),
        (0, 0, 0)
    );
    sandbox.shutdown().await;
}

#[tokio::test]
async fn what_a_device_is_told_before_it_is_linked_must_be_acknowledged() {
    let (clock, sandbox) = held();
    let mut device = Device::new();
    let mut client = Client::register(&sandbox, &mut device, "Test").await;
    let request = client.expect("iq").await;
    clock.pass(11);
    let metrics = sandbox.metrics();
    assert_eq!((metrics.unacked_count, metrics.unacked[0].open), (1, true));
    assert_eq!(metrics.unacked[0].id, attr(&request, "id"));
    for (id, unmatched) in [("another", 1), (attr(&request, "id").as_str(), 1)] {
        let result = NodeBuilder::new("iq").attr("type", "result").attr("id", id);
        client.send(result.attr("to", server()).build()).await;
        client.iq("get", "w:p", Vec::new()).await;
        assert_eq!(sandbox.metrics().unmatched_count, unmatched, "{id}");
    }
    sandbox.settled(PATIENCE).await.unwrap();
    let metrics = sandbox.metrics();
    assert_eq!((metrics.unacked_count, metrics.unacked[0].open), (1, false));
}

#[tokio::test]
async fn a_device_that_is_linked_has_acknowledged_what_it_was_told_before() {
    let sandbox = sandbox();
    let mut device = Device::new();
    let mut client = Client::register(&sandbox, &mut device, "Test").await;
    let request = client.expect("iq").await;
    let code = code_in(&request, &device);
    let (scanned, ()) = tokio::join!(sandbox.scan(ALICE, &code), client.sign(&mut device, |_| {}));
    scanned.unwrap();
    assert_eq!(sandbox.metrics().unacked_count, 1);
}

#[tokio::test]
async fn a_second_connection_of_a_device_that_shows_a_code_is_counted() {
    let sandbox = sandbox();
    let mut device = Device::new();
    let mut first = Client::register(&sandbox, &mut device, "Test").await;
    first.pairing_code(&device).await;
    assert_eq!(sandbox.metrics().replaced, 0);
    let mut second = Client::register(&sandbox, &mut device, "Test").await;
    second.pairing_code(&device).await;
    assert_eq!(sandbox.metrics().replaced, 1);
}

#[tokio::test]
async fn a_code_is_good_for_one_scan_and_only_for_its_device() {
    let sandbox = sandbox();
    let mut device = Device::new();
    let mut client = Client::register(&sandbox, &mut device, "Test").await;
    let code = client.pairing_code(&device).await;
    let stranger = Device::new();
    let forged = code.replace(
        &code.split(',').nth(2).unwrap().to_owned(),
        &base64::Engine::encode(
            &base64::prelude::BASE64_STANDARD,
            stranger.identity.public_key.public_key_bytes(),
        ),
    );
    assert!(matches!(
        sandbox.scan(ALICE, &forged).await,
        Err(SandboxError::Invalid(_))
    ));
    assert!(matches!(
        sandbox.scan(ALICE, "hello").await,
        Err(SandboxError::Invalid(_))
    ));
    let (scanned, ()) = tokio::join!(sandbox.scan(ALICE, &code), client.sign(&mut device, |_| {}));
    scanned.unwrap();
    assert!(matches!(
        sandbox.scan(ALICE, &code).await,
        Err(SandboxError::Conflict(_))
    ));
}

#[tokio::test]
async fn a_wrong_companion_signature_ends_the_pairing() {
    let sandbox = sandbox();
    let mut device = Device::new();
    let mut client = Client::register(&sandbox, &mut device, "Test").await;
    let code = client.pairing_code(&device).await;
    let spoil = |signed: &mut Vec<u8>| *signed.last_mut().unwrap() ^= 1;
    let (scanned, ()) = tokio::join!(sandbox.scan(ALICE, &code), client.sign(&mut device, spoil));
    assert!(matches!(scanned, Err(SandboxError::Refused(_))));
    assert!(sandbox.phone(ALICE).unwrap().devices.is_empty());
    assert_eq!(sandbox.metrics().malformed_count, 1);
}

#[tokio::test]
async fn who_is_not_linked_is_turned_away() {
    let sandbox = sandbox();
    let (mut device, client) = paired(&sandbox).await;
    drop(client);
    let mut impostor = Device::new();
    impostor.jid = device.jid.clone();
    let mut refused = Client::log_in(&sandbox, &mut impostor).await;
    assert_eq!(attr(&refused.expect("failure").await, "reason"), "401");
    sandbox.unlink(ALICE, device.jid.device).await.unwrap();
    let mut gone = Client::log_in(&sandbox, &mut device).await;
    assert_eq!(attr(&gone.expect("failure").await, "reason"), "401");
}

#[tokio::test]
async fn a_second_login_replaces_the_first_and_an_unlinked_device_is_told() {
    let sandbox = sandbox();
    let (mut device, mut first) = paired(&sandbox).await;
    let mut second = Client::ready(&sandbox, &mut device).await;
    let error = first.expect("stream:error").await;
    assert_eq!(attr(at(&error, &["conflict"]), "type"), "replaced");
    assert_eq!(first.next().await, None);
    sandbox
        .kill(&device.jid.to_string(), KillMode::StreamError { code: 503 })
        .await
        .unwrap();
    assert_eq!(attr(&second.expect("stream:error").await, "code"), "503");
    let mut third = Client::ready(&sandbox, &mut device).await;
    sandbox.unlink(ALICE, device.jid.device).await.unwrap();
    let error = third.expect("stream:error").await;
    assert_eq!(attr(at(&error, &["conflict"]), "type"), "device_removed");
}

#[tokio::test]
async fn what_is_unknown_or_malformed_is_refused_and_counted() {
    let sandbox = sandbox();
    let (device, mut client) = paired(&sandbox).await;
    let unknown = client
        .iq("get", "w:teapot", vec![NodeBuilder::new("brew").build()])
        .await;
    assert_eq!(attr(at(&unknown, &["error"]), "code"), "501");
    let bad = client
        .iq("set", "passive", vec![NodeBuilder::new("lazy").build()])
        .await;
    assert_eq!(attr(at(&bad, &["error"]), "code"), "400");
    let bob = Jid::pn(BOB);
    let no_type = NodeBuilder::new("message")
        .attr("id", "A")
        .attr("to", &bob)
        .children([enc("msg", b"x")])
        .build();
    client.send(no_type).await;
    assert_eq!(attr(&client.expect("ack").await, "error"), "479");
    client.send(message("B", &bob, &[Jid::pn("12025550103")])).await;
    assert_eq!(attr(&client.expect("ack").await, "error"), "479");
    let to_own = NodeBuilder::new("message")
        .attr("id", "C")
        .attr("to", &device.jid)
        .attr("type", "text");
    client.send(to_own.children([enc("msg", b"x")]).build()).await;
    assert_eq!(attr(&client.expect("ack").await, "error"), "479");
    client.send(NodeBuilder::new("teapot").build()).await;
    client.iq("get", "w:p", Vec::new()).await;
    let metrics = sandbox.metrics();
    assert_eq!((metrics.unknown_count, metrics.malformed_count), (2, 4));
    assert_eq!(metrics.unknown[1].what, "<teapot>");
}

#[tokio::test]
async fn companions_that_are_linked_at_the_same_time_stay_genuine() {
    let sandbox = sandbox();
    let (mut first, mut second) = (Device::new(), Device::new());
    let mut one = Client::register(&sandbox, &mut first, "One").await;
    let mut other = Client::register(&sandbox, &mut second, "Other").await;
    let (code, other_code) = (one.pairing_code(&first).await, other.pairing_code(&second).await);
    // The one that was offered its place last signs first.
    let sign = async {
        other.sign(&mut second, |_| {}).await;
        assert_eq!(attr(&other.expect("stream:error").await, "code"), "515");
        one.sign(&mut first, |_| {}).await;
    };
    let (scanned, other_scanned, ()) = tokio::join!(sandbox.scan(ALICE, &code), sandbox.scan(ALICE, &other_code), sign);
    let number = |scanned: Result<LinkView, SandboxError>| scanned.unwrap().device().unwrap().device;
    assert_ne!(number(scanned), number(other_scanned));

    let mut client = Client::ready(&sandbox, &mut first).await;
    let query = NodeBuilder::new("query").children([NodeBuilder::new("devices").build()]);
    let user = NodeBuilder::new("user").attr("jid", Jid::pn(ALICE)).build();
    let list = NodeBuilder::new("list").children([user]).build();
    let usync = NodeBuilder::new("usync").attr("sid", "s").attr("mode", "query");
    let usync = usync.attr("context", "message").attr("last", "true").attr("index", "0");
    let usync = usync.children([query.build(), list]).build();
    let answer = client.iq("get", "usync", vec![usync]).await;
    let devices = at(&answer, &["usync", "list", "user", "devices"]);
    let signed = wacore::adv::decode_key_index_list(&content(at(devices, &["key-index-list"]))).unwrap();
    let companions = at(devices, &["device-list"]).children().unwrap().iter().skip(1);
    let indexes: Vec<u32> = companions.map(|it| attr(it, "key-index").parse().unwrap()).collect();
    assert_eq!(indexes.len(), 2);
    assert!(
        indexes.iter().all(|index| signed.valid_indexes.contains(index)),
        "{indexes:?}: {signed:?}"
    );
}

#[tokio::test]
async fn a_client_is_told_where_it_reaches_media() {
    let sandbox = sandbox();
    let (_device, mut client) = paired(&sandbox).await;
    let answer = client
        .iq("set", "w:m", vec![NodeBuilder::new("media_conn").build()])
        .await;
    let media = at(&answer, &["media_conn"]);
    assert!(!attr(media, "auth").is_empty());
    assert_eq!(attr(at(media, &["host"]), "hostname"), client::MEDIA_HOST);
}
