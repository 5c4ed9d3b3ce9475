//! Faults that a test asks for: stanzas lost, late, doubled or refused on purpose.
//!
//! Pure matching and counting; what a fault does to a stanza is decided where stanzas enter and leave.

use serde::{Deserialize, Serialize};

/// Longest delay a fault may ask for, in milliseconds.
pub(crate) const FAULT_DELAY_MS_MAX: u64 = 60_000;
/// Most faults that can be set at a time.
pub(crate) const FAULTS_MAX: usize = 100;

/// A deliberate misbehaviour of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which stanzas it hits; an empty match hits all.
    #[serde(default, rename = "match")]
    pub matches: FaultMatch,
    /// What happens to them.
    #[serde(flatten)]
    pub action: FaultAction,
    /// How many stanzas it hits before it is spent.
    #[serde(default = "one")]
    pub count: u32,
    /// The chance that a matching stanza is hit, 0 to 1; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

fn one() -> u32 {
    1
}

/// Which stanzas a fault hits. Every given field must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultMatch {
    /// Stanzas from a client (`in`, the default) or to one (`out`).
    #[serde(default)]
    pub direction: FaultDirection,
    /// The stanza's tag: `message`, `receipt`, `iq`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stanza: Option<String>,
    /// The sender: an address, or just its user part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The recipient: an address, or just its user part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The stanza's `xmlns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmlns: Option<String>,
    /// The stanza's `type`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Seen from the network: what comes in from a client, or goes out to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultDirection {
    /// From a client.
    #[default]
    In,
    /// To a client.
    Out,
}

/// What happens to a stanza that a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum FaultAction {
    /// It is lost on this connection; what waits for an acknowledgement comes again with the next one.
    Drop,
    /// It is late.
    Delay {
        /// By how much, in milliseconds.
        ms: u64,
    },
    /// It happens twice.
    Duplicate,
    /// A message is refused with this error code in its ack.
    Nack {
        /// For example 479.
        code: u16,
    },
    /// An IQ is answered with this error code.
    IqError {
        /// For example 503.
        code: u16,
    },
    /// The connection falls silent: nothing is read from it or written to it any more, the socket stays open.
    Stall,
}
