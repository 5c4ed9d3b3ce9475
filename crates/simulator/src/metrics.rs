//! What the network counted: stanzas, handshakes, and everything a strict server objects to.
//!
//! Lists are bounded; the counts beside them are not.

use std::collections::BTreeMap;

use serde::Serialize;
use wacore_binary::Node;

use crate::model::{DeviceRef, State};
use crate::noise::Pattern;
use crate::stanza;

/// A snapshot of the network's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// How often each kind of stanza passed: `in:message`, `out:receipt`, `in:iq:encrypt`, …
    pub stanzas: BTreeMap<String, u64>,
    /// The newest requests that the network does not know.
    pub unknown: Vec<Strictness>,
    /// How many there were in all.
    pub unknown_count: u64,
    /// The newest stanzas with wrong attributes or children.
    pub malformed: Vec<Strictness>,
    /// How many there were in all.
    pub malformed_count: u64,
    /// Stanzas that a connected device got and has not acknowledged in time.
    pub unacked: Vec<Unacked>,
    /// How many there are now.
    pub unacked_count: u64,
    /// Completed handshakes by Noise pattern.
    pub handshakes: Handshakes,
    /// Connections that are open now.
    pub connections: u64,
    /// First messages that used a one-time key a second time; always a client's bug.
    pub prekeys_reused: u64,
}

/// Something a strict server objects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Strictness {
    /// When, seconds since the Unix epoch.
    pub at: u64,
    /// Which device sent it; empty before login.
    pub device: String,
    /// What it was.
    pub what: String,
}

/// A stanza that waits too long for its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unacked {
    /// Which device has it.
    pub device: String,
    /// The stanza's tag.
    pub stanza: String,
    /// The stanza's id.
    pub id: String,
    /// When it was delivered, seconds since the Unix epoch.
    pub delivered_at: u64,
}

/// Completed handshakes by Noise pattern.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Handshakes {
    /// Full handshakes.
    pub xx: u64,
    /// Resumptions that were refused and went on as full handshakes.
    pub xxfallback: u64,
    /// Resumptions.
    pub ik: u64,
}

/// Entries kept of each kind of objection.
const STRICTNESS_LEN_MAX: usize = 100;
/// Overdue stanzas listed.
pub(crate) const UNACKED_LEN_MAX: usize = 100;
/// How long a connected device may take to acknowledge a stanza, in seconds.
pub(crate) const UNACKED_AFTER_S: u64 = 10;
/// Longest description of an objection, in characters.
const WHAT_LEN_MAX: usize = 300;

/// The network's running counters.
#[derive(Debug, Default)]
pub(crate) struct Counters(Metrics);

impl Counters {
    pub(crate) fn count(&mut self, direction: &str, key: &str) {
        *self.0.stanzas.entry(format!("{direction}:{key}")).or_default() += 1;
    }

    pub(crate) fn unknown(&mut self, at: u64, device: &str, what: String) {
        tracing::debug!(device, what, "unknown request");
        self.0.unknown_count += 1;
        remember(&mut self.0.unknown, at, device, what);
    }

    pub(crate) fn malformed(&mut self, at: u64, device: &str, what: String) {
        tracing::debug!(device, what, "malformed stanza");
        self.0.malformed_count += 1;
        remember(&mut self.0.malformed, at, device, what);
    }

    pub(crate) fn handshake(&mut self, pattern: Pattern) {
        match pattern {
            Pattern::Xx => self.0.handshakes.xx += 1,
            Pattern::XxFallback => self.0.handshakes.xxfallback += 1,
            Pattern::Ik => self.0.handshakes.ik += 1,
        }
    }

    pub(crate) fn prekey_reused(&mut self) {
        self.0.prekeys_reused += 1;
    }
}

fn remember(list: &mut Vec<Strictness>, at: u64, device: &str, what: String) {
    if list.len() >= STRICTNESS_LEN_MAX {
        list.remove(0);
    }
    list.push(Strictness {
        at,
        device: device.to_owned(),
        what: what.chars().take(WHAT_LEN_MAX).collect(),
    });
}

/// The name a stanza is counted under.
pub(crate) fn stanza_key(node: &Node) -> String {
    let detail = match node.tag.as_ref() {
        "iq" => stanza::text(node, "xmlns"),
        "notification" => stanza::text(node, "type"),
        _ => None,
    };
    match detail {
        Some(detail) => format!("{}:{detail}", node.tag),
        None => node.tag.to_string(),
    }
}

impl State {
    /// The counters, with what is open and overdue now.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = self.counters.0.clone();
        let before = self.now().saturating_sub(UNACKED_AFTER_S);
        metrics.connections = self.links.values().filter(|link| link.is_client()).count() as u64;
        for account in self.saved.accounts.values() {
            for device in account.devices.values().filter(|device| device.conn.is_some()) {
                for (tag, id, delivered_at) in device.queue.overdue(before) {
                    metrics.unacked_count += 1;
                    if metrics.unacked.len() < UNACKED_LEN_MAX {
                        let who = DeviceRef::new(account.number.clone(), device.id).to_string();
                        metrics.unacked.push(Unacked {
                            device: who,
                            stanza: tag,
                            id,
                            delivered_at,
                        });
                    }
                }
            }
        }
        metrics
    }
}
