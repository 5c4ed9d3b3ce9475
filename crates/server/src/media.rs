//! Files: those that callers send, and those that messages bring.

pub(crate) mod facts;
pub(crate) mod ffmpeg;
pub(crate) mod jobs;
mod kinds;
mod library;
mod metrics;
mod outgoing;
pub(crate) mod rendering;
mod temp;

pub(crate) use jobs::{MediaJobs, SessionJobs, Wanted};
pub(crate) use library::{Health, KeptFile, Library};
pub(crate) use metrics::MediaMetrics;
pub(crate) use outgoing::{FileError, FileInput, Files, LocalFile, Prepared};
pub(crate) use rendering::Rendering;
pub(crate) use temp::TempFolder;
