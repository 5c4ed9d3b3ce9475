//! Messages from a device to another: fan-out, queues until acknowledged, pages, faults.

use super::*;

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
    assert!(client.drain().await.iter().any(|node| attr(node, "id") == id));
    assert!(matches!(
        Sandbox::restore(Env::system(), b"{}"),
        Err(SandboxError::Snapshot(_))
    ));
}

#[tokio::test]
async fn a_companion_proves_who_it_is_when_it_starts_a_session() {
    let sandbox = sandbox();
    let (device, mut client) = paired(&sandbox).await;
    let other = Client::pair(&sandbox, ALICE).await.unwrap();
    let first = |id: &str, identity: Option<&[u8]>| {
        let mut children = vec![enc("pkmsg", b"sealed")];
        children.extend(identity.map(|identity| NodeBuilder::new("device-identity").bytes(identity).build()));
        let message = NodeBuilder::new("message").attr("id", id).attr("to", Jid::pn(BOB));
        message.attr("type", "text").children(children).build()
    };
    let mut refusal = async |node: Node| {
        client.send(node).await;
        assert_eq!(attr(&client.expect("ack").await, "error"), "479");
        sandbox.metrics().malformed.last().unwrap().what.clone()
    };
    assert_eq!(
        refusal(first("NONE", None)).await,
        "<message> without <device-identity>"
    );
    for (id, identity) in [("OTHER", other.signed_identity.as_slice()), ("BROKEN", b"x")] {
        let what = refusal(first(id, Some(identity))).await;
        assert_eq!(what, "<device-identity> that is not the sender's", "{id}");
    }
    // With its own, what is wrong is what comes after it.
    let what = refusal(first("OWN", Some(&device.signed_identity))).await;
    assert!(!what.contains("identity"), "{what}");

    let before = sandbox.metrics();
    assert_eq!(before.malformed_count, 4);
    sandbox.reset().await;
    let after = sandbox.metrics();
    assert_eq!(
        (after.malformed_count, after.malformed),
        (4, before.malformed),
        "a reset hides nothing"
    );
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
async fn only_an_answer_that_names_the_stanza_in_every_respect_acknowledges_it() {
    let sandbox = sandbox();
    let mut device = Client::pair(&sandbox, ALICE).await.unwrap();
    let (mut client, stored) = Client::first_login(&sandbox, &mut device).await;
    for node in &stored {
        client.settle(node).await;
    }
    let id = sandbox.send(BOB, ALICE, "hello", None).await.unwrap();
    let message = until_message(&mut client, &id).await;
    let answer = |tag: &'static str, to: &str, more: &[(&'static str, &str)]| {
        let answer = NodeBuilder::new(tag).attr("id", id.as_str()).attr("to", to);
        let with = |answer: NodeBuilder, (key, value): &(&'static str, &str)| answer.attr(key, *value);
        more.iter().fold(answer, with).build()
    };
    let (bob, carol) = (attr(&message, "from"), format!("{CAROL}@s.whatsapp.net"));
    let wrong = [
        answer("ack", &carol, &[("class", "message")]),
        answer("ack", &bob, &[("class", "message"), ("participant", &carol)]),
        answer("ack", &bob, &[("class", "message"), ("type", "media")]),
        answer("ack", &bob, &[("class", "receipt")]),
        answer("ack", &bob, &[("class", "notification"), ("type", "devices")]),
        answer("receipt", &carol, &[]),
        answer("receipt", &bob, &[("type", "sender")]),
        answer("receipt", &bob, &[("type", "peer_msg")]),
    ];
    for (count, wrong) in (1..).zip(&wrong) {
        client.send(wrong.clone()).await;
        client.iq("get", "w:p", Vec::new()).await;
        let metrics = sandbox.metrics();
        assert_eq!(metrics.unmatched_count, count, "{wrong:?}");
    }
    // What a person did is about a message that may have come long ago, so it neither counts nor is counted.
    for kind in ["read", "played", "read-self"] {
        client.send(answer("receipt", &bob, &[("type", kind)])).await;
    }
    client.iq("get", "w:p", Vec::new()).await;
    let waits = |open: Vec<Unacked>| open.iter().any(|open| open.id == id);
    assert!(waits(sandbox.settled(Duration::ZERO).await.unwrap_err()));

    client.receipt(&message).await;
    client.receipt(&message).await;
    answer_until_settled(&sandbox, &mut client).await;
    assert_eq!(sandbox.metrics().unmatched_count, 8, "a repetition is none");
}

