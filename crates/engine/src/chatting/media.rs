//! Pictures, sounds, videos and files.

use buffa::MessageField;
use wacore::download::MediaType;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::{AudioMessage, DocumentMessage, ImageMessage, StickerMessage, VideoMessage};
use wharf_core::engine::{EngineError, MediaFacts, MediaKind, OutgoingMedia};

use crate::connection::Connection;
use crate::media::Uploaded;
impl Connection {
    /// Uploads a file, and answers the message that shows it.
    pub(super) async fn media(&self, media: &OutgoingMedia) -> Result<wa::Message, EngineError> {
        let uploaded = self.upload(&media.path, media_type(media.kind)).await?;
        Ok(message(media, uploaded))
    }
}

/// What WhatsApp encrypts and stores a kind of file as (whatsmeow `upload.go`): round videos are videos, voices are sounds.
fn media_type(kind: MediaKind) -> MediaType {
    match kind {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video | MediaKind::VideoNote => MediaType::Video,
        MediaKind::Audio | MediaKind::Voice => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    }
}

fn message(media: &OutgoingMedia, file: Uploaded) -> wa::Message {
    let mut message = wa::Message::default();
    match media.kind {
        MediaKind::Image => message.image_message = MessageField::some(image(media, file)),
        MediaKind::Video => message.video_message = MessageField::some(video(media, file)),
        MediaKind::VideoNote => message.ptv_message = MessageField::some(video(media, file)),
        MediaKind::Audio | MediaKind::Voice => message.audio_message = MessageField::some(audio(media, file)),
        MediaKind::Document => message.document_message = MessageField::some(document(media, file)),
        MediaKind::Sticker => message.sticker_message = MessageField::some(sticker(media, file)),
    }
    message
}

/// What leaves. Some kinds go in envelopes, so that clients which do not know them show what they can: documents with a
/// caption, and stickers that move.
pub(super) fn enveloped(message: wa::Message) -> wa::Message {
    let document = message.document_message.as_option();
    let is_captioned = document.is_some_and(|it| it.caption.as_deref().is_some_and(|caption| !caption.is_empty()));
    let sticker = message.sticker_message.as_option();
    let is_lottie = sticker.is_some_and(|it| it.is_lottie == Some(true));
    let mut enveloped = wa::Message::default();
    let envelope = match (is_captioned, is_lottie) {
        (true, _) => &mut enveloped.document_with_caption_message,
        (false, true) => &mut enveloped.lottie_sticker_message,
        (false, false) => return message,
    };
    *envelope = MessageField::some(wa::message::FutureProofMessage {
        message: MessageField::some(message),
    });
    enveloped
}

fn image(media: &OutgoingMedia, file: Uploaded) -> ImageMessage {
    ImageMessage {
        url: Some(file.url),
        direct_path: Some(file.direct_path),
        media_key: Some(file.media_key.to_vec()),
        media_key_timestamp: Some(file.media_key_timestamp),
        file_sha256: Some(file.file_sha256.to_vec()),
        file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
        file_length: Some(file.file_length),
        mimetype: Some(media.mimetype.clone()),
        caption: media.caption.clone(),
        jpeg_thumbnail: thumbnail(&media.facts),
        width: media.facts.width,
        height: media.facts.height,
        ..Default::default()
    }
}

fn video(media: &OutgoingMedia, file: Uploaded) -> VideoMessage {
    VideoMessage {
        url: Some(file.url),
        direct_path: Some(file.direct_path),
        media_key: Some(file.media_key.to_vec()),
        media_key_timestamp: Some(file.media_key_timestamp),
        file_sha256: Some(file.file_sha256.to_vec()),
        file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
        file_length: Some(file.file_length),
        streaming_sidecar: file.streaming_sidecar,
        mimetype: Some(media.mimetype.clone()),
        caption: media.caption.clone(),
        jpeg_thumbnail: thumbnail(&media.facts),
        seconds: media.facts.seconds,
        width: media.facts.width,
        height: media.facts.height,
        ..Default::default()
    }
}

fn audio(media: &OutgoingMedia, file: Uploaded) -> AudioMessage {
    AudioMessage {
        url: Some(file.url),
        direct_path: Some(file.direct_path),
        media_key: Some(file.media_key.to_vec()),
        media_key_timestamp: Some(file.media_key_timestamp),
        file_sha256: Some(file.file_sha256.to_vec()),
        file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
        file_length: Some(file.file_length),
        streaming_sidecar: file.streaming_sidecar,
        mimetype: Some(media.mimetype.clone()),
        seconds: media.facts.seconds,
        ptt: Some(media.kind == MediaKind::Voice),
        waveform: media.facts.waveform.as_ref().map(|waveform| waveform.to_vec()),
        ..Default::default()
    }
}

fn document(media: &OutgoingMedia, file: Uploaded) -> DocumentMessage {
    DocumentMessage {
        url: Some(file.url),
        direct_path: Some(file.direct_path),
        media_key: Some(file.media_key.to_vec()),
        media_key_timestamp: Some(file.media_key_timestamp),
        file_sha256: Some(file.file_sha256.to_vec()),
        file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
        file_length: Some(file.file_length),
        mimetype: Some(media.mimetype.clone()),
        title: media.filename.clone(),
        file_name: media.filename.clone(),
        caption: media.caption.clone(),
        page_count: media.facts.pages,
        jpeg_thumbnail: thumbnail(&media.facts),
        thumbnail_width: media.facts.width,
        thumbnail_height: media.facts.height,
        ..Default::default()
    }
}

