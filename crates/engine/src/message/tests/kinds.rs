//! Every kind that WhatsApp's protobuf has: whether a person sees it, what it says, and what it carries.

use std::collections::BTreeSet;

use wm::protocol_message::Type;

use super::*;
use crate::message::{attachment_inside, recaptioned, relocated};

fn with(fill: impl FnOnce(&mut wa::Message)) -> wa::Message {
    let mut message = wa::Message::default();
    fill(&mut message);
    message
}

fn protocol(kind: Type) -> MessageField<wm::ProtocolMessage> {
    MessageField::some(wm::ProtocolMessage {
        r#type: Some(kind),
        ..Default::default()
    })
}

/// Whatever is not here is content.
fn control() -> Vec<wa::Message> {
    let mut control = vec![
        with(|m| m.sender_key_distribution_message = MessageField::some(Default::default())),
        with(|m| m.fast_ratchet_key_sender_key_distribution_message = MessageField::some(Default::default())),
        with(|m| m.call = MessageField::some(Default::default())),
        with(|m| m.reaction_message = MessageField::some(Default::default())),
        with(|m| m.enc_reaction_message = MessageField::some(Default::default())),
        with(|m| m.poll_update_message = MessageField::some(Default::default())),
        with(|m| m.poll_add_option_message = MessageField::some(Default::default())),
        with(|m| m.keep_in_chat_message = MessageField::some(Default::default())),
        with(|m| m.pin_in_chat_message = MessageField::some(Default::default())),
        with(|m| m.secret_encrypted_message = MessageField::some(Default::default())),
        with(|m| m.enc_event_response_message = MessageField::some(Default::default())),
        with(|m| m.scheduled_call_edit_message = MessageField::some(Default::default())),
        with(|m| m.limit_sharing_message = wrapped(wa::Message::default())),
        with(|m| m.status_sticker_interaction_message = MessageField::some(Default::default())),
        with(|m| m.status_notification_message = MessageField::some(Default::default())),
        with(|m| m.sticker_sync_rmr_message = MessageField::some(Default::default())),
        with(|m| m.placeholder_message = MessageField::some(Default::default())),
        with(|m| m.message_history_bundle = MessageField::some(Default::default())),
        with(|m| m.message_history_notice = MessageField::some(Default::default())),
        with(|m| m.group_root_key_share = MessageField::some(Default::default())),
        with(|m| m.root_secret_distribute_message = MessageField::some(Default::default())),
    ];
    for kind in [
        Type::EPHEMERAL_SETTING,
        Type::HISTORY_SYNC_NOTIFICATION,
        Type::APP_STATE_SYNC_KEY_SHARE,
        Type::PEER_DATA_OPERATION_REQUEST_MESSAGE,
        // Changes that name no other message.
        Type::REVOKE,
        Type::MESSAGE_EDIT,
    ] {
        control.push(with(|m| m.protocol_message = protocol(kind)));
        control.push(with(|m| {
            m.edited_message = wrapped(with(|m| m.protocol_message = protocol(kind)))
        }));
    }
    control
}

/// More than `message Message` has fields (`whatsapp.proto`): those are of kinds that WhatsApp has yet to invent.
const FIELDS_MAX: u32 = 200;

/// A field of a message as it is encoded (protobuf, wire type 2).
pub(super) fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = u32::try_from(value.len()).unwrap();
    for mut varint in [number << 3 | 2, length] {
        while varint >= 0x80 {
            bytes.push((varint & 0x7f) as u8 | 0x80);
            varint >>= 7;
        }
        bytes.push(varint as u8);
    }
    bytes.extend_from_slice(value);
    bytes
}

/// Every field of a message, set to something empty, by its number.
fn fields() -> Vec<(u32, wa::Message)> {
    let decoded = |number| Some((number, waproto::codec::message_decode(&field(number, &[])).ok()?));
    (1..=FIELDS_MAX).filter_map(decoded).collect()
}

#[test]
fn only_changes_and_what_is_between_devices_are_not_seen() {
    for proto in control() {
        assert_eq!(read(&proto).kind, MessageKind::Control, "{proto:?}");
    }
    let seen: BTreeSet<u32> = fields()
        .into_iter()
        .filter(|(_, proto)| read(proto).kind == MessageKind::Control)
        .map(|(number, _)| number)
        .collect();
    // In the order of the protobuf: keys, calls' keys, changes, notes between devices, and nothing else.
    let unseen = [
        2, 10, 12, 15, 46, 47, 50, 51, 56, 63, 65, 70, 76, 80, 82, 98, 99, 102, 110, 121, 123, 127,
    ];
    assert_eq!(seen, BTreeSet::from(unseen));
}

