//! Runs ffmpeg and ffprobe, as programs of their own: on local files only, bounded in time, processors, memory and output.
//!
//! They take files of strangers apart, so they get nothing to reach with: no other protocols than files and pipes, no formats that
//! name further files (playlists), no environment. What they say about a file goes into the log, never into an answer.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::FfmpegConfig;

/// The formats that are read; none that names other files, such as HLS and concat.
const FORMATS: &str = "aac,ac3,aiff,amr,asf,avi,caf,flac,flv,gif,gif_pipe,jpeg_pipe,jpegxl_pipe,matroska,mov,mp4,m4a,3gp,3g2,mj2,\
                       mp3,mpeg,mpegts,ogg,png_pipe,wav,webm,webp_pipe,webp";
/// The most pixels of a frame that is decoded: 8K.
const PIXELS_MAX: &str = "33177600";
/// The most memory that one run may have, in bytes.
const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// The most files that are looked at at the same time, which never wait for conversions.
const LOOKS_MAX: usize = 2;
/// The longest that a look at a file may take, and wait for others before; without it a file is sent all the same.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// The longest that a conversion waits for others.
const TURN_WITHIN: Duration = Duration::from_secs(60);
/// The most processor time in relation to the time that one run may take; it has several threads.
const CPUS_MAX: u64 = 2;
/// How far beyond its limit a file may get before the program ends by itself, in bytes: it writes large pieces.
const BEYOND_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What is read of the complaints of a program, in bytes.
const COMPLAINTS_BYTES_MAX: u64 = 4 * 1024;
/// What is read of an output at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// The programs, or what is known of their absence.
#[derive(Debug)]
pub(crate) struct Ffmpeg {
    config: FfmpegConfig,
    conversions: Semaphore,
    looks: Semaphore,
}

/// Why a file was not converted. Variants are what a caller can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FfmpegError {
    /// There is no such program.
    #[error("ffmpeg is not installed on the server; install it, or name it in WHARF_FFMPEG")]
    Missing,
    /// Too many others are at it.
    #[error("too many files are being converted")]
    Busy,
    /// It took too long.
    #[error("it takes longer than {0} seconds (WHARF_FFMPEG_SECONDS_MAX)")]
    TooSlow(u64),
    /// What comes of it is too large.
    #[error("converted it is larger than {0} bytes (WHARF_FILE_BYTES_MAX)")]
    TooLarge(u64),
    /// The program cannot do anything with the file.
    #[error("ffmpeg cannot read it")]
    Unreadable,
    /// The program could not be run.
    #[error("ffmpeg cannot be run")]
    Io(#[from] io::Error),
}

impl Ffmpeg {
    /// Whatever programs the configuration has found.
    pub(crate) fn new(config: FfmpegConfig) -> Self {
        Self {
            conversions: Semaphore::new(config.concurrency),
            looks: Semaphore::new(LOOKS_MAX),
            config,
        }
    }

    /// Whether files can be converted.
    pub(crate) fn is_there(&self) -> bool {
        self.config.ffmpeg.is_some()
    }

    /// Makes a voice message as WhatsApp's clients record it: Opus in Ogg, mono.
    pub(crate) async fn to_voice(&self, from: &Path, to: &Path, bytes_max: u64) -> Result<(), FfmpegError> {
        let args = [
            "-map",
            "0:a:0",
            "-map_metadata",
            "-1",
            "-vn",
            "-ac",
            "1",
            "-ar",
            "48000",
            "-c:a",
            "libopus",
            "-b:a",
            "32k",
            "-application",
            "voip",
            "-f",
            "ogg",
        ];
        self.convert(from, to, &args, bytes_max).await
    }

    /// Makes a video that every phone plays: H.264 and AAC in MP4, which begins before all of it is there.
    pub(crate) async fn to_video(&self, from: &Path, to: &Path, bytes_max: u64) -> Result<(), FfmpegError> {
        let args = [
            "-map",
            "0:v:0",
            "-map",
            "0:a:0?",
            "-map_metadata",
            "-1",
            "-sn",
            "-dn",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-profile:v",
            "main",
            "-pix_fmt",
            "yuv420p",
            // Both sides must be even.
            "-vf",
            "scale=trunc(iw/2)*2:trunc(ih/2)*2",
            "-c:a",
            "aac",
            "-b:a",
            "128k",
            "-ac",
            "2",
            "-movflags",
            "+faststart",
            "-f",
            "mp4",
        ];
        self.convert(from, to, &args, bytes_max).await
    }

