//! The history that a phone gives a new companion, and single messages that a companion asks for again.
//!
//! Sent inline, compressed, in an encrypted message (`initialHistBootstrapInlinePayload`), so that no media server is
//! needed. The library only reads this form; see wacore `history_sync.rs` for the fields that clients look at.

use std::io::Write as _;

use buffa::{Message as _, MessageField};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use waproto::whatsapp::history_sync::HistorySyncType;
use waproto::whatsapp::message::{
    HistorySyncNotification, HistorySyncType as NoticeType, ProtocolMessage, protocol_message,
};
use waproto::whatsapp::web_message_info::Status;
use waproto::whatsapp::{
    Conversation, DeviceProps, HistorySync, HistorySyncMsg, Message, MessageKey, PhoneNumberToLIDMapping, Pushname,
    WebMessageInfo,
};

use super::inbox::ChatMessage;
use super::{Desk, PhoneError};
use crate::model::{DeviceRef, Space, State};
use crate::views::ReceiptKind;

/// Messages of each chat that a new companion gets, where it does not ask for fewer.
const MESSAGES_PER_CHAT: usize = 200;
/// How many days the recent history goes back, where a companion does not say; WhatsApp's three months.
const RECENT_DAYS: u32 = 90;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// Largest compressed history that fits into a message, in bytes.
const INLINE_LEN_MAX: usize = 3 << 20;

/// How much history a companion asked for when it registered, in its `DeviceProps`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct HistoryDepth {
    /// How many days it goes back; for ever where there is no number.
    days: Option<u32>,
    messages_per_chat: Option<u32>,
}

impl HistoryDepth {
    pub(crate) fn asked_in(props: &DeviceProps) -> Self {
        let config = props.history_sync_config.as_option();
        let recent = config.and_then(|config| config.recent_sync_days_limit);
        Self {
            days: match props.require_full_sync {
                Some(true) => config.and_then(|config| config.full_sync_days_limit),
                _ => Some(recent.unwrap_or(RECENT_DAYS)),
            },
            messages_per_chat: config.and_then(|config| config.initial_sync_max_messages_per_chat),
        }
    }

    /// Messages from before this time, in seconds since the Unix epoch, are not for it.
    fn since(self, now: u64) -> u64 {
        self.days
            .map_or(0, |days| now.saturating_sub(u64::from(days) * SECONDS_PER_DAY))
    }

    fn messages_per_chat(self) -> usize {
        let asked = self.messages_per_chat.and_then(|asked| usize::try_from(asked).ok());
        asked.unwrap_or(MESSAGES_PER_CHAT).min(MESSAGES_PER_CHAT)
    }
}

