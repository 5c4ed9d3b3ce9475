//! What WhatsApp Web remembers next to the Signal records: who has which sender key, which number belongs to which LID,
//! people's devices, groups, sent messages.
//!
//! [`super::tokens`] and [`super::inbound`] hold the parts with rules of their own.

use async_trait::async_trait;
use jiff::Timestamp;
use wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};
use wharf_core::store::{Batch, Collection, Condition, Document, Field, Query, Value};

use super::{BASE_KEY_RETENTION, Backend, Result, SENT_RETENTION, encode, join, last_part, older_than, prefix};

/// By group and device; the body is 1 where the device has our sender key, 0 where it needs it again.
static SENDER_KEY_DEVICES: Collection = Collection {
    name: "wa_sender_key_devices",
    fields: &[Field::text("device")],
};

/// By LID.
static LID_MAPPINGS: Collection = Collection {
    name: "wa_lid_mappings",
    fields: &[Field::text("phone"), Field::integer("updated_at")],
};

/// By Signal address and message.
static BASE_KEYS: Collection = Collection {
    name: "wa_base_keys",
    fields: &[Field::time("saved_at")],
};

/// By user.
static DEVICE_LISTS: Collection = Collection {
    name: "wa_device_lists",
    fields: &[],
};

/// By group.
static GROUPS: Collection = Collection {
    name: "wa_groups",
    fields: &[],
};

/// By chat and message.
static SENT_MESSAGES: Collection = Collection {
    name: "wa_sent_messages",
    fields: &[Field::time("sent_at")],
};

/// How many devices one condition names.
const DEVICES_PER_CONDITION_MAX: usize = 1_000;

#[async_trait]
impl ProtocolStore for Backend {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let start = prefix(group_jid);
        let of_group = vec![Condition::IdPrefix(start.clone())];
        let documents = self.get_all(&SENDER_KEY_DEVICES, of_group).await?;
        let devices = documents.into_iter().map(|document| {
            let has_key = document.body.as_ref() == [1];
            (last_part(&document.id, &start).to_owned(), has_key)
        });
        Ok(devices.collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let batch = entries.iter().fold(Batch::new(), |batch, (device, has_key)| {
            let document = Document::new(join([group_jid, device]), vec![u8::from(*has_key)]);
            batch.put(&SENDER_KEY_DEVICES, document.with("device", *device))
        });
        self.write(batch).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        let of_group = vec![Condition::IdPrefix(prefix(group_jid))];
        self.write(Batch::new().delete_where(&SENDER_KEY_DEVICES, of_group))
            .await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        let chunks = device_jids.chunks(DEVICES_PER_CONDITION_MAX);
        let batch = chunks.fold(Batch::new(), |batch, devices| {
            let devices = devices.iter().map(|device| Value::from(*device)).collect();
            batch.delete_where(&SENDER_KEY_DEVICES, vec![Condition::In("device", devices)])
        });
        self.write(batch).await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        // Every text is at least the empty one.
        let all = vec![Condition::AtLeast("device", "".into())];
        self.write(Batch::new().delete_where(&SENDER_KEY_DEVICES, all)).await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        let document = self.get(&LID_MAPPINGS, lid).await?;
        document.as_ref().map(|document| self.decode(document)).transpose()
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let of_phone = Condition::Equal("phone", phone.into());
        let newest_first = Query::all().filter(of_phone).descending("updated_at");
        let document = self.first(&LID_MAPPINGS, newest_first).await?;
        document.as_ref().map(|document| self.decode(document)).transpose()
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let mut batch = Batch::new();
        for entry in entries {
            let document = Document::new(&*entry.lid, encode(entry)?)
                .with("phone", &*entry.phone_number)
                .with("updated_at", entry.updated_at);
            batch = batch.put(&LID_MAPPINGS, document);
        }
        self.write(batch).await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let documents = self.get_all(&LID_MAPPINGS, Vec::new()).await?;
        documents.iter().map(|document| self.decode(document)).collect()
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let document = Document::new(join([address, message_id]), base_key.to_vec());
        self.put(&BASE_KEYS, document.with("saved_at", self.clock.now())).await
    }

    async fn has_same_base_key(&self, address: &str, message_id: &str, current_base_key: &[u8]) -> Result<bool> {
        let document = self.get(&BASE_KEYS, &join([address, message_id])).await?;
        Ok(document.is_some_and(|document| document.body == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.delete(&BASE_KEYS, join([address, message_id])).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let mut batch = Batch::new();
        for record in records {
            let body = encode(&record)?;
            batch = batch.put(&DEVICE_LISTS, Document::new(record.user, body));
        }
        self.write(batch).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        let document = self.get(&DEVICE_LISTS, user).await?;
        document.as_ref().map(|document| self.decode(document)).transpose()
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.delete(&DEVICE_LISTS, user).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        let document = self.get(&GROUPS, group_jid).await?;
        Ok(document.map(|document| document.body.into()))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        self.put(&GROUPS, Document::new(group_jid, blob.to_vec())).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.delete(&GROUPS, group_jid).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.load_token(jid).await
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.save_token(jid, entry).await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.remove_token(jid).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        self.token_jids().await
    }

    /// Does nothing; see [`super::Backend::sweep`].
    async fn delete_expired_tc_tokens(&self, _token_cutoff: i64, _sender_cutoff: i64) -> Result<u32> {
        Ok(0)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        self.token_sent(jid, sender_timestamp).await
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<()> {
        self.token_received(jid, token, token_timestamp).await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        let document = Document::new(join([chat_jid, message_id]), payload.to_vec());
        self.put(&SENT_MESSAGES, document.with("sent_at", self.clock.now()))
            .await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let id = join([chat_jid, message_id]);
        // Two retry receipts for one message must not both find it.
        let _turn = self.turn.lock().await;
        let Some(document) = self.get(&SENT_MESSAGES, &id).await? else {
            return Ok(None);
        };
        self.delete(&SENT_MESSAGES, id).await?;
        Ok(Some(document.body.into()))
    }

    /// Does nothing; see [`super::Backend::sweep`].
    async fn delete_expired_sent_messages(&self, _cutoff_timestamp: i64) -> Result<u32> {
        Ok(0)
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        let row = PendingInboundRow {
            chat,
            sender,
            id,
            message,
        };
        self.keep_pending(&[row]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        self.find_pending(PendingInboundKey { chat, sender, id }).await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.drop_pending(&[PendingInboundKey { chat, sender, id }]).await
    }

    /// Does nothing; see [`super::Backend::sweep`].
    async fn delete_expired_pending_inbound(&self, _cutoff_timestamp: i64) -> Result<u32> {
        Ok(0)
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        self.keep_pending(rows).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        self.drop_pending(keys).await
    }
}

/// Removes sent messages that nobody will ask for any more, and base keys of repairs long over.
pub(super) fn sweep(now: Timestamp) -> Batch {
    Batch::new()
        .delete_where(&SENT_MESSAGES, older_than("sent_at", now, SENT_RETENTION))
        .delete_where(&BASE_KEYS, older_than("saved_at", now, BASE_KEY_RETENTION))
}
