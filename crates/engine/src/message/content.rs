//! What each kind of WhatsApp message says and carries.
//!
//! A new kind of message is a line in the functions here. Kinds that are not known count as content, so that a message
//! which WhatsApp invents later is delivered with an empty body instead of being lost.

use base64::prelude::*;
use buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::FutureProofMessage;
use wharf_core::message::{Location, MessageKind, MessageMedia};

/// How many envelopes within envelopes are opened; WhatsApp's own clients use three at most.
const WRAPPERS_MAX: usize = 8;
/// The largest picture of a map that is kept, in bytes; WhatsApp's clients make some of 10,000.
const THUMBNAIL_BYTES_MAX: usize = 64 * 1024;

/// What is inside of the envelopes: disappearing, view-once, captioned, edited, sent by another device of ours...
pub(super) fn unwrapped(message: &wa::Message) -> &wa::Message {
    let mut current = message;
    for _ in 0..WRAPPERS_MAX {
        match inside(current) {
            Some(inner) => current = inner,
            None => break,
        }
    }
    current
}

fn inside(m: &wa::Message) -> Option<&wa::Message> {
    if let Some(sent) = m.device_sent_message.as_option() {
        return sent.message.as_option();
    }
    let wrappers: [&MessageField<FutureProofMessage>; 20] = [
        &m.ephemeral_message,
        &m.view_once_message,
        &m.view_once_message_v2,
        &m.view_once_message_v2_extension,
        &m.document_with_caption_message,
        &m.edited_message,
        &m.group_mentioned_message,
        &m.bot_invoke_message,
        &m.bot_forwarded_message,
        &m.lottie_sticker_message,
        &m.event_cover_image,
        &m.associated_child_message,
        &m.poll_creation_option_image_message,
        &m.poll_creation_message_v4,
        &m.group_status_message,
        &m.group_status_message_v2,
        &m.question_message,
        &m.question_reply_message,
        &m.spoiler_message,
        &m.status_add_yours,
    ];
    wrappers
        .into_iter()
        .find_map(|wrapper| wrapper.as_option()?.message.as_option())
}

/// Whether it is something that a person sees in the chat.
pub(super) fn kind(m: &wa::Message) -> MessageKind {
    let changes_another = m.protocol_message.is_set()
        || m.reaction_message.is_set()
        || m.enc_reaction_message.is_set()
        || m.poll_update_message.is_set()
        || m.poll_add_option_message.is_set()
        || m.keep_in_chat_message.is_set()
        || m.pin_in_chat_message.is_set()
        || m.secret_encrypted_message.is_set()
        || m.enc_event_response_message.is_set()
        || m.scheduled_call_edit_message.is_set();
    let between_devices = m.sticker_sync_rmr_message.is_set()
        || m.placeholder_message.is_set()
        || m.message_history_bundle.is_set()
        || m.message_history_notice.is_set()
        || m.group_root_key_share.is_set()
        || m.root_secret_distribute_message.is_set();
    if changes_another || between_devices || is_empty(m) {
        MessageKind::Control
    } else {
        MessageKind::Content
    }
}

/// Whether there is nothing in it but keys and context.
fn is_empty(m: &wa::Message) -> bool {
    let keys_only = m.message_context_info.is_set()
        || m.sender_key_distribution_message.is_set()
        || m.fast_ratchet_key_sender_key_distribution_message.is_set();
    if !keys_only {
        return waproto::codec::message_encoded_len(m) == 0;
    }
    // Only messages that carry keys are copied, and those are few; most of the rest have text or media besides.
    if m.conversation.is_some() || m.extended_text_message.is_set() || media(m).is_some() {
        return false;
    }
    let mut rest = m.clone();
    rest.message_context_info = MessageField::none();
    rest.sender_key_distribution_message = MessageField::none();
    rest.fast_ratchet_key_sender_key_distribution_message = MessageField::none();
    waproto::codec::message_encoded_len(&rest) == 0
}

/// The text or the caption; for kinds without either, what names them.
pub(super) fn body(m: &wa::Message) -> String {
    text(m)
        .or_else(|| caption(m))
        .or_else(|| name(m))
        .or_else(|| answer(m))
        .or_else(|| business(m))
        .cloned()
        .unwrap_or_default()
}

