//! What arrives at a phone: messages are decrypted and answered with receipts.
//!
//! Receipts as in wacore `receipt.rs` and `protocol/retry.rs`, from the other side.

use wacore::messages::decode_plaintext;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use waproto::whatsapp::Message;

use super::changes::Changed;
use super::content::{Said, said};
use super::inbox::{ChatMessage, entry};
use super::{Desk, Incoming, PhoneError, SEEN_MAX, attributes, polls};
use crate::model::DeviceRef;
use crate::stanza::{self, Malformed};
use crate::views::{InboxKind, ReceiptKind, TypingState};

impl Desk<'_> {
    pub(super) fn on_message(&mut self, node: &Node) -> Result<(), PhoneError> {
        let from = stanza::required_jid(node, "from")?;
        let id = stanza::required(node, "id")?;
        let Some(sender) = self.device_of(&from) else {
            return Ok(());
        };
        let enc = stanza::child(node, "enc")?;
        // An id counts once in each chat of a sender; WhatsApp's clients show the first message of those that share one.
        let recipient = stanza::text(node, "recipient").unwrap_or_default();
        let key = format!("{sender} {recipient} {id}");
        if self.memory.seen.contains(&key) {
            self.network.lock().counters.repeated();
            self.confirm(node, &from, &sender, &id);
            return Ok(());
        }
        let kind = stanza::required(enc, "type")?;
        let opened = self
            .memory
            .signal
            .decrypt(&sender, &kind, stanza::required_bytes(enc)?, &mut self.rng);
        match opened {
            Ok(plaintext) => {
                self.memory.seen.push_back(key);
                if self.memory.seen.len() > SEEN_MAX {
                    self.memory.seen.pop_front();
                }
                self.confirm(node, &from, &sender, &id);
                let message =
                    decode_plaintext(&plaintext, 2).map_err(|error| PhoneError::Content(error.to_string()))?;
                self.on_content(node, enc, &sender, &id, message)
            }
            Err(error) => {
                tracing::debug!(phone = self.number, %sender, id, %error, "a phone could not decrypt a message");
                self.ask_again(node, enc, &from, &sender, &id)
            }
        }
    }

    /// The device behind an address, whether or not it is still linked.
    pub(super) fn device_of(&self, jid: &Jid) -> Option<DeviceRef> {
        self.network
            .lock()
            .resolve(jid)
            .map(|account| DeviceRef::new(account.number.clone(), jid.device))
    }

    pub(super) fn number_of(&self, jid: &Jid) -> Option<String> {
        self.network.lock().resolve(jid).map(|account| account.number.clone())
    }

    fn confirm(&mut self, node: &Node, from: &Jid, sender: &DeviceRef, id: &str) {
        let mut builder = NodeBuilder::new("receipt").attr("to", from).attr("id", id);
        if sender.number == self.number {
            let is_peer = node.attrs.get("category").is_some();
            builder = builder.attr("type", if is_peer { "peer_msg" } else { "sender" });
            if let Some(recipient) = node.attrs.get("recipient") {
                builder = builder.attr("recipient", recipient.clone());
            }
        }
        self.submit(builder.build());
    }

    fn on_content(
        &mut self,
        node: &Node,
        enc: &Node,
        sender: &DeviceRef,
        id: &str,
        mut message: Message,
    ) -> Result<(), PhoneError> {
        let is_own = sender.number == self.number;
        if is_own && let Some(protocol) = message.protocol_message.as_option() {
            return self.on_peer_message(sender, id, protocol);
        }
        let mut chat = sender.number.clone();
        if is_own && let Some(sent) = message.device_sent_message.take() {
            let destination = sent.destination_jid.as_deref().and_then(|jid| jid.parse::<Jid>().ok());
            chat = destination.and_then(|jid| self.number_of(&jid)).unwrap_or(chat);
            let secret = message.message_context_info;
            message = sent.message.into_option().unwrap_or_default();
            // Around the copy for own devices or in it: clients do both.
            if !message.message_context_info.is_set() {
                message.message_context_info = secret;
            }
        }
        if sender.device != 0 {
            self.object(sender, attributes::check(node, enc, &message));
            self.object(sender, polls::check(&message));
        }
        let timestamp = stanza::number(node, "t")?.unwrap_or_else(|| self.now());
        let changed = Changed {
            chat: &chat,
            by: &sender.number,
            id,
            timestamp,
            message: &message,
        };
        match self.apply(&changed) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(malformed) => {
                self.object(sender, Err(malformed));
                return Ok(());
            }
        }
        let text = self.show_message(&chat, &sender.number, id, timestamp, &message);
        if let (Some(echo), Some(text), false) = (self.echo, text, is_own) {
            let incoming = Incoming {
                chat,
                id: id.to_owned(),
                text,
            };
            if echo.try_send(incoming).is_err() {
                tracing::warn!(
                    phone = self.number,
                    "echo has too much to answer and leaves a message out"
                );
            }
        }
        Ok(())
    }

    /// Counts what a companion sent wrong, where only who can read it sees that.
    fn object(&self, sender: &DeviceRef, checked: Result<(), Malformed>) {
        if let Err(malformed) = checked {
            let mut state = self.network.lock();
            let now = state.now();
            state
                .counters
                .malformed(now, &sender.to_string(), malformed.to_string());
        }
    }

    /// Puts a message into its chat and the inbox; answers its text.
    pub(super) fn show_message(
        &mut self,
        chat: &str,
        from: &str,
        id: &str,
        timestamp: u64,
        message: &Message,
    ) -> Option<String> {
        let is_own = from == self.number;
        let said = self.with_numbers(said(message));
        let mut shown = entry(InboxKind::Message, chat, from, is_own, timestamp);
        shown.id = Some(id.to_owned());
        shown.text = said.text.clone();
        shown.reply_to = said.reply_to;
        shown.mentions = said.mentions;
        shown.content = (!said.content.is_plain()).then(|| Box::new(said.content));
        self.memory.inbox.push(shown);
        let kept = ChatMessage::new(id, is_own, said.text.clone(), message, timestamp);
        self.memory.chats.add(chat, kept);
        self.network.tick();
        said.text
    }

    /// Who is quoted, as a number instead of an address.
    pub(super) fn with_numbers(&self, mut said: Said) -> Said {
        if let Some(quoted) = &mut said.content.quoted {
            let author = quoted.from.as_deref().and_then(|jid| jid.parse::<Jid>().ok());
            quoted.from = author.and_then(|jid| self.number_of(&jid)).or(quoted.from.take());
        }
        said
    }

    pub(super) fn on_receipt(&mut self, node: &Node) -> Result<(), PhoneError> {
        let from = stanza::required_jid(node, "from")?;
        let id = stanza::required(node, "id")?;
        self.ack(node, "receipt", &from, &id);
        let kind = stanza::text(node, "type").unwrap_or_default();
        if kind == "retry" {
            return self.on_retry(node, &from, &id);
        }
        if kind == "server-error" {
            let companion = self.device_of(&from).filter(|device| device.number == self.number);
            return companion.map_or(Ok(()), |companion| self.on_media_retry(node, &companion, &id));
        }
        let Some(number) = self.number_of(&from) else {
            return Ok(());
        };
        if number == self.number {
            // A companion read a chat; other receipts of companions concern the server only.
            if let (true, Some(chat)) = (kind.starts_with("read"), stanza::jid(node, "recipient")?)
                && let Some(chat) = self.number_of(&chat)
            {
                self.memory.chats.read(&chat);
                self.network.tick();
            }
            return Ok(());
        }
        let receipt = match kind.as_str() {
            "" => ReceiptKind::Delivered,
            "read" => ReceiptKind::Read,
            "played" => ReceiptKind::Played,
            _ => return Ok(()), // An inactive device has it; nobody is shown that.
        };
        let listed = node
            .get_optional_child("list")
            .map(stanza::children)
            .unwrap_or_default();
        let ids = listed.iter().filter_map(|item| stanza::text(item, "id"));
        for id in std::iter::once(id).chain(ids) {
            if self.memory.chats.advance(&number, &id, receipt) {
                let now = self.now();
                let mut shown = entry(InboxKind::Receipt, &number, &number, false, now);
                shown.id = Some(id);
                shown.receipt = Some(receipt);
                self.memory.inbox.push(shown);
                self.network.tick();
            }
        }
        Ok(())
    }

    pub(super) fn on_ack(&mut self, node: &Node) -> Result<(), PhoneError> {
        let id = stanza::required(node, "id")?;
        let is_message = stanza::text(node, "class").as_deref() == Some("message");
        let sent = self.memory.sent.iter().rev().find(|sent| sent.id == id && !sent.peer);
        if let Some(chat) = sent.filter(|_| is_message).map(|sent| sent.chat.clone()) {
            let now = self.now();
            let mut shown = entry(InboxKind::Ack, &chat, self.number, true, now);
            shown.id = Some(id);
            shown.state = stanza::text(node, "error").map(|code| format!("error {code}"));
            self.memory.inbox.push(shown);
        }
        Ok(())
    }

    pub(super) fn on_presence(&mut self, node: &Node) -> Result<(), PhoneError> {
        let from = stanza::required_jid(node, "from")?;
        let state = stanza::text(node, "type").unwrap_or_else(|| "available".to_owned());
        self.show_state(InboxKind::Presence, &from, &state);
        Ok(())
    }

    pub(super) fn on_chatstate(&mut self, node: &Node) -> Result<(), PhoneError> {
        let from = stanza::required_jid(node, "from")?;
        let Some(state) = stanza::children(node).first() else {
            return Ok(());
        };
        let state = match (state.tag.as_ref(), stanza::text(state, "media").as_deref()) {
            ("composing", Some("audio")) | ("recording", _) => TypingState::Recording,
            ("composing", _) => TypingState::Composing,
            _ => TypingState::Paused,
        };
        if let Some(number) = self.number_of(&from) {
            let now = self.now();
            self.memory.chats.set_typing(&number, state, now);
        }
        let name = match state {
            TypingState::Composing => "composing",
            TypingState::Recording => "recording",
            TypingState::Paused => "paused",
        };
        self.show_state(InboxKind::Typing, &from, name);
        Ok(())
    }

    fn show_state(&mut self, kind: InboxKind, from: &Jid, state: &str) {
        let Some(number) = self.number_of(from).filter(|number| number != self.number) else {
            return;
        };
        let now = self.now();
        let mut shown = entry(kind, &number, &number, false, now);
        shown.state = Some(state.to_owned());
        self.memory.inbox.push(shown);
        self.network.tick();
    }

    pub(super) fn ack(&mut self, node: &Node, class: &'static str, from: &Jid, id: &str) {
        let mut builder = NodeBuilder::new("ack")
            .attr("class", class)
            .attr("to", from)
            .attr("id", id);
        for key in ["type", "participant", "recipient"] {
            if let Some(value) = node.attrs.get(key) {
                builder = builder.attr(key, value.clone());
            }
        }
        self.submit(builder.build());
    }
}
