//! Which files can be sent as what, by their first bytes; what a caller or a server calls them is believed of documents only, which
//! nothing shows.

use wharf_core::engine::MediaKind;

use super::outgoing::{FileError, LocalFile};

/// The type of voice messages as WhatsApp's clients record them.
pub(super) const VOICE: &str = "audio/ogg; codecs=opus";
/// The type of videos that every phone plays.
pub(super) const VIDEO: &str = "video/mp4";
/// The type of what nothing is known about.
const UNKNOWN: &str = "application/octet-stream";
/// The most characters of a type.
const MIMETYPE_CHARS_MAX: usize = 255;
/// The most bytes of a picture or of a piece of sound; WhatsApp's clients send no larger ones, but as documents.
const PICTURE_OR_SOUND_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most bytes of a sticker, as WhatsApp's clients have it.
const STICKER_BYTES_MAX: u64 = 1024 * 1024;

/// The most bytes of a file of this kind, where that is less than of any file.
pub(super) fn bytes_max(kind: MediaKind) -> Option<u64> {
    match kind {
        MediaKind::Image | MediaKind::Audio | MediaKind::Voice => Some(PICTURE_OR_SOUND_BYTES_MAX),
        MediaKind::Sticker => Some(STICKER_BYTES_MAX),
        MediaKind::Video | MediaKind::VideoNote | MediaKind::Document => None,
    }
}

/// The type that a file is sent with. `field` is how the request calls it.
pub(super) fn mimetype(field: &str, kind: MediaKind, head: &[u8], file: &LocalFile) -> Result<String, FileError> {
    let found = sniffed(head);
    let (expected, fits): (_, fn(&str) -> bool) = match kind {
        MediaKind::Document => {
            let told = file
                .mimetype
                .as_deref()
                .filter(|told| is_mimetype(told) && *told != UNKNOWN);
            return Ok(told.or(found).or_else(|| by_name(file)).unwrap_or(UNKNOWN).to_owned());
        }
        MediaKind::Image => ("a picture (JPEG, PNG, WebP or GIF)", |found| {
            matches!(found, "image/jpeg" | "image/png" | "image/webp" | "image/gif")
        }),
        MediaKind::Sticker => ("a sticker (WebP)", |found| found == "image/webp"),
        MediaKind::Video | MediaKind::VideoNote => ("a video", |found| found.starts_with("video/")),
        MediaKind::Audio | MediaKind::Voice => (
            "a piece of sound; with convert set to true, also the sound of a video is sent",
            |found| found.starts_with("audio/"),
        ),
    };
    match found {
        Some(found) if fits(found) => Ok(found.to_owned()),
        found => Err(FileError::Invalid(format!(
            "{field} must be {expected}, but its content is {}",
            found.unwrap_or("of another type")
        ))),
    }
}

/// The name of a document: the given one, or one that says what it is.
pub(super) fn filename(given: Option<&str>, mimetype: &str) -> String {
    let essence = mimetype.split(';').next().unwrap_or_default().trim();
    let extension = mime_guess::get_mime_extensions_str(essence).and_then(|extensions| extensions.first());
    match given {
        Some(name) => name.to_owned(),
        None => format!("file.{}", extension.unwrap_or(&"bin")),
    }
}

fn by_name(file: &LocalFile) -> Option<&'static str> {
    mime_guess::from_path(file.filename.as_deref()?).first_raw()
}

/// The type of a file that begins like this, in WhatsApp's words.
pub(super) fn sniffed(head: &[u8]) -> Option<&'static str> {
    let found = infer::get(head)?.mime_type();
    Some(match found {
        "audio/opus" => VOICE,
        // What is in it stands in its first page.
        "audio/ogg" | "video/ogg" | "application/ogg" if head.windows(8).take(128).any(|it| it == b"OpusHead") => VOICE,
        "audio/m4a" => "audio/mp4",
        "audio/x-wav" => "audio/wav",
        "audio/x-flac" => "audio/flac",
        "video/x-m4v" => VIDEO,
        found => found,
    })
}

/// `type/subtype`, and what may follow it.
pub(super) fn is_mimetype(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let parts = essence.split_once('/');
    parts.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && text.len() <= MIMETYPE_CHARS_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_two_parts_and_may_have_parameters() {
        for text in [
            "image/jpeg",
            "audio/ogg; codecs=opus",
            "application/vnd.ms-excel",
            "image/svg+xml",
        ] {
            assert!(is_mimetype(text), "{text}");
        }
        for text in [
            "",
            "jpeg",
            "image/",
            "/png",
            "image/jp eg",
            "image/jpeg\r\nx: y",
            "text/ä",
        ] {
            assert!(!is_mimetype(text), "{text}");
        }
    }

    #[test]
    fn files_are_what_their_bytes_say() {
        for (head, expected) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Some("image/jpeg")),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some("image/png")),
            (b"<!DOCTYPE html><html>", Some("text/html")),
            (
                b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead",
                Some(VOICE),
            ),
            (b"\0\0\0\x18ftypmp42\0\0\0\0", Some("video/mp4")),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"just words", None),
        ] {
            assert_eq!(sniffed(head), expected, "{head:?}");
        }
    }
}