#[test]
fn keys_beside_a_message_do_not_hide_it() {
    let keys = with(|m| {
        m.sender_key_distribution_message = MessageField::some(Default::default());
        m.message_context_info = MessageField::some(wa::MessageContextInfo::default());
    });
    let poll = wm::PollCreationMessage {
        name: some("?"),
        ..Default::default()
    };
    for proto in [
        wa::Message {
            conversation: some("hi"),
            ..keys.clone()
        },
        wa::Message {
            poll_creation_message: MessageField::some(poll),
            ..keys.clone()
        },
        wa::Message {
            sticker_message: MessageField::some(wm::StickerMessage::default()),
            ..keys
        },
        text(""),
        // What is left of a kind that is not known.
        wa::Message::default(),
        with(|m| m.message_context_info = MessageField::some(wa::MessageContextInfo::default())),
    ] {
        assert_eq!(read(&proto).kind, MessageKind::Content, "{proto:?}");
    }
}

fn file(path: &str) -> wm::ImageMessage {
    wm::ImageMessage {
        url: some("https://mmg.whatsapp.net/old"),
        direct_path: some(path),
        mimetype: some("image/jpeg"),
        file_length: Some(7),
        media_key: Some(vec![1; 32]),
        file_sha256: Some(vec![2; 32]),
        file_enc_sha256: Some(vec![3; 32]),
        ..Default::default()
    }
}

fn video() -> wm::VideoMessage {
    wm::VideoMessage {
        direct_path: some("/old"),
        mimetype: some("video/mp4"),
        ..Default::default()
    }
}

fn document() -> wm::DocumentMessage {
    wm::DocumentMessage {
        direct_path: some("/old"),
        mimetype: some("application/pdf"),
        file_name: some("bill.pdf"),
        ..Default::default()
    }
}

/// Every place where a message has a file, with its type.
fn attached() -> Vec<(&'static str, wa::Message)> {
    let audio = wm::AudioMessage {
        direct_path: some("/old"),
        mimetype: some("audio/ogg; codecs=opus"),
        ptt: Some(true),
        ..Default::default()
    };
    let sticker = wm::StickerMessage {
        direct_path: some("/old"),
        mimetype: some("image/webp"),
        ..Default::default()
    };
    let mut attached = vec![
        (
            "image/jpeg",
            with(|m| m.image_message = MessageField::some(file("/old"))),
        ),
        ("video/mp4", with(|m| m.video_message = MessageField::some(video()))),
        ("video/mp4", with(|m| m.ptv_message = MessageField::some(video()))),
        (
            "audio/ogg; codecs=opus",
            with(|m| m.audio_message = MessageField::some(audio)),
        ),
        ("image/webp", with(|m| m.sticker_message = MessageField::some(sticker))),
        (
            "application/pdf",
            with(|m| m.document_message = MessageField::some(document())),
        ),
        (
            "image/jpeg",
            with(|m| m.product_message = MessageField::some(product())),
        ),
        (
            "application/pdf",
            with(|m| m.buttons_message = MessageField::some(buttons())),
        ),
    ];
    attached.extend(in_templates());
    attached.extend(in_interactive_messages());
    attached
}

