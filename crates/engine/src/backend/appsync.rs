//! The state of app-state sync: its keys, the version of each collection, and the authentication codes of its entries.

use std::collections::HashMap;

use async_trait::async_trait;
use wacore::appstate::hash::HashState;
use wacore::store::traits::{AppStateSyncKey, AppSyncStore};
use wacore_appstate::processor::AppStateMutationMAC;
use wharf_core::store::{Batch, Collection, Condition, Document};

use super::{Backend, Result, encode, join, last_part, prefix};

/// Keys by the hexadecimal form of their id, and [`LATEST`].
static SYNC_KEYS: Collection = Collection {
    name: "wa_sync_keys",
    fields: &[],
};

/// Versions by the name of the collection.
static SYNC_VERSIONS: Collection = Collection {
    name: "wa_sync_versions",
    fields: &[],
};

/// Codes by the name of the collection and the code of their index.
static MUTATION_MACS: Collection = Collection {
    name: "wa_mutation_macs",
    fields: &[],
};

/// Holds the id of the key that was stored last; no hexadecimal id is spelled like this.
const LATEST: &str = "latest";

#[async_trait]
impl AppSyncStore for Backend {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        let document = self.get(&SYNC_KEYS, &hex::encode(key_id)).await?;
        document.as_ref().map(|document| self.decode(document)).transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let batch = Batch::new()
            .put(&SYNC_KEYS, Document::new(hex::encode(key_id), encode(&key)?))
            .put(&SYNC_KEYS, Document::new(LATEST, key_id.to_vec()));
        self.write(batch).await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        let document = self.get(&SYNC_VERSIONS, name).await?;
        match document {
            Some(document) => self.decode(&document),
            None => Ok(HashState::default()),
        }
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.put(&SYNC_VERSIONS, Document::new(name, encode(&state)?)).await
    }

    async fn put_mutation_macs(&self, name: &str, _version: u64, mutations: &[AppStateMutationMAC]) -> Result<()> {
        let batch = mutations.iter().fold(Batch::new(), |batch, mutation| {
            let id = mac_id(name, &mutation.index_mac);
            batch.put(&MUTATION_MACS, Document::new(id, mutation.value_mac.clone()))
        });
        self.write(batch).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        let document = self.get(&MUTATION_MACS, &mac_id(name, index_mac)).await?;
        Ok(document.map(|document| document.body.into()))
    }

    async fn get_mutation_macs(&self, name: &str, index_macs: &[[u8; 32]]) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let ids: Vec<String> = index_macs.iter().map(|index_mac| mac_id(name, index_mac)).collect();
        let start = prefix(name);
        let mut found = HashMap::with_capacity(index_macs.len());
        for document in self.get_many(&MUTATION_MACS, &ids).await? {
            let mut index_mac = [0; 32];
            // Only ids made above are asked for, so this is one of theirs.
            if hex::decode_to_slice(last_part(&document.id, &start), &mut index_mac).is_ok() {
                found.insert(index_mac, document.body.into());
            }
        }
        Ok(found)
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let batch = index_macs.iter().fold(Batch::new(), |batch, index_mac| {
            batch.delete(&MUTATION_MACS, mac_id(name, index_mac))
        });
        self.write(batch).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        let all = vec![Condition::IdPrefix(prefix(name))];
        self.write(Batch::new().delete_where(&MUTATION_MACS, all)).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        let document = self.get(&SYNC_KEYS, LATEST).await?;
        Ok(document.map(|document| document.body.into()))
    }
}

fn mac_id(name: &str, index_mac: &[u8]) -> String {
    join([name, &hex::encode(index_mac)])
}
