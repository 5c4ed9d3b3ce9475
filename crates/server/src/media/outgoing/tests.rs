//! Files out of requests, where nothing is fetched and nothing converted.

use std::sync::Arc;

use wharf_core::lookup::SystemLookup;

use super::*;
use crate::config::{Config, Environment};
use crate::egress::AllowList;

/// What takes files, in a folder that goes with it, and where it cannot convert.
fn files() -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let temp = TempFolder::open(folder.path().join("tmp"), 0).unwrap();
    let egress = Egress::new(AllowList::default(), None, Arc::new(SystemLookup)).unwrap();
    let config = Config::read(&Environment::default()).unwrap().files;
    (folder, Files::new(config, temp.into(), egress.into()))
}

fn data(text: &str) -> FileInput {
    FileInput {
        data: Some(text.to_owned()),
        ..FileInput::default()
    }
}

async fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let (_folder, files) = files();
    let file = files
        .take("file", data(text))
        .await
        .map_err(|error| error.to_string())?;
    let bytes = std::fs::read(&file.path).unwrap();
    assert_eq!(bytes.len() as u64, file.size);
    Ok(bytes)
}

#[tokio::test]
async fn base64_is_taken_as_clients_write_it() {
    for text in [
        "SGk+Pz8=",
        "SGk+Pz8",
        "SGk-Pz8",
        "SGk-Pz8=",
        "SGk+\r\nPz8=\n",
        "data:text/plain;base64,SGk+Pz8=",
    ] {
        assert_eq!(decoded(text).await.unwrap(), b"Hi>??", "{text}");
    }
    let long = vec![7; 3 * BASE64_CHUNK_CHARS + 1];
    let text = base64::engine::general_purpose::STANDARD.encode(&long);
    assert_eq!(decoded(&text).await.unwrap(), long);
}

#[tokio::test]
async fn broken_base64_is_refused_by_name() {
    let padded_within = format!("{}SGk=", "SGk=".repeat(BASE64_CHUNK_CHARS / 4));
    for text in ["SGk*", "S", "SGk=SGk=", "data:text/plain,Hi", padded_within.as_str()] {
        assert_eq!(
            decoded(text).await.unwrap_err(),
            "file.data must be base64",
            "{:.40}",
            text
        );
    }
    assert_eq!(decoded("").await.unwrap_err(), "file is empty");
}

#[tokio::test]
async fn a_file_needs_one_source() {
    let (_folder, files) = files();
    let error = files.take("file", FileInput::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "file must have either url or data");
    let both = FileInput {
        url: Some("https://example.com/".to_owned()),
        ..data("SGk=")
    };
    assert!(files.take("file", both).await.is_err());
}

#[tokio::test]
async fn a_picture_must_be_one_whatever_it_is_called() {
    let (_folder, files) = files();
    let page = FileInput {
        mimetype: Some("image/png".to_owned()),
        ..data("PCFET0NUWVBFIGh0bWw+PGh0bWw+")
    };
    let error = files.prepare("file", page, MediaKind::Image, false).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "file must be a picture (JPEG, PNG, WebP or GIF), but its content is text/html"
    );
}

#[tokio::test]
async fn a_document_is_anything_and_gets_a_name() {
    let (_folder, files) = files();
    let input = FileInput {
        mimetype: Some("text/csv".to_owned()),
        ..data("YSxi")
    };
    let prepared = files.prepare("file", input, MediaKind::Document, false).await.unwrap();
    assert_eq!((prepared.media.mimetype.as_str(), prepared.guard.size), ("text/csv", 3));
    assert_eq!(prepared.media.filename.as_deref(), Some("file.csv"));
    let path = prepared.media.path.clone();
    assert!(path.exists());
    drop(prepared);
    assert!(!path.exists());
}

#[tokio::test]
async fn without_ffmpeg_nothing_is_converted_and_the_answer_says_so() {
    let (_folder, files) = files();
    let error = files
        .prepare("file", data("SGk="), MediaKind::Voice, true)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, FileError::Refused(text) if text.contains("WHARF_FFMPEG")),
        "{error}"
    );
}

#[test]
fn names_of_files_have_nothing_that_hides_or_leads_elsewhere() {
    for (name, readable) in [
        ("invoice.pdf", Some("invoice.pdf")),
        ("../../etc/passwd", Some("passwd")),
        ("C:\\x\\y.txt", Some("y.txt")),
        ("a\r\nb.txt", Some("ab.txt")),
        ("exe.\u{202e}fdp", Some("exe.fdp")),
        ("  ", None),
        ("x/", None),
    ] {
        assert_eq!(readable_name(name).as_deref(), readable, "{name:?}");
    }
}

#[test]
fn names_come_out_of_headers_and_addresses() {
    let named = |text: &str| name_in_headers(&HeaderMap::from_iter([(CONTENT_DISPOSITION, text.parse().unwrap())]));
    assert_eq!(named("attachment; filename=\"a b.pdf\"").as_deref(), Some("a b.pdf"));
    assert_eq!(
        named("attachment; filename=x.pdf; filename*=UTF-8''%c3%a4%2Bb.pdf").as_deref(),
        Some("ä+b.pdf")
    );
    assert_eq!(named("inline"), None);
    let url = "https://example.com/files/a%20b.png?size=2".parse().unwrap();
    assert_eq!(name_in_url(&url).as_deref(), Some("a b.png"));
}
