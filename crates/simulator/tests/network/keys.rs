//! What a device learns from the network: prekeys, settings, and who has which devices.

use super::*;

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
