//! What is inside of the envelopes of a message: disappearing, view-once, captioned, edited, sent by another device of ours...

use buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::FutureProofMessage;

/// How many envelopes within envelopes are opened; WhatsApp's own clients use three at most.
pub(super) const WRAPPERS_MAX: usize = 8;

/// The fields of a message that hold nothing but another message.
macro_rules! wrappers {
    ($m:ident, $($borrow:tt)+) => {
        [
            $($borrow)+ $m.ephemeral_message,
            $($borrow)+ $m.view_once_message,
            $($borrow)+ $m.view_once_message_v2,
            $($borrow)+ $m.view_once_message_v2_extension,
            $($borrow)+ $m.document_with_caption_message,
            $($borrow)+ $m.edited_message,
            $($borrow)+ $m.group_mentioned_message,
            $($borrow)+ $m.bot_invoke_message,
            $($borrow)+ $m.bot_forwarded_message,
            $($borrow)+ $m.bot_task_message,
            $($borrow)+ $m.lottie_sticker_message,
            $($borrow)+ $m.event_cover_image,
            $($borrow)+ $m.associated_child_message,
            $($borrow)+ $m.poll_creation_option_image_message,
            $($borrow)+ $m.poll_creation_message_v4,
            $($borrow)+ $m.group_status_message,
            $($borrow)+ $m.group_status_message_v2,
            $($borrow)+ $m.question_message,
            $($borrow)+ $m.question_reply_message,
            $($borrow)+ $m.spoiler_message,
            $($borrow)+ $m.status_add_yours,
            $($borrow)+ $m.newsletter_admin_profile_message,
            $($borrow)+ $m.newsletter_admin_profile_message_v2,
            $($borrow)+ $m.newsletter_admin_profile_status_message,
        ]
    };
}

/// What is inside of all the envelopes.
pub(crate) fn unwrapped(message: &wa::Message) -> &wa::Message {
    levels(message).last().unwrap_or(message)
}

/// A message, and what is inside of each of its envelopes, from the outside in.
pub(crate) fn levels(message: &wa::Message) -> impl Iterator<Item = &wa::Message> {
    std::iter::successors(Some(message), |outer| inside(outer)).take(1 + WRAPPERS_MAX)
}

/// Changes what is inside of all the envelopes.
pub(super) fn change_unwrapped(message: &mut wa::Message, change: impl FnOnce(&mut wa::Message)) {
    change_inside(message, WRAPPERS_MAX, change);
}

fn change_inside<F: FnOnce(&mut wa::Message)>(m: &mut wa::Message, envelopes_max: usize, change: F) {
    if envelopes_max > 0
        && let Some(inner) = inside_mut(m)
    {
        return change_inside(inner, envelopes_max - 1, change);
    }
    change(m);
}

fn inside(m: &wa::Message) -> Option<&wa::Message> {
    if let Some(sent) = m.device_sent_message.as_option() {
        return sent.message.as_option();
    }
    let wrappers: [&MessageField<FutureProofMessage>; _] = wrappers!(m, &);
    wrappers
        .into_iter()
        .find_map(|wrapper| wrapper.as_option()?.message.as_option())
}

fn inside_mut(m: &mut wa::Message) -> Option<&mut wa::Message> {
    if m.device_sent_message.is_set() {
        return m.device_sent_message.as_option_mut()?.message.as_option_mut();
    }
    let wrappers: [&mut MessageField<FutureProofMessage>; _] = wrappers!(m, &mut);
    wrappers
        .into_iter()
        .find_map(|wrapper| wrapper.as_option_mut()?.message.as_option_mut())
}
