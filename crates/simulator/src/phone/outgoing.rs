//! How a phone sends: messages to every device of both sides, receipts, typing, and what a device asks for again.
//!
//! Shapes as in wacore `send/dm.rs` and `send/encrypt.rs`. A phone addresses by hidden id, as migrated accounts do.

use buffa::{Message as _, MessageField};
use rand::Rng as _;
use wacore::messages::MessageUtils;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use waproto::whatsapp::Message;
use waproto::whatsapp::message::DeviceSentMessage;

use super::attributes::Attributes;
use super::{Desk, PREKEYS_LOW, PhoneError, SENT_MAX, Sent};
use crate::error::SandboxError;
use crate::keys::Blob;
use crate::media::MediaRef;
use crate::model::{DeviceRef, Space};
use crate::phone::signal::Sealed;
use crate::stanza;
use crate::views::{NewMessage, ReceiptKind, TypingState};

impl Desk<'_> {
    /// Sends a message and answers its id. `file` is where the hosts keep its media.
    pub(super) fn send_message(
        &mut self,
        to: &str,
        new: &NewMessage,
        file: Option<&MediaRef>,
    ) -> Result<String, SandboxError> {
        if self.network.lock().account(to).is_none() {
            return Err(SandboxError::not_found("chat", to));
        }
        let message = self.compose(to, new, file)?;
        let id = self.message_id();
        self.deliver(to, &id, &message)?;
        let now = self.now();
        self.show_message(to, self.number, &id, now, &message);
        Ok(id)
    }

    pub(super) fn message_id(&mut self) -> String {
        let mut random = [0; 9];
        self.rng.fill_bytes(&mut random);
        // The form of ids that phones make; companions' ids begin with 3EB0.
        format!("AC{}", hex::encode_upper(random))
    }

    /// Encrypts a message for every device of both sides and hands it to the network.
    pub(super) fn deliver(&mut self, to: &str, id: &str, message: &Message) -> Result<(), PhoneError> {
        let (chat, recipients, companions) = {
            let state = self.network.lock();
            let companions: Vec<DeviceRef> = state
                .devices_of(self.number)
                .into_iter()
                .filter(|device| device.device != 0)
                .collect();
            let recipients = if to == self.number {
                Vec::new()
            } else {
                state.devices_of(to)
            };
            (
                state.account(to).map(|account| account.user_jid(Space::Lid)),
                recipients,
                companions,
            )
        };
        let Some(chat) = chat else { return Ok(()) };
        let encoded = message.encode_to_vec();
        let attributes = Attributes::of(message);
        let mut participants = Vec::new();
        for device in recipients {
            participants.extend(self.seal_for(&device, &encoded, &attributes)?);
        }
        let copy = device_sent(&chat, message).encode_to_vec();
        for device in companions {
            participants.extend(self.seal_for(&device, &copy, &attributes)?);
        }
        self.remember(Sent {
            id: id.to_owned(),
            chat: to.to_owned(),
            message: Blob(encoded),
            peer: false,
        });
        if participants.is_empty() {
            return Ok(()); // A note to oneself without companions stays on the phone.
        }
        let mut children = vec![NodeBuilder::new("participants").children(participants).build()];
        children.extend(attributes.meta());
        self.submit(envelope(chat, id, &attributes).children(children).build());
        Ok(())
    }

    pub(super) fn remember(&mut self, sent: Sent) {
        self.memory.sent.push_back(sent);
        if self.memory.sent.len() > SENT_MAX {
            self.memory.sent.pop_front();
        }
    }

    /// A `<to>` with the message for one device; nothing for a device that has no keys yet.
    fn seal_for(
        &mut self,
        device: &DeviceRef,
        encoded: &[u8],
        attributes: &Attributes,
    ) -> Result<Option<Node>, PhoneError> {
        let Some(sealed) = self.seal(device, encoded)? else {
            return Ok(None);
        };
        let Some(jid) = self.network.lock().jid_of(device, Space::Lid) else {
            return Ok(None);
        };
        Ok(Some(
            NodeBuilder::new("to")
                .attr("jid", jid)
                .children([enc(sealed, attributes, None)])
                .build(),
        ))
    }

    pub(super) fn seal(&mut self, device: &DeviceRef, encoded: &[u8]) -> Result<Option<Sealed>, PhoneError> {
        if !self.memory.signal.has_session(device) {
            let taken = self.network.lock().take_bundle(device);
            let Some(keys) = taken else { return Ok(None) };
            self.memory
                .signal
                .start_session(device, &keys.bundle, keys.prekey, &mut self.rng)?;
        }
        let padded = MessageUtils::pad_message_v2(encoded.to_vec());
        Ok(Some(self.memory.signal.encrypt(device, &padded)?))
    }

    /// Sends a message to one companion of the same account.
    pub(super) fn send_peer(&mut self, device: &DeviceRef, message: &Message) -> Result<(), PhoneError> {
        let id = self.message_id();
        let encoded = message.encode_to_vec();
        let Some(sealed) = self.seal(device, &encoded)? else {
            return Ok(());
        };
        // Companions take such messages from their account's phone-number address (WhatsApp Web `isMePrimaryNonLid`).
        let Some(to) = self.network.lock().jid_of(device, Space::Pn) else {
            return Ok(());
        };
        self.remember(Sent {
            id: id.clone(),
            chat: self.number.to_owned(),
            message: Blob(encoded),
            peer: true,
        });
        let node = NodeBuilder::new("message")
            .attr("to", to)
            .attr("id", id)
            .attr("type", "text")
            .attr("category", "peer")
            .attr("push_priority", "high")
            .children([enc(sealed, &Attributes::default(), None)])
            .build();
        self.submit(node);
        Ok(())
    }

    pub(super) fn send_receipt(&mut self, chat: &str, id: &str, kind: ReceiptKind) -> Result<(), SandboxError> {
        let message = self
            .memory
            .chats
            .message(chat, id)
            .ok_or_else(|| SandboxError::not_found("message", id))?;
        if message.from_me {
            return Err(SandboxError::Invalid(
                "a receipt is for a message of the other side".to_owned(),
            ));
        }
        let to = self.address_of(chat)?;
        let mut builder = NodeBuilder::new("receipt")
            .attr("to", to)
            .attr("id", id)
            .attr("t", self.now());
        builder = match kind {
            ReceiptKind::Delivered => builder,
            ReceiptKind::Read => builder.attr("type", "read"),
            ReceiptKind::Played => builder.attr("type", "played"),
        };
        if kind != ReceiptKind::Delivered {
            self.memory.chats.read(chat);
            self.network.tick();
        }
        self.submit(builder.build());
        Ok(())
    }

    fn address_of(&self, chat: &str) -> Result<Jid, SandboxError> {
        let network = self.network.lock();
        let account = network.account(chat);
        let account = account.ok_or_else(|| SandboxError::not_found("chat", chat))?;
        Ok(account.user_jid(Space::Lid))
    }

    pub(super) fn send_typing(&mut self, chat: &str, state: TypingState) -> Result<(), SandboxError> {
        let to = self.address_of(chat)?;
        let state = match state {
            TypingState::Composing => stanza::empty("composing"),
            TypingState::Recording => NodeBuilder::new("composing").attr("media", "audio").build(),
            TypingState::Paused => stanza::empty("paused"),
        };
        self.submit(NodeBuilder::new("chatstate").attr("to", to).children([state]).build());
        Ok(())
    }

    /// Uploads new one-time keys when few are left.
    pub(super) fn refill_prekeys(&mut self) {
        let who = self.who();
        let low = self
            .network
            .lock()
            .device(&who)
            .is_some_and(|device| device.bundle.prekeys.len() < PREKEYS_LOW);
        if low {
            let more = self.memory.signal.more_prekeys(&mut self.rng);
            if let Some(device) = self.network.lock().device_mut(&who) {
                device.bundle.prekeys.extend(more);
            }
        }
    }
}

