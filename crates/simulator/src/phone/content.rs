//! What a message says: the decrypted protobuf as a phone shows it.
//!
//! It reads only; what changes another message is in [`super::changes`].

mod choices;

use std::borrow::Cow;

use buffa::MessageField;
use waproto::whatsapp::message::{
    DocumentMessage, ExtendedTextMessage, FutureProofMessage, PollCreationMessage, VideoMessage,
};
use waproto::whatsapp::{ContextInfo, Message};

use self::choices::{buttons, list, selected};
use crate::views::{Contact, Content, LinkPreview, Location, MediaKind, MediaView, Poll, PollOption, Quoted};

/// Wrappers within each other before a message counts as unreadable.
const WRAPPERS_MAX: usize = 8;

/// What a message says.
#[derive(Default)]
pub(crate) struct Said {
    /// Its text or caption.
    pub(crate) text: Option<String>,
    pub(crate) content: Content,
    /// The id of the quoted message.
    pub(crate) reply_to: Option<String>,
    /// Addresses, as the message has them.
    pub(crate) mentions: Vec<String>,
}

/// The message in its wrappers (WhatsApp Web `getUnwrappedProtobufMessage`).
pub(crate) fn unwrapped(message: &Message) -> &Message {
    let mut inner = message;
    for _ in 0..WRAPPERS_MAX {
        let wrappers: [&MessageField<FutureProofMessage>; 8] = [
            &inner.ephemeral_message,
            &inner.view_once_message,
            &inner.view_once_message_v2,
            &inner.view_once_message_v2_extension,
            &inner.document_with_caption_message,
            &inner.edited_message,
            &inner.lottie_sticker_message,
            &inner.poll_creation_message_v4,
        ];
        let next = wrappers
            .into_iter()
            .find_map(|wrapper| wrapper.as_option()?.message.as_option());
        match next {
            Some(next) => inner = next,
            None => break,
        }
    }
    inner
}

/// The unwrapped message with its file where every message has it: of buttons, the picture above them.
pub(crate) fn with_file(message: &Message) -> Cow<'_, Message> {
    use waproto::whatsapp::message::buttons_message::Header;
    use waproto::whatsapp::message::interactive_message::header::Media as Above;

    let above = message
        .interactive_message
        .as_option()
        .and_then(|it| it.header.as_option()?.media.as_ref());
    let header = message.buttons_message.as_option().and_then(|it| it.header.as_ref());
    let mut file = Message::default();
    match (above, header) {
        (Some(Above::ImageMessage(image)), _) | (_, Some(Header::ImageMessage(image))) => {
            file.image_message = MessageField::some((**image).clone());
        }
        (Some(Above::VideoMessage(video)), _) | (_, Some(Header::VideoMessage(video))) => {
            file.video_message = MessageField::some((**video).clone());
        }
        (Some(Above::DocumentMessage(document)), _) | (_, Some(Header::DocumentMessage(document))) => {
            file.document_message = MessageField::some((**document).clone());
        }
        _ => return Cow::Borrowed(message),
    }
    Cow::Owned(file)
}

/// What a message says. Who is quoted is an address still.
pub(crate) fn said(message: &Message) -> Said {
    let inner = unwrapped(message);
    let context = context(inner);
    let mut said = Said {
        text: text(inner),
        content: Content {
            media: media(&with_file(inner)),
            location: location(inner),
            contacts: contacts(inner),
            poll: poll_of(inner).map(poll),
            link_preview: inner.extended_text_message.as_option().and_then(link_preview),
            list: inner.list_message.as_option().map(list),
            buttons: buttons(inner),
            selected: selected(inner),
            view_once: is_view_once(message, inner),
            ..Content::default()
        },
        ..Said::default()
    };
    if let Some(context) = context {
        said.reply_to = context.stanza_id.clone();
        said.mentions = context.mentioned_jid.clone();
        said.content.forwarded = context.is_forwarded == Some(true);
        said.content.quoted = context.stanza_id.clone().map(|id| quoted(id, context));
    }
    said
}

