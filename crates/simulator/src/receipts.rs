//! Receipts: what a device has, what a person has read, and what could not be decrypted.
//!
//! One that says that a device has messages acknowledges them ([`crate::acks`]). Every one is relayed to the devices
//! that want to know (wacore `stanza/receipt.rs`, whatsmeow `receipt.go`), queued there like a message.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::acks::says_delivered;
use crate::model::{ConnId, DeviceRef, Space, State};
use crate::stanza::{self, Malformed};

/// Messages that one receipt can name.
const IDS_MAX: usize = 5_000;

/// What a receipt's type means for the relay.
enum Audience {
    /// All devices of the message's sender; for reads, the reader's other devices too.
    Sender { tell_own_devices: bool },
    /// Only the reader's other devices.
    OwnDevices,
    /// Exactly the device it is addressed to.
    Device,
    /// The phone of the same account, if it is the one addressed.
    OwnPhone,
}

impl State {
    pub(crate) fn on_receipt(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let to = stanza::required_jid(node, "to")?;
        let id = stanza::required(node, "id")?;
        let kind = stanza::text(node, "type").unwrap_or_default();
        let audience = match kind.as_str() {
            "" | "inactive" => Audience::Sender {
                tell_own_devices: false,
            },
            "read" | "played" => Audience::Sender { tell_own_devices: true },
            "read-self" | "played-self" => Audience::OwnDevices,
            "retry" => {
                check_retry(node)?;
                Audience::Device
            }
            "sender" | "peer_msg" | "hist_sync" => Audience::OwnPhone,
            "server-error" => {
                self.check_media_retry(who, node, &to)?;
                Audience::OwnPhone
            }
            _ => return Err(Malformed::new(format!("receipt of type {kind}"))),
        };
        let ids = ids(node, id)?;
        if Space::of(&to).is_none() {
            self.unknown(conn, &format!("receipt to @{}", to.server));
        } else {
            self.relay_receipt(who, node, &to, &kind, audience)?;
        }
        if says_delivered(&kind) {
            self.on_delivery(who, &ids, node);
        }
        let ack = stanza::ack(node, self.now());
        self.reply(conn, ack);
        Ok(())
    }

    /// A device asks its own phone, and by the account's address, to upload the file of a message again (whatsmeow
    /// `mediaretry.go`, Baileys `encryptMediaRetryRequest`).
    fn check_media_retry(&self, who: &DeviceRef, node: &Node, to: &Jid) -> Result<(), Malformed> {
        let is_own = self.resolve(to).is_some_and(|account| account.number == who.number);
        if !is_own || to.device != 0 {
            return Err(Malformed::new(format!("server-error receipt to {to}")));
        }
        let encrypted = stanza::child(node, "encrypt")?;
        for tag in ["enc_p", "enc_iv"] {
            stanza::required_bytes(stanza::child(encrypted, tag)?)?;
        }
        let rmr = stanza::child(node, "rmr")?;
        stanza::required_jid(rmr, "jid")?;
        stanza::required(rmr, "from_me").map(drop)
    }

    fn relay_receipt(
        &mut self,
        who: &DeviceRef,
        node: &Node,
        to: &Jid,
        kind: &str,
        audience: Audience,
    ) -> Result<(), Malformed> {
        let space = Space::of(to).unwrap_or(Space::Lid);
        let number = self
            .resolve(to)
            .map(|account| account.number.clone())
            .ok_or_else(|| Malformed::new(format!("receipt to an unknown user: {to}")))?;
        match audience {
            Audience::Sender { tell_own_devices } => {
                if number != who.number {
                    // Deliveries name the device; what a person did is the account's.
                    let device = if tell_own_devices { 0 } else { who.device };
                    let from = self.jid_of(&DeviceRef::new(who.number.clone(), device), space);
                    for device in self.devices_of(&number) {
                        self.enqueue(&device, self.receipt_node(node, kind, from.clone(), None));
                    }
                }
                if tell_own_devices {
                    self.tell_own_devices(who, node, to, kind, space);
                }
            }
            Audience::OwnDevices => self.tell_own_devices(who, node, to, kind, space),
            Audience::Device => {
                let Some(device) = self.resolve_device(to) else {
                    return Ok(());
                };
                let from = self.jid_of(who, space);
                let recipient = stanza::jid(node, "recipient")?;
                let mut relayed = self.receipt_node(node, kind, from, recipient);
                relayed.content = node.content.clone();
                self.enqueue(&device, relayed);
            }
            Audience::OwnPhone => {
                let phone = DeviceRef::new(who.number.clone(), 0);
                if number == who.number && to.device == 0 && phone != *who {
                    let from = self.jid_of(who, space);
                    let mut relayed = self.receipt_node(node, kind, from, None);
                    if kind == "server-error" {
                        relayed.content = node.content.clone();
                    }
                    self.enqueue(&phone, relayed);
                }
            }
        }
        Ok(())
    }

    /// The account's other devices learn that it read a chat.
    fn tell_own_devices(&mut self, who: &DeviceRef, node: &Node, chat: &Jid, kind: &str, space: Space) {
        let from = self.account(&who.number).map(|account| account.user_jid(space));
        let others: Vec<DeviceRef> = self
            .devices_of(&who.number)
            .into_iter()
            .filter(|own| own != who)
            .collect();
        for device in others {
            let copy = self.receipt_node(node, kind, from.clone(), Some(chat.to_non_ad()));
            self.enqueue(&device, copy);
        }
    }

    fn receipt_node(&self, sent: &Node, kind: &str, from: Option<Jid>, recipient: Option<Jid>) -> Node {
        let mut builder = NodeBuilder::new("receipt").attr("t", self.now());
        if let Some(id) = sent.attrs.get("id") {
            builder = builder.attr("id", id.clone());
        }
        if let Some(from) = from {
            builder = builder.attr("from", from);
        }
        if let Some(recipient) = recipient {
            builder = builder.attr("recipient", recipient);
        }
        if !kind.is_empty() {
            builder = builder.attr("type", kind);
        }
        if let Some(category) = sent.attrs.get("category") {
            builder = builder.attr("category", category.clone());
        }
        match sent.get_optional_child("list") {
            Some(list) => builder.children([list.clone()]).build(),
            None => builder.build(),
        }
    }
}

fn check_retry(node: &Node) -> Result<(), Malformed> {
    let retry = stanza::child(node, "retry")?;
    stanza::required(retry, "id")?;
    let count = stanza::number(retry, "count")?;
    if count.is_none_or(|count| count == 0) {
        return Err(Malformed::new("<retry> without count"));
    }
    stanza::required_bytes(stanza::child(node, "registration")?)?;
    if let Some(keys) = node.get_optional_child("keys") {
        for tag in ["type", "identity", "skey"] {
            stanza::child(keys, tag)?;
        }
    }
    Ok(())
}

fn ids(node: &Node, first: String) -> Result<Vec<String>, Malformed> {
    let mut ids = vec![first];
    if let Some(list) = node.get_optional_child("list") {
        for item in stanza::children(list) {
            ids.push(stanza::required(item, "id")?);
        }
    }
    if ids.len() > IDS_MAX {
        return Err(Malformed::new("receipt for too many messages"));
    }
    Ok(ids)
}
