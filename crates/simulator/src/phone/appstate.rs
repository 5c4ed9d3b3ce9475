//! A phone's account's encrypted settings ("app state"): it writes its push name and its address book, and reads what
//! its companions write.
//!
//! Only the phone and its companions have the key; the server orders the patches and cannot read them. Encoding and
//! hashes are wacore-appstate's (whatsmeow `appstate/`).

use std::collections::BTreeMap;
use std::sync::Arc;

use buffa::MessageField;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use wacore_appstate::hash::{HashState, generate_patch_mac};
use wacore_appstate::{
    AppStateError, ExpandedAppStateKeys, Mutation, encode_record, expand_app_state_keys, process_patch,
};
use waproto::whatsapp::message::{AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId};
use waproto::whatsapp::sync_action_value::{ContactAction, LocaleSetting, PushNameSetting};
use waproto::whatsapp::syncd_mutation::SyncdOperation;
use waproto::whatsapp::{KeyId, SyncActionValue, SyncdPatch};

use crate::keys::Blob;
use crate::model::Collection;

/// Settings that a companion needs before it counts as connected.
pub(crate) const CRITICAL_BLOCK: &str = "critical_block";
/// The address book.
pub(crate) const CRITICAL_UNBLOCK_LOW: &str = "critical_unblock_low";
/// Stars, among other things (whatsapp-rust `features/chat_actions.rs`).
pub(crate) const REGULAR_HIGH: &str = "regular_high";
/// Mutations in one patch.
const MUTATIONS_MAX: usize = 500;

/// A phone's hand in its account's app state.
#[derive(Serialize, Deserialize)]
pub(crate) struct AppState {
    key_id: Blob,
    key: Blob,
    made_at: u64,
    collections: BTreeMap<String, Known>,
}

/// A collection as far as the phone has read it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Known {
    state: HashState,
    /// Index MAC to value MAC, hex.
    macs: BTreeMap<String, Blob>,
}

/// One setting to write.
pub(crate) struct Setting {
    index: Vec<u8>,
    value: SyncActionValue,
    version: i32,
}

impl Setting {
    pub(crate) fn push_name(name: &str, now_ms: u64) -> Self {
        let value = SyncActionValue {
            push_name_setting: MessageField::some(PushNameSetting {
                name: Some(name.to_owned()),
            }),
            ..stamped(now_ms)
        };
        Self {
            index: index(&["setting_pushName"]),
            value,
            version: 1,
        }
    }

    pub(crate) fn locale(locale: &str, now_ms: u64) -> Self {
        let value = SyncActionValue {
            locale_setting: MessageField::some(LocaleSetting {
                locale: Some(locale.to_owned()),
            }),
            ..stamped(now_ms)
        };
        Self {
            index: index(&["setting_locale"]),
            value,
            version: 3,
        }
    }

    pub(crate) fn contact(pn_jid: &str, lid_jid: &str, name: &str, now_ms: u64) -> Self {
        let first = name.split_whitespace().next().unwrap_or(name);
        let action = ContactAction {
            full_name: Some(name.to_owned()),
            first_name: Some(first.to_owned()),
            lid_jid: Some(lid_jid.to_owned()),
            save_on_primary_addressbook: Some(true),
            pn_jid: Some(pn_jid.to_owned()),
            ..Default::default()
        };
        let value = SyncActionValue {
            contact_action: MessageField::some(action),
            ..stamped(now_ms)
        };
        Self {
            index: index(&["contact", pn_jid]),
            value,
            version: 2,
        }
    }

    #[cfg(test)]
    pub(crate) fn star(chat: &str, id: &str, starred: bool) -> Self {
        let action = waproto::whatsapp::sync_action_value::StarAction { starred: Some(starred) };
        Self {
            index: index(&["star", chat, id, "0", "0"]),
            value: SyncActionValue {
                star_action: MessageField::some(action),
                ..stamped(1)
            },
            version: 2,
        }
    }
}

fn stamped(now_ms: u64) -> SyncActionValue {
    SyncActionValue {
        timestamp: Some(i64::try_from(now_ms).unwrap_or(i64::MAX)),
        ..Default::default()
    }
}

