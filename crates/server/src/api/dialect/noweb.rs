//! `_data` as WAHA's engine NOWEB has it, after Baileys' `WAMessage`.

use serde_json::{Value, json};
use wharf_core::message::Message;

use super::jid;

/// A message in NOWEB's words.
pub(super) fn message(message: &Message) -> Value {
    let id = &message.id;
    let mut data = json!({
        "key": {
            "remoteJid": jid(&id.chat),
            "fromMe": id.from_me,
            "id": id.id,
        },
        // Baileys writes 64-bit numbers as text.
        "messageTimestamp": message.timestamp.as_second().to_string(),
        "broadcast": false,
        "message": content(message),
        // One more than WAHA's ack: `proto.WebMessageInfo.Status` begins with ERROR = 0.
        "status": message.ack.number() + 1,
    });
    if let Some(name) = &message.push_name {
        data["pushName"] = json!(name);
    }
    if let Some(participant) = &id.participant {
        data["key"]["participant"] = json!(jid(participant));
    }
    data
}

/// The text as Baileys has it: with a context where something is quoted or mentioned.
fn content(message: &Message) -> Value {
    if message.reply_to.is_none() && message.mentions.is_empty() {
        return json!({ "conversation": message.body });
    }
    let mut context = json!({ "mentionedJid": message.mentions.iter().map(jid).collect::<Vec<_>>() });
    if let Some(reply) = &message.reply_to {
        context["stanzaId"] = json!(reply.id);
        context["participant"] = json!(reply.participant.as_ref().map(jid));
    }
    json!({ "extendedTextMessage": { "text": message.body, "contextInfo": context } })
}
