//! The databases behind the storage port of `wharf_core::store`, and what is behind that of media, `wharf_core::media`.
//!
//! One module for each; all of a port fulfil the same `contract`. Knows no collection of anybody: those are declared next to the
//! code that owns them.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod limits;
pub mod media;
pub mod sqlite;

pub use limits::{BODY_BYTES_MAX, IN_VALUES_MAX};
pub use sqlite::{LocalConfig, LocalStorage};
