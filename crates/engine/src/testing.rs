//! What the tests of several files set up in the same way.

#[cfg(feature = "sandbox")]
mod unreachable;

use std::path::Path;

use wharf_core::engine::{EngineOptions, HistoryDepth};
use wharf_core::ids::SessionName;
use wharf_core::store::Storage as _;
use wharf_storage::{LocalConfig, LocalStorage};

#[cfg(feature = "sandbox")]
pub(crate) use unreachable::unreachable;

/// What a connection of the session `alice` is made with, on real files in this folder.
pub(crate) async fn options(folder: &Path) -> EngineOptions {
    let storage = LocalStorage::open(LocalConfig::new(folder, "test")).await.unwrap();
    let session: SessionName = "alice".parse().unwrap();
    EngineOptions {
        store: storage.session(&session).await.unwrap(),
        session,
        device_name: "Ubuntu".to_owned(),
        browser_name: "Chrome".to_owned(),
        history: HistoryDepth::default(),
        proxy: None,
        span: tracing::Span::none(),
    }
}
