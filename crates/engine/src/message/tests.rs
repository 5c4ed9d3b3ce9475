//! Tables of what WhatsApp sends and what becomes of it.

use buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message as wm;
use wharf_core::message::{Location, MessageKind, MessageMedia};

use super::*;

mod changes;
mod hostile;
mod kinds;

const ALICE: &str = "12025550101@c.us";
const BOB: &str = "12025550102@c.us";
const GROUP: &str = "120363000000000001@g.us";

fn id(text: &str) -> ChatId {
    text.parse().unwrap()
}

fn envelope(chat: &str, sender: &str, from_me: bool) -> Envelope {
    Envelope {
        id: "3EB0AA".to_owned(),
        chat: id(chat),
        sender: id(sender),
        stanza: "the stanza".to_owned(),
        sender_alt: None,
        me: id(ALICE),
        from_me,
        timestamp: Timestamp::from_second(1_800_000_000).unwrap(),
        push_name: None,
        source: Source::App,
        ack: Ack::Device,
    }
}

fn read(proto: &wa::Message) -> Message {
    message(envelope(BOB, BOB, false), proto)
}

fn text(body: &str) -> wa::Message {
    wa::Message {
        conversation: Some(body.to_owned()),
        ..Default::default()
    }
}

fn wrapped(inner: wa::Message) -> MessageField<wm::FutureProofMessage> {
    MessageField::some(wm::FutureProofMessage {
        message: MessageField::some(inner),
    })
}

