//! Who is on WhatsApp, as the engine port names it.

use async_trait::async_trait;
use wharf_core::engine::{Contacts, EngineError};
use wharf_core::ids::ChatId;

use crate::connection::Connection;

#[async_trait]
impl Contacts for Connection {
    async fn find(&self, person: &ChatId) -> Result<Option<ChatId>, EngineError> {
        let me = self.ready()?;
        if !person.is_person() {
            return Err(EngineError::Invalid(format!("{person} is not the number of a person")));
        }
        match self.recipients.find(&self.client, &me, person).await {
            Ok(recipient) => Ok(Some(recipient.chat)),
            Err(EngineError::UnknownRecipient(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
