//! Messages that are sent on.

use wacore::proto_helpers::MessageExt as _;
use waproto::whatsapp as wa;
use wharf_core::engine::EngineError;

use super::original::without_keys;
use crate::error::failed;
use crate::message::{levels, unwrapped};

/// A message again, marked as forwarded. Its file is not uploaded again: whoever gets the message gets the keys of the one
/// that is there. It brings no secret, no quote and no mentions of the first one: what the library cannot free of those
/// it does not mark either, and that is not forwarded.
pub(super) fn forwarded(proto: &[u8]) -> Result<wa::Message, EngineError> {
    let message = waproto::codec::message_decode(proto).map_err(failed)?;
    if levels(&message).any(wa::Message::is_view_once) {
        let hint = "messageId: what may be seen once cannot be forwarded";
        return Err(EngineError::Invalid(hint.to_owned()));
    }
    let forwarded = without_keys(unwrapped(&message)).prepare_for_forward();
    if !forwarded.is_forwarded() {
        return Err(not_forwarded());
    }
    Ok(*forwarded)
}

/// A message is of a kind that stays in its chat.
pub(super) fn not_forwarded() -> EngineError {
    EngineError::Invalid("messageId: this message cannot be forwarded".to_owned())
}

#[cfg(test)]
mod tests {
    use buffa::MessageField;
    use wacore::proto_helpers::MessageBuilderExt as _;
    use waproto::codec::message_to_vec;
    use waproto::whatsapp::message::FutureProofMessage;

    use super::super::media::enveloped;
    use super::*;

    fn inside(message: wa::Message) -> MessageField<FutureProofMessage> {
        MessageField::some(FutureProofMessage {
            message: MessageField::some(message),
        })
    }

    /// The context of an answer in some chat.
    fn answering() -> MessageField<wa::ContextInfo> {
        MessageField::some(wa::ContextInfo {
            stanza_id: Some("3EB0AA".to_owned()),
            participant: Some("12025550103@s.whatsapp.net".to_owned()),
            quoted_message: MessageField::some(wa::Message::text("between us")),
            ..Default::default()
        })
    }

    #[test]
    fn a_text_is_marked_and_brings_nothing_of_what_it_answered() {
        let answer = wa::Message::text_with_context(
            "hi",
            wa::ContextInfo {
                stanza_id: Some("3EB0AA".to_owned()),
                mentioned_jid: vec!["12025550103@s.whatsapp.net".to_owned()],
                ..Default::default()
            },
        );
        let forwarded = forwarded(&message_to_vec(&answer)).unwrap();
        let text = forwarded.extended_text_message.as_option().unwrap();
        assert_eq!(text.text.as_deref(), Some("hi"));
        let context = text.context_info.as_option().unwrap();
        assert_eq!(context.is_forwarded, Some(true));
        assert_eq!(context.stanza_id, None);
        assert!(context.mentioned_jid.is_empty());
    }

    #[test]
    fn a_picture_keeps_its_file() {
        let picture = wa::Message {
            image_message: MessageField::some(wa::message::ImageMessage {
                direct_path: Some("/v/picture".to_owned()),
                media_key: Some(vec![1; 32]),
                ..Default::default()
            }),
            message_context_info: MessageField::some(wa::MessageContextInfo {
                message_secret: Some(vec![2; 32]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let forwarded = forwarded(&message_to_vec(&picture)).unwrap();
        let image = forwarded.image_message.as_option().unwrap();
        assert_eq!(image.direct_path.as_deref(), Some("/v/picture"));
        assert_eq!(image.media_key.as_deref(), Some(&[1; 32][..]));
        assert_eq!(image.context_info.as_option().unwrap().is_forwarded, Some(true));
        assert!(forwarded.message_context_info.is_unset());
    }

    #[test]
    fn a_sticker_that_moves_leaves_what_it_answered_behind() {
        let answer = wa::Message {
            lottie_sticker_message: inside(wa::Message {
                sticker_message: MessageField::some(wa::message::StickerMessage {
                    direct_path: Some("/v/sticker".to_owned()),
                    is_lottie: Some(true),
                    context_info: answering(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let forwarded = enveloped(forwarded(&message_to_vec(&answer)).unwrap());
        let envelope = forwarded.lottie_sticker_message.as_option().unwrap();
        let sticker = envelope
            .message
            .as_option()
            .unwrap()
            .sticker_message
            .as_option()
            .unwrap();
        assert_eq!(sticker.direct_path.as_deref(), Some("/v/sticker"));
        let context = sticker.context_info.as_option().unwrap();
        assert_eq!((context.is_forwarded, &context.stanza_id), (Some(true), &None));
        assert!(context.quoted_message.is_unset());
    }

    #[test]
    fn a_picture_of_an_album_leaves_it() {
        let child = wa::Message {
            associated_child_message: inside(wa::Message {
                image_message: MessageField::some(wa::message::ImageMessage::default()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let forwarded = forwarded(&message_to_vec(&child)).unwrap();
        assert!(forwarded.associated_child_message.is_unset());
        let image = forwarded.image_message.as_option().unwrap();
        assert_eq!(image.context_info.as_option().unwrap().is_forwarded, Some(true));
    }

    #[test]
    fn what_cannot_be_freed_of_what_it_answered_stays_where_it_is() {
        let poll = wa::Message {
            poll_creation_message_v5: MessageField::some(wa::message::PollCreationMessage {
                context_info: answering(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut deep = poll.clone();
        for _ in 0..20 {
            deep = wa::Message {
                spoiler_message: inside(deep),
                ..Default::default()
            };
        }
        for message in [poll, deep] {
            let error = forwarded(&message_to_vec(&message)).unwrap_err();
            assert!(matches!(error, EngineError::Invalid(_)), "{error}");
        }
    }

    #[test]
    fn what_may_be_seen_once_stays_where_it_is() {
        let image = |view_once| wa::Message {
            image_message: MessageField::some(wa::message::ImageMessage {
                view_once,
                ..Default::default()
            }),
            ..Default::default()
        };
        let hidden = wa::Message {
            spoiler_message: inside(wa::Message {
                view_once_message_v2: inside(image(None)),
                ..Default::default()
            }),
            ..Default::default()
        };
        for once in [image(Some(true)), hidden] {
            let error = forwarded(&message_to_vec(&once)).unwrap_err();
            assert!(matches!(error, EngineError::Invalid(_)), "{error}");
        }
    }
}
