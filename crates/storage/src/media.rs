//! What is behind the port of media storages, `wharf_core::media`: a folder, a bucket in S3, or a database.
//!
//! One module for each; all fulfil the same `contract`. None of them is contacted before it is used: one that is down does not
//! keep a server from starting.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod local;
mod postgres;
mod s3;

pub use local::LocalMedia;
pub use postgres::{PostgresMedia, PostgresUrlError};
pub use s3::{S3Config, S3ConfigError, S3Media};

use std::ops::Range;

use wharf_core::media::MediaStorageError;

/// The part of a file that is meant by a range; an end behind that of the file is the file's.
fn part_of(size: u64, range: Option<Range<u64>>) -> Result<Range<u64>, MediaStorageError> {
    match range {
        None => Ok(0..size),
        Some(range) if range.start >= size => Err(MediaStorageError::OutOfRange { size }),
        Some(range) => Ok(range.start..range.end.clamp(range.start, size)),
    }
}
