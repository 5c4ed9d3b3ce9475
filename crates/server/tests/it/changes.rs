//! Changes to messages: each is told of once, in WAHA's words, and takes effect on what is kept.

use bytes::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};
use wharf_core::engine::Inbox;
use wharf_core::ids::MessageId;
use wharf_core::message::{Change, Message, MessageKind};
use wharf_core::store::Batch;

use crate::harness::{ALICE, BOB, Receiver, Wharf, text};

const GROUP: &str = "120363000000000001@g.us";
const ALL: [&str; 6] = [
    "message",
    "message.reaction",
    "message.edited",
    "message.revoked",
    "poll.vote",
    "poll.vote.failed",
];

/// The message of Alice's with this id.
fn from_alice(id: &str) -> MessageId {
    text(ALICE, id, "").id
}

/// What Alice does to a message, in her chat.
fn change(id: &str, change: Change) -> Message {
    let mut message = text(ALICE, id, "");
    message.kind = MessageKind::Change(change);
    message.proto = Bytes::new();
    message
}

fn reaction(id: &str, target: &str, emoji: &str) -> Message {
    change(
        id,
        Change::Reaction {
            target: from_alice(target),
            text: emoji.to_owned(),
        },
    )
}

fn edit(id: &str, target: &str, body: &str) -> Message {
    let mut edit = change(
        id,
        Change::Edited {
            target: from_alice(target),
        },
    );
    body.clone_into(&mut edit.body);
    edit
}

fn revoke(id: &str, target: &str) -> Message {
    change(
        id,
        Change::Revoked {
            target: from_alice(target),
        },
    )
}

fn vote(id: &str, poll: MessageId, options: Option<&[&str]>) -> Message {
    let options = options.map(|options| options.iter().map(ToString::to_string).collect());
    change(id, Change::PollVote { poll, options })
}

/// A message of Alice's as events have it.
fn as_message(id: &str, body: &str) -> Value {
    json!({
        "id": format!("false_{ALICE}_{id}"),
        "timestamp": 1_790_000_000,
        "from": ALICE,
        "fromMe": false,
        "source": "app",
        "to": "12025550100@c.us",
        "body": body,
        "hasMedia": false,
        "media": null,
        "ack": 0,
        "ackName": "PENDING",
        "vCards": [],
        "replyTo": null,
    })
}

/// A payload without what depends on the dialect.
fn without_data(mut payload: Value) -> Value {
    payload.as_object_mut().unwrap().remove("_data").unwrap();
    payload
}

async fn kept(inbox: &dyn Inbox, id: &str) -> Message {
    inbox.find(&ALICE.parse().unwrap(), id).await.unwrap().remove(0)
}

/// The payload of the next event, which has this name.
async fn payload(receiver: &mut Receiver, name: &str) -> Value {
    receiver.event(name).await["payload"].take()
}

#[tokio::test]
async fn a_reaction_names_the_message_and_the_person() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    link.receive(reaction("R1", "A1", "👍")).await.unwrap();
    let expected = json!({
        "id": format!("false_{ALICE}_R1"),
        "timestamp": 1_790_000_000,
        "from": ALICE,
        "fromMe": false,
        "source": "app",
        "to": "12025550100@c.us",
        "reaction": {"text": "👍", "messageId": format!("false_{ALICE}_A1")},
    });
    assert_eq!(payload(&mut receiver, "message.reaction").await, expected);
    let mut in_group = reaction("R2", "A1", "");
    in_group.id.chat = GROUP.parse().unwrap();
    in_group.id.participant = Some(BOB.parse().unwrap());
    (in_group.from, in_group.participant) = (GROUP.parse().unwrap(), Some(BOB.parse().unwrap()));
    in_group.stanza = "in the group".to_owned();
    link.receive(in_group).await.unwrap();
    let told = payload(&mut receiver, "message.reaction").await;
    assert_eq!((&told["from"], &told["participant"]), (&json!(GROUP), &json!(BOB)));
    assert_eq!(told["reaction"]["text"], "");
    wharf.stop().await;
}

#[tokio::test]
async fn an_edit_is_told_with_the_new_text_and_replaces_what_is_kept() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    let mut newer = edit("E1", "A1", "new");
    newer.proto = Bytes::from_static(b"\x0a\x03new");
    // In one page, as after some time offline.
    let page = vec![text(ALICE, "A1", "old"), newer];
    link.inbox.commit(page, Batch::new()).await.unwrap();
    assert_eq!(payload(&mut receiver, "message").await["body"], "old");
    let told = payload(&mut receiver, "message.edited").await;
    let mut expected = as_message("E1", "new");
    expected["editedMessageId"] = json!("A1");
    assert_eq!(without_data(told), expected);
    let kept = kept(link.inbox.as_ref(), "A1").await;
    assert_eq!((kept.body.as_str(), kept.proto.as_ref()), ("new", &b"\x0a\x03new"[..]));
    wharf.stop().await;
}

