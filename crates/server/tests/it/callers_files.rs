//! Callers' files, with the real ffmpeg: what is shown of them, what is converted, and what is refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use wharf_core::engine::{Content, MediaKind, OutgoingMedia};

use crate::harness::{ALICE, Answer, KEY, Link, Site, Wharf, page};
use crate::samples::{PDF_PAGES, PICTURE_SIZE, SOUND_SECONDS, Samples, VIDEO_SECONDS, VIDEO_SIZE};

const VOICE: &str = "audio/ogg; codecs=opus";

/// A server that finds ffmpeg, with a session that works.
async fn with_ffmpeg(variables: &[(&str, &str)]) -> (Wharf, Link) {
    let path = std::env::var("PATH").unwrap();
    let all: Vec<_> = variables.iter().copied().chain([("PATH", path.as_str())]).collect();
    let mut wharf = Wharf::start_with(&all).await;
    let link = wharf.working("default", json!({})).await;
    (wharf, link)
}

fn inline(file: &Path) -> Value {
    json!({"data": BASE64.encode(std::fs::read(file).unwrap()), "filename": file.file_name().unwrap().to_str()})
}

/// What has left last.
fn media(link: &Link) -> OutgoingMedia {
    match &link.engine.sent.lock().unwrap().last().unwrap().content {
        Content::Media(media) => media.clone(),
        other => panic!("{other:?}"),
    }
}

/// A form: fields, and a file.
async fn post_form(wharf: &Wharf, path: &str, fields: &[(&str, &str)], file: (&str, &[u8]), key: &str) -> Answer {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes());
    }
    let (filename, bytes) = file;
    let head = format!("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\r\n");
    body.extend([head.as_bytes(), bytes, b"\r\n--x--\r\n"].concat());
    let request = wharf.request(Method::POST, path).header("X-Api-Key", KEY);
    let request = request.header("Idempotency-Key", key);
    wharf
        .send(
            request
                .header("Content-Type", "multipart/form-data; boundary=x")
                .body(body),
        )
        .await
}

#[tokio::test]
async fn what_whatsapp_shows_of_a_file_is_found_out() {
    let samples = Samples::make().await;
    let (wharf, link) = with_ffmpeg(&[]).await;
    let send = async |operation: &str, file: &Path, convert: bool| {
        let body = json!({"chatId": ALICE, "file": inline(file), "convert": convert});
        let answer = wharf.post(&format!("/api/{operation}"), body).await;
        assert_eq!(answer.status, 201, "{operation} {file:?}: {:?}", answer.json());
        media(&link)
    };
    for (file, mimetype) in [(samples.picture(), "image/jpeg"), (samples.png(), "image/png")] {
        let picture = send("sendImage", &file, false).await;
        assert_eq!((picture.kind, picture.mimetype.as_str()), (MediaKind::Image, mimetype));
        assert_eq!(
            (picture.facts.width, picture.facts.height),
            (Some(PICTURE_SIZE.0), Some(PICTURE_SIZE.1))
        );
        let small = image::load_from_memory(&picture.facts.thumbnail.unwrap()).unwrap();
        assert_eq!((small.width(), small.height()), (100, 75));
    }
    for convert in [false, true] {
        let video = send("sendVideo", &samples.video(), convert).await;
        assert_eq!(
            (video.mimetype.as_str(), video.facts.seconds),
            ("video/mp4", Some(VIDEO_SECONDS))
        );
        assert_eq!(
            (video.facts.width, video.facts.height),
            (Some(VIDEO_SIZE.0), Some(VIDEO_SIZE.1))
        );
        assert!(video.facts.thumbnail.is_some());
    }
    for (file, convert, mimetype) in [
        (samples.voice(), false, VOICE),
        (samples.sound(), true, VOICE),
        (samples.sound(), false, "audio/mpeg"),
        (samples.video(), true, VOICE),
    ] {
        let voice = send("sendVoice", &file, convert).await;
        assert_eq!(
            (voice.kind, voice.mimetype.as_str()),
            (MediaKind::Voice, mimetype),
            "{file:?}"
        );
        let waveform = voice.facts.waveform.unwrap();
        assert!(
            waveform.len() == 64 && waveform.iter().any(|value| *value > 90),
            "{waveform:?}"
        );
        let expected = if file == samples.video() {
            VIDEO_SECONDS
        } else {
            SOUND_SECONDS
        };
        assert_eq!(voice.facts.seconds, Some(expected), "{file:?}");
    }
    let document = send("sendFile", &samples.pdf(), false).await;
    assert_eq!(
        (document.mimetype.as_str(), document.facts.pages),
        ("application/pdf", Some(PDF_PAGES))
    );
    let notes = send("sendFile", &samples.notes(), false).await;
    assert_eq!(
        (notes.mimetype.as_str(), notes.filename.as_deref()),
        ("text/plain", Some("notes.txt"))
    );
    assert_eq!(
        std::fs::read_dir(wharf.temp_folder()).unwrap().count(),
        0,
        "what was sent is not left behind"
    );
    wharf.stop().await;
}

