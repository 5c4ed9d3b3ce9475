//! Whether the account is shown as online.

use async_trait::async_trait;

use super::EngineError;

/// What others see of the account itself, beside its messages.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Shows the account as online, or as offline. While a companion is online, WhatsApp sends the phone no notifications.
    async fn set_online(&self, online: bool) -> Result<(), EngineError>;
}
