//! How far our messages have come: the server's acks and the receipts of other devices.

use jiff::Timestamp;
use wacore::types::events::{Receipt, ServerAck};
use wacore::types::presence::ReceiptType;
use wacore_binary::{JidExt as _, Server};
use wharf_core::engine::AckUpdate;
use wharf_core::message::Ack;
use whatsapp_rust::Client;

use crate::addresses::{chat, is_me};

/// The class of a server ack that is about a message (whatsmeow `send.go`).
const MESSAGE_CLASS: &str = "message";

/// What a receipt says about messages, if it says anything.
pub(super) async fn receipt(client: &Client, receipt: &Receipt) -> Option<AckUpdate> {
    let source = &receipt.source;
    let ack = meaning(&receipt.r#type)?;
    let many = source.chat.is_group() || source.chat.server == Server::Broadcast;
    // Our other devices confirm their copies of what we sent: that does not tell how far it has come at the other side.
    if is_me(&source.sender, client) {
        return None;
    }
    let participant = match many {
        true => chat(client, &source.sender, source.sender_alt.as_ref()).await,
        false => None,
    };
    let alt = source.sender_alt.as_ref().filter(|_| !many);
    Some(AckUpdate {
        chat: chat(client, &source.chat, alt).await?,
        participant,
        ids: receipt.message_ids.clone(),
        ack,
        at: Timestamp::from_second(receipt.timestamp.timestamp()).ok()?,
        error: None,
    })
}

/// What the server's ack of a stanza says about a message, if the stanza was one.
pub(super) async fn server_ack(client: &Client, ack: &ServerAck, now: Timestamp) -> Option<AckUpdate> {
    if ack.class.as_deref() != Some(MESSAGE_CLASS) {
        return None;
    }
    let from = ack.from.as_ref()?;
    let at = ack.timestamp.and_then(|at| Timestamp::from_second(at.timestamp()).ok());
    Some(AckUpdate {
        chat: chat(client, from, None).await?,
        participant: None,
        ids: vec![ack.id.clone()],
        ack: if ack.error.is_some() { Ack::Error } else { Ack::Server },
        at: at.unwrap_or(now),
        error: ack.error.clone(),
    })
}

/// The state that a type of receipt stands for. `inactive` is a device that has the message without showing it, and
/// WhatsApp draws no second tick for it; `sender` and `peer_msg` are between our own devices; `retry` is handled by the
/// library.
fn meaning(kind: &ReceiptType) -> Option<Ack> {
    match kind {
        ReceiptType::Delivered => Some(Ack::Device),
        ReceiptType::Read | ReceiptType::ReadSelf => Some(Ack::Read),
        ReceiptType::Played | ReceiptType::PlayedSelf => Some(Ack::Played),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_that_a_sender_sees_count() {
        for (wire, expected) in [
            ("", Some(Ack::Device)),
            ("delivery", Some(Ack::Device)),
            ("read", Some(Ack::Read)),
            ("read-self", Some(Ack::Read)),
            ("played", Some(Ack::Played)),
            ("inactive", None),
            ("sender", None),
            ("peer_msg", None),
            ("retry", None),
            ("hist_sync", None),
            ("server-error", None),
            ("unheard-of", None),
        ] {
            assert_eq!(meaning(&ReceiptType::parse(wire)), expected, "{wire}");
        }
    }
}
