//! Who is on WhatsApp.

use async_trait::async_trait;

use super::EngineError;
use crate::ids::ChatId;

/// What can be asked about people.
#[async_trait]
pub trait Contacts: Send + Sync + 'static {
    /// The chat of a person as WhatsApp names it, by phone number; `None` where nobody has this number.
    async fn find(&self, person: &ChatId) -> Result<Option<ChatId>, EngineError>;
}
