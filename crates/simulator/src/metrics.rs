//! What the network counted: stanzas, handshakes, and everything a strict server objects to.
//!
//! Lists are bounded; the counts beside them are not.

use std::collections::BTreeMap;

use serde::Serialize;

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
