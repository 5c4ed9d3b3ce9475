//! Which message a change is about, from the words of its sender alone.

use wharf_core::message::Change;
use wm::protocol_message::Type;

use super::*;

const CAROL: &str = "12025550103@c.us";

fn key(from_me: Option<bool>, participant: Option<&str>) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey {
        // Whatever chat the sender names, it is this one.
        remote_jid: some("12025550199@s.whatsapp.net"),
        from_me,
        id: some("3EB0BB"),
        participant: participant.map(str::to_owned),
    })
}

fn reaction(key: MessageField<wa::MessageKey>, emoji: &str) -> wa::Message {
    wa::Message {
        reaction_message: MessageField::some(wm::ReactionMessage {
            key,
            text: some(emoji),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn protocol(kind: Type, key: MessageField<wa::MessageKey>, edited: Option<wa::Message>) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(wm::ProtocolMessage {
            r#type: Some(kind),
            key,
            edited_message: edited.map_or_else(MessageField::none, MessageField::some),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn revoke(key: MessageField<wa::MessageKey>) -> wa::Message {
    protocol(Type::REVOKE, key, None)
}

fn edit(key: MessageField<wa::MessageKey>, edited: wa::Message) -> wa::Message {
    protocol(Type::MESSAGE_EDIT, key, Some(edited))
}

fn vote(key: MessageField<wa::MessageKey>) -> wa::Message {
    wa::Message {
        poll_update_message: MessageField::some(wm::PollUpdateMessage {
            poll_creation_message_key: key,
            vote: MessageField::some(wm::PollEncValue::default()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The message that is changed, by its full id.
#[track_caller]
fn target(chat: &str, sender: &str, from_me: bool, proto: &wa::Message) -> String {
    let read = message(envelope(chat, sender, from_me), proto);
    match read.kind {
        MessageKind::Change(
            Change::Reaction { target, .. }
            | Change::Edited { target }
            | Change::Revoked { target }
            | Change::PollVote { poll: target, .. },
        ) => target.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_author_is_told_from_the_senders_view() {
    let of = |from_me| reaction(key(from_me, None), "👍");
    for (sender, is_ours, from_me, expected) in [
        (BOB, false, Some(true), false),
        (BOB, false, Some(false), true),
        (BOB, false, None, true),
        (ALICE, true, Some(true), true),
        (ALICE, true, Some(false), false),
        (ALICE, true, None, false),
    ] {
        let found = target(BOB, sender, is_ours, &of(from_me));
        assert_eq!(found, format!("{expected}_{BOB}_3EB0BB"), "{sender} says {from_me:?}");
    }
    for from_me in [Some(true), Some(false)] {
        let found = target(ALICE, ALICE, true, &of(from_me));
        assert_eq!(
            found,
            format!("true_{ALICE}_3EB0BB"),
            "whoever writes to themselves is both"
        );
    }
}

#[test]
fn in_a_group_the_author_is_named() {
    for (from_me, participant, expected) in [
        (Some(true), None, format!("false_{GROUP}_3EB0BB_{BOB}")),
        (
            Some(false),
            Some("12025550103@s.whatsapp.net"),
            format!("false_{GROUP}_3EB0BB_{CAROL}"),
        ),
        (
            None,
            Some("12025550101:4@s.whatsapp.net"),
            format!("true_{GROUP}_3EB0BB_{ALICE}"),
        ),
        (None, Some("nobody"), format!("false_{GROUP}_3EB0BB")),
        (None, None, format!("false_{GROUP}_3EB0BB")),
    ] {
        let key = || key(from_me, participant);
        for proto in [reaction(key(), "👍"), vote(key())] {
            assert_eq!(target(GROUP, BOB, false, &proto), expected, "{proto:?}");
        }
    }
}

#[test]
fn an_edit_is_of_ones_own_message_whatever_its_key_says() {
    for from_me in [Some(true), Some(false), None] {
        let proto = edit(key(from_me, Some("12025550103@s.whatsapp.net")), text("new"));
        assert_eq!(target(BOB, BOB, false, &proto), format!("false_{BOB}_3EB0BB"));
        assert_eq!(target(BOB, ALICE, true, &proto), format!("true_{BOB}_3EB0BB"));
        assert_eq!(target(GROUP, BOB, false, &proto), format!("false_{GROUP}_3EB0BB_{BOB}"));
    }
}

#[test]
fn a_deletion_is_of_ones_own_message_or_by_an_administrator() {
    let own = revoke(key(Some(true), None));
    assert_eq!(target(BOB, BOB, false, &own), format!("false_{BOB}_3EB0BB"));
    assert_eq!(target(GROUP, BOB, false, &own), format!("false_{GROUP}_3EB0BB_{BOB}"));
    let by_administrator = revoke(key(Some(false), Some("12025550103@s.whatsapp.net")));
    assert_eq!(
        target(GROUP, BOB, false, &by_administrator),
        format!("false_{GROUP}_3EB0BB_{CAROL}")
    );
}

#[test]
fn an_edit_is_kept_as_what_it_puts_in_the_place() {
    let own = || key(Some(true), None);
    let new = image(Some("new"));
    let wrapped_edit = wa::Message {
        edited_message: wrapped(edit(own(), new.clone())),
        ..Default::default()
    };
    for proto in [edit(own(), new.clone()), wrapped_edit] {
        let read = read(&proto);
        assert_eq!(read.body, "new");
        assert_eq!(read.media.unwrap().mimetype.as_deref(), Some("image/jpeg"));
        assert_eq!(waproto::codec::message_decode(&read.proto).unwrap(), new);
    }
}

#[test]
fn an_edit_into_no_message_is_no_change() {
    let own = || key(Some(true), None);
    let nested = edit(own(), edit(own(), text("deep")));
    let into_a_reaction = edit(own(), reaction(own(), "👍"));
    let into_keys = edit(own(), wa::Message::default());
    for proto in [
        nested,
        into_a_reaction,
        into_keys,
        protocol(Type::MESSAGE_EDIT, own(), None),
    ] {
        assert_eq!(read(&proto).kind, MessageKind::Control, "{proto:?}");
    }
}

#[test]
fn what_names_no_message_is_no_change() {
    let nameless = [
        MessageField::none(),
        MessageField::some(wa::MessageKey::default()),
        MessageField::some(wa::MessageKey {
            id: some(""),
            ..Default::default()
        }),
    ];
    for key in nameless {
        for proto in [
            reaction(key.clone(), "👍"),
            revoke(key.clone()),
            edit(key.clone(), text("new")),
            vote(key.clone()),
        ] {
            assert_eq!(read(&proto).kind, MessageKind::Control, "{proto:?}");
        }
    }
}

#[test]
fn a_change_says_nothing_itself() {
    let mut proto = reaction(key(Some(true), None), "👍");
    proto.conversation = some("and this");
    let read = read(&proto);
    assert!(matches!(read.kind, MessageKind::Change(Change::Reaction { .. })));
    assert_eq!((read.body.as_str(), read.media), ("", None));
}

#[test]
fn a_reaction_is_no_letter() {
    let told = |emoji: &str| match read(&reaction(key(Some(true), None), emoji)).kind {
        MessageKind::Change(Change::Reaction { text, .. }) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(""), "", "a reaction taken back");
    assert_eq!(told("👩‍👩‍👧‍👦"), "👩‍👩‍👧‍👦");
    assert_eq!(told(&"👍".repeat(10_000)).chars().count(), 64);
}
