//! The rows and marks of inbound messages: what is replayed, what is acknowledged, and what is lost.

use super::*;

#[tokio::test]
async fn the_librarys_probe_passes() {
    let mut session = Session::start().await;
    // As client/builder.rs probe_durability_backend does it, which never calls a hook.
    let (jid, id) = ("0@s.whatsapp.net", "__wa_durability_probe_1_0__");
    let backend = &session.backend;
    backend
        .store_pending_inbound(jid, jid, id, b"probe")
        .await
        .expect("it is stored");
    let found = backend.get_pending_inbound(jid, jid, id).await.expect("it is found");
    assert_eq!(found.as_deref(), Some(&b"probe"[..]));
    backend
        .delete_pending_inbound(jid, jid, id)
        .await
        .expect("it is removed");
    assert!(session.lost.try_recv().is_err(), "a probe is no lost message");
}

#[tokio::test]
async fn a_redelivery_is_replayed_until_the_hook_has_committed() {
    let mut session = Session::start().await;
    session.store_pending("A").await;
    assert_eq!(session.pending("A").await.expect("there is a row"), Some(b"A".to_vec()));
    session.flush().await;
    session.restart();
    assert_eq!(session.pending("A").await.expect("there is a row"), Some(b"A".to_vec()));

    session.see("A").await;
    session.drop_pending("A").await;
    assert_eq!(session.pending("A").await.expect("it was committed"), None);
    assert!(session.lost.try_recv().is_err());
}

#[tokio::test]
async fn a_row_is_on_disk_when_the_signal_state_is_and_no_sooner() {
    let session = Session::start().await;
    session.store_pending("A").await;
    assert!(session.rows().await.is_empty());
    session.flush().await;
    assert_eq!(session.rows().await, ["A"]);
    assert!(session.backend.rows(&[message("A")]).is_empty(), "it is written once");
}

#[tokio::test]
async fn a_message_that_was_seen_has_its_row_until_it_was_told() {
    let mut session = Session::start().await;
    session.store_pending("A").await;
    session.see("A").await;
    session.restart();
    let replayed = session.pending("A").await.expect("it was not told");
    assert_eq!(replayed, Some(b"A".to_vec()));

    // The library stores what it replays.
    session.store_pending("A").await;
    session.see("A").await;
    session.drop_pending("A").await;
    session.flush().await;
    assert!(session.rows().await.is_empty());
}

