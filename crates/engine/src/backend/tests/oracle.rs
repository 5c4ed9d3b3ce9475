//! The same calls in the same order give the same answers as the library's `InMemoryBackend`.
//!
//! Left out: the sweeps, which do nothing here; the id that `create` returns, which there counts up; and what is answered
//! for an inbound message without a row, which here depends on its mark. Phone numbers are never shared by two LIDs: the
//! in-memory store forgets a number when one of its LIDs moves on, this one answers with the other.

use std::fmt::Debug;
use std::ops::Range;

use proptest::prelude::*;
use wacore::appstate::hash::HashState;
use wacore::store::in_memory::InMemoryBackend;
use wacore_appstate::processor::AppStateMutationMAC;

use super::*;

/// How many sequences are tried.
const CASES: u32 = 32;

/// How long a sequence is at the most.
const CALLS_MAX: usize = 160;

/// One call: which method, on which of a few names, with which content.
#[derive(Debug, Clone)]
struct Op {
    method: u8,
    a: u8,
    b: u8,
    flag: bool,
    bytes: Vec<u8>,
}

/// The methods of each topic below. A sequence keeps to one topic, so that its calls meet often.
const TOPICS: [Range<u8>; 4] = [0..22, 22..31, 31..44, 44..54];

fn ops() -> impl Strategy<Value = Vec<Op>> {
    proptest::sample::select(&TOPICS[..]).prop_flat_map(|methods| {
        let bytes = proptest::collection::vec(0..4u8, 0..3);
        let op = (methods, 0..3u8, 0..3u8, any::<bool>(), bytes).prop_map(|(method, a, b, flag, bytes)| Op {
            method,
            a,
            b,
            flag,
            bytes,
        });
        proptest::collection::vec(op, CALLS_MAX / 2..CALLS_MAX)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_like_the_librarys_own_store(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let session = Session::start().await;
            let oracle = InMemoryBackend::new();
            for (step, op) in ops.iter().enumerate() {
                let step = i64::try_from(step).expect("small");
                let (ours, theirs) = (call(&session.backend, op, step).await, call(&oracle, op, step).await);
                prop_assert_eq!(ours, theirs, "step {}: {:?}", step, op);
            }
            session.storage.close().await;
            Ok(())
        })?;
    }
}

/// Makes one call and says what came back.
async fn call(backend: &dyn wacore::store::traits::Backend, op: &Op, step: i64) -> String {
    match op.method {
        method if TOPICS[0].contains(&method) => signal(backend, op).await,
        method if TOPICS[1].contains(&method) => appsync(backend, op).await,
        method if TOPICS[2].contains(&method) => protocol(backend, op, step).await,
        _ => messages(backend, op, step).await,
    }
}

fn said<T: Debug>(result: Result<T>) -> String {
    format!("{:?}", result.expect("the store works"))
}

/// For answers in no particular order.
fn said_sorted<T: Debug>(result: Result<impl IntoIterator<Item = T>>) -> String {
    let mut items: Vec<String> = result
        .expect("the store works")
        .into_iter()
        .map(|item| format!("{item:?}"))
        .collect();
    items.sort_unstable();
    items.join(" ")
}

/// An address of one of a few users and devices; some users' names start like another's.
fn address(op: &Op) -> String {
    let user = ["1", "11", "2"][usize::from(op.a)];
    match op.b {
        0 => format!("{user}@s.whatsapp.net"),
        device => format!("{user}:{device}@s.whatsapp.net"),
    }
}

async fn signal(backend: &dyn wacore::store::traits::Backend, op: &Op) -> String {
    let address = address(op);
    let (user, id) = (
        ["1", "11", "2"][usize::from(op.a)],
        u32::from(op.a) * 9 + u32::from(op.b),
    );
    let record = Bytes::from(op.bytes.clone());
    let key = [op.b; 32];
    let shared: Arc<str> = address.as_str().into();
    let both = [(shared.clone(), record.clone()), (user.into(), record.clone())];
    match op.method {
        0 => said(backend.put_identity(&address, key).await),
        1 => said(backend.put_identities_batch(&[(shared, key), (user.into(), key)]).await),
        2 => said(backend.load_identity(&address).await),
        3 => said(backend.delete_identity(&address).await),
        4 => said(backend.get_session(&address).await),
        5 => said(backend.put_session(&address, &record).await),
        6 => said(backend.put_sessions_batch(&both).await),
        7 => said(backend.delete_session(&address).await),
        8 => said(backend.has_session(&address).await),
        9 => said(backend.has_signal_state_for_user(user).await),
        10 => said(backend.store_prekey(id, &record, op.flag).await),
        11 => said(
            backend
                .store_prekeys_batch(&[(id, record.clone()), (id + 1, record)], op.flag)
                .await,
        ),
        12 => said(backend.load_prekey(id).await),
        13 => said_sorted(backend.load_prekeys_batch(&[id, id + 1, id + 2]).await),
        14 => said(backend.mark_prekeys_uploaded(&[id, id + 1]).await),
        15 => said(backend.remove_prekey(id).await),
        16 => said(backend.get_max_prekey_id().await),
        17 => said(backend.store_signed_prekey(id, &record).await) + &said(backend.load_signed_prekey(id).await),
        18 => said(backend.remove_signed_prekey(id).await) + &said_sorted(backend.load_all_signed_prekeys().await),
        19 => said(backend.put_sender_keys_batch(&both).await) + &said(backend.put_sender_key(&address, &[1]).await),
        20 => said(backend.get_sender_key(&address).await),
        _ => said(backend.delete_sender_key(&address).await),
    }
}

