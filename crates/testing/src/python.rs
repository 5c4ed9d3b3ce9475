//! Programs that are written in Python.

use std::path::PathBuf;

/// Where `./dev test` puts the Python packages of `tests/python`, unless it says where.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/python/bin/python");

/// The interpreter that has the packages of `tests/python`; `./dev test` installs them.
pub fn python() -> PathBuf {
    std::env::var_os("WHARF_TEST_PYTHON").map_or_else(|| PYTHON.into(), PathBuf::from)
}