/// A store whose writes to one collection take for ever.
struct Stuck(Arc<dyn Store>, &'static str);

#[async_trait::async_trait]
impl Store for Stuck {
    async fn get(&self, of: &'static Collection, id: &str) -> std::result::Result<Option<Document>, StoreError> {
        self.0.get(of, id).await
    }

    async fn get_many(
        &self,
        of: &'static Collection,
        ids: &[String],
    ) -> std::result::Result<Vec<Document>, StoreError> {
        self.0.get_many(of, ids).await
    }

    async fn find(&self, of: &'static Collection, query: Query) -> std::result::Result<Page, StoreError> {
        self.0.find(of, query).await
    }

    async fn count(&self, of: &'static Collection, which: Vec<Condition>) -> std::result::Result<u64, StoreError> {
        self.0.count(of, which).await
    }

    async fn write(&self, batch: Batch) -> std::result::Result<(), StoreError> {
        let is_stuck = |write: &Write| matches!(write, Write::Put { collection, .. } if collection.name == self.1);
        match batch.writes.iter().any(is_stuck) {
            true => std::future::pending().await,
            false => self.0.write(batch).await,
        }
    }
}

#[tokio::test]
async fn a_write_that_overtakes_another_has_its_rows() {
    let mut session = Session::start().await;
    let stuck = Arc::new(Stuck(Arc::clone(&session.store), "wa_identities"));
    (session.backend, session.lost) = Backend::new(stuck, session.clock.clone(), session.ending.clone());
    session.store_pending("A").await;
    let mut overtaken = session.backend.put_identity(SENDER, [7; 32]);
    assert!(futures::poll!(&mut overtaken).is_pending());
    session.flush().await;
    drop(overtaken);
    assert_eq!(session.rows().await, ["A"]);
}

#[tokio::test]
async fn the_removal_of_a_row_joins_the_next_write() {
    let mut session = Session::start().await;
    session.store_pending("A").await;
    session.flush().await;
    session.see("A").await;
    session.drop_pending("A").await;
    session.restart();
    let replayed = session.pending("A").await.expect("there is a row");
    assert!(replayed.is_some(), "a process that dies before the next write replays");

    // The library stores what it replays.
    session.store_pending("A").await;
    session.drop_pending("A").await;
    session.store_pending("B").await;
    session.flush().await;
    session.restart();
    assert_eq!(session.pending("A").await.expect("it was seen"), None);
    assert!(session.pending("B").await.expect("there is a row").is_some());
}

#[tokio::test]
async fn a_row_that_is_stored_again_is_kept() {
    let session = Session::start().await;
    for _ in 0..2 {
        session.store_pending("A").await;
        assert!(session.pending("A").await.expect("there is a row").is_some());
        session.drop_pending("A").await;
    }
}

#[tokio::test]
async fn a_message_too_large_for_a_row_holds_nothing_up() {
    let mut session = Session::start().await;
    let huge = vec![0; wharf_storage::BODY_BYTES_MAX + 1];
    let row = |id, message| PendingInboundRow {
        chat: CHAT,
        sender: SENDER,
        id,
        message,
    };
    let rows = [row("A", &b"a"[..]), row("HUGE", &huge), row("B", b"b")];
    let stored = session.backend.store_pending_inbound_batch(&rows).await;
    stored.expect("the hook can go on with all of them");
    session.flush().await;
    session.restart();
    for id in ["A", "B"] {
        assert!(session.pending(id).await.expect("there is a row").is_some(), "{id}");
    }
    assert!(
        session.pending("HUGE").await.is_err(),
        "it has none to be replayed from"
    );
}

#[tokio::test]
async fn a_redelivery_that_was_never_stored_is_not_acknowledged_and_reported() {
    let mut session = Session::start().await;
    let asked = session.clock.now();
    for tries in 0..=4 {
        if tries == 4 {
            // Not before: whoever was asked may only be slow.
            session.clock.pass(1);
        }
        let answer = session.pending("A").await;
        assert!(matches!(answer, Err(LibraryError::Validation(_))), "{answer:?}");
        let notice = session.lost.try_recv().expect("the session is told");
        let expected = LostInbound {
            chat: CHAT.to_owned(),
            sender: SENDER.to_owned(),
            id: "A".to_owned(),
            given_up: (tries == 4).then_some(asked),
        };
        assert_eq!(notice, expected);
        if tries < 4 {
            session.backend.count_try(&notice).await.expect("it can be noted");
        }
        session.restart();
    }
    session.see("A").await;
    assert_eq!(
        session.pending("A").await.expect("it was told of"),
        None,
        "it would come back for ever"
    );
    let other = session.backend.get_pending_inbound(CHAT, CHAT, "A").await;
    assert!(other.is_err(), "the tries of one message are not those of another");
}

#[tokio::test]
async fn a_lost_message_is_found_by_whichever_address_its_people_have() {
    let session = Session::start().await;
    let lost = |chat: &str, sender: &str, id: &str| LostInbound {
        chat: chat.to_owned(),
        sender: sender.to_owned(),
        id: id.to_owned(),
        given_up: None,
    };
    let (lid, device, group) = (
        "100000000000002@lid",
        "100000000000002:3@lid",
        "120363000000000001@g.us",
    );
    for (chat, sender, id) in [
        (lid, device, "A"),
        (lid, device, "AA"),
        (group, device, "A"),
        (group, CHAT, "B"),
    ] {
        let noted = session.backend.count_try(&lost(chat, sender, id)).await;
        noted.expect("it can be noted");
    }
    let jid = |text: &str| text.parse::<Jid>().expect("a valid address");
    let people = [jid(lid), jid("12025550102@s.whatsapp.net")];
    for (chats, id, expected) in [
        (&people[..], "A", Some((lid, device))),
        (&people[..], "B", None),
        (&[jid(group)], "A", Some((group, device))),
        (&[jid(group)], "B", None),
    ] {
        let found = session
            .backend
            .lost(chats, &people, id)
            .await
            .expect("they can be read");
        let expected = expected.map(|(chat, sender)| (chat.to_owned(), sender.to_owned()));
        assert_eq!(found, Vec::from_iter(expected), "{chats:?} {id}");
    }
}

#[tokio::test]
async fn what_could_not_be_asked_for_is_never_given_up() {
    let mut session = Session::start().await;
    for _ in 0..10 {
        assert!(session.pending("A").await.is_err());
        assert_eq!(session.lost.try_recv().expect("the session is told").given_up, None);
    }
}

#[tokio::test]
async fn a_lost_message_that_its_sender_sent_again_is_acknowledged() {
    let mut session = Session::start().await;
    assert!(session.pending("A").await.is_err());
    session.see("A").await;
    session.restart();
    assert_eq!(session.pending("A").await.expect("it was seen"), None);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_told_of_once() {
    let mut session = Session::start().await;
    assert!(!session.backend.was_told(&message("A")).await.expect("it can be read"));
    let marks = told_marks(&message("A"), session.clock.now());
    session.backend.mark(marks).await.expect("marks can be written");
    session.restart();
    assert!(session.backend.was_told(&message("A")).await.expect("it can be read"));
    assert!(!session.backend.was_told(&message("B")).await.expect("it can be read"));
}

#[tokio::test]
async fn notices_that_nobody_reads_hold_nothing_up() {
    let session = Session::start().await;
    for number in 0..=LOST_NOTICES_MAX {
        assert!(session.pending(&number.to_string()).await.is_err());
    }
}