impl Desk<'_> {
    /// Sends recent chats, as much of them as the companion asked for, and everybody's push names.
    pub(super) fn send_history(&mut self, to: &DeviceRef) -> Result<(), PhoneError> {
        let (recent, names) = {
            let mut state = self.network.lock();
            let depth = state.device(to).map(|device| device.history).unwrap_or_default();
            let recent = self.recent(&state, depth);
            if let Some(device) = state.device_mut(to) {
                device.history_given = recent.conversations.iter().map(|chat| chat.messages.len()).sum();
            }
            (recent, self.push_names(&state))
        };
        for (kind, notice_type, history) in [
            (HistorySyncType::RECENT, NoticeType::RECENT, recent),
            (HistorySyncType::PUSH_NAME, NoticeType::PUSH_NAME, names),
        ] {
            let history = HistorySync {
                sync_type: kind,
                chunk_order: Some(1),
                progress: Some(100),
                ..history
            };
            let payload = compress(&history.encode_to_vec())?;
            let notification = HistorySyncNotification {
                sync_type: Some(notice_type),
                chunk_order: Some(1),
                progress: Some(100),
                file_length: Some(payload.len() as u64),
                initial_hist_bootstrap_inline_payload: Some(payload),
                ..Default::default()
            };
            let protocol = ProtocolMessage {
                r#type: Some(protocol_message::Type::HISTORY_SYNC_NOTIFICATION),
                history_sync_notification: MessageField::some(notification),
                ..Default::default()
            };
            self.send_peer(
                to,
                &Message {
                    protocol_message: MessageField::some(protocol),
                    ..Default::default()
                },
            )?;
        }
        Ok(())
    }

    fn recent(&self, state: &State, depth: HistoryDepth) -> HistorySync {
        let since = depth.since(state.now());
        let mut conversations = Vec::new();
        let mut mappings = Vec::new();
        for (number, chat) in &self.memory.chats.0 {
            let Some(account) = state.account(number) else { continue };
            let (pn, lid) = (
                account.user_jid(Space::Pn).to_string(),
                account.user_jid(Space::Lid).to_string(),
            );
            let newest = chat.messages.iter().rev().take(depth.messages_per_chat());
            let wanted = newest.take_while(|message| message.timestamp >= since);
            let messages = wanted.enumerate().map(|(order, message)| HistorySyncMsg {
                message: MessageField::some(web_message(&lid, message)),
                msg_order_id: Some(order as u64),
            });
            conversations.push(Conversation {
                id: lid.clone(),
                messages: messages.collect(),
                conversation_timestamp: Some(chat.last_activity),
                last_msg_timestamp: Some(chat.last_activity),
                unread_count: Some(chat.unread),
                end_of_history_transfer: Some(true),
                name: self.memory.contacts.get(number).cloned(),
                pn_jid: Some(pn),
                lid_jid: Some(lid),
                ..Default::default()
            });
        }
        let known = self.memory.contacts.keys().chain(self.memory.chats.0.keys());
        let known: std::collections::BTreeSet<&String> = known.collect();
        for account in known.into_iter().filter_map(|number| state.account(number)) {
            mappings.push(PhoneNumberToLIDMapping {
                pn_jid: Some(account.user_jid(Space::Pn).to_string()),
                lid_jid: Some(account.user_jid(Space::Lid).to_string()),
            });
        }
        HistorySync {
            conversations,
            phone_number_to_lid_mappings: mappings,
            ..Default::default()
        }
    }

    fn push_names(&self, state: &State) -> HistorySync {
        let known = self.memory.contacts.keys().map(String::as_str).chain([self.number]);
        let pushnames = known
            .filter_map(|number| state.account(number))
            .map(|account| Pushname {
                id: Some(account.user_jid(Space::Pn).to_string()),
                pushname: Some(account.name.clone()),
            });
        HistorySync {
            pushnames: pushnames.collect(),
            ..Default::default()
        }
    }

    /// A message of this phone as companions store it. By phone numbers, whichever address it was asked for by: that is
    /// how the library expects phones to answer (`whatsapp-rust` pdo.rs, the cache key).
    pub(super) fn stored_message(&self, key: &MessageKey) -> Option<WebMessageInfo> {
        let remote = key.remote_jid.as_deref()?.parse().ok()?;
        let (number, chat) = {
            let state = self.network.lock();
            let account = state.resolve(&remote)?;
            (account.number.clone(), account.user_jid(Space::Pn).to_string())
        };
        let message = self.memory.chats.message(&number, key.id.as_deref()?)?;
        let mut found = web_message(&chat, message);
        if let Some(key) = found.key.as_option_mut()
            && !message.from_me
        {
            key.participant = Some(chat);
        }
        Some(found)
    }
}

fn web_message(chat: &str, message: &ChatMessage) -> WebMessageInfo {
    let status = match (message.from_me, message.receipt) {
        (false, _) => None,
        (true, None) => Some(Status::SERVER_ACK),
        (true, Some(ReceiptKind::Delivered)) => Some(Status::DELIVERY_ACK),
        (true, Some(ReceiptKind::Read)) => Some(Status::READ),
        (true, Some(ReceiptKind::Played)) => Some(Status::PLAYED),
    };
    WebMessageInfo {
        key: MessageField::some(MessageKey {
            remote_jid: Some(chat.to_owned()),
            from_me: Some(message.from_me),
            id: Some(message.id.clone()),
            participant: None,
        }),
        message: MessageField::some(message.message()),
        message_timestamp: Some(message.timestamp),
        status,
        ..Default::default()
    }
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>, PhoneError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    let compressed = compressed.map_err(|error| PhoneError::Content(error.to_string()))?;
    if compressed.len() > INLINE_LEN_MAX {
        return Err(PhoneError::Content(
            "the history is too large to be sent inline".to_owned(),
        ));
    }
    Ok(compressed)
}