fn product() -> wm::ProductMessage {
    wm::ProductMessage {
        product: MessageField::some(wm::product_message::ProductSnapshot {
            product_image: MessageField::some(file("/old")),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn buttons() -> wm::ButtonsMessage {
    wm::ButtonsMessage {
        header: Some(wm::buttons_message::Header::DocumentMessage(Box::new(document()))),
        ..Default::default()
    }
}

fn in_templates() -> Vec<(&'static str, wa::Message)> {
    use wm::template_message::hydrated_four_row_template::Title;
    use wm::template_message::{Format, HydratedFourRowTemplate};
    let rows = |title: Title| HydratedFourRowTemplate {
        title: Some(title),
        ..Default::default()
    };
    let hydrated = wm::TemplateMessage {
        hydrated_template: MessageField::some(rows(Title::ImageMessage(Box::new(file("/old"))))),
        ..Default::default()
    };
    let formatted = wm::TemplateMessage {
        format: Some(Format::HydratedFourRowTemplate(Box::new(rows(Title::VideoMessage(
            Box::new(video()),
        ))))),
        ..Default::default()
    };
    let structured = wm::HighlyStructuredMessage {
        hydrated_hsm: MessageField::some(hydrated.clone()),
        ..Default::default()
    };
    vec![
        (
            "image/jpeg",
            with(|m| m.template_message = MessageField::some(hydrated)),
        ),
        (
            "video/mp4",
            with(|m| m.template_message = MessageField::some(formatted)),
        ),
        (
            "image/jpeg",
            with(|m| m.highly_structured_message = MessageField::some(structured)),
        ),
    ]
}

fn in_interactive_messages() -> Vec<(&'static str, wa::Message)> {
    use wm::interactive_message::header::Media;
    let headers = [
        ("video/mp4", Media::VideoMessage(Box::new(video()))),
        ("image/jpeg", Media::ProductMessage(Box::new(product()))),
    ];
    let interactive = |media| wm::InteractiveMessage {
        header: MessageField::some(wm::interactive_message::Header {
            media: Some(media),
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = |media| with(|m| m.interactive_message = MessageField::some(interactive(media)));
    headers
        .into_iter()
        .map(|(mimetype, media)| (mimetype, message(media)))
        .collect()
}

fn enveloped(inner: wa::Message) -> Vec<wa::Message> {
    vec![
        inner.clone(),
        with(|m| m.view_once_message_v2 = wrapped(inner.clone())),
        with(|m| m.document_with_caption_message = wrapped(inner.clone())),
        with(|m| m.associated_child_message = wrapped(inner.clone())),
        with(|m| m.ephemeral_message = wrapped(with(|m| m.view_once_message = wrapped(inner)))),
    ]
}

#[test]
fn finds_the_file_wherever_it_stands() {
    for (mimetype, inner) in attached() {
        for proto in enveloped(inner) {
            let found = read(&proto).media.unwrap_or_else(|| panic!("no media in {proto:?}"));
            assert_eq!(found.mimetype.as_deref(), Some(mimetype));
            assert_eq!(attachment_inside(&proto).unwrap().file().direct_path(), Some("/old"));
        }
    }
}

#[test]
fn a_file_that_was_uploaded_again_is_found_at_its_new_place() {
    for (_, inner) in attached() {
        for proto in enveloped(inner) {
            let moved = relocated(proto.clone(), "/new".to_owned());
            assert_eq!(attachment_inside(&moved).unwrap().file().direct_path(), Some("/new"));
            let back = relocated(moved, "/old".to_owned());
            assert_eq!(read(&back).media, read(&proto).media, "and nothing else of it changes");
        }
    }
    assert_eq!(relocated(text("hi"), "/new".to_owned()), text("hi"));
}

#[test]
fn a_new_caption_leaves_the_file() {
    for (_, inner) in attached() {
        for proto in enveloped(inner) {
            let changed = recaptioned(proto.clone(), "new".to_owned());
            assert_eq!(read(&changed).media, read(&proto).media);
        }
    }
    let picture = with(|m| m.ephemeral_message = wrapped(image(Some("old"))));
    assert_eq!(read(&recaptioned(picture, "new".to_owned())).body, "new");
}

#[test]
fn a_sticker_pack_is_no_file_and_an_album_has_only_children() {
    let pack = with(|m| {
        m.sticker_pack_message = MessageField::some(wm::StickerPackMessage {
            caption: some("cats"),
            ..Default::default()
        });
    });
    assert_eq!((read(&pack).body.as_str(), read(&pack).media), ("cats", None));
    let album = with(|m| m.album_message = MessageField::some(wm::AlbumMessage::default()));
    assert_eq!((read(&album).kind, read(&album).media), (MessageKind::Content, None));
    let child = with(|m| m.associated_child_message = wrapped(image(Some("first"))));
    assert_eq!(read(&child).body, "first");
}

#[test]
fn finds_the_text_of_businesses_payments_and_assistants() {
    let note = MessageField::some(text("for lunch"));
    let rows = wm::template_message::HydratedFourRowTemplate {
        hydrated_content_text: some("your parcel"),
        ..Default::default()
    };
    let template = wm::TemplateMessage {
        hydrated_template: MessageField::some(rows),
        ..Default::default()
    };
    let part = |text: &str| wa::AIRichResponseSubMessage {
        message_text: some(text),
        ..Default::default()
    };
    let cases = vec![
        (
            "your parcel",
            with(|m| m.template_message = MessageField::some(template.clone())),
        ),
        (
            "your parcel",
            with(|m| {
                m.highly_structured_message = MessageField::some(wm::HighlyStructuredMessage {
                    hydrated_hsm: MessageField::some(template),
                    ..Default::default()
                });
            }),
        ),
        (
            "for lunch",
            with(|m| {
                m.send_payment_message = MessageField::some(wm::SendPaymentMessage {
                    note_message: note,
                    ..Default::default()
                });
            }),
        ),
        (
            "one\ntwo",
            with(|m| {
                m.rich_response_message = MessageField::some(wa::AIRichResponseMessage {
                    submessages: vec![part("one"), part("two")],
                    ..Default::default()
                });
            }),
        ),
        (
            "at nine",
            with(|m| {
                m.scheduled_call_creation_message = MessageField::some(wm::ScheduledCallCreationMessage {
                    title: some("at nine"),
                    ..Default::default()
                });
            }),
        ),
    ];
    expect_bodies(cases);
}

#[test]
fn the_picture_of_a_map_is_kept_unless_it_is_no_thumbnail() {
    let place = |thumbnail: usize| {
        with(|m| {
            m.location_message = MessageField::some(wm::LocationMessage {
                degrees_latitude: Some(1.0),
                jpeg_thumbnail: Some(vec![0; thumbnail]),
                ..Default::default()
            });
        })
    };
    let kept = |proto: &wa::Message| read(proto).location.unwrap().thumbnail;
    assert_eq!(kept(&place(3)).as_deref(), Some("AAAA"));
    assert_eq!(kept(&place(0)), None);
    assert_eq!(kept(&place(64 * 1024 + 1)), None);
}
