//! `_data` as WAHA's engine WEBJS has it, after whatsapp-web.js `Message`.

use serde_json::{Value, json};
use wharf_core::message::Message;

/// A message in WEBJS's words.
pub(super) fn message(message: &Message) -> Value {
    let id = &message.id;
    let kind = match &message.media {
        None if message.location.is_some() => "location",
        None if !message.vcards.is_empty() => "vcard",
        None => "chat",
        Some(media) => match media.mimetype.as_deref().and_then(|kind| kind.split('/').next()) {
            Some("image") => "image",
            Some("video") => "video",
            Some("audio") => "audio",
            _ => "document",
        },
    };
    let mut data = json!({
        "id": {
            "fromMe": id.from_me,
            "remote": id.chat,
            "id": id.id,
            "_serialized": id.to_string(),
        },
        "type": kind,
        "t": message.timestamp.as_second(),
        "from": message.from,
        "to": message.to,
        "body": message.body,
        "ack": message.ack.number(),
        "mentionedJidList": message.mentions,
    });
    if let Some(name) = &message.push_name {
        data["notifyName"] = json!(name);
    }
    if let Some(participant) = &message.participant {
        data["author"] = json!(participant);
        data["id"]["participant"] = json!(participant);
    }
    if let Some(reply) = &message.reply_to {
        data["quotedStanzaID"] = json!(reply.id);
        data["quotedParticipant"] = json!(reply.participant);
    }
    data
}
