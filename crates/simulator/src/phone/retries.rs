//! What could not be decrypted: a phone asks for it again, and sends again what others ask for.
//!
//! Receipts as in wacore `protocol/retry.rs`, from the other side.

use buffa::Message as _;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use waproto::whatsapp::Message;

use super::attributes::Attributes;
use super::inbox::entry;
use super::outgoing::{device_sent, enc, envelope};
use super::{Desk, PhoneError};
use crate::keys::{Blob, be_number, id_bytes};
use crate::model::{Bundle, DeviceRef, SignedPrekey, Space};
use crate::stanza::{self, Malformed};
use crate::views::InboxKind;

/// How often a phone asks for one message again (wacore `protocol/retry.rs` MAX_RETRY_COUNT).
const RETRIES_MAX: u64 = 5;

impl Desk<'_> {
    /// The sender gets fresh keys with the request, so that it starts a session that works.
    pub(super) fn ask_again(
        &mut self,
        node: &Node,
        enc: &Node,
        from: &Jid,
        sender: &DeviceRef,
        id: &str,
    ) -> Result<(), PhoneError> {
        let count = stanza::number(enc, "count")?.unwrap_or(0) + 1;
        let now = self.now();
        let mut shown = entry(InboxKind::Undecryptable, &sender.number, &sender.number, false, now);
        shown.id = Some(id.to_owned());
        self.memory.inbox.push(shown);
        if count > RETRIES_MAX {
            // Nothing will make it readable: let it go, or it would come again for ever.
            let gave_up = NodeBuilder::new("ack")
                .attr("class", "message")
                .attr("id", id)
                .attr("to", from);
            self.submit(gave_up.attr("error", 500).build());
            return Ok(());
        }
        let t = stanza::text(node, "t").unwrap_or_default();
        let retry = NodeBuilder::new("retry")
            .attr("v", "1")
            .attr("id", id)
            .attr("t", t)
            .attr("count", count)
            .build();
        let registration = stanza::with_bytes("registration", self.memory.signal.registration_id().to_be_bytes());
        let keys = self.retry_keys();
        let mut builder = NodeBuilder::new("receipt")
            .attr("to", from)
            .attr("id", id)
            .attr("type", "retry");
        if sender.number == self.number {
            for key in ["category", "recipient"] {
                if let Some(value) = node.attrs.get(key) {
                    builder = builder.attr(key, value.clone());
                }
            }
        }
        self.submit(builder.children([retry, registration, keys]).build());
        Ok(())
    }

    fn retry_keys(&mut self) -> Node {
        let (id, public) = self.memory.signal.new_prekey(&mut self.rng);
        let signed = self.memory.signal.signed_prekey();
        let key = NodeBuilder::new("key")
            .children([
                stanza::with_bytes("id", id_bytes(id)),
                stanza::with_bytes("value", public.0),
            ])
            .build();
        let skey = NodeBuilder::new("skey")
            .children([
                stanza::with_bytes("id", id_bytes(signed.id)),
                stanza::with_bytes("value", signed.public.0),
                stanza::with_bytes("signature", signed.signature.0),
            ])
            .build();
        let identity = self.memory.signal.identity().public_bytes().to_vec();
        NodeBuilder::new("keys")
            .children([
                stanza::with_bytes("type", [5]),
                stanza::with_bytes("identity", identity),
                key,
                skey,
            ])
            .build()
    }

    pub(super) fn on_retry(&mut self, node: &Node, from: &Jid, id: &str) -> Result<(), PhoneError> {
        let Some(device) = self.device_of(from) else {
            return Ok(());
        };
        let count = stanza::number(stanza::child(node, "retry")?, "count")?.unwrap_or(1);
        if count > RETRIES_MAX {
            return Ok(());
        }
        let registration = be_number(stanza::required_bytes(stanza::child(node, "registration")?)?)
            .ok_or_else(|| Malformed::new("bad registration id"))?;
        let keys = match node.get_optional_child("keys") {
            Some(keys) => Some(read_keys(keys, registration)?),
            None => None,
        };
        self.resend(from, &device, id, count, keys)
    }

    /// Sends a message again to the one device that asked for it.
    fn resend(
        &mut self,
        to: &Jid,
        device: &DeviceRef,
        id: &str,
        count: u64,
        keys: Option<(Bundle, Option<(u32, Blob)>)>,
    ) -> Result<(), PhoneError> {
        let Some(sent) = self.memory.sent.iter().rev().find(|sent| sent.id == id).cloned() else {
            tracing::debug!(phone = self.number, id, "asked for a message that is not kept");
            return Ok(());
        };
        match keys {
            Some((bundle, prekey)) => self
                .memory
                .signal
                .start_session(device, &bundle, prekey, &mut self.rng)?,
            None => self.memory.signal.forget(device),
        }
        let is_own = device.number == self.number;
        let chat = self
            .network
            .lock()
            .account(&sent.chat)
            .map(|account| account.user_jid(Space::Lid));
        let message =
            Message::decode_from_slice(&sent.message.0).map_err(|error| PhoneError::Content(error.to_string()))?;
        let attributes = Attributes::of(&message);
        let encoded = match (&chat, is_own && !sent.peer) {
            (Some(chat), true) => device_sent(chat, &message).encode_to_vec(),
            _ => sent.message.0,
        };
        let Some(sealed) = self.seal(device, &encoded)? else {
            return Ok(());
        };
        let mut builder = envelope(to.clone(), id, &attributes);
        if sent.peer {
            builder = builder.attr("category", "peer");
        } else if let (Some(chat), true) = (chat, is_own) {
            builder = builder.attr("recipient", chat);
        }
        self.submit(builder.children([enc(sealed, &attributes, Some(count))]).build());
        Ok(())
    }
}

fn read_keys(keys: &Node, registration_id: u32) -> Result<(Bundle, Option<(u32, Blob)>), Malformed> {
    let pair = |node: &Node| {
        let id = be_number(stanza::required_bytes(stanza::child(node, "id")?)?);
        let public = Blob::from(stanza::required_bytes(stanza::child(node, "value")?)?);
        id.map(|id| (id, public)).ok_or_else(|| Malformed::new("bad key id"))
    };
    let skey = stanza::child(keys, "skey")?;
    let (id, public) = pair(skey)?;
    let signature = Blob::from(stanza::required_bytes(stanza::child(skey, "signature")?)?);
    let prekey = match keys.get_optional_child("key") {
        Some(key) => Some(pair(key)?),
        None => None,
    };
    let bundle = Bundle {
        registration_id,
        identity: stanza::required_bytes(stanza::child(keys, "identity")?)?.into(),
        signed_prekey: SignedPrekey { id, public, signature },
        ..Bundle::default()
    };
    Ok((bundle, prekey))
}