/// The text or caption of an unwrapped message; for what is answered with a choice, what was chosen.
fn text(message: &Message) -> Option<String> {
    let extended = message.extended_text_message.as_option();
    let image = message.image_message.as_option();
    let video = message.video_message.as_option();
    let document = message.document_message.as_option();
    let live = message.live_location_message.as_option();
    let location = message.location_message.as_option();
    let text = message
        .conversation
        .clone()
        .or_else(|| extended.and_then(|it| it.text.clone()))
        .or_else(|| image.and_then(|it| it.caption.clone()))
        .or_else(|| video.and_then(|it| it.caption.clone()))
        .or_else(|| document.and_then(|it| it.caption.clone()))
        .or_else(|| live.and_then(|it| it.caption.clone()))
        .or_else(|| location.and_then(|it| it.comment.clone()))
        .or_else(|| message.list_message.as_option().and_then(|it| it.description.clone()))
        .or_else(|| {
            message
                .buttons_message
                .as_option()
                .and_then(|it| it.content_text.clone())
        })
        .or_else(|| message.interactive_message.as_option()?.body.as_option()?.text.clone());
    text.or_else(|| selected(message)?.title)
        .filter(|text| !text.is_empty())
}

/// Where an unwrapped message keeps whom it quotes and mentions.
pub(crate) fn context(message: &Message) -> Option<&ContextInfo> {
    macro_rules! first_of {
        ($($field:ident),+ $(,)?) => {
            None$(.or_else(|| message.$field.as_option()?.context_info.as_option()))+
        };
    }
    first_of!(
        extended_text_message,
        image_message,
        video_message,
        ptv_message,
        audio_message,
        document_message,
        sticker_message,
        location_message,
        live_location_message,
        contact_message,
        contacts_array_message,
        poll_creation_message,
        poll_creation_message_v2,
        poll_creation_message_v3,
        poll_creation_message_v5,
        list_message,
        list_response_message,
        buttons_message,
        buttons_response_message,
        interactive_message,
        interactive_response_message,
        template_button_reply_message,
    )
}

fn quoted(id: String, context: &ContextInfo) -> Quoted {
    let message = context.quoted_message.as_option().map(unwrapped);
    Quoted {
        id,
        from: context.participant.clone(),
        text: message.and_then(text),
        media: message.and_then(media).map(|media| media.kind),
    }
}

fn is_view_once(message: &Message, inner: &Message) -> bool {
    let is_wrapped = [
        &message.view_once_message,
        &message.view_once_message_v2,
        &message.view_once_message_v2_extension,
    ];
    // A payload of business messages comes in the same wrapper and can be opened as often as one likes.
    let is_media = media(inner).is_some();
    is_media && is_wrapped.into_iter().any(|wrapper| wrapper.is_set())
}

/// The file of an unwrapped message.
pub(crate) fn media(message: &Message) -> Option<MediaView> {
    let of = |kind, mimetype: &Option<String>, size, sha256: &Option<Vec<u8>>| MediaView {
        kind,
        mimetype: mimetype.clone(),
        filename: None,
        size,
        sha256: sha256.as_deref().map(hex::encode),
        seconds: None,
        width: None,
        height: None,
        waveform: None,
        pages: None,
        thumbnail: thumbnail(message).is_some(),
    };
    let film = |kind, video: &VideoMessage| MediaView {
        seconds: video.seconds,
        width: video.width,
        height: video.height,
        ..of(kind, &video.mimetype, video.file_length, &video.file_sha256)
    };
    if let Some(image) = message.image_message.as_option() {
        return Some(MediaView {
            width: image.width,
            height: image.height,
            ..of(MediaKind::Image, &image.mimetype, image.file_length, &image.file_sha256)
        });
    }
    if let Some(video) = message.video_message.as_option() {
        return Some(film(MediaKind::Video, video));
    }
    if let Some(note) = message.ptv_message.as_option() {
        return Some(film(MediaKind::Note, note));
    }
    if let Some(audio) = message.audio_message.as_option() {
        let kind = match audio.ptt {
            Some(true) => MediaKind::Voice,
            _ => MediaKind::Audio,
        };
        return Some(MediaView {
            seconds: audio.seconds,
            waveform: audio.waveform.clone(),
            ..of(kind, &audio.mimetype, audio.file_length, &audio.file_sha256)
        });
    }
    if let Some(document) = message.document_message.as_option() {
        return Some(MediaView {
            filename: name_of(document),
            pages: document.page_count,
            ..of(
                MediaKind::Document,
                &document.mimetype,
                document.file_length,
                &document.file_sha256,
            )
        });
    }
    let sticker = message.sticker_message.as_option()?;
    Some(MediaView {
        width: sticker.width,
        height: sticker.height,
        ..of(
            MediaKind::Sticker,
            &sticker.mimetype,
            sticker.file_length,
            &sticker.file_sha256,
        )
    })
}