    async fn convert(&self, from: &Path, to: &Path, args: &[&str], bytes_max: u64) -> Result<(), FfmpegError> {
        let program = self.config.ffmpeg.as_deref().ok_or(FfmpegError::Missing)?;
        let mut all = reading(&["-y"], from);
        all.extend(args.iter().map(OsString::from));
        all.extend(["-fs".into(), bytes_max.to_string().into(), url(to)]);
        let turn = timeout(TURN_WITHIN.min(self.config.within), self.conversions.acquire()).await;
        let _turn = turn.map_err(|_| FfmpegError::Busy)?.map_err(|_| FfmpegError::Busy)?;
        let file_bytes_max = bytes_max.saturating_add(BEYOND_BYTES_MAX);
        run(program, all, self.config.within, file_bytes_max, |_| ()).await?;
        // What has reached the limit was cut off there.
        match tokio::fs::metadata(to).await?.len() < bytes_max {
            true => Ok(()),
            false => Err(FfmpegError::TooLarge(bytes_max)),
        }
    }

    /// Decodes the sound of a file and hands on the samples: 16 bits, mono, `rate` in a second.
    pub(crate) async fn samples(&self, from: &Path, rate: u32, take: impl FnMut(&[u8])) -> Result<(), FfmpegError> {
        let program = self.config.ffmpeg.as_deref().ok_or(FfmpegError::Missing)?;
        let rate = rate.to_string();
        let args = [
            "-map", "0:a:0", "-vn", "-ac", "1", "-ar", &rate, "-f", "s16le", "pipe:1",
        ];
        let mut all = reading(&[], from);
        all.extend(args.iter().map(OsString::from));
        self.look(program, all, take).await
    }

    /// A picture out of a file, no larger than `side` pixels: PNG, of at most `bytes_max` bytes.
    pub(crate) async fn frame(&self, from: &Path, side: u32, bytes_max: usize) -> Result<Vec<u8>, FfmpegError> {
        let program = self.config.ffmpeg.as_deref().ok_or(FfmpegError::Missing)?;
        let scale = format!("scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease");
        let args = [
            "-map",
            "0:v:0",
            "-an",
            "-frames:v",
            "1",
            "-vf",
            &scale,
            "-c:v",
            "png",
            "-f",
            "image2pipe",
            "pipe:1",
        ];
        let mut all = reading(&[], from);
        all.extend(args.iter().map(OsString::from));
        self.collect(program, all, bytes_max).await
    }

    /// What ffprobe finds in a file: the chosen entries as JSON, of at most `bytes_max` bytes.
    pub(crate) async fn probe(&self, from: &Path, entries: &str, bytes_max: usize) -> Result<Vec<u8>, FfmpegError> {
        let program = self.config.ffprobe.as_deref().ok_or(FfmpegError::Missing)?;
        let mut args = limits();
        args.extend(["-show_entries", entries, "-of", "json", "-i"].map(OsString::from));
        args.push(url(from));
        self.collect(program, args, bytes_max).await
    }

    async fn collect(&self, program: &Path, args: Vec<OsString>, bytes_max: usize) -> Result<Vec<u8>, FfmpegError> {
        let mut output = Vec::new();
        let take = |chunk: &[u8]| output.extend_from_slice(&chunk[..chunk.len().min(bytes_max - output.len())]);
        self.look(program, args, take).await?;
        Ok(output)
    }

    /// Runs what only looks at a file, for what is shown of it.
    async fn look(&self, program: &Path, args: Vec<OsString>, take: impl FnMut(&[u8])) -> Result<(), FfmpegError> {
        let within = LOOK_WITHIN.min(self.config.within);
        let looking = async {
            let _turn = self.looks.acquire().await.map_err(|_| FfmpegError::Busy)?;
            run(program, args, within, 0, take).await
        };
        timeout(within, looking).await.unwrap_or(Err(FfmpegError::Busy))
    }
}

async fn run(
    program: &Path,
    args: Vec<OsString>,
    within: Duration,
    file_bytes_max: u64,
    take: impl FnMut(&[u8]),
) -> Result<(), FfmpegError> {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Whatever ends the wait ends the program.
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    restrict(&child, within, file_bytes_max);
    let ended = timeout(within, wait(&mut child, take)).await;
    let (status, complaints) = ended.map_err(|_| FfmpegError::TooSlow(within.as_secs()))??;
    match status.success() {
        true => Ok(()),
        false => {
            tracing::debug!(%status, complaints, "ffmpeg did not take a file");
            Err(FfmpegError::Unreadable)
        }
    }
}

