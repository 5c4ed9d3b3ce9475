//! The picture, sound, video or file of a message, wherever it stands in it.
//!
//! Never fetches anything: it says what there is to fetch, and where.

use wacore::download::Downloadable;
use waproto::whatsapp as wa;
use waproto::whatsapp::message as wm;
use wharf_core::message::MessageMedia;

use super::wrappers::{change_unwrapped, unwrapped};

/// Where WhatsApp's clients say that a file is; they ask other hosts for it too.
const MEDIA_SITE: &str = "https://mmg.whatsapp.net";

/// What a message carries besides its words.
#[derive(Clone, Copy)]
pub(crate) enum Attachment<'a> {
    Image(&'a wm::ImageMessage),
    Video(&'a wm::VideoMessage),
    Audio(&'a wm::AudioMessage),
    Document(&'a wm::DocumentMessage),
    Sticker(&'a wm::StickerMessage),
}

/// The same, to be changed.
enum AttachmentMut<'a> {
    Image(&'a mut wm::ImageMessage),
    Video(&'a mut wm::VideoMessage),
    Audio(&'a mut wm::AudioMessage),
    Document(&'a mut wm::DocumentMessage),
    Sticker(&'a mut wm::StickerMessage),
}

/// Finds the attachment of a message without envelopes: written once, to be read and to be changed.
macro_rules! finder {
    ($Attachment:ident, $field:ident, $choice:ident $(, $mutable:tt)?) => {
        use waproto::whatsapp as wa;
        use waproto::whatsapp::message as wm;
        use wm::buttons_message::Header as ButtonsHeader;
        use wm::interactive_message::header::Media as InteractiveHeader;
        use wm::template_message::Format;
        use wm::template_message::four_row_template::Title as RowsTitle;
        use wm::template_message::hydrated_four_row_template::Title as HydratedTitle;

        use super::$Attachment as Attachment;

        pub(in crate::message) fn attachment(m: & $($mutable)? wa::Message) -> Option<Attachment<'_>> {
            let image = m.image_message.$field().map(Attachment::Image);
            image
                .or_else(|| m.video_message.$field().map(Attachment::Video))
                .or_else(|| m.ptv_message.$field().map(Attachment::Video))
                .or_else(|| m.audio_message.$field().map(Attachment::Audio))
                .or_else(|| m.sticker_message.$field().map(Attachment::Sticker))
                .or_else(|| m.document_message.$field().map(Attachment::Document))
                .or_else(|| buttons(m.buttons_message.$field()?))
                .or_else(|| template(m.template_message.$field()?))
                .or_else(|| template(m.highly_structured_message.$field()?.hydrated_hsm.$field()?))
                .or_else(|| interactive(m.interactive_message.$field()?))
                .or_else(|| product(m.product_message.$field()?))
        }

        fn buttons(m: & $($mutable)? wm::ButtonsMessage) -> Option<Attachment<'_>> {
            match m.header.$choice()? {
                ButtonsHeader::ImageMessage(image) => Some(Attachment::Image(image)),
                ButtonsHeader::VideoMessage(video) => Some(Attachment::Video(video)),
                ButtonsHeader::DocumentMessage(document) => Some(Attachment::Document(document)),
                ButtonsHeader::Text(_) | ButtonsHeader::LocationMessage(_) => None,
            }
        }

        fn template(m: & $($mutable)? wm::TemplateMessage) -> Option<Attachment<'_>> {
            if let Some(rows) = m.hydrated_template.$field() {
                return hydrated(rows);
            }
            match m.format.$choice()? {
                Format::HydratedFourRowTemplate(rows) => hydrated(rows),
                Format::InteractiveMessageTemplate(message) => interactive(message),
                Format::FourRowTemplate(rows) => match rows.title.$choice()? {
                    RowsTitle::ImageMessage(image) => Some(Attachment::Image(image)),
                    RowsTitle::VideoMessage(video) => Some(Attachment::Video(video)),
                    RowsTitle::DocumentMessage(document) => Some(Attachment::Document(document)),
                    RowsTitle::HighlyStructuredMessage(_) | RowsTitle::LocationMessage(_) => None,
                },
            }
        }

        fn hydrated(m: & $($mutable)? wm::template_message::HydratedFourRowTemplate) -> Option<Attachment<'_>> {
            match m.title.$choice()? {
                HydratedTitle::ImageMessage(image) => Some(Attachment::Image(image)),
                HydratedTitle::VideoMessage(video) => Some(Attachment::Video(video)),
                HydratedTitle::DocumentMessage(document) => Some(Attachment::Document(document)),
                HydratedTitle::HydratedTitleText(_) | HydratedTitle::LocationMessage(_) => None,
            }
        }

        fn interactive(m: & $($mutable)? wm::InteractiveMessage) -> Option<Attachment<'_>> {
            match m.header.$field()?.media.$choice()? {
                InteractiveHeader::ImageMessage(image) => Some(Attachment::Image(image)),
                InteractiveHeader::VideoMessage(video) => Some(Attachment::Video(video)),
                InteractiveHeader::DocumentMessage(document) => Some(Attachment::Document(document)),
                InteractiveHeader::ProductMessage(shown) => product(shown),
                InteractiveHeader::JpegThumbnail(_) | InteractiveHeader::LocationMessage(_) => None,
            }
        }

        fn product(m: & $($mutable)? wm::ProductMessage) -> Option<Attachment<'_>> {
            let image = match m.product.is_set() {
                true => m.product.$field()?.product_image.$field(),
                false => m.catalog.$field()?.catalog_image.$field(),
            };
            image.map(Attachment::Image)
        }
    };
}

mod to_read {
    finder!(Attachment, as_option, as_ref);
}

mod to_change {
    finder!(AttachmentMut, as_option_mut, as_mut, mut);
}

pub(super) use to_read::attachment;

/// The attachment of a message, in whatever envelopes.
pub(crate) fn attachment_inside(message: &wa::Message) -> Option<Attachment<'_>> {
    attachment(unwrapped(message))
}

impl<'a> Attachment<'a> {
    /// What it takes to fetch it.
    pub(crate) fn file(self) -> &'a dyn Downloadable {
        match self {
            Self::Image(image) => image,
            Self::Video(video) => video,
            Self::Audio(audio) => audio,
            Self::Document(document) => document,
            Self::Sticker(sticker) => sticker,
        }
    }

    /// Whether it says all that it takes to fetch it; an edited caption comes without.
    pub(crate) fn can_be_fetched(self) -> bool {
        let file = self.file();
        file.static_url().is_some() || (file.direct_path().is_some() && file.file_sha256().is_some())
    }

    /// What is told of it.
    pub(super) fn media(self) -> MessageMedia {
        let (mimetype, filename) = match self {
            Self::Image(image) => (&image.mimetype, None),
            Self::Video(video) => (&video.mimetype, None),
            Self::Audio(audio) => (&audio.mimetype, None),
            Self::Sticker(sticker) => (&sticker.mimetype, None),
            Self::Document(document) => {
                let named = document.file_name.as_ref().or(document.title.as_ref());
                (&document.mimetype, named.cloned())
            }
        };
        MessageMedia {
            mimetype: mimetype.clone(),
            filename,
            size: self.file().file_length(),
        }
    }
}