fn name_of(document: &DocumentMessage) -> Option<String> {
    document.file_name.clone().or_else(|| document.title.clone())
}

/// The small picture in an unwrapped message, a JPEG or, of stickers, a PNG.
pub(crate) fn thumbnail(message: &Message) -> Option<&[u8]> {
    macro_rules! first_of {
        ($($field:ident),+ $(,)?) => {
            None$(.or_else(|| message.$field.as_option()?.jpeg_thumbnail.as_deref()))+
        };
    }
    let jpeg = first_of!(
        image_message,
        video_message,
        ptv_message,
        document_message,
        location_message,
        live_location_message,
        extended_text_message,
    );
    let png = || message.sticker_message.as_option()?.png_thumbnail.as_deref();
    jpeg.or_else(png).filter(|bytes| !bytes.is_empty())
}

fn location(message: &Message) -> Option<Location> {
    if let Some(live) = message.live_location_message.as_option() {
        return Some(Location {
            latitude: live.degrees_latitude.unwrap_or_default(),
            longitude: live.degrees_longitude.unwrap_or_default(),
            live: true,
            ..Location::default()
        });
    }
    let location = message.location_message.as_option()?;
    Some(Location {
        latitude: location.degrees_latitude.unwrap_or_default(),
        longitude: location.degrees_longitude.unwrap_or_default(),
        name: location.name.clone(),
        address: location.address.clone(),
        live: location.is_live == Some(true),
    })
}

fn contacts(message: &Message) -> Vec<Contact> {
    let several = message.contacts_array_message.as_option();
    let cards = message
        .contact_message
        .as_option()
        .into_iter()
        .chain(several.into_iter().flat_map(|array| &array.contacts));
    let contact = |card: &waproto::whatsapp::message::ContactMessage| Contact {
        name: card.display_name.clone().unwrap_or_default(),
        vcard: card.vcard.clone().unwrap_or_default(),
    };
    cards.map(contact).collect()
}

/// The poll of an unwrapped message, whichever of its versions it has.
pub(crate) fn poll_of(message: &Message) -> Option<&PollCreationMessage> {
    let versions = [
        &message.poll_creation_message,
        &message.poll_creation_message_v2,
        &message.poll_creation_message_v3,
        &message.poll_creation_message_v5,
    ];
    versions.into_iter().find_map(|poll| poll.as_option())
}

fn poll(poll: &PollCreationMessage) -> Poll {
    let option = |option: &waproto::whatsapp::message::poll_creation_message::Option| PollOption {
        name: option.option_name.clone().unwrap_or_default(),
        votes: Vec::new(),
    };
    Poll {
        name: poll.name.clone().unwrap_or_default(),
        options: poll.options.iter().map(option).collect(),
        // None means as many as one likes.
        multiple: poll.selectable_options_count != Some(1),
    }
}

fn link_preview(text: &ExtendedTextMessage) -> Option<LinkPreview> {
    let url = text.matched_text.clone().filter(|url| !url.is_empty())?;
    Some(LinkPreview {
        url,
        title: text.title.clone(),
        description: text.description.clone(),
        thumbnail: text.jpeg_thumbnail.as_ref().is_some_and(|bytes| !bytes.is_empty()),
        high_quality: text.thumbnail_direct_path.is_some(),
    })
}