async fn appsync(backend: &dyn wacore::store::traits::Backend, op: &Op) -> String {
    // One name is the start of another.
    let name = ["regular", "regular_low", "critical_block"][usize::from(op.a)];
    let index = [op.b; 32];
    match op.method {
        22 => said(backend.get_sync_key(&[op.a]).await),
        23 => {
            let key = AppStateSyncKey {
                key_data: op.bytes.clone(),
                fingerprint: vec![op.b],
                timestamp: i64::from(op.b),
            };
            said(backend.set_sync_key(&[op.a], key).await)
        }
        24 => said(backend.get_version(name).await),
        25 => {
            let mut state = HashState {
                version: u64::from(op.b),
                hash: [op.b; 128],
                ..HashState::default()
            };
            state.index_value_map.insert("i".to_owned(), op.bytes.clone());
            said(backend.set_version(name, state).await)
        }
        26 => {
            let mac = AppStateMutationMAC {
                index_mac: index.to_vec(),
                value_mac: op.bytes.clone(),
            };
            said(backend.put_mutation_macs(name, 1, &[mac]).await)
        }
        27 => said(backend.get_mutation_mac(name, &index).await),
        28 => said_sorted(backend.get_mutation_macs(name, &[[0; 32], [1; 32], [2; 32]]).await),
        29 => said(backend.delete_mutation_macs(name, &[index.to_vec()]).await),
        _ => match op.flag {
            true => said(backend.clear_mutation_macs(name).await),
            false => said(backend.get_latest_sync_key_id().await),
        },
    }
}

async fn protocol(backend: &dyn wacore::store::traits::Backend, op: &Op, step: i64) -> String {
    let group = ["1@g.us", "11@g.us", "1-1@g.us"][usize::from(op.a)];
    let device = ["1:1@s.whatsapp.net", "2@s.whatsapp.net", "3@lid"][usize::from(op.b)];
    let (lid, phone) = (op.a.to_string(), format!("{}{}", op.a, op.b));
    match op.method {
        31 => said_sorted(backend.get_sender_key_devices(group).await),
        32 => said(
            backend
                .set_sender_key_status(group, &[(device, op.flag), ("4@lid", true)])
                .await,
        ),
        33 => said(backend.clear_sender_key_devices(group).await),
        34 => said(backend.delete_sender_key_device_rows(&[device]).await),
        35 => match op.flag {
            true => said(backend.clear_all_sender_key_devices().await),
            false => said(backend.delete_sender_key_device_rows(&[]).await),
        },
        36 => said(backend.get_lid_mapping(&lid).await),
        37 => said(backend.get_pn_mapping(&phone).await),
        38 => {
            let entry = LidPnMappingEntry {
                lid,
                phone_number: phone,
                created_at: 1,
                updated_at: step,
                learning_source: "usync".to_owned(),
            };
            said(backend.put_lid_mapping(&entry).await)
        }
        39 => said_sorted(backend.get_all_lid_mappings().await),
        40 => said(backend.save_base_key(group, device, &op.bytes).await),
        41 => said(backend.has_same_base_key(group, device, &op.bytes).await),
        42 => said(backend.delete_base_key(group, device).await),
        _ => {
            let mut found = said(backend.get_devices(&lid).await);
            match op.flag {
                true => {
                    let record = DeviceListRecord {
                        user: lid,
                        devices: vec![DeviceInfo::new(u32::from(op.b), None).with_hosting(op.b == 1)],
                        timestamp: step,
                        phash: (op.b == 2).then(|| "2:hash".to_owned()),
                        raw_id: Some(7),
                    };
                    found.push_str(&said(backend.update_device_list(record).await));
                }
                false => found.push_str(&said(backend.delete_devices(&lid).await)),
            }
            found
        }
    }
}

async fn messages(backend: &dyn wacore::store::traits::Backend, op: &Op, step: i64) -> String {
    let chat = ["a", "ab", "1:a"][usize::from(op.a)];
    let id = ["b", "bb", ""][usize::from(op.b)];
    let at = i64::from(op.bytes.first().copied().unwrap_or(0));
    match op.method {
        44 => said(backend.get_group_metadata(chat).await),
        45 => match op.flag {
            true => said(backend.put_group_metadata(chat, &op.bytes).await),
            false => said(backend.delete_group_metadata(chat).await),
        },
        46 => said(backend.get_tc_token(chat).await) + &said_sorted(backend.get_all_tc_token_jids().await),
        47 => {
            let entry = TcTokenEntry {
                token: op.bytes.clone(),
                token_timestamp: at,
                sender_timestamp: op.flag.then_some(step),
            };
            match op.b {
                0 => said(backend.delete_tc_token(chat).await),
                _ => said(backend.put_tc_token(chat, &entry).await),
            }
        }
        48 => said(backend.touch_tc_token_sender_timestamp(chat, at).await),
        49 => said(backend.store_received_tc_token(chat, &op.bytes, at).await),
        50 => match op.flag {
            true => said(backend.store_sent_message(chat, id, &op.bytes).await),
            false => said(backend.take_sent_message(chat, id).await),
        },
        51 => match op.flag {
            true => said(backend.store_pending_inbound(chat, "s", id, &op.bytes).await),
            false => said(backend.delete_pending_inbound(chat, "s", id).await),
        },
        52 => format!("{:?}", backend.get_pending_inbound(chat, "s", id).await.unwrap_or(None)),
        _ => match op.flag {
            true => {
                let entry = MsgSecretEntry {
                    chat: chat.into(),
                    sender: "s".into(),
                    msg_id: id.into(),
                    secret: [op.b; 32],
                    expires_at: at,
                    message_ts: step % 5,
                };
                let older = MsgSecretEntry {
                    message_ts: 0,
                    ..entry.clone()
                };
                said(backend.put_msg_secrets(vec![entry, older]).await)
            }
            false => said(backend.get_msg_secret_with_ts(chat, "s", id).await),
        },
    }
}
