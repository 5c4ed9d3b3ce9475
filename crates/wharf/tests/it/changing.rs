//! What is done to messages that are there: reactions, edits, pins, stars, votes and deletions, as the phones show them.

use serde_json::json;
use wharf_simulator::{InboxEntry, InboxKind, MessageView, NewContent, NewPoll};

use super::sending::{file, own_id};
use crate::support::samples::Samples;
use crate::support::{ALICE, BOB, TestWharf};

impl TestWharf {
    /// The message, once Bob's phone shows something that was done to it.
    async fn changed(&self, kind: InboxKind, id: &str) -> (InboxEntry, MessageView) {
        let is_it = |entry: &InboxEntry| entry.kind == kind && entry.id.as_deref() == Some(id);
        let entry = self.phone_shows(BOB, &format!("{kind:?} of {id}"), is_it).await;
        (entry, self.network.message(BOB, ALICE, id).unwrap())
    }
}

#[tokio::test]
async fn a_vote_of_ours_can_be_read_changed_and_taken_back() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let poll = NewContent::Poll(NewPoll {
        name: "Lunch?".to_owned(),
        options: vec!["Soup".to_owned(), "Bread".to_owned()],
        multiple: true,
    });
    let poll = wharf.bob_sends(&receiver, poll).await;
    let id = poll.rsplit('_').next().unwrap().to_owned();
    for votes in [&["Soup"][..], &["Soup", "Bread"], &[]] {
        let body = json!({ "pollMessageId": poll, "votes": votes });
        let vote = wharf.sends("sendPollVote", BOB, body).await;
        let is_it = |entry: &InboxEntry| entry.change.as_deref() == Some(vote.as_str());
        let entry = wharf.phone_shows(BOB, "Alice's vote", is_it).await;
        assert_eq!((entry.kind, entry.id.as_deref()), (InboxKind::Vote, Some(id.as_str())));
        let counted = wharf.network.message(BOB, ALICE, &id).unwrap().content.poll.unwrap();
        let chosen = counted
            .options
            .iter()
            .filter(|option| option.votes.iter().any(|voter| voter == ALICE));
        let chosen: Vec<_> = chosen.map(|option| option.name.as_str()).collect();
        assert_eq!(chosen, votes);
    }
    let cake =
        json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "pollMessageId": poll, "votes": ["Cake"] });
    let refused = wharf.post("/api/sendPollVote", cake).await.expect(400);
    assert!(
        refused["message"][0].as_str().unwrap().starts_with("votes: "),
        "{refused:#}"
    );
    wharf.finish().await;
}

#[tokio::test]
async fn a_pin_lasts_as_long_as_was_said() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    for duration in [86_400, 604_800, 2_592_000] {
        let id = wharf.sends("sendText", BOB, json!({ "text": "Wi-Fi: harbour" })).await;
        wharf.shown(BOB, ALICE, &id).await;
        let message = format!("/api/default/chats/{BOB}@c.us/messages/true_{BOB}@c.us_{id}");
        wharf
            .post(&format!("{message}/pin"), json!({ "duration": duration }))
            .await
            .expect(201);
        let (_, shown) = wharf.changed(InboxKind::Pin, &id).await;
        assert_eq!((shown.pinned, shown.pinned_for), (true, Some(duration)));
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_message_of_ours_is_edited_pinned_starred_and_deleted_everywhere() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let id = wharf.sends("sendText", BOB, json!({ "text": "Hi Bbo!" })).await;
    wharf.shown(BOB, ALICE, &id).await;
    let message = format!("/api/default/chats/{BOB}@c.us/messages/true_{BOB}@c.us_{id}");

    wharf.put(&message, json!({ "text": "Hi Bob!" })).await.expect(200);
    let (entry, shown) = wharf.changed(InboxKind::Edit, &id).await;
    assert_eq!(entry.text.as_deref(), Some("Hi Bob!"));
    assert_eq!((shown.text.as_deref(), shown.edited), (Some("Hi Bob!"), true));

    wharf
        .post(&format!("{message}/pin"), json!({ "duration": 86_400 }))
        .await
        .expect(201);
    let (_, shown) = wharf.changed(InboxKind::Pin, &id).await;
    assert!(shown.pinned);
    wharf.post(&format!("{message}/unpin"), json!({})).await.expect(201);
    let is_unpinned = |entry: &InboxEntry| entry.state.as_deref() == Some("unpinned");
    wharf.phone_shows(BOB, "that it is unpinned", is_unpinned).await;
    assert!(!wharf.network.message(BOB, ALICE, &id).unwrap().pinned);

    let star = json!({ "session": "default", "messageId": format!("true_{BOB}@c.us_{id}"), "star": true });
    wharf.put("/api/star", star).await.expect(200);
    let is_star = |entry: &InboxEntry| entry.kind == InboxKind::Star && entry.id.as_deref() == Some(id.as_str());
    wharf.phone_shows(ALICE, "the star", is_star).await;
    assert!(wharf.network.message(ALICE, BOB, &id).unwrap().starred);
    assert!(
        !wharf.network.message(BOB, ALICE, &id).unwrap().starred,
        "a star is nobody else's"
    );

    wharf.delete(&message).await.expect(200);
    let (_, shown) = wharf.changed(InboxKind::Revoke, &id).await;
    assert!(shown.revoked);
    wharf.finish().await;
}

#[tokio::test]
async fn reactions_are_to_messages_of_either_and_can_be_taken_back() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let his = wharf
        .bob_sends(&receiver, NewContent::Text("Shall we?".to_owned(), None))
        .await;
    let ours = wharf.sends("sendText", BOB, json!({ "text": "Hi Bob!" })).await;
    wharf.shown(BOB, ALICE, &ours).await;
    for target in [his, format!("true_{BOB}@c.us_{ours}")] {
        let id = target.rsplit('_').next().unwrap();
        for emoji in ["👍", ""] {
            let body = json!({ "session": "default", "messageId": target, "reaction": emoji });
            let reaction = own_id(&wharf.put("/api/reaction", body).await.expect(200));
            let is_it = |entry: &InboxEntry| entry.change.as_deref() == Some(reaction.as_str());
            let entry = wharf.phone_shows(BOB, "the reaction", is_it).await;
            assert_eq!((entry.kind, entry.id.as_deref()), (InboxKind::Reaction, Some(id)));
            let shown = wharf.network.message(BOB, ALICE, id).unwrap();
            let of_alice = shown.reactions.get(ALICE).map(String::as_str);
            assert_eq!(of_alice.unwrap_or_default(), emoji);
        }
    }
    wharf.finish().await;
}

#[tokio::test]
async fn a_caption_is_edited_and_its_file_stays() {
    let (wharf, _receiver) = TestWharf::with_alice().await;
    let samples = Samples::make().await;
    for operation in ["sendImage", "sendFile"] {
        let body = json!({ "file": file(&samples.picture(), "image/jpeg"), "caption": "loko" });
        let id = wharf.sends_bob(operation, body).await.id;
        let message = format!("/api/default/chats/{BOB}@c.us/messages/true_{BOB}@c.us_{id}");
        wharf.put(&message, json!({ "text": "look" })).await.expect(200);
        let (_, shown) = wharf.changed(InboxKind::Edit, &id).await;
        assert_eq!((shown.text.as_deref(), shown.edited), (Some("look"), true));
        let (_, bytes) = wharf.network.file(BOB, ALICE, &id).await.unwrap();
        assert!(bytes == std::fs::read(samples.picture()).unwrap());
    }
    wharf.finish().await;
}