/// Hands on what a program writes until it ends; how it ended, and what it complained about.
async fn wait(child: &mut Child, mut take: impl FnMut(&[u8])) -> io::Result<(ExitStatus, String)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = async {
        let Some(mut stdout) = stdout else { return Ok(()) };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match stdout.read(&mut chunk).await? {
                0 => return Ok::<_, io::Error>(()),
                length => take(&chunk[..length]),
            }
        }
    };
    let complaints = async {
        match stderr {
            Some(stderr) => first_of(stderr).await,
            None => Ok(String::new()),
        }
    };
    let ((), complaints) = tokio::try_join!(output, complaints)?;
    Ok((child.wait().await?, complaints))
}

/// The beginning of what is said; the rest is read too, or the program would wait for somebody to read it.
async fn first_of(mut said: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut first = Vec::new();
    (&mut said).take(COMPLAINTS_BYTES_MAX).read_to_end(&mut first).await?;
    tokio::io::copy(&mut said, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&first).into_owned())
}

/// What both programs are told before a file is opened.
fn limits() -> Vec<OsString> {
    let args = [
        "-hide_banner",
        "-loglevel",
        "error",
        "-protocol_whitelist",
        "file,pipe",
        "-format_whitelist",
        FORMATS,
        "-max_pixels",
        PIXELS_MAX,
    ];
    args.map(OsString::from).to_vec()
}

fn reading(options: &[&str], from: &Path) -> Vec<OsString> {
    let mut args = vec![OsString::from("-nostdin")];
    args.extend(options.iter().map(OsString::from));
    args.extend(limits());
    args.extend(["-i".into(), url(from)]);
    args
}

/// A path in the words of ffmpeg, which would take one with a colon for a protocol.
fn url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// Bounds what a program may use, over what it was told. It has used next to nothing by then.
#[cfg(target_os = "linux")]
fn restrict(child: &Child, within: Duration, file_bytes_max: u64) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let limits = [
        (Resource::Cpu, within.as_secs().max(1) * CPUS_MAX),
        (Resource::As, MEMORY_BYTES_MAX),
        (Resource::Fsize, file_bytes_max),
        (Resource::Core, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        // One that has ended already needs no limits.
        if let Some(pid) = pid
            && let Err(error) = prlimit(Some(pid), resource, limit)
        {
            tracing::debug!(error = %error, "a limit of ffmpeg could not be set");
        }
    }
}

/// Other systems have no such call; the time is bounded there as well.
#[cfg(not(target_os = "linux"))]
fn restrict(_child: &Child, _within: Duration, _file_bytes_max: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs that end at once, whatever they are told.
    fn ffmpeg() -> Ffmpeg {
        let program = Some("/bin/true".into());
        Ffmpeg::new(FfmpegConfig {
            ffmpeg: program.clone(),
            ffprobe: program,
            within: Duration::from_secs(300),
            concurrency: 1,
        })
    }

    #[tokio::test]
    async fn a_look_at_a_file_does_not_wait_for_conversions() {
        let ffmpeg = ffmpeg();
        let _busy = ffmpeg.conversions.acquire().await.unwrap();
        assert!(ffmpeg.probe(Path::new("/a"), "format", 1).await.is_ok());
        assert!(ffmpeg.samples(Path::new("/a"), 8_000, |_| ()).await.is_ok());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_program_gets_its_limits() {
        // They are set while it runs already; without them this never ends.
        let say = "while [ \"$(ulimit -f)\" = unlimited ]; do :; done; ulimit -t; ulimit -v; ulimit -f; ulimit -c";
        let args = ["-c", say].map(OsString::from).to_vec();
        let mut said = Vec::new();
        let within = Duration::from_secs(10);
        let outcome = run(Path::new("/bin/sh"), args, within, 1024 * 1024, |bytes| {
            said.extend_from_slice(bytes)
        })
        .await;
        assert!(outcome.is_ok(), "{outcome:?}");
        let memory_kib = MEMORY_BYTES_MAX / 1024;
        assert_eq!(
            String::from_utf8(said).unwrap(),
            format!("{}\n{memory_kib}\n2048\n0\n", 10 * CPUS_MAX)
        );
    }

    #[tokio::test]
    async fn whoever_waits_for_too_long_is_told_so() {
        let mut ffmpeg = ffmpeg();
        ffmpeg.config.within = Duration::from_millis(100);
        let _busy = ffmpeg.conversions.acquire().await.unwrap();
        let outcome = ffmpeg.to_voice(Path::new("/a"), Path::new("/b"), 1).await;
        assert!(matches!(outcome, Err(FfmpegError::Busy)), "{outcome:?}");
        let _looks = ffmpeg.looks.acquire_many(LOOKS_MAX as u32).await.unwrap();
        let outcome = ffmpeg.probe(Path::new("/a"), "format", 1).await;
        assert!(matches!(outcome, Err(FfmpegError::Busy)), "{outcome:?}");
    }
}