/// The stanza of a message, with what goes with it in the open.
pub(super) fn envelope(to: Jid, id: &str, attributes: &Attributes) -> NodeBuilder {
    let builder = NodeBuilder::new("message")
        .attr("to", to)
        .attr("id", id)
        .attr("type", attributes.kind);
    match attributes.edit {
        Some(edit) => builder.attr("edit", edit),
        None => builder,
    }
}

pub(super) fn enc(sealed: Sealed, attributes: &Attributes, count: Option<u64>) -> Node {
    let mut builder = NodeBuilder::new("enc").attr("v", "2").attr("type", sealed.kind);
    if let Some(media_type) = attributes.media_type {
        builder = builder.attr("mediatype", media_type);
    }
    if attributes.hides {
        builder = builder.attr("decrypt-fail", "hide");
    }
    if let Some(count) = count {
        builder = builder.attr("count", count);
    }
    builder.bytes(sealed.ciphertext).build()
}

/// The form in which an account's own devices get what one of them sent.
pub(super) fn device_sent(chat: &Jid, message: &Message) -> Message {
    let sent = DeviceSentMessage {
        destination_jid: Some(chat.to_string()),
        message: MessageField::some(message.clone()),
        ..Default::default()
    };
    Message {
        device_sent_message: MessageField::some(sent),
        message_context_info: message.message_context_info.clone(),
        ..Default::default()
    }
}
