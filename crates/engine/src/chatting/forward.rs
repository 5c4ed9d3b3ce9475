//! Messages that are sent on.

use wacore::proto_helpers::MessageExt as _;
use waproto::whatsapp as wa;
use wharf_core::engine::EngineError;

use crate::error::failed;

/// A message again, marked as forwarded. Its file is not uploaded again: whoever gets the message gets the keys of the one
/// that is there. It brings no secret, no quote and no mentions of the first one (whatsapp-rust `forward_message`).
pub(super) fn forwarded(proto: &[u8]) -> Result<wa::Message, EngineError> {
    let message = waproto::codec::message_decode(proto).map_err(failed)?;
    if message.is_view_once() {
        return Err(EngineError::Invalid(
            "messageId: what may be seen once cannot be forwarded".to_owned(),
        ));
    }
    Ok(*message.get_base_message().prepare_for_forward())
}

#[cfg(test)]
mod tests {
    use buffa::MessageField;
    use wacore::proto_helpers::MessageBuilderExt as _;
    use waproto::codec::message_to_vec;

    use super::*;

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
    fn what_may_be_seen_once_stays_where_it_is() {
        let once = wa::Message {
            image_message: MessageField::some(wa::message::ImageMessage {
                view_once: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        };
        let error = forwarded(&message_to_vec(&once)).unwrap_err();
        assert!(matches!(error, EngineError::Invalid(_)), "{error}");
    }
}
