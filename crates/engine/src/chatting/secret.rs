//! The secret of a message, which votes in a poll and other answers are encrypted with.
//!
//! WhatsApp's clients draw it by lot. Ours is derived, so that a message which is sent again under its id has the secret that
//! the phones kept of the first time, and no other message has it.

use buffa::MessageField;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use waproto::whatsapp as wa;
use wharf_core::ids::ChatId;

/// Sets it apart from everything else that may be derived from the same key.
const PURPOSE: &[u8] = b"wharf message secret 1\0";

/// Gives a message its secret, by the private identity key of the device that sends it.
pub(super) fn give(message: &mut wa::Message, identity: &[u8; 32], chat: &ChatId, id: &str) {
    message.message_context_info = MessageField::some(wa::MessageContextInfo {
        message_secret: Some(derived(identity, chat, id).to_vec()),
        ..message.message_context_info.take().unwrap_or_default()
    });
}

fn derived(identity: &[u8; 32], chat: &ChatId, id: &str) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "hmac takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(identity).expect("a key of any length is one");
    mac.update(PURPOSE);
    mac.update(chat.to_string().as_bytes());
    mac.update(b"\0");
    mac.update(id.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_same_secret_at_every_repeat_and_no_other_message_has_it() {
        let (bob, carol) = ("12025550102@c.us".parse().unwrap(), "12025550103@c.us".parse().unwrap());
        let first = derived(&[1; 32], &bob, "3EB0AA");
        assert_eq!(derived(&[1; 32], &bob, "3EB0AA"), first);
        for other in [
            derived(&[1; 32], &bob, "3EB0AB"),
            derived(&[1; 32], &carol, "3EB0AA"),
            derived(&[2; 32], &bob, "3EB0AA"),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn what_else_the_context_says_stays() {
        let mut message = wa::Message {
            message_context_info: MessageField::some(wa::MessageContextInfo {
                message_add_on_duration_in_secs: Some(86_400),
                ..Default::default()
            }),
            ..Default::default()
        };
        give(&mut message, &[1; 32], &"12025550102@c.us".parse().unwrap(), "3EB0AA");
        let context = message.message_context_info.as_option().unwrap();
        assert_eq!(context.message_add_on_duration_in_secs, Some(86_400));
        assert_eq!(context.message_secret.as_deref().map(<[u8]>::len), Some(32));
    }
}
