//! What differs between WAHA's engines in an answer: a rendering per engine, and nothing else asks which one is on.

mod gows;
mod noweb;
mod webjs;

use serde_json::Value;
use wharf_core::events::MessagePayload;
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::message::Message;

use crate::config::Dialect;

impl Dialect {
    /// A message as answers and events have it.
    pub(crate) fn message(self, message: &Message) -> MessagePayload {
        MessagePayload::new(message, self.message_data(message))
    }

    fn message_data(self, message: &Message) -> Value {
        match self {
            Self::Webjs | Self::Wpp => webjs::message(message),
            Self::Noweb => noweb::message(message),
            Self::Gows => gows::message(message),
        }
    }
}

/// An address as the protocol writes it: phone numbers end with `@s.whatsapp.net`.
fn jid(chat: &ChatId) -> String {
    match chat.kind() {
        ChatKind::Phone => format!("{}@s.whatsapp.net", chat.user()),
        _ => chat.to_string(),
    }
}
