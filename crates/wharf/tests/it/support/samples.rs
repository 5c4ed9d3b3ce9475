//! Media files for tests, made by the system's ffmpeg.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

/// How long the voice message and the sound are, in seconds.
pub(crate) const SOUND_SECONDS: u32 = 3;
/// How long the video is, in seconds.
pub(crate) const VIDEO_SECONDS: u32 = 2;
/// Width and height of the picture, in pixels.
pub(crate) const PICTURE_SIZE: (u32, u32) = (640, 480);
/// Width and height of the video, in pixels.
pub(crate) const VIDEO_SIZE: (u32, u32) = (320, 240);
/// The pages of the document.
pub(crate) const PDF_PAGES: u32 = 2;

/// Two empty pages.
const PDF: &str = "%PDF-1.4\n\
    1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj\n\
    2 0 obj <</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>> endobj\n\
    3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>> endobj\n\
    4 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>> endobj\n\
    trailer <</Root 1 0 R/Size 5>>\n\
    %%EOF\n";

/// One file of each kind.
pub(crate) struct Samples {
    folder: TempDir,
}

impl Samples {
    /// Makes them.
    pub(crate) async fn make() -> Self {
        let samples = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let (width, height) = PICTURE_SIZE;
        let picture = format!("testsrc=size={width}x{height}:rate=1:duration=1");
        for name in ["picture.jpg", "picture.png"] {
            samples.film(&["-i", &picture, "-frames:v", "1"], name).await;
        }
        let sound = format!("sine=frequency=440:duration={SOUND_SECONDS}");
        let opus = ["-i", &sound, "-ac", "1", "-ar", "48000", "-c:a", "libopus"];
        samples.film(&opus, "voice.ogg").await;
        samples.film(&["-i", &sound], "sound.mp3").await;
        let (width, height) = VIDEO_SIZE;
        let video = format!("testsrc=size={width}x{height}:rate=10:duration={VIDEO_SECONDS}");
        let h264 = [
            "-i",
            &video,
            "-f",
            "lavfi",
            "-i",
            &sound,
            "-pix_fmt",
            "yuv420p",
            "-shortest",
        ];
        samples.film(&h264, "video.mp4").await;
        fs::write(samples.folder.path().join("notes.txt"), "one\ntwo\n").unwrap();
        fs::write(samples.folder.path().join("two-pages.pdf"), PDF).unwrap();
        samples
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A picture, JPEG.
    pub(crate) fn picture(&self) -> PathBuf {
        self.folder.path().join("picture.jpg")
    }

    /// The same picture, PNG.
    pub(crate) fn png(&self) -> PathBuf {
        self.folder.path().join("picture.png")
    }

    /// A voice message as WhatsApp's clients record them: Opus in Ogg.
    pub(crate) fn voice(&self) -> PathBuf {
        self.folder.path().join("voice.ogg")
    }

    /// The same sound, MP3.
    pub(crate) fn sound(&self) -> PathBuf {
        self.folder.path().join("sound.mp3")
    }

    /// A video with sound, MP4.
    pub(crate) fn video(&self) -> PathBuf {
        self.folder.path().join("video.mp4")
    }

    /// A plain text.
    pub(crate) fn notes(&self) -> PathBuf {
        self.folder.path().join("notes.txt")
    }

    /// A document.
    pub(crate) fn pdf(&self) -> PathBuf {
        self.folder.path().join("two-pages.pdf")
    }

    async fn film(&self, source: &[&str], name: &str) {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-f", "lavfi"]);
        ffmpeg.args(source).arg(self.folder.path().join(name));
        let status = ffmpeg.kill_on_drop(true).status().await;
        let status = status.expect("ffmpeg runs; `./dev test` installs it");
        assert!(status.success(), "ffmpeg made no {name}");
    }
}
