//! Texts, with what is shown of a link in them.

use buffa::MessageField;
use wacore::download::MediaType;
use wacore::proto_helpers::MessageBuilderExt as _;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::extended_text_message::PreviewType;
use wharf_core::engine::{LinkPreview, PreviewPicture};

use crate::connection::Connection;
use crate::error::one_line;
use crate::media::Uploaded;

impl Connection {
    /// A text as WhatsApp's clients send it: bare, unless a link in it is shown. A large picture that cannot be uploaded is
    /// left out: the text is what matters.
    pub(super) async fn text(&self, text: &str, preview: Option<&LinkPreview>) -> wa::Message {
        let Some(preview) = preview else {
            return wa::Message::text(text);
        };
        let mut shown = previewed(text, preview);
        if let Some(picture) = &preview.picture {
            match self.upload(&picture.path, MediaType::LinkThumbnail).await {
                Ok(uploaded) => show_picture(&mut shown, picture, uploaded),
                Err(error) => {
                    tracing::warn!(error = %one_line(&error), "the picture of a link preview cannot be uploaded");
                }
            }
        }
        wa::Message {
            extended_text_message: MessageField::some(shown),
            ..Default::default()
        }
    }
}

/// The text and what is shown of its link (Baileys `messages.ts`).
fn previewed(text: &str, preview: &LinkPreview) -> wa::message::ExtendedTextMessage {
    wa::message::ExtendedTextMessage {
        text: Some(text.to_owned()),
        matched_text: Some(preview.url.clone()),
        title: Some(preview.title.clone()),
        description: preview.description.clone(),
        preview_type: Some(PreviewType::NONE),
        jpeg_thumbnail: preview.thumbnail.as_ref().map(|jpeg| jpeg.to_vec()),
        ..Default::default()
    }
}

fn show_picture(shown: &mut wa::message::ExtendedTextMessage, picture: &PreviewPicture, uploaded: Uploaded) {
    shown.thumbnail_direct_path = Some(uploaded.direct_path);
    shown.thumbnail_sha256 = Some(uploaded.file_sha256.to_vec());
    shown.thumbnail_enc_sha256 = Some(uploaded.file_enc_sha256.to_vec());
    shown.media_key = Some(uploaded.media_key.to_vec());
    shown.media_key_timestamp = Some(uploaded.media_key_timestamp);
    shown.thumbnail_width = Some(picture.width);
    shown.thumbnail_height = Some(picture.height);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_preview_shows_its_link() {
        let preview = LinkPreview {
            url: "https://example.com/".to_owned(),
            title: "Example".to_owned(),
            description: Some("An example".to_owned()),
            thumbnail: Some(Bytes::from_static(b"jpeg")),
            picture: None,
        };
        let mut shown = previewed("see https://example.com/", &preview);
        assert_eq!(shown.text.as_deref(), Some("see https://example.com/"));
        assert_eq!(shown.matched_text.as_deref(), Some("https://example.com/"));
        assert_eq!(shown.title.as_deref(), Some("Example"));
        assert_eq!(shown.description.as_deref(), Some("An example"));
        assert_eq!(shown.jpeg_thumbnail.as_deref(), Some(&b"jpeg"[..]));
        assert_eq!(shown.thumbnail_direct_path, None);

        let picture = PreviewPicture {
            path: "/tmp/picture".into(),
            width: 800,
            height: 400,
        };
        show_picture(&mut shown, &picture, super::super::media::testing::uploaded());
        assert_eq!(shown.thumbnail_direct_path.as_deref(), Some("/v/file"));
        assert_eq!((shown.thumbnail_width, shown.thumbnail_height), (Some(800), Some(400)));
        assert_eq!(shown.media_key.as_deref(), Some(&[1; 32][..]));
    }
}
