//! An earlier message, in the hands of those who may not be of its chat.

use buffa::MessageField;
use waproto::whatsapp as wa;
use wharf_core::engine::EngineError;

use crate::error::failed;
use crate::message::unwrapped;

/// What a message said, out of all its envelopes, and without the keys that came with it: its own secret, and those with
/// which its author writes to its group.
pub(super) fn said(proto: &[u8]) -> Result<wa::Message, EngineError> {
    let message = waproto::codec::message_decode(proto).map_err(failed)?;
    Ok(without_keys(unwrapped(&message)))
}

/// A message without the keys that came with it.
pub(super) fn without_keys(message: &wa::Message) -> wa::Message {
    wa::Message {
        message_context_info: MessageField::none(),
        sender_key_distribution_message: MessageField::none(),
        fast_ratchet_key_sender_key_distribution_message: MessageField::none(),
        ..message.clone()
    }
}

#[cfg(test)]
mod tests {
    use wacore::proto_helpers::MessageBuilderExt as _;
    use waproto::codec::message_to_vec;
    use waproto::whatsapp::message::{FutureProofMessage, SenderKeyDistributionMessage};

    use super::*;

    #[test]
    fn the_keys_of_a_message_stay_in_its_chat() {
        let secret = MessageField::some(wa::MessageContextInfo {
            message_secret: Some(vec![7; 32]),
            ..Default::default()
        });
        let inner = wa::Message {
            sender_key_distribution_message: MessageField::some(SenderKeyDistributionMessage {
                axolotl_sender_key_distribution_message: Some(vec![8; 32]),
                ..Default::default()
            }),
            message_context_info: secret.clone(),
            ..wa::Message::text("hello")
        };
        let outer = wa::Message {
            group_mentioned_message: MessageField::some(FutureProofMessage {
                message: MessageField::some(inner),
            }),
            message_context_info: secret,
            ..Default::default()
        };
        assert_eq!(said(&message_to_vec(&outer)).unwrap(), wa::Message::text("hello"));
    }
}