/// The message, whose file is at another place now.
pub(crate) fn relocated(mut message: wa::Message, direct_path: String) -> wa::Message {
    change_unwrapped(&mut message, |inner| {
        use AttachmentMut::{Audio, Document, Image, Sticker, Video};
        let (url, path) = match to_change::attachment(inner) {
            Some(Image(image)) => (&mut image.url, &mut image.direct_path),
            Some(Video(video)) => (&mut video.url, &mut video.direct_path),
            Some(Audio(audio)) => (&mut audio.url, &mut audio.direct_path),
            Some(Document(document)) => (&mut document.url, &mut document.direct_path),
            Some(Sticker(sticker)) => (&mut sticker.url, &mut sticker.direct_path),
            None => return,
        };
        *url = Some(format!("{MEDIA_SITE}{direct_path}"));
        *path = Some(direct_path);
    });
    message
}

/// The message, whose picture, video or file has another caption now.
pub(crate) fn recaptioned(mut message: wa::Message, caption: String) -> wa::Message {
    change_unwrapped(&mut message, |inner| match to_change::attachment(inner) {
        Some(AttachmentMut::Image(image)) => image.caption = Some(caption),
        Some(AttachmentMut::Video(video)) => video.caption = Some(caption),
        Some(AttachmentMut::Document(document)) => document.caption = Some(caption),
        Some(AttachmentMut::Audio(_) | AttachmentMut::Sticker(_)) | None => {}
    });
    message
}
