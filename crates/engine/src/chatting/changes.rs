//! What changes a message that is there already: reactions, edits, revokes and pins.

use std::time::Duration;

use buffa::MessageField;
use wacore::proto_helpers::{MessageExt as _, build_reaction_message};
use wacore_binary::{Jid, JidExt as _};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::pin_in_chat_message::Type as PinType;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;
use wharf_core::engine::{Content, EngineError, LinkPreview};
use wharf_core::ids::MessageId;
use wharf_core::message::Change;
use wharf_core::session::Me;

use super::original::said;
use crate::connection::Connection;
use crate::message::recaptioned;

/// For how long WhatsApp pins a message, in days (whatsapp-rust `send/mod.rs` PinDuration).
const PINNED_FOR_DAYS: [u64; 3] = [1, 7, 30];
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// The change that a content makes, for those that have an event.
pub(super) fn change(content: &Content) -> Option<Change> {
    Some(match content {
        Content::Reaction { target, text } => Change::Reaction {
            target: target.clone(),
            text: text.clone(),
        },
        Content::Edit { target, .. } => Change::Edited { target: target.clone() },
        Content::Revoke { target } => Change::Revoked { target: target.clone() },
        Content::PollVote { poll, options, .. } => Change::PollVote {
            poll: poll.clone(),
            options: Some(options.clone()),
        },
        _ => return None,
    })
}

impl Connection {
    /// A reaction to a message of `chat`; no text takes it back.
    pub(super) async fn reaction(
        &self,
        target: &MessageId,
        text: &str,
        chat: &Jid,
        me: &Me,
    ) -> Result<wa::Message, EngineError> {
        let key = self.key(target, chat, me).await?;
        Ok(build_reaction_message(key, text, self.clock.now().as_millisecond()))
    }

    /// The deletion of a message of `chat` for everyone.
    pub(super) async fn revoke(&self, target: &MessageId, chat: &Jid, me: &Me) -> Result<wa::Message, EngineError> {
        if !target.from_me && !chat.is_group() {
            let hint =
                format!("messageId: {target} was written by somebody else; only your own messages can be deleted here");
            return Err(EngineError::Invalid(hint));
        }
        Ok(protocol(wa::message::ProtocolMessage {
            key: MessageField::some(self.key(target, chat, me).await?),
            r#type: Some(ProtocolType::REVOKE),
            ..Default::default()
        }))
    }

    /// Puts new content in the place of a message of ours (whatsapp-rust `send/mod.rs` build_edit_message).
    pub(super) async fn edit(
        &self,
        target: &MessageId,
        content: wa::Message,
        chat: &Jid,
        me: &Me,
    ) -> Result<wa::Message, EngineError> {
        let mut key = self.key(target, chat, me).await?;
        if chat.is_group() {
            key.participant = Some(self.own_in(chat, me).await?.to_string());
        }
        Ok(protocol(wa::message::ProtocolMessage {
            key: MessageField::some(key),
            r#type: Some(ProtocolType::MESSAGE_EDIT),
            edited_message: MessageField::some(content),
            timestamp_ms: Some(self.clock.now().as_millisecond()),
            ..Default::default()
        }))
    }

    /// What a message of ours says from now on: a text, or what it was with another caption.
    pub(super) async fn edited(
        &self,
        before: &[u8],
        text: &str,
        preview: Option<&LinkPreview>,
    ) -> Result<wa::Message, EngineError> {
        let before = said(before)?;
        if before.conversation.is_some() || before.extended_text_message.is_set() {
            return Ok(self.text(text, preview).await);
        }
        recaption(before, text)
    }

    /// Pins a message of `chat`, or unpins it.
    pub(super) async fn pin(
        &self,
        target: &MessageId,
        pinned_for: Option<Duration>,
        chat: &Jid,
        me: &Me,
    ) -> Result<wa::Message, EngineError> {
        let key = self.key(target, chat, me).await?;
        pinned(key, pinned_for, self.clock.now().as_millisecond())
    }

    /// How messages name another one of their chat (whatsmeow `send.go` BuildMessageKey).
    pub(super) async fn key(&self, target: &MessageId, chat: &Jid, me: &Me) -> Result<wa::MessageKey, EngineError> {
        let participant = match chat.is_group() && !target.from_me {
            true => Some(self.author(target, me).await?.to_string()),
            false => None,
        };
        Ok(wa::MessageKey {
            remote_jid: Some(chat.to_string()),
            from_me: Some(target.from_me),
            id: Some(target.id.clone()),
            participant,
        })
    }
}

fn protocol(change: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(change),
        ..Default::default()
    }
}

