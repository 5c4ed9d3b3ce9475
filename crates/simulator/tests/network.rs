//! The network from a client's side: handshakes, login, queues, keys, refusals. Real stanzas over an in-memory socket.

#![expect(clippy::unwrap_used, reason = "what does not work out in a helper fails the test")]

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Client, Device, at, attr, content};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use wharf_simulator::{
    ALICE, BOB, Clock, ECHO, Env, Fault, Handshakes, InboxEntry, InboxKind, KillMode, ReceiptKind, Sandbox,
    SandboxError, Seed, SystemRandom, TypingState,
};

/// A clock that stands still until a test moves it.
struct HeldClock(AtomicU64);

impl Clock for HeldClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn sandbox() -> Sandbox {
    Sandbox::new(Env::system(), Seed::Fresh)
}

async fn paired(sandbox: &Sandbox) -> (Device, Client) {
    let mut device = Client::pair(sandbox, ALICE).await.unwrap();
    let client = Client::ready(sandbox, &mut device).await;
    (device, client)
}

async fn until_offline(sandbox: &Sandbox) {
    let mut changed = sandbox.changed();
    while sandbox
        .phone(ALICE)
        .unwrap()
        .devices
        .iter()
        .any(|device| device.connected)
    {
        changed.changed().await.unwrap();
    }
}

fn enc(kind: &'static str, bytes: &[u8]) -> Node {
    NodeBuilder::new("enc")
        .attr("v", "2")
        .attr("type", kind)
        .bytes(bytes)
        .build()
}

