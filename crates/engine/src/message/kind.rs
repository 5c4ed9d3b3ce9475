//! Whether a message is something that a person sees in the chat.
//!
//! What is not known counts as seen, so that a kind that WhatsApp invents later is delivered with an empty body instead of
//! being lost.

use buffa::MessageField;
use waproto::whatsapp as wa;
use wharf_core::message::MessageKind;

use super::media;

/// What kind of message it is, where it is no [`Change`](MessageKind::Change) that can be read.
pub(super) fn kind(m: &wa::Message) -> MessageKind {
    match changes_another(m) || is_between_devices(m) || has_only_keys(m) {
        true => MessageKind::Control,
        false => MessageKind::Content,
    }
}

/// Changes that have no event of their own, or that cannot be read.
fn changes_another(m: &wa::Message) -> bool {
    m.protocol_message.is_set()
        || m.reaction_message.is_set()
        || m.enc_reaction_message.is_set()
        || m.poll_update_message.is_set()
        || m.poll_add_option_message.is_set()
        || m.keep_in_chat_message.is_set()
        || m.pin_in_chat_message.is_set()
        || m.secret_encrypted_message.is_set()
        || m.enc_event_response_message.is_set()
        || m.scheduled_call_edit_message.is_set()
        || m.limit_sharing_message.is_set()
        || m.status_sticker_interaction_message.is_set()
}

/// Keys and notes that clients exchange.
fn is_between_devices(m: &wa::Message) -> bool {
    m.call.is_set()
        || m.sticker_sync_rmr_message.is_set()
        || m.placeholder_message.is_set()
        || m.message_history_bundle.is_set()
        || m.message_history_notice.is_set()
        || m.status_notification_message.is_set()
        || m.group_root_key_share.is_set()
        || m.root_secret_distribute_message.is_set()
}

/// Whether there is nothing in it but keys. What is empty without them is of a kind that is not known.
fn has_only_keys(m: &wa::Message) -> bool {
    let has_keys =
        m.sender_key_distribution_message.is_set() || m.fast_ratchet_key_sender_key_distribution_message.is_set();
    // Only messages that carry keys are copied, and those are few; most of the rest have text or media besides.
    if !has_keys || m.conversation.is_some() || m.extended_text_message.is_set() || media::attachment(m).is_some() {
        return false;
    }
    let mut rest = m.clone();
    rest.message_context_info = MessageField::none();
    rest.sender_key_distribution_message = MessageField::none();
    rest.fast_ratchet_key_sender_key_distribution_message = MessageField::none();
    is_empty(&rest)
}

/// Whether nothing of it is known.
pub(crate) fn is_empty(m: &wa::Message) -> bool {
    waproto::codec::message_encoded_len(m) == 0
}
