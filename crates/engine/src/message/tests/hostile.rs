//! Messages that no client of WhatsApp's makes: whatever a sender makes up, what is kept of it reads back.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use wharf_core::message::Change;

use super::kinds::field;
use super::*;

/// Addresses as senders write them, right and wrong.
const ADDRESS: &str = "([0-9]{0,20}|[a-z0-9._:-]{0,12}|\\PC{0,70})@(s\\.whatsapp\\.net|c\\.us|lid|g\\.us|newsletter|broadcast|bot|x)|\\PC{0,20}";
/// Ids as senders write them: right, with what parts ours, too long, and anything.
const ID: &str = "[A-F0-9]{16,32}|[A-Z0-9_@]{0,40}|[A-Z]{120,140}|\\PC{0,20}|.{0,5}";

fn quoting(id: &str, participant: Option<&str>, mentioned: &[&str]) -> wa::Message {
    let context = wa::ContextInfo {
        stanza_id: some(id),
        participant: participant.map(str::to_owned),
        mentioned_jid: mentioned.iter().map(|&jid| jid.to_owned()).collect(),
        ..Default::default()
    };
    extended("hi", context)
}

fn place(latitude: f64, longitude: f64) -> wa::Message {
    wa::Message {
        location_message: MessageField::some(wm::LocationMessage {
            degrees_latitude: Some(latitude),
            degrees_longitude: Some(longitude),
            name: some("Pier"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn live(latitude: f64) -> wa::Message {
    wa::Message {
        live_location_message: MessageField::some(wm::LiveLocationMessage {
            degrees_latitude: Some(latitude),
            caption: some("Pier"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A message with this id of WhatsApp's, from Bob to us or to a group.
fn named(own_id: &str, chat: &str, proto: &wa::Message) -> Message {
    let envelope = Envelope {
        id: own_id.to_owned(),
        ..envelope(chat, BOB, false)
    };
    message(envelope, proto)
}

#[test]
fn mentions_of_nobody_are_dropped() {
    let proto = quoting(
        "3EB0BB",
        Some("abc@s.whatsapp.net"),
        &[
            "abc@s.whatsapp.net",
            "12025550103@s.whatsapp.net",
            "1_2@lid",
            "1234567890123456@s.whatsapp.net",
            "",
            "100000000000001@lid",
        ],
    );
    let read = read(&proto);
    assert_eq!(read.mentions, [id("12025550103@c.us"), id("100000000000001@lid")]);
    assert_eq!(
        read.reply_to.unwrap().participant,
        None,
        "and so is the author of a quote"
    );
}

#[test]
fn a_message_with_an_odd_id_arrives_under_a_stand_in() {
    let long = "A".repeat(129);
    for odd in ["", "A_B", "3EB0AA_12025550103@c.us", "ä", long.as_str()] {
        let message = named(odd, GROUP, &text("hi"));
        assert_eq!(message.body, "hi");
        assert_ne!(message.id.id, odd);
        assert_eq!(message.id.to_string().parse(), Ok(message.id.clone()), "{odd}");
        assert_eq!(
            named(odd, GROUP, &text("hi")).id,
            message.id,
            "the same at every redelivery"
        );
    }
}

#[test]
fn a_quote_names_a_message_as_that_message_is_named() {
    for own_id in ["3EB0AA", "A_B"] {
        let quoted = named(own_id, BOB, &text("hi"));
        let answer = read(&quoting(own_id, None, &[]));
        assert_eq!(answer.reply_to.unwrap().id, quoted.id.id);
    }
}

#[test]
fn a_place_that_is_nowhere_is_left_out() {
    for (latitude, longitude) in [
        (f64::NAN, 1.0),
        (1.0, f64::NAN),
        (f64::INFINITY, 1.0),
        (1.0, f64::NEG_INFINITY),
    ] {
        let message = read(&place(latitude, longitude));
        assert_eq!(message.location, None);
        assert_eq!(message.body, "Pier", "but the message is not");
    }
    assert_eq!(read(&live(f64::NAN)).location, None);
    assert!(read(&place(90.0, -180.0)).location.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_sender_makes_up_reads_back(
        own_id in ID,
        quoted in ID,
        author in option::of(ADDRESS),
        mentioned in vec(ADDRESS, 0..4),
        latitude in any::<u64>().prop_map(f64::from_bits),
        in_group in any::<bool>(),
        has_place in any::<bool>(),
    ) {
        let mentioned: Vec<&str> = mentioned.iter().map(String::as_str).collect();
        let proto = match has_place {
            true => place(latitude, latitude),
            false => quoting(&quoted, author.as_deref(), &mentioned),
        };
        let kept = named(&own_id, if in_group { GROUP } else { BOB }, &proto);
        prop_assert_eq!(kept.id.to_string().parse(), Ok(kept.id.clone()));
        for chat in kept.mentions.iter().chain(kept.reply_to.iter().filter_map(|reply| reply.participant.as_ref())) {
            prop_assert_eq!(chat.to_string().parse(), Ok(chat.clone()));
        }
        let stored: Message = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        prop_assert_eq!((stored.id, stored.mentions), (kept.id, kept.mentions));
        prop_assert_eq!((stored.reply_to, stored.location), (kept.reply_to, kept.location));
    }

    #[test]
    fn whatever_a_change_names_reads_back(
        key_id in ID,
        author in option::of(ADDRESS),
        from_me in option::of(any::<bool>()),
        emoji in "\\PC{0,200}",
        in_group in any::<bool>(),
        is_revoke in any::<bool>(),
    ) {
        let key = MessageField::some(wa::MessageKey {
            id: Some(key_id.clone()),
            participant: author,
            from_me,
            ..Default::default()
        });
        let mut proto = wa::Message::default();
        match is_revoke {
            true => proto.protocol_message = MessageField::some(wm::ProtocolMessage {
                key,
                r#type: Some(wm::protocol_message::Type::REVOKE),
                ..Default::default()
            }),
            false => proto.reaction_message = MessageField::some(wm::ReactionMessage {
                key,
                text: Some(emoji),
                ..Default::default()
            }),
        }
        match named("3EB0AA", if in_group { GROUP } else { BOB }, &proto).kind {
            MessageKind::Change(Change::Reaction { target, .. } | Change::Revoked { target }) => {
                prop_assert_eq!(target.to_string().parse(), Ok(target.clone()));
                prop_assert_eq!(target.chat.to_string(), if in_group { GROUP } else { BOB });
            }
            kind => prop_assert!(key_id.is_empty(), "{:?}", kind),
        }
    }

    #[test]
    fn whatever_the_bytes_of_a_message_are_it_is_kept(fields in vec((1_u32..200, vec(any::<u8>(), 0..40)), 0..6)) {
        let mut bytes = Vec::new();
        for (number, value) in fields {
            bytes.extend(field(number, &value));
        }
        if let Ok(proto) = waproto::codec::message_decode(&bytes) {
            let kept = read(&proto);
            let stored: Message = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
            prop_assert_eq!((stored.kind, stored.body), (kept.kind, kept.body));
        }
    }
}
