//! The whole network as JSON, and back.
//!
//! Connections, Signal sessions, faults and counters are not part of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Env;
use crate::error::SandboxError;
use crate::model::{Saved, State};
use crate::network::Network;
use crate::phone::{Memory, Phone};

/// The version of the form below; another one is refused.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'s> {
    version: u32,
    network: &'s Saved,
    phones: BTreeMap<&'s str, &'s Memory>,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    network: Saved,
    phones: BTreeMap<String, Memory>,
}

/// Writes the network at one instant: all phones, then the state, are held still.
pub(crate) fn write(network: &Network) -> Vec<u8> {
    let phones = network.phones();
    let memories: Vec<_> = phones
        .iter()
        .map(|phone| (phone.number(), phone.memory_for_snapshot()))
        .collect();
    let state = network.lock();
    let written = Written {
        version: VERSION,
        network: &state.saved,
        phones: memories.iter().map(|(number, memory)| (*number, &**memory)).collect(),
    };
    // All map keys are text or numbers, and every queued stanza was decoded from the wire or built within its limits,
    // so it can be encoded.
    serde_json::to_vec(&written).expect("the network's state can be written as JSON")
}

/// Reads what [`write()`] wrote.
pub(crate) fn read(snapshot: &[u8]) -> Result<(Saved, BTreeMap<String, Memory>), SandboxError> {
    let broken = |error: serde_json::Error| SandboxError::Snapshot(error.to_string());
    let read: Read = serde_json::from_slice(snapshot).map_err(broken)?;
    if read.version != VERSION {
        return Err(SandboxError::Snapshot(format!(
            "its version is {}, not {VERSION}",
            read.version
        )));
    }
    if read.network.accounts.keys().ne(read.phones.keys()) {
        return Err(SandboxError::Snapshot(
            "its accounts and phones do not belong together".to_owned(),
        ));
    }
    Ok((read.network, read.phones))
}

/// Brings a network to life: its state, then its phones.
pub(crate) fn start(env: &Env, saved: Saved, memories: BTreeMap<String, Memory>) -> Network {
    let network = Network::new(State::new(env.clone(), saved.after_restart()));
    start_phones(&network, memories);
    network
}

/// Puts phones on a network whose state has their accounts.
pub(crate) fn start_phones(network: &Network, memories: BTreeMap<String, Memory>) {
    for (number, memory) in memories {
        Phone::start(network, number, memory);
    }
}

impl Saved {
    /// What was delivered before the restart and not acknowledged is due again.
    fn after_restart(mut self) -> Self {
        for account in self.accounts.values_mut() {
            for device in account.devices.values_mut() {
                device.queue.reconnect();
            }
        }
        self
    }
}
