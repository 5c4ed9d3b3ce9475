//! `wharf selftest`: whether this build can do what it must, and whether it verifies WhatsApp's certificates.

use anyhow::Context;
use wharf_core::store::Storage;
use wharf_storage::{LocalConfig, LocalStorage};

use crate::output::print;

/// Checks the build, the database engine and the API document; prints a line for each.
pub(crate) async fn run() -> anyhow::Result<()> {
    print(format_args!("version: {}", env!("CARGO_PKG_VERSION")));
    certificates()?;
    storage().await.context("storage: does not work")?;
    print(format_args!("storage: ok"));
    let operations = wharf_server::openapi().paths.paths.len();
    print(format_args!("openapi: {operations} paths"));
    Ok(())
}

/// Ends the process, through the error, in a production build whose check was disabled.
#[cfg(not(feature = "sandbox"))]
pub(crate) fn require_certificate_check() -> anyhow::Result<()> {
    wharf_engine::certificate_check().context("this build must not be used")
}

#[cfg(not(feature = "sandbox"))]
fn certificates() -> anyhow::Result<()> {
    require_certificate_check()?;
    print(format_args!("certificate check: enforced"));
    Ok(())
}

#[cfg(feature = "sandbox")]
#[expect(clippy::unnecessary_wraps, reason = "the production build's check can fail")]
fn certificates() -> anyhow::Result<()> {
    print(format_args!(
        "certificate check: off (this build talks to a sandbox network only)"
    ));
    Ok(())
}

async fn storage() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let storage = LocalStorage::open(LocalConfig::new(folder.path(), "selftest")).await?;
    storage.check().await?;
    storage.close().await;
    Ok(())
}
