//! Forms that are right, and forms that are wrong.

use axum::response::IntoResponse as _;
use futures::StreamExt as _;

use super::*;

/// The message of an error.
async fn message(error: ApiError) -> (u16, String) {
    let response = error.into_response();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    (status, body["message"].to_string())
}

fn files(variables: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let environment: crate::config::Environment = variables.iter().copied().collect();
    let config = crate::config::Config::read(&environment).unwrap();
    let lookup = std::sync::Arc::new(wharf_core::lookup::SystemLookup);
    let egress = crate::egress::Egress::new(config.egress.allow, None, lookup).unwrap();
    let temp = crate::media::TempFolder::open(folder.path().join("tmp"), 0).unwrap();
    (folder, Files::new(config.files, temp.into(), egress.into()))
}

/// One part: what its head says beside the name, and what is in it.
fn part(name: &str, head: &str, content: &str) -> String {
    format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{head}\r\n\r\n{content}\r\n")
}

async fn form(parts: &[String], files: &Files) -> Result<Form, ApiError> {
    let body = parts.concat() + "--x--\r\n";
    read("x".to_owned(), HttpBody::from(body), true, files).await
}

#[tokio::test]
async fn what_has_no_end_is_not_read_to_its_end() {
    const CHUNK_BYTES: usize = 4 * 1024;
    let (_folder, files) = files(&[]);
    let begin = b"--x\r\nContent-Disposition: form-data; name=\"a".as_slice();
    for begin in [b"before the first part".as_slice(), begin] {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let endless = futures::stream::repeat(Bytes::from(vec![b'a'; CHUNK_BYTES]))
            .inspect(move |chunk| _ = count.fetch_add(chunk.len(), Ordering::Relaxed));
        let begin = futures::stream::iter([Bytes::from_static(begin)]);
        let body = HttpBody::from_stream(begin.chain(endless).map(io::Result::Ok));
        let (status, _) = message(read("x".to_owned(), body, true, &files).await.err().unwrap()).await;
        assert_eq!(status, 400);
        assert!(taken.load(Ordering::Relaxed) <= HEAD_BYTES_MAX + CHUNK_BYTES);
    }
}

#[tokio::test]
async fn large_parts_come_in_many_chunks() {
    let (_folder, files) = files(&[]);
    let (text, content) = ("t".repeat(TEXT_PART_BYTES_MAX as usize), "f".repeat(1_000_000));
    let parts = [part("caption", "", &text), part("file", "; filename=\"a\"", &content)];
    let body = parts.concat() + "--x--\r\n";
    let chunks: Vec<_> = body.as_bytes().chunks(1_000).map(Bytes::copy_from_slice).collect();
    let body = HttpBody::from_stream(futures::stream::iter(chunks).map(io::Result::Ok));
    let form = read("x".to_owned(), body, true, &files).await.ok().unwrap();
    assert_eq!(form.body["caption"].as_str().unwrap().len(), text.len());
    assert_eq!(form.part.unwrap().size, 1_000_000);
}

#[tokio::test]
async fn texts_have_a_limit_together_and_files_are_taken_where_they_mean_something() {
    let (folder, files) = files(&[]);
    let text = "t".repeat(TEXT_PART_BYTES_MAX as usize);
    let texts: Vec<_> = (0..9).map(|at| part(&at.to_string(), "", &text)).collect();
    let (status, told) = message(form(&texts, &files).await.err().unwrap()).await;
    assert!(status == 400 && told.contains("beside its file"), "{told}");
    let body = part("file", "; filename=\"a\"", "never read to its end");
    let refused = read("x".to_owned(), HttpBody::from(body), false, &files).await;
    let (status, told) = message(refused.err().unwrap()).await;
    assert!(status == 400 && told.contains("file is not taken here"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_form_says_the_same_as_json() {
    let (_folder, files) = files(&[]);
    let parts = [
        part("chatId", "", "12025550101@c.us"),
        part("caption", "", "true"),
        part("convert", "", "true"),
        part("mentions", "", "[\"12025550102@c.us\"]"),
        part("extra", "\r\nContent-Type: application/json", "{\"a\": 1}"),
        part("file", "; filename=\"a.txt\"\r\nContent-Type: text/plain", "Hi"),
    ];
    let form = form(&parts, &files).await.ok().unwrap();
    let digest = hex::encode(Sha256::digest(b"Hi"));
    assert_eq!(
        form.body,
        json!({
            "chatId": "12025550101@c.us",
            "caption": "true",
            "convert": true,
            "mentions": ["12025550102@c.us"],
            "extra": {"a": 1},
            "file": {"filename": "a.txt", "mimetype": "text/plain", "sha256": digest},
        })
    );
    let file = form.part.unwrap();
    assert_eq!(
        (std::fs::read(&file.path).unwrap().as_slice(), file.size),
        (&b"Hi"[..], 2)
    );
}

#[tokio::test]
async fn a_form_that_is_wrong_is_refused_by_the_name_of_its_part() {
    let (folder, files) = files(&[("WHARF_FILE_BYTES_MAX", "10")]);
    let file = |content: &str| part("file", "; filename=\"a\"", content);
    let long = "x".repeat(TEXT_PART_BYTES_MAX as usize + 1);
    for (parts, expected) in [
        (
            vec![file("12345678901")],
            "file must not be larger than 10 bytes (WHARF_FILE_BYTES_MAX)",
        ),
        (vec![file("1"), file("2")], "file must be one part"),
        (
            vec![part("picture", "; filename=\"a\"", "1")],
            "picture must not be a file",
        ),
        (vec![part("convert", "", "maybe")], "convert must be JSON"),
        (vec![part("caption", "", &long)], "caption must not be longer"),
        (vec!["--x\r\nbroken".to_owned()], "body is not a form"),
        (
            (0..=PARTS_MAX).map(|at| part(&at.to_string(), "", "")).collect(),
            "no more than 64 parts",
        ),
    ] {
        let (status, told) = message(form(&parts, &files).await.err().unwrap()).await;
        assert!(status == 400 && told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}
