//! What each kind of WhatsApp message says, and whom it answers.
//!
//! A new kind of message is a line in the functions here. Whether it is content at all is in [`kind`](super::kind), what it
//! carries besides words in [`media`](super::media).

use base64::prelude::*;
use buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message as wm;
use wharf_core::message::Location;

use super::wrappers::unwrapped;

/// The largest picture of a map that is kept, in bytes; WhatsApp's clients make some of 10,000.
const THUMBNAIL_BYTES_MAX: usize = 64 * 1024;

/// The text or the caption; for kinds without either, what names them.
pub(super) fn body(m: &wa::Message) -> String {
    text(m)
        .or_else(|| caption(m))
        .or_else(|| name(m))
        .or_else(|| answer(m))
        .or_else(|| business(m))
        .or_else(|| payment(m))
        .cloned()
        .or_else(|| rich_response(m))
        .unwrap_or_default()
}

fn text(m: &wa::Message) -> Option<&String> {
    m.conversation
        .as_ref()
        .or_else(|| m.extended_text_message.as_option()?.text.as_ref())
        .or_else(|| text(m.comment_message.as_option()?.message.as_option()?))
        .or_else(|| m.status_question_answer_message.as_option()?.text.as_ref())
        .or_else(|| m.question_response_message.as_option()?.text.as_ref())
        .or_else(|| m.status_quoted_message.as_option()?.text.as_ref())
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
        .or_else(|| m.newsletter_follower_invite_message_v2.as_option()?.caption.as_ref())
        .or_else(|| m.bcall_message.as_option()?.caption.as_ref())
        .or_else(|| m.event_invite_message.as_option()?.caption.as_ref())
}

fn name(m: &wa::Message) -> Option<&String> {
    let name = || -> Option<&String> { m.contact_message.as_option()?.display_name.as_ref() };
    name()
        .or_else(|| m.contacts_array_message.as_option()?.display_name.as_ref())
        .or_else(|| place(m)?.name.as_ref())
        .or_else(|| poll(m)?.name.as_ref())
        .or_else(|| m.event_message.as_option()?.name.as_ref())
        .or_else(|| m.poll_result_snapshot_message.as_option()?.name.as_ref())
        .or_else(|| m.poll_result_snapshot_message_v3.as_option()?.name.as_ref())
        .or_else(|| m.scheduled_call_creation_message.as_option()?.title.as_ref())
        .or_else(|| m.chat.as_option()?.display_name.as_ref())
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
        .or_else(|| template(m.template_message.as_option()?))
        .or_else(|| template(m.highly_structured_message.as_option()?.hydrated_hsm.as_option()?))
        .or_else(|| interactive(m.interactive_message.as_option()?))
        .or_else(|| m.product_message.as_option()?.body.as_ref())
        .or_else(|| m.order_message.as_option()?.message.as_ref())
        .or_else(|| m.invoice_message.as_option()?.note.as_ref())
}

fn template(template: &wm::TemplateMessage) -> Option<&String> {
    use wm::template_message::Format;
    let hydrated = template.hydrated_template.as_option();
    hydrated
        .and_then(|rows| rows.hydrated_content_text.as_ref())
        .or_else(|| match template.format.as_ref()? {
            Format::HydratedFourRowTemplate(rows) => rows.hydrated_content_text.as_ref(),
            Format::InteractiveMessageTemplate(message) => interactive(message),
            Format::FourRowTemplate(_) => None,
        })
}

fn interactive(message: &wm::InteractiveMessage) -> Option<&String> {
    message.body.as_option()?.text.as_ref()
}

/// What people write when they pay, or want to be paid.
fn payment(m: &wa::Message) -> Option<&String> {
    let sent = || -> Option<&String> { text(m.send_payment_message.as_option()?.note_message.as_option()?) };
    sent()
        .or_else(|| text(m.request_payment_message.as_option()?.note_message.as_option()?))
        .or_else(|| m.payment_reminder_message.as_option()?.description.as_ref())
        .or_else(|| m.split_payment_message.as_option()?.description.as_ref())
}

/// What an assistant answers, part by part.
fn rich_response(m: &wa::Message) -> Option<String> {
    let parts = &m.rich_response_message.as_option()?.submessages;
    let texts: Vec<&str> = parts.iter().filter_map(|part| part.message_text.as_deref()).collect();
    Some(texts.join("\n"))
}

/// What the votes in a poll, and other answers to a message, are encrypted with. It stands beside what is said, or beside the
/// envelope that this is in.
pub(crate) fn secret(message: &wa::Message) -> Option<&[u8]> {
    [message, unwrapped(message)].into_iter().find_map(|message| {
        let context = message.message_context_info.as_option()?;
        context.message_secret.as_deref()
    })
}

/// A poll as it was created.
pub(crate) fn poll(m: &wa::Message) -> Option<&wa::message::PollCreationMessage> {
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
        .or_else(|| m.newsletter_admin_invite_message.as_option().map(|m| &m.context_info))
        .or_else(|| {
            m.newsletter_follower_invite_message_v2
                .as_option()
                .map(|m| &m.context_info)
        })
        .or_else(|| m.event_invite_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.request_phone_number_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.poll_result_snapshot_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.poll_result_snapshot_message_v3.as_option().map(|m| &m.context_info))
        .or_else(|| m.rich_response_message.as_option().map(|m| &m.context_info))
        .or_else(|| m.split_payment_message.as_option().map(|m| &m.context_info))
}