fn text(m: &wa::Message) -> Option<&String> {
    m.conversation
        .as_ref()
        .or_else(|| m.extended_text_message.as_option()?.text.as_ref())
        .or_else(|| text(m.comment_message.as_option()?.message.as_option()?))
}

fn caption(m: &wa::Message) -> Option<&String> {
    let caption = || -> Option<&String> { m.image_message.as_option()?.caption.as_ref() };
    caption()
        .or_else(|| m.video_message.as_option()?.caption.as_ref())
        .or_else(|| m.ptv_message.as_option()?.caption.as_ref())
        .or_else(|| m.document_message.as_option()?.caption.as_ref())
        .or_else(|| m.live_location_message.as_option()?.caption.as_ref())
        .or_else(|| m.sticker_pack_message.as_option()?.caption.as_ref())
        .or_else(|| m.group_invite_message.as_option()?.caption.as_ref())
        .or_else(|| m.newsletter_admin_invite_message.as_option()?.caption.as_ref())
        .or_else(|| m.event_invite_message.as_option()?.caption.as_ref())
}

fn name(m: &wa::Message) -> Option<&String> {
    let name = || -> Option<&String> { m.contact_message.as_option()?.display_name.as_ref() };
    name()
        .or_else(|| m.contacts_array_message.as_option()?.display_name.as_ref())
        .or_else(|| place(m)?.name.as_ref())
        .or_else(|| poll(m)?.name.as_ref())
        .or_else(|| m.event_message.as_option()?.name.as_ref())
}

/// What somebody chose from a list or from buttons.
fn answer(m: &wa::Message) -> Option<&String> {
    use wa::message::buttons_response_message::Response;
    let list = || -> Option<&String> { m.list_response_message.as_option()?.title.as_ref() };
    list()
        .or_else(|| match m.buttons_response_message.as_option()?.response.as_ref()? {
            Response::SelectedDisplayText(text) => Some(text),
        })
        .or_else(|| {
            m.template_button_reply_message
                .as_option()?
                .selected_display_text
                .as_ref()
        })
        .or_else(|| {
            m.interactive_response_message
                .as_option()?
                .body
                .as_option()?
                .text
                .as_ref()
        })
}

/// What businesses send.
fn business(m: &wa::Message) -> Option<&String> {
    let buttons = || -> Option<&String> { m.buttons_message.as_option()?.content_text.as_ref() };
    buttons()
        .or_else(|| m.list_message.as_option()?.description.as_ref())
        .or_else(|| template(m)?.hydrated_content_text.as_ref())
        .or_else(|| m.interactive_message.as_option()?.body.as_option()?.text.as_ref())
        .or_else(|| m.product_message.as_option()?.body.as_ref())
        .or_else(|| m.order_message.as_option()?.message.as_ref())
        .or_else(|| m.invoice_message.as_option()?.note.as_ref())
}

fn template(m: &wa::Message) -> Option<&wa::message::template_message::HydratedFourRowTemplate> {
    m.template_message.as_option()?.hydrated_template.as_option()
}

fn poll(m: &wa::Message) -> Option<&wa::message::PollCreationMessage> {
    m.poll_creation_message
        .as_option()
        .or_else(|| m.poll_creation_message_v2.as_option())
        .or_else(|| m.poll_creation_message_v3.as_option())
        .or_else(|| m.poll_creation_message_v5.as_option())
        .or_else(|| m.poll_creation_message_v6.as_option())
}

fn place(m: &wa::Message) -> Option<&wa::message::LocationMessage> {
    m.location_message.as_option()
}

