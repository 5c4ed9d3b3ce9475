//! The files that callers send, the pages whose links they send, and the program that converts them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[
    &BODY_BYTES,
    &FILE_BYTES,
    &FILE_SECONDS,
    &LINK_PREVIEW_SECONDS,
    &FFMPEG,
    &FFMPEG_SECONDS,
    &FFMPEG_CONCURRENCY,
];

/// The largest body that can be asked for: what base64 stands in is in memory as a whole.
const BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// The longest that anything of this area can be given.
const SECONDS_MAX: f64 = 24.0 * 60.0 * 60.0;
/// The most conversions at the same time that can be asked for.
const FFMPEG_CONCURRENCY_MAX: usize = 64;

const BODY_BYTES: Variable = Variable {
    names: &["WHARF_BODY_BYTES_MAX"],
    default: "52428800",
    about: "The largest body of a request that is read, in bytes; base64 makes a file a third larger. Files that are sent by \
            `url` or as `multipart/form-data` have a limit of their own.",
    secret: false,
};
const FILE_BYTES: Variable = Variable {
    names: &["WHARF_FILE_BYTES_MAX"],
    default: "2147483648",
    about: "The largest file that is taken by `url` or as `multipart/form-data`, in bytes. WhatsApp takes documents of 2 GiB.",
    secret: false,
};
const FILE_SECONDS: Variable = Variable {
    names: &["WHARF_FILE_SECONDS_MAX"],
    default: "600",
    about: "The longest that such a file may take to arrive, in seconds.",
    secret: false,
};
const LINK_PREVIEW_SECONDS: Variable = Variable {
    names: &["WHARF_LINK_PREVIEW_SECONDS"],
    default: "5",
    about: "The longest that a text waits for the preview of its link, in seconds; afterwards it is sent without.",
    secret: false,
};
const FFMPEG: Variable = Variable {
    names: &["WHARF_FFMPEG"],
    default: "",
    about: "The program `ffmpeg`, which converts voice messages and videos; `ffprobe` is expected beside it. Otherwise both are \
            looked for in `PATH`.",
    secret: false,
};
const FFMPEG_SECONDS: Variable = Variable {
    names: &["WHARF_FFMPEG_SECONDS_MAX"],
    default: "300",
    about: "The longest that one conversion may take, in seconds.",
    secret: false,
};
const FFMPEG_CONCURRENCY: Variable = Variable {
    names: &["WHARF_FFMPEG_CONCURRENCY"],
    default: "2",
    about: "The most conversions at the same time; others wait.",
    secret: false,
};
/// Where programs are looked for; not a setting of ours.
const PATH: Variable = Variable {
    names: &["PATH"],
    default: "",
    about: "",
    secret: false,
};

/// The files that callers send.
#[derive(Debug, Clone)]
pub struct FilesConfig {
    /// The largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// The largest file that does not stand in a body, in bytes.
    pub file_bytes_max: u64,
    /// The longest that it may take to arrive.
    pub file_within: Duration,
    /// The longest that a text waits for the preview of its link.
    pub link_preview_within: Duration,
    /// The program that converts, where there is one.
    pub ffmpeg: FfmpegConfig,
}

/// How conversions are made.
#[derive(Debug, Clone)]
pub struct FfmpegConfig {
    /// The program `ffmpeg`, where it was found.
    pub ffmpeg: Option<PathBuf>,
    /// The program `ffprobe`, where it was found.
    pub ffprobe: Option<PathBuf>,
    /// The longest that one conversion may take.
    pub within: Duration,
    /// The most at the same time.
    pub concurrency: usize,
}

impl FilesConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let body_bytes_max = environment.parse(&BODY_BYTES, "a number of bytes")?;
        if !(1..=BODY_BYTES_MAX).contains(&body_bytes_max) {
            return Err(environment.wrong(&BODY_BYTES, format!("must be from 1 to {BODY_BYTES_MAX} bytes")));
        }
        Ok(Self {
            body_bytes_max,
            file_bytes_max: environment.parse(&FILE_BYTES, "a number of bytes")?,
            file_within: read_seconds(environment, &FILE_SECONDS)?,
            link_preview_within: read_seconds(environment, &LINK_PREVIEW_SECONDS)?,
            ffmpeg: FfmpegConfig::read(environment)?,
        })
    }
}

impl FfmpegConfig {
    fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let concurrency = environment.parse(&FFMPEG_CONCURRENCY, "a whole number")?;
        if !(1..=FFMPEG_CONCURRENCY_MAX).contains(&concurrency) {
            let problem = format!("must be from 1 to {FFMPEG_CONCURRENCY_MAX}");
            return Err(environment.wrong(&FFMPEG_CONCURRENCY, problem));
        }
        let (ffmpeg, ffprobe) = match environment.set(&FFMPEG) {
            Some((_, path)) if !Path::new(path).is_file() => {
                return Err(environment.wrong(&FFMPEG, "must be the path of a program"));
            }
            Some((_, path)) => (
                Some(PathBuf::from(path)),
                Some(Path::new(path).with_file_name("ffprobe")).filter(|path| path.is_file()),
            ),
            None => (in_path(environment, "ffmpeg"), in_path(environment, "ffprobe")),
        };
        Ok(Self {
            ffmpeg,
            ffprobe,
            within: read_seconds(environment, &FFMPEG_SECONDS)?,
            concurrency,
        })
    }
}

fn in_path(environment: &Environment, program: &str) -> Option<PathBuf> {
    let folders = environment.text(&PATH).split(':').filter(|folder| !folder.is_empty());
    let mut programs = folders.map(|folder| Path::new(folder).join(program));
    programs.find(|path| path.is_absolute() && path.is_file())
}

fn read_seconds(environment: &Environment, variable: &Variable) -> Result<Duration, ConfigError> {
    let seconds: f64 = environment.parse(variable, "a number of seconds")?;
    match (0.1..=SECONDS_MAX).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(environment.wrong(variable, format!("must be from 0.1 to {SECONDS_MAX} seconds"))),
    }
}
