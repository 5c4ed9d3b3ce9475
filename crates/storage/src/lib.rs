//! The databases behind the storage port of `wharf_core::store`.
//!
//! One module for each database; all fulfil the same `contract`. Knows no collection of anybody: those are declared
//! next to the code that owns them.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod limits;
pub mod sqlite;

pub use limits::{BODY_BYTES_MAX, IN_VALUES_MAX};
pub use sqlite::{LocalConfig, LocalStorage};
