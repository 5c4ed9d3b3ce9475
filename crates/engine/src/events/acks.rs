//! How far our messages have come: the server's acks and the receipts of other devices.

use jiff::Timestamp;
use wacore::stanza::receipt::collect_simple_message_ids;
use wacore::types::events::{Receipt, ServerAck};
use wacore::types::presence::ReceiptType;
use wacore_binary::{Jid, JidExt as _, NodeRef, Server};
use wharf_core::engine::AckUpdate;
use wharf_core::message::Ack;
use whatsapp_rust::Client;

use crate::addresses::{chat, is_me};
use crate::own_id;

/// The class of a server ack that is about a message (whatsmeow `send.go`).
const MESSAGE_CLASS: &str = "message";

/// What a receipt says about messages, if it says anything.
///
/// Our own devices confirm what we sent too, which does not tell how far it has come at the other side; but what they
/// have read is read here as well. In chats with one person the event of such a receipt lacks the chat: those are
/// for [`own_receipt`].
pub(super) async fn receipt(client: &Client, receipt: &Receipt) -> Option<AckUpdate> {
    let source = &receipt.source;
    let ack = meaning(&receipt.r#type)?;
    let many = source.chat.is_group() || source.chat.server == Server::Broadcast;
    if is_me(&source.sender, client) && (!many || ack < Ack::Read) {
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
        ids: kept(&receipt.message_ids),
        ack,
        at: Timestamp::from_second(receipt.timestamp.timestamp()).ok()?,
        error: None,
    })
}

/// A receipt that names whom the messages are from, which only our own devices' receipts do.
///
/// The chat is in `recipient`, as in messages that our other devices send (whatsmeow `message.go` parseMessageSource). The
/// library's event leaves that attribute out, so this reads the stanza itself.
#[derive(Debug, PartialEq, Eq)]
struct OwnReceipt {
    from: Jid,
    chat: Jid,
    /// The chat's phone number, where `chat` is a linked identity.
    chat_alt: Option<Jid>,
    ids: Vec<String>,
    ack: Ack,
    /// When, in seconds since 1970.
    at_s: Option<i64>,
}

impl OwnReceipt {
    fn read(node: &NodeRef<'_>) -> Option<Self> {
        let mut attrs = node.attrs();
        let kind = attrs.optional_string("type")?;
        let ack = meaning(&ReceiptType::parse(&kind)).filter(|ack| *ack >= Ack::Read)?;
        let id = attrs.optional_string("id")?;
        Some(Self {
            from: attrs.optional_jid("from")?,
            chat: attrs.optional_jid("recipient")?.to_non_ad(),
            chat_alt: attrs.optional_jid("peer_recipient_pn"),
            ids: kept(&collect_simple_message_ids(node, &id, false)),
            ack,
            at_s: attrs.optional_u64("t").and_then(|at| i64::try_from(at).ok()),
        })
    }
}

/// Whether [`own_receipt`] may have something to say about a stanza.
pub(super) fn names_recipient(node: &NodeRef<'_>) -> bool {
    node.tag == "receipt" && node.get_attr("recipient").is_some()
}

/// What another device of ours has read in a chat with one person.
pub(super) async fn own_receipt(client: &Client, node: &NodeRef<'_>, now: Timestamp) -> Option<AckUpdate> {
    let own = OwnReceipt::read(node)?;
    // Nobody else has a say in what we have read.
    if !is_me(&own.from, client) {
        return None;
    }
    Some(AckUpdate {
        chat: chat(client, &own.chat, own.chat_alt.as_ref()).await?,
        participant: None,
        ids: own.ids,
        ack: own.ack,
        at: own.at_s.and_then(|at| Timestamp::from_second(at).ok()).unwrap_or(now),
        error: None,
    })
}

/// The ids as the messages are kept under them.
fn kept(ids: &[String]) -> Vec<String> {
    ids.iter().map(|id| own_id::kept(id).into_owned()).collect()
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
mod tests;