/// Reads until a message comes; what comes before it is acknowledged.
async fn until_message(client: &mut Client, id: &str) -> Node {
    loop {
        let node = client.next().await.expect("the connection stays open");
        if node.tag == "message" && attr(&node, "id") == id {
            return node;
        }
        client.settle(&node).await;
    }
}

/// Acknowledges everything that comes until nothing waits any more.
async fn answer_until_settled(sandbox: &Sandbox, client: &mut Client) {
    let answer = async {
        loop {
            let node = client.next().await.expect("the connection stays open");
            client.settle(&node).await;
        }
    };
    tokio::select! {
        settled = sandbox.settled(PATIENCE) => settled.unwrap(),
        () = answer => {}
    }
}

#[tokio::test]
async fn a_late_or_missing_acknowledgement_stays_counted() {
    let (clock, sandbox) = held();
    let (mut device, mut client) = paired(&sandbox).await;
    // Whether it is reported, and whether as one that still waits; and how many are in all.
    let reported = |id: &str| {
        let metrics = sandbox.metrics();
        let open = metrics.unacked.iter().find(|unacked| unacked.id == id);
        (open.map(|unacked| unacked.open), metrics.unacked_count)
    };

    let late = sandbox.send(BOB, ALICE, "late", None).await.unwrap();
    let message = until_message(&mut client, &late).await;
    assert_eq!(reported(&late), (None, 0));
    clock.pass(10);
    assert_eq!(reported(&late), (None, 0), "it has ten seconds");
    clock.pass(1);
    let (open, overdue) = reported(&late);
    assert_eq!(open, Some(true));
    client.receipt(&message).await;
    client.iq("get", "w:p", Vec::new()).await;
    assert_eq!(reported(&late), (Some(false), overdue));
    drop(client);
    until_offline(&sandbox).await;
    assert_eq!(reported(&late), (Some(false), overdue));

    // Acknowledged by nobody: the connection ends with it, and the next one answers in time.
    let lost = sandbox.send(BOB, ALICE, "lost", None).await.unwrap();
    let mut client = Client::log_in(&sandbox, &mut device).await;
    client.drain().await;
    clock.pass(11);
    let (open, overdue) = reported(&lost);
    assert_eq!(open, Some(true));
    drop(client);
    until_offline(&sandbox).await;
    assert_eq!(reported(&lost), (Some(false), overdue));
    let mut client = Client::log_in(&sandbox, &mut device).await;
    for node in client.drain().await {
        client.settle(&node).await;
    }
    answer_until_settled(&sandbox, &mut client).await;
    clock.pass(11);
    assert_eq!(reported(&lost), (Some(false), overdue));
}

#[tokio::test]
async fn the_network_settles_when_everything_is_acknowledged() {
    let sandbox = sandbox();
    let mut device = Client::pair(&sandbox, ALICE).await.unwrap();
    let (mut client, stored) = Client::first_login(&sandbox, &mut device).await;
    for node in &stored {
        client.settle(node).await;
    }
    let id = sandbox.send(BOB, ALICE, "hello", None).await.unwrap();
    let message = until_message(&mut client, &id).await;
    let open = sandbox.settled(Duration::ZERO).await.unwrap_err();
    let open = open.iter().find(|open| open.id == id).unwrap();
    assert_eq!((open.stanza.as_str(), open.open), ("message", true));
    assert_eq!(open.device.split(':').next(), Some(ALICE));

    let waiting = sandbox.clone();
    let mut settled = pin!(waiting.settled(PATIENCE));
    assert!(settled.as_mut().now_or_never().is_none(), "it waits");
    client.receipt(&message).await;
    answer_until_settled(&sandbox, &mut client).await;
    assert_eq!(settled.await, Ok(()));

    // What nobody can acknowledge any more is due on the next connection, not open on this one.
    let id = sandbox.send(BOB, ALICE, "lost", None).await.unwrap();
    until_message(&mut client, &id).await;
    sandbox.settled(Duration::ZERO).await.unwrap_err();
    let mut settled = pin!(sandbox.settled(PATIENCE));
    assert!(settled.as_mut().now_or_never().is_none(), "it waits");
    drop(client);
    assert_eq!(settled.await, Ok(()));
}

#[tokio::test]
async fn typing_grows_stale() {
    let (clock, sandbox) = held();
    let (mut device, mut client) = paired(&sandbox).await;
    for (away_s, seen) in [(29, true), (31, false)] {
        drop(client);
        until_offline(&sandbox).await;
        sandbox.typing(BOB, ALICE, TypingState::Composing).await.unwrap();
        clock.pass(away_s);
        client = Client::log_in(&sandbox, &mut device).await;
        client.drain().await;
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