#[tokio::test]
async fn files_are_converted_and_answered_as_asked_for() {
    let samples = Samples::make().await;
    let sound = std::fs::read(samples.sound()).unwrap();
    let served = sound.clone();
    let site = Site::start("127.0.0.1:0", move |_| page("audio/mpeg", &served)).await;
    let allowed = site.address.to_string();
    let (wharf, _link) = with_ffmpeg(&[("WHARF_EGRESS_ALLOW", &allowed)]).await;
    let voice = "/api/default/media/convert/voice";
    let is_voice = |bytes: &[u8]| bytes.starts_with(b"OggS") && bytes[28..].starts_with(b"OpusHead\x01\x01");
    for body in [
        json!({"url": site.url("/x.mp3")}),
        json!({"data": BASE64.encode(&sound)}),
        json!({"file": inline(&samples.sound())}),
    ] {
        let answer = wharf.post(voice, body).await;
        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (201, &VOICE.parse().unwrap())
        );
        assert!(is_voice(&answer.bytes), "it is opus, mono");
    }
    let answer = post_form(&wharf, voice, &[], ("x.mp3", &sound), "k").await;
    assert!(answer.status == 201 && is_voice(&answer.bytes));
    let request = wharf.request(Method::POST, voice).header("X-Api-Key", KEY);
    let request = request
        .header("Accept", "application/json")
        .json(&json!({"data": BASE64.encode(&sound)}));
    let answer = wharf.send(request).await.json();
    assert_eq!(answer["mimetype"], VOICE);
    assert!(is_voice(&BASE64.decode(answer["data"].as_str().unwrap()).unwrap()));

    let video = json!({"data": inline(&samples.video())["data"]});
    let answer = wharf.post("/api/default/media/convert/video", video).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (201, &"video/mp4".parse().unwrap())
    );
    let at = |name: &[u8]| answer.bytes.windows(4).position(|window| window == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"), "it plays before all of it is there");
    assert_eq!(
        wharf
            .post("/api/nobody/media/convert/voice", json!({"url": site.url("/")}))
            .await
            .status,
        404
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_file_that_names_others_or_is_broken_is_not_converted() {
    let samples = Samples::make().await;
    let canary = Site::start("127.0.0.1:0", |_| page("video/mp4", b"x")).await;
    let (wharf, link) = with_ffmpeg(&[]).await;
    let inside = samples.video();
    let playlist = |target: &str| format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n");
    for content in [
        playlist(&canary.url("/x.ts")),
        playlist(inside.to_str().unwrap()),
        format!("ffconcat version 1.0\nfile '{}'\n", inside.display()),
        "no video at all".to_owned(),
    ] {
        let file = samples.folder().join("stranger");
        std::fs::write(&file, &content).unwrap();
        let body = json!({"chatId": ALICE, "file": inline(&file), "convert": true});
        let answer = wharf.post("/api/sendVideo", body).await;
        assert_eq!(
            (answer.status, answer.json()["message"].as_str().unwrap()),
            (422, "file is no video that ffmpeg can read"),
            "{content}"
        );
    }
    assert_eq!((canary.hits(), link.engine.sent.lock().unwrap().len()), (0, 0));
    wharf.stop().await;
}

#[tokio::test]
async fn a_conversion_that_takes_too_long_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (program, pid) = (folder.path().join("ffmpeg"), folder.path().join("pid"));
    std::fs::write(
        &program,
        format!("#!/bin/sh\necho $$ > {}\nexec /bin/sleep 600\n", pid.display()),
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let variables = [
        ("WHARF_FFMPEG", program.to_str().unwrap()),
        ("WHARF_FFMPEG_SECONDS_MAX", "1"),
    ];
    let mut wharf = Wharf::start_with(&variables).await;
    wharf.working("default", json!({})).await;
    let answer = wharf
        .post("/api/default/media/convert/voice", json!({"data": "eA=="}))
        .await;
    assert_eq!(answer.status, 422);
    let told = answer.json()["message"].to_string();
    assert!(
        told.contains("the file cannot be converted") && told.contains("WHARF_FFMPEG_SECONDS_MAX"),
        "{told}"
    );
    let process = format!("/proc/{}/cmdline", std::fs::read_to_string(pid).unwrap().trim());
    // It was told to end; a moment may pass until it has.
    let ended = async {
        while std::fs::read(&process).is_ok_and(|line| !line.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::harness::PATIENCE, ended).await.unwrap();
    wharf.stop().await;
}

#[tokio::test]
async fn what_is_too_large_once_it_is_converted_is_not_cut_off_but_refused() {
    let samples = Samples::make().await;
    let (wharf, _link) = with_ffmpeg(&[("WHARF_FILE_BYTES_MAX", "2000")]).await;
    let data = json!({"data": inline(&samples.sound())["data"]});
    let answer = wharf.post("/api/default/media/convert/voice", data).await;
    assert_eq!(answer.status, 422);
    let told = "the file cannot be converted: converted it is larger than 2000 bytes (WHARF_FILE_BYTES_MAX)";
    assert_eq!(answer.json()["message"], told);
    wharf.stop().await;
}

#[tokio::test]
async fn without_ffmpeg_what_needs_it_says_so_and_the_rest_is_sent() {
    let samples = Samples::make().await;
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let voice = |convert: bool| json!({"chatId": ALICE, "file": inline(&samples.voice()), "convert": convert});
    let answer = wharf.post("/api/sendVoice", voice(true)).await;
    assert_eq!(answer.status, 422);
    let told = answer.json()["message"].to_string();
    assert!(
        told.contains("file cannot be converted: ffmpeg is not installed") && told.contains("WHARF_FFMPEG"),
        "{told}"
    );
    assert_eq!(wharf.post("/api/sendVoice", voice(false)).await.status, 201);
    assert_eq!(media(&link).facts.seconds, None);
    let health = wharf.get("/health").await;
    assert_eq!(
        (health.status, &health.json()["info"]["ffmpeg"]["status"]),
        (200, &json!("missing"))
    );
    wharf.stop().await;
    let (wharf, _link) = with_ffmpeg(&[]).await;
    assert_eq!(
        wharf.get("/health").await.json()["info"]["ffmpeg"],
        json!({"status": "up"})
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_form_is_one_message_however_often_it_is_sent_and_another_file_is_another_request() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    let fields = [("chatId", ALICE), ("caption", "look")];
    let send = |bytes: &'static [u8]| post_form(&wharf, "/api/sendFile", &fields, ("a.bin", bytes), "k");
    let first = send(b"one").await;
    assert_eq!(first.status, 201, "{:?}", first.json());
    let sent = media(&link);
    assert_eq!(
        (sent.filename.as_deref(), sent.caption.as_deref()),
        (Some("a.bin"), Some("look"))
    );
    assert_eq!(send(b"one").await.bytes, first.bytes);
    assert_eq!(send(b"two").await.status, 422);
    assert_eq!(link.engine.sent.lock().unwrap().len(), 1);
    let elsewhere = post_form(
        &wharf,
        "/api/sendText",
        &[("chatId", ALICE), ("text", "x")],
        ("a", b"x"),
        "other",
    )
    .await;
    assert_eq!(
        (elsewhere.status, &elsewhere.json()["message"]),
        (400, &json!(["file is not taken here"]))
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_body_has_a_limit_of_its_own() {
    let mut wharf = Wharf::start_with(&[("WHARF_BODY_BYTES_MAX", "1000")]).await;
    let link = wharf.working("default", json!({})).await;
    let body = json!({"chatId": ALICE, "file": {"data": "eHh4".repeat(400)}});
    assert_eq!(wharf.post("/api/sendFile", body).await.status, 413);
    let large = [b'x'; 4_000];
    let answer = post_form(&wharf, "/api/sendFile", &[("chatId", ALICE)], ("x", &large), "k").await;
    assert_eq!(answer.status, 201, "a form is no such body: {:?}", answer.json());
    assert_eq!(link.engine.sent.lock().unwrap().len(), 1);
    wharf.stop().await;
}

#[tokio::test]
async fn files_leave_room_on_the_disk_for_messages() {
    let reserve = u64::MAX.to_string();
    let mut wharf = Wharf::start_with(&[("WHARF_DISK_RESERVE_BYTES", &reserve)]).await;
    wharf.working("default", json!({})).await;
    let form = post_form(&wharf, "/api/sendFile", &[("chatId", ALICE)], ("x", b"x"), "k").await;
    let body = json!({"chatId": ALICE, "file": {"data": "eHh4"}});
    for answer in [form, wharf.post("/api/sendFile", body).await] {
        assert_eq!(answer.status, 503, "{:?}", answer.json());
        assert!(
            answer.json()["message"].as_str().unwrap().contains("no room"),
            "{:?}",
            answer.json()
        );
    }
    let text = json!({"chatId": ALICE, "text": "a text needs none"});
    assert_eq!(wharf.post("/api/sendText", text).await.status, 201);
    wharf.stop().await;
}