fn index(parts: &[&str]) -> Vec<u8> {
    serde_json::Value::from(parts.to_vec()).to_string().into_bytes()
}

impl AppState {
    pub(crate) fn generate(now: u64, rng: &mut StdRng) -> Self {
        let mut key = vec![0; 32];
        rng.fill_bytes(&mut key);
        // A key id is the device that made it and a counter: here the phone, and 1.
        Self {
            key_id: Blob(vec![0, 0, 0, 0, 0, 1]),
            key: Blob(key),
            made_at: now,
            collections: BTreeMap::new(),
        }
    }

    /// The key as it is shared with companions.
    pub(crate) fn shared_key(&self, raw_id: u32, device_indexes: Vec<u32>) -> AppStateSyncKey {
        let fingerprint = AppStateSyncKeyFingerprint {
            raw_id: Some(raw_id),
            current_index: device_indexes.iter().max().copied(),
            device_indexes,
        };
        AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId {
                key_id: Some(self.key_id.0.clone()),
            }),
            key_data: MessageField::some(AppStateSyncKeyData {
                key_data: Some(self.key.0.clone()),
                fingerprint: MessageField::some(fingerprint),
                timestamp: i64::try_from(self.made_at).ok(),
            }),
        }
    }

    pub(crate) fn has_key(&self, id: &[u8]) -> bool {
        self.key_id.0 == id
    }

    /// Whether the phone ever wrote into a collection, or read one.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.collections.contains_key(name)
    }

    /// Reads what companions wrote since the last time.
    pub(crate) fn catch_up(&mut self, name: &str, server: &Collection) -> Result<Vec<Mutation>, AppStateError> {
        let keys = Arc::new(self.expanded());
        let known = self.collections.entry(name.to_owned()).or_default();
        let from = usize::try_from(known.state.version)
            .unwrap_or(usize::MAX)
            .min(server.patches.len());
        let mut mutations = Vec::new();
        for patch in &server.patches[from..] {
            let patch = waproto::codec::syncd_patch_decode(&patch.0).map_err(|_| AppStateError::DecodeFailed)?;
            let before = &known.macs;
            let read = process_patch(
                &patch,
                &mut known.state.clone(),
                |_| Ok(keys.clone()),
                |mac| Ok(before.get(&hex::encode(mac)).map(|value| value.0.clone())),
                true,
                name,
            )?;
            known.state = read.state;
            for mac in read.removed_index_macs {
                known.macs.remove(&hex::encode(mac));
            }
            known.macs.extend(
                read.added_macs
                    .into_iter()
                    .map(|mac| (hex::encode(mac.index_mac), mac.value_mac.into())),
            );
            mutations.extend(read.mutations);
        }
        Ok(mutations)
    }

    /// Encodes patches that set what is given, each with the version it builds on.
    pub(crate) fn author(
        &mut self,
        name: &str,
        settings: &[Setting],
        rng: &mut StdRng,
    ) -> Result<Vec<(u64, Vec<u8>)>, AppStateError> {
        let keys = self.expanded();
        let mut patches = Vec::new();
        for settings in settings.chunks(MUTATIONS_MAX) {
            patches.push(self.author_one(name, settings, &keys, rng)?);
        }
        Ok(patches)
    }

    fn author_one(
        &mut self,
        name: &str,
        settings: &[Setting],
        keys: &ExpandedAppStateKeys,
        rng: &mut StdRng,
    ) -> Result<(u64, Vec<u8>), AppStateError> {
        let known = self.collections.entry(name.to_owned()).or_default();
        let mut mutations = Vec::with_capacity(settings.len());
        let mut added = Vec::with_capacity(settings.len());
        for setting in settings {
            let mut iv = [0; 16];
            rng.fill_bytes(&mut iv);
            let (mutation, value_mac) = encode_record(
                SyncdOperation::SET,
                &setting.index,
                &setting.value,
                keys,
                &self.key_id.0,
                &iv,
                setting.version,
            );
            let index_mac = mutation.record.index.blob.clone().unwrap_or_default();
            added.push((hex::encode(index_mac), Blob::from(value_mac.as_slice())));
            mutations.push(mutation);
        }
        let base = known.state.version;
        let before = &known.macs;
        let (_, hashed) = known.state.update_hash(&mutations, |mac, _| {
            Ok(before.get(&hex::encode(mac)).map(|value| value.0.clone()))
        });
        hashed.map_err(|_| AppStateError::MismatchingLTHash)?;
        known.state.version += 1;
        known.macs.extend(added);
        let mut patch = SyncdPatch {
            snapshot_mac: Some(known.state.generate_snapshot_mac(name, &keys.snapshot_mac)),
            key_id: MessageField::some(KeyId {
                id: Some(self.key_id.0.clone()),
            }),
            mutations,
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, name, &keys.patch_mac, known.state.version));
        Ok((base, waproto::codec::syncd_patch_to_vec(&patch)))
    }

    fn expanded(&self) -> ExpandedAppStateKeys {
        expand_app_state_keys(&self.key.0)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use waproto::whatsapp::SyncdVersion;

    use super::*;

    fn accept(collection: &mut Collection, base: u64, patch: &[u8]) {
        assert_eq!(base, collection.version);
        collection.version += 1;
        let mut decoded = waproto::codec::syncd_patch_decode(patch).unwrap();
        decoded.version = MessageField::some(SyncdVersion {
            version: Some(collection.version),
        });
        collection
            .patches
            .push(Blob(waproto::codec::syncd_patch_to_vec(&decoded)));
    }

    #[test]
    fn the_client_library_reads_what_a_phone_wrote() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut phone = AppState::generate(1_800_000_000, &mut rng);
        let mut server = Collection::default();
        let bob = Setting::contact("12025550102@s.whatsapp.net", "300000000000002@lid", "Bob Builder", 1);
        for (base, patch) in phone.author(CRITICAL_UNBLOCK_LOW, &[bob], &mut rng).unwrap() {
            accept(&mut server, base, &patch);
        }
        let renamed = Setting::contact("12025550102@s.whatsapp.net", "300000000000002@lid", "Robert", 2);
        for (base, patch) in phone.author(CRITICAL_UNBLOCK_LOW, &[renamed], &mut rng).unwrap() {
            accept(&mut server, base, &patch);
        }

        let keys = Arc::new(phone.expanded());
        let mut state = HashState::default();
        let mut macs: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut names = Vec::new();
        for patch in &server.patches {
            let patch = waproto::codec::syncd_patch_decode(&patch.0).unwrap();
            let get = |mac: &[u8]| Ok(macs.get(mac).cloned());
            let read = process_patch(
                &patch,
                &mut state,
                |_| Ok(keys.clone()),
                get,
                true,
                CRITICAL_UNBLOCK_LOW,
            )
            .unwrap();
            state = read.state;
            macs.extend(read.added_macs.into_iter().map(|mac| (mac.index_mac, mac.value_mac)));
            names.extend(read.mutations.into_iter().map(|mutation| {
                assert_eq!(mutation.index, ["contact", "12025550102@s.whatsapp.net"]);
                mutation.action_value.unwrap().contact_action.full_name.clone().unwrap()
            }));
        }
        assert_eq!(names, ["Bob Builder", "Robert"]);
    }

    #[test]
    fn a_phone_writes_on_top_of_what_a_companion_wrote() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut phone = AppState::generate(1_800_000_000, &mut rng);
        let mut companion: AppState = serde_json::from_value(serde_json::to_value(&phone).unwrap()).unwrap();
        let mut server = Collection::default();
        for (writer, name) in [(true, "Alice"), (false, "Alice B."), (true, "Alice C.")] {
            let author = if writer { &mut phone } else { &mut companion };
            author.catch_up(CRITICAL_BLOCK, &server).unwrap();
            for (base, patch) in author
                .author(CRITICAL_BLOCK, &[Setting::push_name(name, 1)], &mut rng)
                .unwrap()
            {
                accept(&mut server, base, &patch);
            }
        }
        let mut reader = AppState {
            collections: BTreeMap::new(),
            ..phone
        };
        reader.catch_up(CRITICAL_BLOCK, &server).unwrap();
        assert_eq!(reader.collections[CRITICAL_BLOCK].state.version, 3);
    }
}