/// Its picture, sound, video or file.
pub(super) fn media(m: &wa::Message) -> Option<MessageMedia> {
    let unnamed = |mimetype: &Option<String>, size| MessageMedia {
        mimetype: mimetype.clone(),
        filename: None,
        size,
    };
    let image = m.image_message.as_option();
    image
        .map(|image| unnamed(&image.mimetype, image.file_length))
        .or_else(|| video(m).map(|video| unnamed(&video.mimetype, video.file_length)))
        .or_else(|| {
            let audio = m.audio_message.as_option()?;
            Some(unnamed(&audio.mimetype, audio.file_length))
        })
        .or_else(|| {
            let sticker = m.sticker_message.as_option()?;
            Some(unnamed(&sticker.mimetype, sticker.file_length))
        })
        .or_else(|| {
            let document = m.document_message.as_option()?;
            Some(MessageMedia {
                mimetype: document.mimetype.clone(),
                filename: document.file_name.clone().or_else(|| document.title.clone()),
                size: document.file_length,
            })
        })
}

fn video(m: &wa::Message) -> Option<&wa::message::VideoMessage> {
    m.video_message.as_option().or_else(|| m.ptv_message.as_option())
}

/// Its place on the map, if it is one: a coordinate that is no number would be none anywhere else either.
pub(super) fn location(m: &wa::Message) -> Option<Location> {
    let place = fixed_location(m).or_else(|| live_location(m))?;
    (place.latitude.is_finite() && place.longitude.is_finite()).then_some(place)
}

fn fixed_location(m: &wa::Message) -> Option<Location> {
    let place = place(m)?;
    Some(Location {
        latitude: place.degrees_latitude.unwrap_or_default(),
        longitude: place.degrees_longitude.unwrap_or_default(),
        live: place.is_live.unwrap_or_default(),
        name: place.name.clone(),
        address: place.address.clone(),
        url: place.url.clone(),
        description: place.comment.clone(),
        thumbnail: thumbnail(place.jpeg_thumbnail.as_deref()),
    })
}

fn live_location(m: &wa::Message) -> Option<Location> {
    let place = m.live_location_message.as_option()?;
    Some(Location {
        latitude: place.degrees_latitude.unwrap_or_default(),
        longitude: place.degrees_longitude.unwrap_or_default(),
        live: true,
        name: None,
        address: None,
        url: None,
        description: place.caption.clone(),
        thumbnail: thumbnail(place.jpeg_thumbnail.as_deref()),
    })
}

/// A picture of the map as it is shown. Pictures that are no thumbnails would only fill the store.
fn thumbnail(jpeg: Option<&[u8]>) -> Option<String> {
    let jpeg = jpeg.filter(|jpeg| (1..=THUMBNAIL_BYTES_MAX).contains(&jpeg.len()))?;
    Some(BASE64_STANDARD.encode(jpeg))
}

/// Its contact cards.
pub(super) fn vcards(m: &wa::Message) -> Vec<String> {
    let several = m
        .contacts_array_message
        .as_option()
        .map(|several| several.contacts.as_slice());
    m.contact_message
        .as_option()
        .into_iter()
        .chain(several.unwrap_or_default())
        .filter_map(|contact| contact.vcard.clone())
        .collect()
}

/// What it answers and whom it mentions.
pub(super) fn context(m: &wa::Message) -> Option<&wa::ContextInfo> {
    let text = m.extended_text_message.as_option().map(|m| &m.context_info);
    text.or_else(|| media_context(m))
        .or_else(|| structured_context(m))
        .and_then(|context| context.as_option())
}

fn media_context(m: &wa::Message) -> Option<&MessageField<wa::ContextInfo>> {
    let image = m.image_message.as_option().map(|m| &m.context_info);
    image
        .or_else(|| m.video_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.ptv_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.audio_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.document_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.sticker_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.sticker_pack_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.album_message.as_option().map(|m| &m.context_info))
}

fn structured_context(m: &wa::Message) -> Option<&MessageField<wa::ContextInfo>> {
    let place = m.location_message.as_option().map(|m| &m.context_info);
    place
        .or_else(|| m.live_location_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.contact_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.contacts_array_message.as_option().map(|m| &m.context_info))
        .or_else(|| poll(m).map(|m| &m.context_info))
        .or_else(|| m.event_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.list_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.list_response_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.buttons_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.buttons_response_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.template_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.template_button_reply_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.interactive_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.interactive_response_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.group_invite_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.product_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.order_message.as_option().map(|m| &m.context_info))
}