/// The same picture, video or document with another caption, and nothing of what stood behind the message.
fn recaption(before: wa::Message, caption: &str) -> Result<wa::Message, EngineError> {
    let is_captioned =
        before.image_message.is_set() || before.video_message.is_set() || before.document_message.is_set();
    if !is_captioned {
        let hint = "only texts and captions of pictures, videos and documents can be edited";
        return Err(EngineError::Invalid(hint.to_owned()));
    }
    let mut edited = recaptioned(before, caption.to_owned());
    edited.set_context_info(wa::ContextInfo::default());
    Ok(edited)
}

fn pinned(key: wa::MessageKey, pinned_for: Option<Duration>, now_ms: i64) -> Result<wa::Message, EngineError> {
    let (kind, seconds) = match pinned_for {
        Some(pinned_for) => {
            let seconds = pinned_for.as_secs();
            if !PINNED_FOR_DAYS.iter().any(|days| days * SECONDS_PER_DAY == seconds) {
                let hint = "duration: a message is pinned for 1, 7 or 30 days";
                return Err(EngineError::Invalid(hint.to_owned()));
            }
            (PinType::PIN_FOR_ALL, u32::try_from(seconds).unwrap_or(u32::MAX))
        }
        None => (PinType::UNPIN_FOR_ALL, 0),
    };
    Ok(wa::Message {
        pin_in_chat_message: MessageField::some(wa::message::PinInChatMessage {
            key: MessageField::some(key),
            r#type: Some(kind),
            sender_timestamp_ms: Some(now_ms),
        }),
        message_context_info: MessageField::some(wa::MessageContextInfo {
            message_add_on_duration_in_secs: Some(seconds),
            ..Default::default()
        }),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use wacore::proto_helpers::MessageBuilderExt as _;

    use super::*;

    fn image() -> wa::Message {
        wa::Message {
            image_message: MessageField::some(wa::message::ImageMessage {
                caption: Some("before".to_owned()),
                direct_path: Some("/v/picture".to_owned()),
                context_info: MessageField::some(wa::ContextInfo {
                    stanza_id: Some("3EB0AA".to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn another_caption_keeps_the_file_and_nothing_else() {
        let edited = recaption(image(), "after").unwrap();
        let image = edited.image_message.as_option().unwrap();
        assert_eq!(image.caption.as_deref(), Some("after"));
        assert_eq!(image.direct_path.as_deref(), Some("/v/picture"));
        assert_eq!(image.context_info.as_option(), Some(&wa::ContextInfo::default()));
    }

    #[test]
    fn what_has_no_caption_gets_none() {
        let voice = wa::Message {
            audio_message: MessageField::some(wa::message::AudioMessage::default()),
            ..Default::default()
        };
        for message in [voice, wa::Message::text("hi"), wa::Message::default()] {
            let error = recaption(message, "after").unwrap_err();
            assert!(matches!(error, EngineError::Invalid(_)), "{error}");
        }
    }

    #[test]
    fn a_pin_holds_for_one_of_three_times() {
        let key = || wa::MessageKey {
            id: Some("3EB0AA".to_owned()),
            ..Default::default()
        };
        for (pinned_for, kind, seconds) in [
            (Some(86_400), PinType::PIN_FOR_ALL, 86_400),
            (Some(604_800), PinType::PIN_FOR_ALL, 604_800),
            (Some(2_592_000), PinType::PIN_FOR_ALL, 2_592_000),
            (None, PinType::UNPIN_FOR_ALL, 0),
        ] {
            let message = pinned(key(), pinned_for.map(Duration::from_secs), 7).unwrap();
            let pin = message.pin_in_chat_message.as_option().unwrap();
            assert_eq!((pin.r#type, pin.sender_timestamp_ms), (Some(kind), Some(7)));
            assert_eq!(pin.key.as_option().unwrap().id.as_deref(), Some("3EB0AA"));
            let context = message.message_context_info.as_option().unwrap();
            assert_eq!(context.message_add_on_duration_in_secs, Some(seconds));
        }
        let error = pinned(key(), Some(Duration::from_secs(3_600)), 7).unwrap_err();
        assert!(matches!(error, EngineError::Invalid(_)), "{error}");
    }

    #[test]
    fn only_changes_with_events_are_changes() {
        let target: MessageId = "true_12025550102@c.us_3EB0AA".parse().unwrap();
        let revoke = Content::Revoke { target: target.clone() };
        assert_eq!(change(&revoke), Some(Change::Revoked { target: target.clone() }));
        let pin = Content::Pin {
            target,
            pinned_for: None,
        };
        assert_eq!(change(&pin), None);
    }
}
