//! Identifiers as newtypes: what is parsed here is never checked again.

mod chat;
mod event;
mod message;
mod session;

pub use chat::{ChatId, ChatIdError, ChatKind};
pub use event::{EventId, EventIdError};
pub use message::{MessageId, MessageIdError, MessageRef};
pub use session::{SESSION_NAME_CHARS_MAX, SessionName, SessionNameError};
