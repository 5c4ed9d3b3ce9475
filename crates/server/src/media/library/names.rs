//! What files are called: the message's id and what its type says.
//!
//! A message's id is partly its sender's invention, and so is the type: neither leaves its place in a path, a URL or a header.

use sha2::{Digest, Sha256};
use wharf_core::ids::MessageId;
use wharf_core::media::{FILE_NAME_BYTES_MAX, FileName};

/// The type of what has none that could be told.
const UNKNOWN_TYPE: &str = "application/octet-stream";
/// The most characters of a type that is told.
const TYPE_CHARS_MAX: usize = 128;
/// The extension of every other type.
const UNKNOWN_EXTENSION: &str = "bin";
/// How much of the hash stands for an id that cannot be a name, in bytes.
const HASH_BYTES: usize = 8;
/// Room for a dot and the longest extension.
const STEM_BYTES_MAX: usize = FILE_NAME_BYTES_MAX - 16;

/// The extensions of usual types, by the rule of WAHA's library: the first one of npm's `mime-db` 1.54.
const EXTENSIONS: &[(&str, &str)] = &[
    ("application/epub+zip", "epub"),
    ("application/gzip", "gz"),
    ("application/java-archive", "jar"),
    ("application/json", "json"),
    ("application/msword", "doc"),
    ("application/ogg", "ogx"),
    ("application/pdf", "pdf"),
    ("application/pkcs7-mime", "p7m"),
    ("application/pkcs7-signature", "p7s"),
    ("application/postscript", "ai"),
    ("application/rtf", "rtf"),
    ("application/sql", "sql"),
    ("application/vnd.android.package-archive", "apk"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-excel.sheet.macroenabled.12", "xlsm"),
    ("application/vnd.ms-outlook", "msg"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.ms-word.document.macroenabled.12", "docm"),
    ("application/vnd.oasis.opendocument.presentation", "odp"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "pptx",
    ),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsx",
    ),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "docx",
    ),
    ("application/vnd.rar", "rar"),
    ("application/vnd.visio", "vsd"),
    ("application/x-7z-compressed", "7z"),
    ("application/x-bzip2", "bz2"),
    ("application/x-msdownload", "exe"),
    ("application/x-rar-compressed", "rar"),
    ("application/x-sh", "sh"),
    ("application/x-tar", "tar"),
    ("application/x-zip-compressed", "zip"),
    ("application/xhtml+xml", "xhtml"),
    ("application/xml", "xml"),
    ("application/zip", "zip"),
    ("audio/aac", "adts"),
    ("audio/amr", "amr"),
    ("audio/flac", "flac"),
    ("audio/midi", "mid"),
    ("audio/mp3", "mp3"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mpga"),
    ("audio/ogg", "oga"),
    ("audio/wav", "wav"),
    ("audio/webm", "weba"),
    ("audio/x-m4a", "m4a"),
    ("audio/x-wav", "wav"),
    ("image/avif", "avif"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/jpeg", "jpg"),
    ("image/jpg", "jpg"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tif"),
    ("image/vnd.adobe.photoshop", "psd"),
    ("image/webp", "webp"),
    ("text/calendar", "ics"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/markdown", "md"),
    ("text/plain", "txt"),
    ("text/vcard", "vcard"),
    ("text/x-vcard", "vcf"),
    ("text/xml", "xml"),
    ("video/3gpp", "3gp"),
    ("video/mp4", "mp4"),
    ("video/mpeg", "mpeg"),
    ("video/ogg", "ogv"),
    ("video/quicktime", "qt"),
    ("video/webm", "webm"),
    ("video/x-matroska", "mkv"),
    ("video/x-msvideo", "avi"),
];

/// The name of a message's file without its extension: the id in full, or what is readable of it with a hash where it cannot be
/// a name, or is too long for one.
pub(super) fn stem(message: &MessageId) -> String {
    let id = message.to_string();
    if id.len() <= STEM_BYTES_MAX && id.parse::<FileName>().is_ok() {
        return id;
    }
    let hash = hex::encode(&Sha256::digest(id.as_bytes())[..HASH_BYTES]);
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "@._=+:-".contains(*c);
    let readable = id.chars().map(|c| if is_plain(&c) { c } else { '-' });
    let readable: String = readable.take(STEM_BYTES_MAX - hash.len() - 1).collect();
    // No id has two of these in a row.
    format!("{readable}--{hash}")[..].chars().take(STEM_BYTES_MAX).collect()
}

/// The name of the file: what its type says comes behind the last dot.
pub(super) fn file_name(stem: &str, mimetype: &str) -> Option<FileName> {
    format!("{stem}.{}", extension(mimetype)).parse().ok()
}

/// The type as it can be told: lower case, and none where it is no type at all.
pub(super) fn plain_type(mimetype: Option<&str>) -> String {
    let text = mimetype.unwrap_or_default().trim();
    let is_token = |part: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        !part.is_empty() && part.bytes().all(allowed)
    };
    let has_form = essence(text)
        .split_once('/')
        .is_some_and(|(kind, rest)| is_token(kind) && is_token(rest));
    let is_plain = text.len() <= TYPE_CHARS_MAX && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    match has_form && is_plain {
        true => text.to_ascii_lowercase(),
        false => UNKNOWN_TYPE.to_owned(),
    }
}

fn extension(mimetype: &str) -> &'static str {
    let known = EXTENSIONS.binary_search_by_key(&essence(mimetype), |(mimetype, _)| mimetype);
    known.map_or(UNKNOWN_EXTENSION, |place| EXTENSIONS[place].1)
}

/// The type without its parameters.
fn essence(mimetype: &str) -> &str {
    mimetype.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str, mimetype: &str) -> String {
        let message = MessageId {
            from_me: false,
            chat: "12025550101@c.us".parse().unwrap(),
            id: id.to_owned(),
            participant: None,
        };
        file_name(&stem(&message), &plain_type(Some(mimetype)))
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_file_is_called_like_its_message() {
        for (mimetype, expected) in [
            ("image/jpeg", "false_12025550101@c.us_3EB0AA.jpg"),
            ("audio/ogg; codecs=opus", "false_12025550101@c.us_3EB0AA.oga"),
            ("Application/PDF", "false_12025550101@c.us_3EB0AA.pdf"),
            ("application/octet-stream", "false_12025550101@c.us_3EB0AA.bin"),
            ("x/../../evil", "false_12025550101@c.us_3EB0AA.bin"),
            ("", "false_12025550101@c.us_3EB0AA.bin"),
        ] {
            assert_eq!(name("3EB0AA", mimetype), expected, "{mimetype}");
        }
    }

    #[test]
    fn what_a_sender_makes_up_stays_one_name_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        let long = "A".repeat(128);
        let other = format!("{long}B");
        for id in [
            "../../etc/passwd",
            "..-..-etc-passwd",
            "a/b",
            "a b",
            "ä\r\n",
            long.as_str(),
            other.as_str(),
        ] {
            let name = name(id, "image/jpeg");
            assert!(name.len() <= FILE_NAME_BYTES_MAX && !name.contains('/'), "{name}");
            assert!(seen.insert(name), "{id}");
        }
    }

    #[test]
    fn types_can_stand_in_headers() {
        for (given, expected) in [
            ("audio/ogg; codecs=opus", "audio/ogg; codecs=opus"),
            ("IMAGE/JPEG", "image/jpeg"),
            ("text/html\r\nX-Evil: 1", UNKNOWN_TYPE),
            ("image", UNKNOWN_TYPE),
            ("/", UNKNOWN_TYPE),
            ("image/ä", UNKNOWN_TYPE),
        ] {
            assert_eq!(plain_type(Some(given)), expected, "{given:?}");
        }
        assert_eq!(plain_type(None), UNKNOWN_TYPE);
    }

    #[test]
    fn the_table_is_in_order_and_fits_behind_a_name() {
        assert!(EXTENSIONS.is_sorted_by_key(|(mimetype, _)| *mimetype));
        assert!(EXTENSIONS.iter().all(|(_, extension)| extension.len() < 16));
    }
}
