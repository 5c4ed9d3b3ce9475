//! The device that a session is: made where the store has none yet, and how it shows itself to the phone.
//!
//! What it shows and how much history it asks for is told once, when it is linked (`DeviceProps` of the registration).

use std::sync::Arc;

use wacore::store::device::{DevicePropsOverride, default_history_sync_config};
use waproto::whatsapp::device_props::{HistorySyncConfig, PlatformType};
use wharf_core::engine::{EngineError, EngineOptions, HistoryDepth};
use whatsapp_rust::store::commands::DeviceCommand;
use whatsapp_rust::store::persistence_manager::PersistenceManager;

use crate::backend::Backend;
use crate::error::store_failed;

/// The device as the store has it, or a new one, that shows itself as asked.
pub(crate) async fn device(
    options: &EngineOptions,
    backend: Arc<Backend>,
) -> Result<Arc<PersistenceManager>, EngineError> {
    let device = PersistenceManager::new(backend).await.map_err(store_failed)?;
    let shown = DevicePropsOverride::new()
        .with_os(options.device_name.as_str())
        .with_platform_type(platform(&options.browser_name))
        .with_require_full_sync(options.history.full.unwrap_or(false))
        .with_history_sync_config(history(&options.history));
    device.process_command(DeviceCommand::SetDeviceProps(shown)).await;
    Ok(Arc::new(device))
}

/// WhatsApp's name of a browser; what it does not know is shown as Chrome.
fn platform(browser: &str) -> PlatformType {
    match browser.trim().to_ascii_lowercase().as_str() {
        "firefox" => PlatformType::FIREFOX,
        "safari" => PlatformType::SAFARI,
        "edge" => PlatformType::EDGE,
        "opera" => PlatformType::OPERA,
        "ie" | "internet explorer" => PlatformType::IE,
        "desktop" => PlatformType::DESKTOP,
        _ => PlatformType::CHROME,
    }
}

/// What the library can read, limited to what is wanted.
fn history(depth: &HistoryDepth) -> HistorySyncConfig {
    HistorySyncConfig {
        full_sync_days_limit: depth.full_days_max,
        full_sync_size_mb_limit: depth.full_mb_max,
        recent_sync_days_limit: depth.recent_days_max,
        initial_sync_max_messages_per_chat: depth.messages_per_chat_max,
        thumbnail_sync_days_limit: depth.thumbnail_days_max,
        storage_quota_mb: depth.storage_quota_mb,
        ..default_history_sync_config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_browser_that_is_named() {
        for (name, expected) in [
            ("Chrome", PlatformType::CHROME),
            ("firefox", PlatformType::FIREFOX),
            (" Safari ", PlatformType::SAFARI),
            ("Desktop", PlatformType::DESKTOP),
            ("Netscape", PlatformType::CHROME),
        ] {
            assert_eq!(platform(name), expected, "{name}");
        }
    }

    #[test]
    fn every_limit_of_the_history_is_told() {
        let depth = HistoryDepth {
            full: Some(true),
            full_days_max: Some(365),
            full_mb_max: Some(512),
            recent_days_max: Some(30),
            messages_per_chat_max: Some(100),
            thumbnail_days_max: Some(90),
            storage_quota_mb: Some(1_024),
        };
        let told = history(&depth);
        assert_eq!(told.full_sync_days_limit, Some(365));
        assert_eq!(told.full_sync_size_mb_limit, Some(512));
        assert_eq!(told.recent_sync_days_limit, Some(30));
        assert_eq!(told.initial_sync_max_messages_per_chat, Some(100));
        assert_eq!(told.thumbnail_sync_days_limit, Some(90));
        assert_eq!(told.storage_quota_mb, Some(1_024));
        assert_eq!(history(&HistoryDepth::default()), default_history_sync_config());
    }
}
