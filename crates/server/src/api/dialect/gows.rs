//! `_data` as WAHA's engine GOWS has it, after whatsmeow's `events.Message`.

use serde_json::{Value, json};
use wharf_core::ids::ChatKind;
use wharf_core::message::Message;

use super::jid;

/// A message in GOWS's words.
pub(super) fn message(message: &Message) -> Value {
    let id = &message.id;
    let sender = message.participant.as_ref().unwrap_or(&message.from);
    json!({
        "Info": {
            "Chat": jid(&id.chat),
            "Sender": jid(sender),
            "IsFromMe": id.from_me,
            "IsGroup": id.chat.kind() == ChatKind::Group,
            "SenderAlt": message.sender_alt.as_ref().map(jid).unwrap_or_default(),
            "ID": id.id,
            "Type": if message.media.is_some() { "media" } else { "text" },
            "PushName": message.push_name.as_deref().unwrap_or_default(),
            "Timestamp": message.timestamp,
        },
        "Message": { "conversation": message.body },
    })
}
