//! Messages with a file: what each kind says of it, and how it is wrapped.

use buffa::MessageField;
use waproto::whatsapp::message::{
    AudioMessage, DocumentMessage, FutureProofMessage, ImageMessage, StickerMessage, VideoMessage,
};
use waproto::whatsapp::{ContextInfo, Message};

use super::field;
use crate::error::SandboxError;
use crate::media::MediaRef;
use crate::views::{MediaKind, NewMedia};

/// Samples of a voice message's waveform.
const WAVEFORM_LEN_MAX: usize = 64;

/// Makes a message of a kind out of where its file is, and what only this kind has.
macro_rules! with_file {
    ($kind:ident, $media:expr, $file:expr, $timestamp:expr, $context:expr, { $($more:tt)* }) => {
        MessageField::some($kind {
            url: Some($file.url()),
            direct_path: Some($file.direct_path.clone()),
            media_key: Some($file.media_key.clone()),
            media_key_timestamp: Some($timestamp),
            file_sha256: Some($file.file_sha256.clone()),
            file_enc_sha256: Some($file.file_enc_sha256.clone()),
            file_length: Some($file.file_length),
            mimetype: Some(mimetype($media)),
            context_info: field($context),
            $($more)*
            ..Default::default()
        })
    };
}

/// A message with a file that the media hosts have.
///
/// # Errors
/// When no official app would send such a message.
pub(super) fn message(
    media: &NewMedia,
    file: &MediaRef,
    timestamp: i64,
    context: Option<ContextInfo>,
) -> Result<Message, SandboxError> {
    if media
        .waveform
        .as_ref()
        .is_some_and(|samples| samples.len() > WAVEFORM_LEN_MAX)
    {
        return Err(SandboxError::Invalid(format!(
            "a waveform has at most {WAVEFORM_LEN_MAX} samples"
        )));
    }
    let message = bare(media, file, timestamp, context);
    if !media.view_once {
        return Ok(message);
    }
    if !matches!(media.kind, MediaKind::Image | MediaKind::Video | MediaKind::Voice) {
        return Err(SandboxError::Invalid(
            "only images, videos and voice messages can be opened only once".to_owned(),
        ));
    }
    Ok(Message {
        view_once_message_v2: wrapped(message),
        ..Default::default()
    })
}

fn bare(media: &NewMedia, file: &MediaRef, timestamp: i64, context: Option<ContextInfo>) -> Message {
    let mut message = Message::default();
    match media.kind {
        MediaKind::Image => {
            message.image_message = with_file!(ImageMessage, media, file, timestamp, context, {
                caption: media.caption.clone(),
                width: media.width,
                height: media.height,
                jpeg_thumbnail: media.thumbnail.clone(),
                view_once: media.view_once.then_some(true),
            });
        }
        MediaKind::Video => message.video_message = film(media, file, timestamp, context),
        MediaKind::Note => message.ptv_message = film(media, file, timestamp, context),
        MediaKind::Audio | MediaKind::Voice => {
            message.audio_message = with_file!(AudioMessage, media, file, timestamp, context, {
                ptt: Some(media.kind == MediaKind::Voice),
                seconds: media.seconds,
                waveform: media.waveform.clone(),
                streaming_sidecar: file.sidecar.clone(),
                view_once: media.view_once.then_some(true),
            });
        }
        MediaKind::Document => return document(media, file, timestamp, context),
        MediaKind::Sticker => {
            message.sticker_message = with_file!(StickerMessage, media, file, timestamp, context, {
                width: media.width,
                height: media.height,
                png_thumbnail: media.thumbnail.clone(),
            });
        }
    }
    message
}

fn film(media: &NewMedia, file: &MediaRef, timestamp: i64, context: Option<ContextInfo>) -> MessageField<VideoMessage> {
    with_file!(VideoMessage, media, file, timestamp, context, {
        caption: media.caption.clone(),
        seconds: media.seconds,
        width: media.width,
        height: media.height,
        jpeg_thumbnail: media.thumbnail.clone(),
        streaming_sidecar: file.sidecar.clone(),
        view_once: media.view_once.then_some(true),
    })
}

/// A document with a caption is wrapped once more.
fn document(media: &NewMedia, file: &MediaRef, timestamp: i64, context: Option<ContextInfo>) -> Message {
    let document = with_file!(DocumentMessage, media, file, timestamp, context, {
        title: media.filename.clone(),
        file_name: media.filename.clone(),
        caption: media.caption.clone(),
        page_count: media.pages,
        jpeg_thumbnail: media.thumbnail.clone(),
    });
    let message = Message {
        document_message: document,
        ..Default::default()
    };
    match media.caption {
        None => message,
        Some(_) => Message {
            document_with_caption_message: wrapped(message),
            ..Default::default()
        },
    }
}

fn wrapped(message: Message) -> MessageField<FutureProofMessage> {
    MessageField::some(FutureProofMessage {
        message: MessageField::some(message),
    })
}

/// The file's type, or the one that files of this kind usually have.
fn mimetype(media: &NewMedia) -> String {
    let usual = match media.kind {
        MediaKind::Image => "image/jpeg",
        MediaKind::Video | MediaKind::Note => "video/mp4",
        MediaKind::Audio => "audio/mp4",
        MediaKind::Voice => "audio/ogg; codecs=opus",
        MediaKind::Document => "application/octet-stream",
        MediaKind::Sticker => "image/webp",
    };
    media.mimetype.clone().unwrap_or_else(|| usual.to_owned())
}
