//! The Signal protocol's records: identities, sessions, one-time and signed prekeys, sender keys.
//!
//! Records are kept as they come. Whether a prekey was uploaded is not kept: the library asks no backend for it, the
//! device's `first_unupload_pre_key_id` decides (`whatsapp-rust` prekeys.rs), and so marking keys as uploaded cannot bring
//! back one that was used up meanwhile.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::SignalStore;
use wharf_core::store::{Batch, Collection, Condition, Document, Query};

use super::{Backend, Result, numbered};

static IDENTITIES: Collection = plain("wa_identities");
static SESSIONS: Collection = plain("wa_sessions");
static PREKEYS: Collection = plain("wa_prekeys");
static SIGNED_PREKEYS: Collection = plain("wa_signed_prekeys");
static SENDER_KEYS: Collection = plain("wa_sender_keys");

/// A collection that is only searched by id.
const fn plain(name: &'static str) -> Collection {
    Collection { name, fields: &[] }
}

#[async_trait]
impl SignalStore for Backend {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.put(&IDENTITIES, Document::new(address, key.to_vec())).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        let batch = identities.iter().fold(Batch::new(), |batch, (address, key)| {
            batch.put(&IDENTITIES, Document::new(address.as_ref(), key.to_vec()))
        });
        self.write(batch).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let Some(document) = self.get(&IDENTITIES, address).await? else {
            return Ok(None);
        };
        match document.body.as_ref().try_into() {
            Ok(key) => Ok(Some(key)),
            Err(wrong) => Err(self.damaged(&document, wrong)),
        }
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.delete(&IDENTITIES, address).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get(&SESSIONS, address).await?.map(|document| document.body))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.put(&SESSIONS, Document::new(address, session.to_vec())).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.write(puts(&SESSIONS, sessions)).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.delete(&SESSIONS, address).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        // Addresses are `user@server` for the phone and `user:device@server` for the others.
        for start in [format!("{user}@"), format!("{user}:")] {
            for collection in [&SESSIONS, &IDENTITIES] {
                let query = Query::all().filter(Condition::IdPrefix(start.clone()));
                if self.first(collection, query).await?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], _uploaded: bool) -> Result<()> {
        self.put(&PREKEYS, Document::new(numbered(id), record.to_vec())).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], _uploaded: bool) -> Result<()> {
        let batch = keys.iter().fold(Batch::new(), |batch, (id, record)| {
            batch.put(&PREKEYS, Document::new(numbered(*id), record.clone()))
        });
        self.write(batch).await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        let document = self.get(&PREKEYS, &numbered(id)).await?;
        Ok(document.map(|document| document.body))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let ids: Vec<String> = ids.iter().copied().map(numbered).collect();
        let documents = self.get_many(&PREKEYS, &ids).await?;
        let keys = documents
            .into_iter()
            .map(|document| Ok((self.number(&document)?, document.body)));
        keys.collect()
    }

    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> Result<()> {
        Ok(())
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.delete(&PREKEYS, numbered(id)).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let last_first = Query {
            descending: true,
            ..Query::all()
        };
        let document = self.first(&PREKEYS, last_first).await?;
        document.map_or(Ok(0), |document| self.number(&document))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.put(&SIGNED_PREKEYS, Document::new(numbered(id), record.to_vec()))
            .await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        let document = self.get(&SIGNED_PREKEYS, &numbered(id)).await?;
        Ok(document.map(|document| document.body.into()))
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let documents = self.get_all(&SIGNED_PREKEYS, Vec::new()).await?;
        let keys = documents
            .into_iter()
            .map(|document| Ok((self.number(&document)?, document.body.into())));
        keys.collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.delete(&SIGNED_PREKEYS, numbered(id)).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.put(&SENDER_KEYS, Document::new(address, record.to_vec())).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.write(puts(&SENDER_KEYS, sender_keys)).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        let document = self.get(&SENDER_KEYS, address).await?;
        Ok(document.map(|document| document.body.into()))
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.delete(&SENDER_KEYS, address).await
    }
}

fn puts(collection: &'static Collection, records: &[(Arc<str>, Bytes)]) -> Batch {
    records.iter().fold(Batch::new(), |batch, (address, record)| {
        batch.put(collection, Document::new(address.as_ref(), record.clone()))
    })
}
