//! The events of a message, the same wherever they are appended: at once, or once its file is there.

use wharf_core::events::{EventName, MessagePayload};
use wharf_core::message::Message;
use wharf_core::store::StoreError;

use super::{Identity, NewEvent};

/// `message` for what others write, and `message.any` for everything.
pub(crate) fn message_events(message: &Message, payload: &MessagePayload) -> Result<Vec<NewEvent>, StoreError> {
    let identity = Identity::Repeatable {
        at: message.timestamp,
        key: message.stanza.clone(),
    };
    let any = NewEvent::new(EventName::MessageAny, payload, identity)?.in_chat(&message.id.chat);
    Ok(match message.id.from_me {
        true => vec![any],
        false => vec![any.also(EventName::Message), any],
    })
}
