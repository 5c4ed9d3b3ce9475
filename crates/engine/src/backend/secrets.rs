//! The secrets of messages, which open later reactions, edits and votes.
//!
//! The library buffers them, answers from that buffer, and writes all that came during the last write with the next; it
//! accepts that a crash loses what is in the buffer (`msg_secret_buffer.rs`). WhatsApp has our acknowledgement by then, and
//! nothing else brings a secret back. So the hook writes those of its messages in its own commit ([`secrets`]); when the
//! library comes with them, there is mostly nothing left to write.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use wacore::msg_secret::{self, MsgSecretPolicy, MsgSecretRetention};
use wacore::proto_helpers::MessageExt as _;
use wacore::store::traits::{
    MessageSecret, MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};
use wacore::types::events::InboundMessage;
use wacore_binary::JidExt as _;
use wharf_core::store::{Batch, Collection, Condition, Document, Field};

use super::{Backend, Result, join, moment};

/// Secrets by chat, sender and message; those that never expire have no `expires_at`.
static SECRETS: Collection = Collection {
    name: "wa_msg_secrets",
    fields: &[Field::time("expires_at")],
};

/// The bytes of a record: the secret, then its two times in seconds, big-endian.
const RECORD_BYTES: usize = size_of::<MessageSecret>() + 2 * size_of::<i64>();

/// What is kept of one message.
#[derive(PartialEq, Eq)]
struct Record {
    secret: MessageSecret,
    /// 0 is never.
    expires_at: i64,
    /// 0 is unknown.
    message_ts: i64,
}

#[async_trait]
impl MsgSecretStore for Backend {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let count = entries.len();
        let ids: Vec<String> = entries
            .iter()
            .map(|entry| id(&entry.chat, &entry.sender, &entry.msg_id))
            .collect();

        let _turn = self.secrets_turn.lock().await;
        let mut stored = BTreeMap::new();
        for document in self.get_many(&SECRETS, &ids).await? {
            stored.insert(document.id.clone(), self.secret(&document)?);
        }
        let mut changed: BTreeMap<String, Record> = BTreeMap::new();
        for (id, entry) in ids.into_iter().zip(entries) {
            let mut new = Record::from(&entry);
            let old = changed.get(&id).or_else(|| stored.get(&id));
            if let Some(old) = old {
                new.expires_at = merge_msg_secret_expiry(old.expires_at, new.expires_at);
                new.message_ts = merge_msg_secret_message_ts(old.message_ts, new.message_ts);
            }
            if old != Some(&new) {
                changed.insert(id, new);
            }
        }
        if changed.is_empty() {
            return Ok(count);
        }
        let batch = changed.iter().fold(Batch::new(), |batch, (id, record)| {
            batch.put(&SECRETS, record.encode(id))
        });
        self.write(batch.when_convenient()).await?;
        Ok(count)
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        let found = self.get_msg_secret_with_ts(chat, sender, msg_id).await?;
        Ok(found.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<(Vec<u8>, i64)>> {
        let Some(document) = self.get(&SECRETS, &id(chat, sender, msg_id)).await? else {
            return Ok(None);
        };
        let record = self.secret(&document)?;
        Ok(Some((record.secret.to_vec(), record.message_ts)))
    }

    /// Does nothing; see [`super::Backend::sweep`].
    async fn delete_expired_msg_secrets(&self, _cutoff_timestamp: i64) -> Result<u32> {
        Ok(0)
    }
}

/// The secrets of messages that the hook is given, as the library keeps them (`message/msg_secret.rs`
/// maybe_capture_inbound_msg_secret).
pub(crate) fn secrets(batch: &[InboundMessage], now: Timestamp) -> Batch {
    let entries = batch.iter().filter_map(|inbound| secret_entry(inbound, now));
    entries.fold(Batch::new(), |batch, entry| {
        let id = id(&entry.chat, &entry.sender, &entry.msg_id);
        batch.put(&SECRETS, Record::from(&entry).encode(&id))
    })
}

fn secret_entry(inbound: &InboundMessage, now: Timestamp) -> Option<MsgSecretEntry> {
    let (message, info) = (&inbound.message, &inbound.info);
    let secret = message.message_context_info.as_option()?.message_secret.as_deref()?;
    if message.is_forwarded() {
        return None;
    }
    let chat = &info.source.chat;
    let sent_at = u64::try_from(info.timestamp.timestamp()).ok();
    let expires_at = msg_secret::expires_at(
        MsgSecretPolicy::default(),
        &MsgSecretRetention::default(),
        msg_secret::classify(message, chat.is_bot()),
        sent_at,
        now.as_second(),
    );
    let message_ts = sent_at.and_then(|sent_at| i64::try_from(sent_at).ok()).unwrap_or(0);
    let secret = secret.try_into().ok()?;
    Some(MsgSecretEntry::new(
        chat,
        &info.source.sender,
        &info.id,
        secret,
        expires_at,
        message_ts,
    ))
}

/// Removes the secrets whose time is over.
pub(super) fn sweep(now: Timestamp) -> Batch {
    Batch::new().delete_where(&SECRETS, vec![Condition::AtMost("expires_at", now.into())])
}

impl From<&MsgSecretEntry> for Record {
    fn from(entry: &MsgSecretEntry) -> Self {
        Self {
            secret: entry.secret,
            expires_at: entry.expires_at,
            message_ts: entry.message_ts,
        }
    }
}

impl Record {
    fn encode(&self, id: &str) -> Document {
        let times = [self.expires_at.to_be_bytes(), self.message_ts.to_be_bytes()].concat();
        let document = Document::new(id, [&self.secret[..], &times].concat());
        match self.expires_at {
            0 => document,
            seconds => document.with("expires_at", moment(seconds)),
        }
    }

    /// `None` where the bytes are not those of a record.
    fn decode(body: &[u8]) -> Option<Self> {
        let (secret, times) = body.split_first_chunk()?;
        let (expires_at, message_ts) = times.split_first_chunk()?;
        Some(Self {
            secret: *secret,
            expires_at: i64::from_be_bytes(*expires_at),
            message_ts: i64::from_be_bytes(message_ts.try_into().ok()?),
        })
    }
}

impl Backend {
    fn secret(&self, document: &Document) -> Result<Record> {
        Record::decode(&document.body).ok_or_else(|| {
            let bytes = document.body.len();
            self.damaged(document, format!("it has {bytes} bytes, not {RECORD_BYTES}"))
        })
    }
}

fn id(chat: &str, sender: &str, msg_id: &str) -> String {
    join([chat, sender, msg_id])
}