#[tokio::test]
async fn what_is_deleted_for_everyone_is_told_as_it_was_and_kept_empty() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    link.receive(text(ALICE, "A1", "secret")).await.unwrap();
    link.receive(revoke("D1", "A1")).await.unwrap();
    payload(&mut receiver, "message").await;
    let mut told = payload(&mut receiver, "message.revoked").await;
    assert_eq!(without_data(told["before"].take()), as_message("A1", "secret"));
    assert_eq!(without_data(told["after"].take()), as_message("D1", ""));
    assert_eq!(told["revokedMessageId"], "A1");
    let kept = kept(link.inbox.as_ref(), "A1").await;
    assert!(kept.body.is_empty() && kept.proto.is_empty());
    wharf.stop().await;
}

#[tokio::test]
async fn a_vote_is_told_with_the_names_of_its_options_and_me_for_this_account() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    let mut poll = from_alice("P1");
    poll.from_me = true;
    link.receive(vote("V1", poll.clone(), Some(&["tea", "milk"])))
        .await
        .unwrap();
    let expected = json!({
        "vote": {
            "id": format!("false_{ALICE}_V1"),
            "selectedOptions": ["tea", "milk"],
            "timestamp": 1_790_000_000,
            "to": "me",
            "from": ALICE,
            "fromMe": false,
        },
        "poll": {"id": format!("true_{ALICE}_P1"), "to": ALICE, "from": "me", "fromMe": true},
    });
    assert_eq!(payload(&mut receiver, "poll.vote").await, expected);
    link.receive(vote("V2", poll, None)).await.unwrap();
    let told = payload(&mut receiver, "poll.vote.failed").await;
    assert_eq!(told["vote"]["selectedOptions"], json!([]));
    let group: MessageId = format!("false_{GROUP}_P2_{ALICE}").parse().unwrap();
    let mut in_group = vote("V3", group.clone(), Some(&[]));
    in_group.id = format!("false_{GROUP}_V3_{BOB}").parse().unwrap();
    in_group.stanza = "in the group".to_owned();
    link.receive(in_group).await.unwrap();
    let told = payload(&mut receiver, "poll.vote").await;
    let ends = |of: &str| json!([told[of]["from"], told[of]["to"], told[of]["participant"]]);
    assert_eq!(
        (ends("vote"), ends("poll")),
        (json!([BOB, GROUP, BOB]), json!([ALICE, GROUP, ALICE]))
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_change_that_comes_again_is_one_event_and_what_was_deleted_is_still_told_of() {
    let (wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    link.receive(text(ALICE, "A1", "secret")).await.unwrap();
    payload(&mut receiver, "message").await;
    // The event cannot be written: WhatsApp is told nothing, and sends it again.
    wharf.server_disk_is_full(true);
    link.receive(revoke("D1", "A1")).await.unwrap_err();
    assert_eq!(
        kept(link.inbox.as_ref(), "A1").await.body,
        "secret",
        "there is nothing else to tell of it"
    );
    wharf.server_disk_is_full(false);
    let mut wharf = wharf.restart().await;
    let link = wharf.link().await;
    link.work();
    for _ in 0..2 {
        link.receive(revoke("D1", "A1")).await.unwrap();
    }
    link.receive(reaction("R1", "A1", "late")).await.unwrap();
    let told = payload(&mut receiver, "message.revoked").await;
    assert_eq!(told["before"]["body"], "secret");
    assert_eq!(
        payload(&mut receiver, "message.reaction").await["reaction"]["text"],
        "late"
    );
    wharf.stop().await;
}

#[tokio::test]
async fn an_effect_that_could_not_be_kept_is_made_up_for_by_the_redelivery() {
    let (mut wharf, mut receiver, link) = Wharf::telling(&ALL).await;
    link.receive(text(ALICE, "A1", "old")).await.unwrap();
    let gate = wharf.session_writes().shut();
    // A change alone writes to the session's store only for its effect.
    let disk = async {
        gate.reached().await;
        wharf.disk_is_full(true);
        wharf.session_writes().open();
        gate.let_one_pass();
    };
    let (received, ()) = tokio::join!(link.receive(edit("E1", "A1", "new")), disk);
    received.unwrap_err();
    payload(&mut receiver, "message").await;
    payload(&mut receiver, "message.edited").await;
    assert_eq!(kept(link.inbox.as_ref(), "A1").await.body, "old");
    wharf.disk_is_full(false);
    link.receive(edit("E1", "A1", "new")).await.unwrap();
    assert_eq!(kept(link.inbox.as_ref(), "A1").await.body, "new");
    let mut late = edit("E0", "A1", "older");
    late.timestamp -= SignedDuration::from_secs(1);
    link.receive(late).await.unwrap();
    assert_eq!(payload(&mut receiver, "message.edited").await["body"], "older");
    assert_eq!(kept(link.inbox.as_ref(), "A1").await.body, "new");
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn a_change_in_a_chat_that_is_ignored_is_not_told() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let config = json!({"webhooks": [receiver.webhook(&ALL)], "ignore": {"groups": true}});
    let link = wharf.working("default", config).await;
    let mut ignored = reaction("R1", "A1", "👍");
    ignored.id.chat = GROUP.parse().unwrap();
    link.receive(ignored).await.unwrap();
    link.receive(reaction("R2", "A1", "🙏")).await.unwrap();
    assert_eq!(
        payload(&mut receiver, "message.reaction").await["reaction"]["text"],
        "🙏"
    );
    wharf.stop().await;
}