/// A message whose copies nobody can decrypt; the relay must not care.
fn message(id: &str, to: &Jid, devices: &[Jid]) -> Node {
    let copies = devices.iter().map(|jid| {
        NodeBuilder::new("to")
            .attr("jid", jid)
            .children([enc("msg", b"sealed")])
            .build()
    });
    NodeBuilder::new("message")
        .attr("id", id)
        .attr("to", to)
        .attr("type", "text")
        .children([NodeBuilder::new("participants")
            .children(copies.collect::<Vec<_>>())
            .build()])
        .build()
}

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
    assert_eq!((metrics.unknown_count, metrics.malformed_count), (0, 0));
    sandbox.shutdown().await;
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
async fn a_fresh_device_gets_its_key_and_history_and_waits_for_nothing_else() {
    let sandbox = sandbox();
    let mut device = Client::pair(&sandbox, ALICE).await.unwrap();
    let mut client = Client::log_in(&sandbox, &mut device).await;
    client.upload_prekeys(&device, 20).await;
    client.activate().await;
    for _ in 0..3 {
        let message = client.expect("message").await;
        assert_eq!(attr(&message, "category"), "peer");
        assert_eq!(attr(&message, "from"), device.jid.to_non_ad_string());
        assert_eq!(attr(at(&message, &["enc"]), "type"), "pkmsg");
        client.receipt(&message).await;
    }
    let sync = |name: &'static str| {
        let collection = NodeBuilder::new("collection")
            .attr("name", name)
            .attr("return_snapshot", "true")
            .build();
        NodeBuilder::new("sync").children([collection]).build()
    };
    for name in ["critical_block", "critical_unblock_low"] {
        let answer = client.iq("set", "w:sync:app:state", vec![sync(name)]).await;
        let collection = at(&answer, &["sync", "collection"]);
        assert_eq!(attr(collection, "version"), "1", "{name}");
        assert_eq!(at(collection, &["patches"]).children().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_patch_on_an_old_version_is_refused_with_what_came_between() {
    let sandbox = sandbox();
    let (_, mut client) = paired(&sandbox).await;
    let push = |version: u64| {
        let patch = NodeBuilder::new("patch").bytes(vec![0x22, 1, 7]).build();
        let collection = NodeBuilder::new("collection")
            .attr("name", "regular")
            .attr("version", version)
            .children([patch]);
        vec![NodeBuilder::new("sync").children([collection.build()]).build()]
    };
    let accepted = client.iq("set", "w:sync:app:state", push(0)).await;
    assert_eq!(attr(at(&accepted, &["sync", "collection"]), "version"), "1");
    let refused = client.iq("set", "w:sync:app:state", push(0)).await;
    let collection = at(&refused, &["sync", "collection"]);
    assert_eq!(attr(at(collection, &["error"]), "code"), "409");
    assert_eq!(at(collection, &["patches"]).children().unwrap().len(), 1);
}

#[tokio::test]
async fn stored_messages_come_in_pages_and_again_until_they_are_acknowledged() {
    let sandbox = sandbox();
    let (mut device, client) = paired(&sandbox).await;
    drop(client);
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(sandbox.send(BOB, ALICE, &format!("text {n}"), None).await.unwrap());
    }
    let mut client = Client::log_in(&sandbox, &mut device).await;
    client.activate().await;
    let preview = client.expect("ib").await;
    let announced: usize = attr(at(&preview, &["offline_preview"]), "message").parse().unwrap();
    let batch = NodeBuilder::new("offline_batch").attr("count", 100).build();
    client.send(NodeBuilder::new("ib").children([batch]).build()).await;
    let drained = client.until_drained().await;
    let total = attr(at(drained.last().unwrap(), &["offline"]), "count");
    assert_eq!(total, attr(at(&preview, &["offline_preview"]), "count"));
    let messages: Vec<&Node> = drained.iter().filter(|node| node.tag == "message").collect();
    assert_eq!(messages.len(), announced);
    assert!(messages.iter().all(|message| message.attrs.get("offline").is_some()));
    let texts: Vec<&&Node> = messages
        .iter()
        .filter(|message| ids.contains(&attr(message, "id")))
        .collect();
    assert_eq!(texts.iter().map(|message| attr(message, "id")).collect::<Vec<_>>(), ids);

    // A receipt, an ack and a retry: only the first two settle a message.
    client.receipt(texts[0]).await;
    client.ack(texts[1]).await;
    let retry = NodeBuilder::new("retry")
        .attr("id", attr(texts[2], "id"))
        .attr("count", 1)
        .attr("v", 1)
        .build();
    let registration = NodeBuilder::new("registration").bytes([0, 0, 0, 77]).build();
    let again = NodeBuilder::new("receipt")
        .attr("id", attr(texts[2], "id"))
        .attr("to", texts[2].attrs.get("from").unwrap().clone())
        .attr("type", "retry");
    client.send(again.children([retry, registration]).build()).await;
    client.iq("get", "w:p", Vec::new()).await;
    drop(client);
    let mut client = Client::log_in(&sandbox, &mut device).await;
    client.activate().await;
    let preview = client.expect("ib").await;
    let batch = NodeBuilder::new("offline_batch").attr("count", 100).build();
    client.send(NodeBuilder::new("ib").children([batch]).build()).await;
    let left: Vec<String> = client
        .until_drained()
        .await
        .iter()
        .map(|node| attr(node, "id"))
        .collect();
    assert!(!left.contains(&ids[0]) && !left.contains(&ids[1]), "{preview:?}");
    assert!(ids[2..].iter().all(|id| left.contains(id)));
}

#[tokio::test]
async fn a_queue_survives_a_snapshot() {
    let sandbox = sandbox();
    let (mut device, client) = paired(&sandbox).await;
    drop(client);
    let id = sandbox.send(BOB, ALICE, "kept", None).await.unwrap();
    let snapshot = sandbox.snapshot();
    sandbox.shutdown().await;
    let restored = Sandbox::restore(Env::system(), &snapshot).unwrap();
    let mut client = Client::log_in(&restored, &mut device).await;
    client.activate().await;
    let batch = NodeBuilder::new("offline_batch").attr("count", 100).build();
    client.send(NodeBuilder::new("ib").children([batch]).build()).await;
    assert!(client.until_drained().await.iter().any(|node| attr(node, "id") == id));
    assert!(matches!(
        Sandbox::restore(Env::system(), b"{}"),
        Err(SandboxError::Snapshot(_))
    ));
}

#[tokio::test]
async fn a_one_time_key_is_handed_out_once_and_the_owner_hears_when_few_are_left() {
    let sandbox = sandbox();
    let mut device = Client::pair(&sandbox, ALICE).await.unwrap();
    let mut owner = Client::ready(&sandbox, &mut device).await;
    let mut other = Client::pair(&sandbox, BOB).await.unwrap();
    let mut asker = Client::ready(&sandbox, &mut other).await;
    let mut seen = BTreeSet::new();
    let mut without = 0;
    for _ in 0..55 {
        let user = NodeBuilder::new("user").attr("jid", &device.lid).build();
        let answer = asker
            .iq("get", "encrypt", vec![NodeBuilder::new("key").children([user]).build()])
            .await;
        let user = at(&answer, &["list", "user"]);
        assert!(user.get_optional_child("device-identity").is_some());
        match user.get_optional_child("key") {
            Some(key) => assert!(seen.insert(content(at(key, &["id"]))), "a key was handed out twice"),
            None => without += 1,
        }
    }
    assert!(without > 0 && seen.len() < 50, "the phone took some of the fifty");
    while attr(&owner.expect("notification").await, "type") != "encrypt" {}
    let count = owner
        .iq("get", "encrypt", vec![NodeBuilder::new("count").build()])
        .await;
    assert_eq!(attr(at(&count, &["count"]), "value"), "0");
    let stranger = NodeBuilder::new("user")
        .attr("jid", Jid::pn_device("12025550199", 3))
        .build();
    let answer = asker
        .iq(
            "get",
            "encrypt",
            vec![NodeBuilder::new("key").children([stranger]).build()],
        )
        .await;
    assert_eq!(attr(at(&answer, &["list", "user", "error"]), "code"), "406");
}

#[tokio::test]
async fn a_message_for_the_wrong_devices_is_delivered_and_corrected() {
    let sandbox = sandbox();
    let (device, mut client) = paired(&sandbox).await;
    let bob = Jid::pn(BOB);
    let own_phone = device.jid.to_non_ad();
    let nobody = Jid::pn("12025550199");
    let complete = [bob.clone(), own_phone.clone()];
    let stale = [bob.clone(), own_phone, Jid::pn_device(BOB, 9)];
    client.send(message("COMPLETE", &bob, &complete)).await;
    client.send(message("STALE", &bob, &stale)).await;
    client.send(message("SHORT", &bob, std::slice::from_ref(&bob))).await;
    client
        .send(message("NOBODY", &nobody, std::slice::from_ref(&nobody)))
        .await;
    // Nobody can read them, and Bob's phone asks for each of those that reach it.
    let (mut acks, mut asked) = (BTreeMap::new(), BTreeSet::new());
    while acks.len() < 4 || asked.len() < 3 {
        let node = client.next().await.expect("the connection stays open");
        if node.tag == "ack" {
            acks.insert(attr(&node, "id"), (attr(&node, "phash"), attr(&node, "error")));
        } else if attr(&node, "type") == "retry" && attr(&node, "from") == bob.to_string() {
            asked.insert(attr(&node, "id"));
        }
    }
    assert_eq!(acks["COMPLETE"], (String::new(), String::new()));
    assert!(acks["STALE"].0.starts_with("2:"), "{acks:?}");
    assert_eq!(acks["STALE"], acks["SHORT"]);
    assert_eq!(acks["NOBODY"], (String::new(), "404".to_owned()));
    assert_eq!(sandbox.metrics().malformed_count, 0);
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
async fn receipts_reach_the_sender_and_typing_reaches_the_phone() {
    let sandbox = sandbox();
    let (_, mut client) = paired(&sandbox).await;
    let id = sandbox.send(BOB, ALICE, "hello", None).await.unwrap();
    let received = loop {
        let node = client.expect("message").await;
        if attr(&node, "id") == id {
            break node;
        }
    };
    assert_eq!(attr(&received, "sender_pn"), Jid::pn(BOB).to_string());
    client.receipt(&received).await;
    let chat = received.attrs.get("from").unwrap().clone();
    let read = NodeBuilder::new("receipt")
        .attr("id", id.as_str())
        .attr("to", chat.clone())
        .attr("type", "read");
    client.send(read.attr("t", 1).build()).await;
    let composing = NodeBuilder::new("composing").build();
    client
        .send(
            NodeBuilder::new("chatstate")
                .attr("to", chat)
                .children([composing])
                .build(),
        )
        .await;
    let mut after = 0;
    let mut kinds = Vec::new();
    while !kinds.contains(&InboxKind::Typing) {
        let page = sandbox.inbox(BOB, after, Duration::from_secs(10)).await.unwrap();
        assert_ne!(page.next, after, "nothing came");
        after = page.next;
        kinds.extend(
            page.entries
                .iter()
                .filter(|entry| entry.id.as_ref() == Some(&id) || entry.id.is_none())
                .map(|entry| entry.kind),
        );
    }
    assert_eq!(
        kinds,
        [
            InboxKind::Message,
            InboxKind::Ack,
            InboxKind::Receipt,
            InboxKind::Receipt,
            InboxKind::Typing
        ]
    );
    assert_eq!(
        sandbox.phone(ALICE).unwrap().chats[0].unread,
        0,
        "a companion has read it"
    );
}

#[tokio::test]
async fn usync_knows_people_by_number_and_hidden_id() {
    let sandbox = sandbox();
    let (device, mut client) = paired(&sandbox).await;
    let lid: Jid = sandbox.phone(ALICE).unwrap().lid.parse().unwrap();
    let query = |protocols: &[&'static str], users: Vec<Node>| {
        let query = NodeBuilder::new("query").children(protocols.iter().map(|tag| NodeBuilder::new(tag).build()));
        let list = NodeBuilder::new("list").children(users).build();
        let usync = NodeBuilder::new("usync")
            .attr("sid", "s")
            .attr("mode", "query")
            .attr("context", "message");
        vec![
            usync
                .attr("last", "true")
                .attr("index", "0")
                .children([query.build(), list])
                .build(),
        ]
    };
    let phone = |number: &str| {
        let contact = NodeBuilder::new("contact")
            .bytes(format!("+{number}").into_bytes())
            .build();
        NodeBuilder::new("user").children([contact]).build()
    };
    let answer = client
        .iq(
            "get",
            "usync",
            query(&["contact", "lid"], vec![phone(BOB), phone("12025550199")]),
        )
        .await;
    let users = at(&answer, &["usync", "list"]).children().unwrap();
    assert_eq!(attr(at(&users[0], &["contact"]), "type"), "in");
    assert!(attr(at(&users[0], &["lid"]), "val").ends_with("@lid"));
    assert_eq!(attr(at(&users[1], &["contact"]), "type"), "out");
    let user = NodeBuilder::new("user").attr("jid", &lid).build();
    let answer = client.iq("get", "usync", query(&["devices"], vec![user])).await;
    let user = at(&answer, &["usync", "list", "user"]);
    assert_eq!(attr(user, "pn_jid"), Jid::pn(ALICE).to_string());
    let devices = at(user, &["devices", "device-list"]).children().unwrap();
    assert_eq!(
        devices.iter().map(|d| attr(d, "id")).collect::<Vec<_>>(),
        ["0".to_owned(), device.jid.device.to_string()]
    );
    let signed = wacore::adv::decode_key_index_list(&content(at(user, &["devices", "key-index-list"]))).unwrap();
    assert!(
        signed
            .valid_indexes
            .contains(&attr(&devices[1], "key-index").parse().unwrap())
    );
}

#[tokio::test]
async fn a_missing_acknowledgement_is_reported_and_typing_grows_stale() {
    let clock = Arc::new(HeldClock(AtomicU64::new(1_800_000_000_000)));
    let pass = |seconds: u64| clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    let sandbox = Sandbox::new(
        Env {
            clock: clock.clone(),
            random: Arc::new(SystemRandom),
        },
        Seed::Fresh,
    );
    let (mut device, mut client) = paired(&sandbox).await;
    let id = sandbox.send(BOB, ALICE, "hello", None).await.unwrap();
    let message = loop {
        let node = client.expect("message").await;
        if attr(&node, "id") == id {
            break node;
        }
        client.receipt(&node).await;
    };
    assert!(sandbox.metrics().unacked.iter().all(|unacked| unacked.id != id));
    pass(11);
    assert!(sandbox.metrics().unacked.iter().any(|unacked| unacked.id == id));
    client.receipt(&message).await;
    client.iq("get", "w:p", Vec::new()).await;
    assert!(sandbox.metrics().unacked.iter().all(|unacked| unacked.id != id));

    for (away_s, seen) in [(29, true), (31, false)] {
        drop(client);
        until_offline(&sandbox).await;
        sandbox.typing(BOB, ALICE, TypingState::Composing).await.unwrap();
        pass(away_s);
        client = Client::log_in(&sandbox, &mut device).await;
        client.activate().await;
        let batch = NodeBuilder::new("offline_batch").attr("count", 100).build();
        client.send(NodeBuilder::new("ib").children([batch]).build()).await;
        client.until_drained().await;
        client
            .send(
                NodeBuilder::new("presence")
                    .attr("type", "subscribe")
                    .attr("to", Jid::pn(BOB))
                    .build(),
            )
            .await;
        let next = client.next().await.unwrap();
        assert_eq!(next.tag == "chatstate", seen, "after {away_s} s: {next:?}");
    }
}

/// Reads a phone's inbox until a text arrives, and answers everything that was new.
async fn until_text(sandbox: &Sandbox, number: &str, text: &str) -> Vec<InboxEntry> {
    let (mut after, mut entries) = (0, Vec::new());
    loop {
        let page = sandbox.inbox(number, after, Duration::from_secs(10)).await.unwrap();
        assert_ne!(page.next, after, "{text:?} never came");
        after = page.next;
        entries.extend(page.entries);
        if entries.iter().any(|entry| entry.text.as_deref() == Some(text)) {
            return entries;
        }
    }
}

#[tokio::test]
async fn echo_reads_types_and_answers_with_a_quote() {
    let sandbox = sandbox();
    let id = sandbox.send(ALICE, ECHO, "hello", None).await.unwrap();
    let entries = until_text(&sandbox, ALICE, "Echo: hello").await;
    let about = |kind: InboxKind| {
        entries
            .iter()
            .filter(move |entry| entry.chat == ECHO && entry.kind == kind)
    };
    let receipts: Vec<_> = about(InboxKind::Receipt).filter_map(|entry| entry.receipt).collect();
    assert_eq!(receipts, [ReceiptKind::Delivered, ReceiptKind::Read]);
    assert_eq!(
        about(InboxKind::Typing)
            .filter_map(|entry| entry.state.as_deref())
            .collect::<Vec<_>>(),
        ["composing", "paused"]
    );
    assert_eq!(entries.last().unwrap().reply_to, Some(id));
}

#[tokio::test]
async fn phones_write_to_each_other_after_a_restart() {
    let sandbox = sandbox();
    sandbox.send(ALICE, BOB, "before", None).await.unwrap();
    until_text(&sandbox, BOB, "before").await;
    let snapshot = sandbox.snapshot();
    sandbox.shutdown().await;
    let restored = Sandbox::restore(Env::system(), &snapshot).unwrap();
    restored.send(BOB, ALICE, "after", None).await.unwrap();
    until_text(&restored, ALICE, "after").await;
    restored.send(ALICE, BOB, "and back", None).await.unwrap();
    let entries = until_text(&restored, BOB, "and back").await;
    assert!(entries.iter().all(|entry| entry.kind != InboxKind::Undecryptable));
    assert_eq!(restored.metrics().prekeys_reused, 0);
}

#[tokio::test]
async fn faults_hit_the_stanzas_they_name() {
    let sandbox = sandbox();
    let (device, mut client) = paired(&sandbox).await;
    let fault = |json: serde_json::Value| serde_json::from_value::<Fault>(json).unwrap();
    sandbox
        .set_faults(vec![
            fault(serde_json::json!({"match": {"stanza": "message", "from": ALICE}, "action": "nack", "code": 463})),
            fault(serde_json::json!({"match": {"xmlns": "w:p"}, "action": "iq_error", "code": 503})),
        ])
        .unwrap();
    let bob = Jid::pn(BOB);
    let devices = [bob.clone(), device.jid.to_non_ad()];
    client.send(message("A", &bob, &devices)).await;
    assert_eq!(attr(&client.expect("ack").await, "error"), "463");
    let refused = client.iq("get", "w:p", Vec::new()).await;
    assert_eq!(attr(at(&refused, &["error"]), "code"), "503");
    assert!(sandbox.faults().is_empty(), "each was good for one stanza");
    assert_eq!(attr(&client.iq("get", "w:p", Vec::new()).await, "type"), "result");
    client.send(message("B", &bob, &devices)).await;
    assert_eq!(attr(&client.expect("ack").await, "error"), "");
}
