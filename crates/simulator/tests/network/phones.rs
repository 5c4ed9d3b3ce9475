//! Simulated phones as the other end: receipts, typing, Echo, and a restart.

use super::*;

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
async fn whoever_asked_hears_when_somebody_comes_and_goes() {
    let sandbox = sandbox();
    let (_, mut watcher) = paired(&sandbox).await;
    let mut device = Client::pair(&sandbox, BOB).await.unwrap();
    let mut client = Client::ready(&sandbox, &mut device).await;
    let presence = |kind: &'static str| NodeBuilder::new("presence").attr("type", kind);
    watcher
        .send(presence("subscribe").attr("to", Jid::pn(BOB)).build())
        .await;
    let mut told = async || {
        let node = watcher.expect("presence").await;
        assert_eq!(attr(&node, "from"), Jid::pn(BOB).to_string());
        (attr(&node, "type"), attr(&node, "last"))
    };
    assert_eq!(
        told().await,
        ("unavailable".to_owned(), "deny".to_owned()),
        "never seen"
    );

    client.send(presence("available").build()).await;
    assert_eq!(told().await, ("available".to_owned(), String::new()));
    client.send(presence("unavailable").build()).await;
    let (kind, last) = told().await;
    assert_eq!(kind, "unavailable");
    assert!(last.parse::<u64>().is_ok(), "{last}");

    client.send(presence("available").build()).await;
    assert_eq!(told().await.0, "available");
    drop(client);
    assert_eq!(told().await.0, "unavailable", "its connection ended");
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