fn sticker(media: &OutgoingMedia, file: Uploaded) -> StickerMessage {
    StickerMessage {
        url: Some(file.url),
        direct_path: Some(file.direct_path),
        media_key: Some(file.media_key.to_vec()),
        media_key_timestamp: Some(file.media_key_timestamp),
        file_sha256: Some(file.file_sha256.to_vec()),
        file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
        file_length: Some(file.file_length),
        mimetype: Some(media.mimetype.clone()),
        width: media.facts.width,
        height: media.facts.height,
        ..Default::default()
    }
}

fn thumbnail(facts: &MediaFacts) -> Option<Vec<u8>> {
    facts.thumbnail.as_ref().map(|jpeg| jpeg.to_vec())
}

/// A file that was uploaded, for tests.
#[cfg(test)]
pub(super) mod testing {
    use crate::media::Uploaded;

    pub(in crate::chatting) fn uploaded() -> Uploaded {
        Uploaded {
            url: "https://mmg.whatsapp.net/v/file".to_owned(),
            direct_path: "/v/file".to_owned(),
            media_key: [1; 32],
            file_sha256: [2; 32],
            file_enc_sha256: [3; 32],
            file_length: 1_000,
            media_key_timestamp: 1_790_000_000,
            streaming_sidecar: Some(vec![4; 10]),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::testing::uploaded;
    use super::*;

    fn media(kind: MediaKind, mimetype: &str) -> OutgoingMedia {
        OutgoingMedia {
            kind,
            path: "/tmp/file".into(),
            mimetype: mimetype.to_owned(),
            filename: Some("report.pdf".to_owned()),
            caption: Some("look".to_owned()),
            facts: MediaFacts {
                thumbnail: Some(Bytes::from_static(b"jpeg")),
                width: Some(640),
                height: Some(480),
                seconds: Some(3),
                waveform: Some(Bytes::from_static(&[9; 64])),
                pages: Some(2),
            },
        }
    }

    fn sent(kind: MediaKind, mimetype: &str) -> wa::Message {
        enveloped(message(&media(kind, mimetype), uploaded()))
    }

    #[test]
    fn a_picture_says_where_it_is_and_what_it_shows() {
        let message = sent(MediaKind::Image, "image/jpeg");
        let image = message.image_message.as_option().unwrap();
        assert_eq!(image.url.as_deref(), Some("https://mmg.whatsapp.net/v/file"));
        assert_eq!(image.direct_path.as_deref(), Some("/v/file"));
        assert_eq!(image.media_key.as_deref(), Some(&[1; 32][..]));
        assert_eq!(image.file_sha256.as_deref(), Some(&[2; 32][..]));
        assert_eq!(image.file_enc_sha256.as_deref(), Some(&[3; 32][..]));
        assert_eq!(
            (image.file_length, image.media_key_timestamp),
            (Some(1_000), Some(1_790_000_000))
        );
        assert_eq!(image.caption.as_deref(), Some("look"));
        assert_eq!(image.jpeg_thumbnail.as_deref(), Some(&b"jpeg"[..]));
        assert_eq!((image.width, image.height), (Some(640), Some(480)));
    }

    #[test]
    fn a_video_may_be_round() {
        let message = sent(MediaKind::Video, "video/mp4");
        let video = message.video_message.as_option().unwrap();
        assert_eq!(
            (video.seconds, video.width, video.height),
            (Some(3), Some(640), Some(480))
        );
        assert_eq!(video.streaming_sidecar.as_deref(), Some(&[4; 10][..]));
        let message = sent(MediaKind::VideoNote, "video/mp4");
        assert!(message.video_message.is_unset());
        assert_eq!(
            message.ptv_message.as_option().unwrap().direct_path.as_deref(),
            Some("/v/file")
        );
    }

    #[test]
    fn a_voice_is_a_sound_that_was_recorded() {
        let message = sent(MediaKind::Voice, "audio/ogg; codecs=opus");
        let voice = message.audio_message.as_option().unwrap();
        assert_eq!((voice.ptt, voice.seconds), (Some(true), Some(3)));
        assert_eq!(voice.waveform.as_deref(), Some(&[9; 64][..]));
        assert_eq!(voice.mimetype.as_deref(), Some("audio/ogg; codecs=opus"));
        let message = sent(MediaKind::Audio, "audio/mpeg");
        assert_eq!(message.audio_message.as_option().unwrap().ptt, Some(false));
    }

    #[test]
    fn a_document_with_a_caption_is_in_an_envelope() {
        let message = sent(MediaKind::Document, "application/pdf");
        let inside = message
            .document_with_caption_message
            .as_option()
            .unwrap()
            .message
            .as_option()
            .unwrap();
        let document = inside.document_message.as_option().unwrap();
        assert_eq!(document.caption.as_deref(), Some("look"));
        assert_eq!(document.file_name.as_deref(), Some("report.pdf"));
        assert_eq!(document.page_count, Some(2));
        let bare = OutgoingMedia {
            caption: None,
            ..media(MediaKind::Document, "application/pdf")
        };
        let message = enveloped(super::message(&bare, uploaded()));
        assert!(message.document_with_caption_message.is_unset());
        assert!(message.document_message.is_set());
    }

    #[test]
    fn a_sticker_has_its_size() {
        let message = sent(MediaKind::Sticker, "image/webp");
        let sticker = message.sticker_message.as_option().unwrap();
        assert_eq!((sticker.width, sticker.height), (Some(640), Some(480)));
        assert_eq!(media_type(MediaKind::Sticker), MediaType::Sticker);
    }
}