fn image(caption: Option<&str>) -> wa::Message {
    wa::Message {
        image_message: MessageField::some(wm::ImageMessage {
            caption: caption.map(str::to_owned),
            mimetype: Some("image/jpeg".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn names_the_chat_and_the_people_as_waha_does() {
    let cases = [
        // chat, sender, from_me -> id, from, to, participant
        (BOB, BOB, false, format!("false_{BOB}_3EB0AA"), BOB, ALICE, None),
        (BOB, ALICE, true, format!("true_{BOB}_3EB0AA"), ALICE, BOB, None),
        (ALICE, ALICE, true, format!("true_{ALICE}_3EB0AA"), ALICE, ALICE, None),
        (
            GROUP,
            BOB,
            false,
            format!("false_{GROUP}_3EB0AA_{BOB}"),
            GROUP,
            ALICE,
            Some(BOB),
        ),
        (
            GROUP,
            ALICE,
            true,
            format!("true_{GROUP}_3EB0AA_{ALICE}"),
            ALICE,
            GROUP,
            None,
        ),
        (
            "status@broadcast",
            BOB,
            false,
            format!("false_status@broadcast_3EB0AA_{BOB}"),
            "status@broadcast",
            ALICE,
            Some(BOB),
        ),
    ];
    for (chat, sender, from_me, expected, from, to, participant) in cases {
        let read = message(envelope(chat, sender, from_me), &text("hi"));
        assert_eq!(read.id.to_string(), expected);
        assert_eq!(read.from, id(from), "{expected}");
        assert_eq!(read.to, id(to), "{expected}");
        assert_eq!(read.participant, participant.map(id), "{expected}");
    }
}

#[test]
fn finds_the_text_of_every_kind() {
    let cases: Vec<(&str, wa::Message)> = vec![
        ("hi", text("hi")),
        ("hi", extended("hi", wa::ContextInfo::default())),
        ("look", image(Some("look"))),
        ("", image(None)),
        (
            "clip",
            wa::Message {
                video_message: MessageField::some(wm::VideoMessage {
                    caption: some("clip"),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
        (
            "Bob",
            wa::Message {
                contact_message: MessageField::some(wm::ContactMessage {
                    display_name: some("Bob"),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
        (
            "Lunch?",
            wa::Message {
                poll_creation_message_v3: MessageField::some(wm::PollCreationMessage {
                    name: some("Lunch?"),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
    ];
    expect_bodies(cases);
}

#[test]
fn finds_the_text_of_answers_and_invitations() {
    let cases: Vec<(&str, wa::Message)> = vec![
        (
            "Row 1",
            wa::Message {
                list_response_message: MessageField::some(wm::ListResponseMessage {
                    title: some("Row 1"),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
        (
            "Yes",
            wa::Message {
                buttons_response_message: MessageField::some(wm::ButtonsResponseMessage {
                    response: Some(wm::buttons_response_message::Response::SelectedDisplayText(
                        "Yes".to_owned(),
                    )),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
        (
            "No",
            wa::Message {
                template_button_reply_message: MessageField::some(wm::TemplateButtonReplyMessage {
                    selected_display_text: some("No"),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
        (
            "join us",
            wa::Message {
                group_invite_message: MessageField::some(wm::GroupInviteMessage {
                    caption: some("join us"),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
    ];
    expect_bodies(cases);
}

fn expect_bodies(cases: Vec<(&str, wa::Message)>) {
    for (expected, proto) in cases {
        let read = read(&proto);
        assert_eq!(read.body, expected, "{proto:?}");
        assert_eq!(read.kind, MessageKind::Content, "{proto:?}");
    }
}

#[test]
fn opens_every_envelope() {
    let view_once = wa::Message {
        view_once_message_v2: wrapped(image(Some("once"))),
        ..Default::default()
    };
    let ephemeral = wa::Message {
        ephemeral_message: wrapped(view_once),
        ..Default::default()
    };
    let sent_by_phone = wa::Message {
        device_sent_message: MessageField::some(wm::DeviceSentMessage {
            destination_jid: some("12025550102@s.whatsapp.net"),
            message: MessageField::some(ephemeral),
            ..Default::default()
        }),
        ..Default::default()
    };
    let read = read(&sent_by_phone);
    assert_eq!(read.body, "once");
    assert_eq!(read.media.unwrap().mimetype.as_deref(), Some("image/jpeg"));
}

#[test]
fn endless_envelopes_end() {
    let mut proto = text("deep");
    for _ in 0..100 {
        proto = wa::Message {
            ephemeral_message: wrapped(proto),
            ..Default::default()
        };
    }
    assert_eq!(read(&proto).body, "");
}

#[test]
fn describes_media() {
    let document = wa::Message {
        document_with_caption_message: wrapped(wa::Message {
            document_message: MessageField::some(wm::DocumentMessage {
                mimetype: some("application/pdf"),
                file_name: some("bill.pdf"),
                caption: some("the bill"),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let read_document = read(&document);
    assert_eq!(
        read_document.media,
        Some(MessageMedia {
            mimetype: some("application/pdf"),
            filename: some("bill.pdf"),
            size: None,
        })
    );
    assert_eq!(read_document.body, "the bill");
    assert_eq!(read(&text("hi")).media, None);
}

#[test]
fn reads_places_and_cards() {
    let place = wa::Message {
        location_message: MessageField::some(wm::LocationMessage {
            degrees_latitude: Some(38.5),
            degrees_longitude: Some(-77.25),
            name: some("Pier"),
            address: some("1 Water St"),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(
        read(&place).location,
        Some(Location {
            latitude: 38.5,
            longitude: -77.25,
            live: false,
            name: some("Pier"),
            address: some("1 Water St"),
            url: None,
            description: None,
            thumbnail: None,
        })
    );
    let live = wa::Message {
        live_location_message: MessageField::some(wm::LiveLocationMessage {
            caption: some("on my way"),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(read(&live).location.unwrap().live);
    assert_eq!(read(&live).body, "on my way");

    let card = |vcard: &str| wm::ContactMessage {
        vcard: some(vcard),
        ..Default::default()
    };
    let cards = wa::Message {
        contacts_array_message: MessageField::some(wm::ContactsArrayMessage {
            display_name: some("2 contacts"),
            contacts: vec![card("A"), card("B")],
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(read(&cards).vcards, ["A", "B"]);
}

fn extended(body: &str, context: wa::ContextInfo) -> wa::Message {
    wa::Message {
        extended_text_message: MessageField::some(wm::ExtendedTextMessage {
            text: Some(body.to_owned()),
            context_info: MessageField::some(context),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn reads_quotes_and_mentions() {
    let proto = extended(
        "yes @12025550103",
        wa::ContextInfo {
            stanza_id: some("3EB0BB"),
            participant: some("12025550101:2@s.whatsapp.net"),
            quoted_message: MessageField::some(image(Some("look"))),
            mentioned_jid: vec!["12025550103@s.whatsapp.net".to_owned(), "not a jid@".to_owned()],
            ..Default::default()
        },
    );
    let read = read(&proto);
    assert_eq!(
        read.reply_to,
        Some(ReplyTo {
            id: "3EB0BB".to_owned(),
            participant: Some(id(ALICE)),
            body: some("look"),
            media: Some(MessageMedia {
                mimetype: some("image/jpeg"),
                filename: None,
                size: None,
            }),
        })
    );
    assert_eq!(read.mentions, [id("12025550103@c.us")]);
}

#[test]
fn keeps_the_message_in_whatsapps_own_encoding() {
    let proto = image(Some("look"));
    let kept = read(&proto);
    assert_eq!(waproto::codec::message_decode(&kept.proto).unwrap(), proto);
}
