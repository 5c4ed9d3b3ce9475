//! How long events are kept, and how slow a reader may be.

use std::time::Duration;

use jiff::SignedDuration;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&RETENTION_DAYS, &RETENTION_MB, &STALL];

/// A megabyte of `WHARF_EVENTS_RETENTION_MB`.
const MB_BYTES: u64 = 1024 * 1024;

const RETENTION_DAYS: Variable = Variable {
    names: &["WHARF_EVENTS_RETENTION_DAYS"],
    default: "14",
    about: "How long events and their deliveries are kept, delivered or not.",
    secret: false,
};
const RETENTION_MB: Variable = Variable {
    names: &["WHARF_EVENTS_RETENTION_MB"],
    default: "1024",
    about: "How large the log may grow, in MiB of envelopes; the oldest events go first. What is still to be delivered to a webhook \
            is kept, and what came after it, until it is delivered, a dead letter, or too old.",
    secret: false,
};
const STALL: Variable = Variable {
    names: &["WHARF_EVENTS_STALL_SECONDS"],
    default: "10",
    about: "A websocket whose client takes not a single frame for so long is closed with 4008, and a stream whose client takes \
            nothing ends; both go on with `after`.",
    secret: false,
};

/// How long events are kept, and how slow a reader may be.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// Older events are removed.
    pub kept_for: SignedDuration,
    /// The oldest events are removed beyond so many bytes.
    pub bytes_max: u64,
    /// The longest that a reader may take for one frame or event.
    pub stall_max: Duration,
}

impl EventsConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let days: u32 = at_least_one(environment, &RETENTION_DAYS)?;
        let megabytes = at_least_one(environment, &RETENTION_MB)?;
        let stall = at_least_one(environment, &STALL)?;
        Ok(Self {
            kept_for: SignedDuration::from_hours(i64::from(days) * 24),
            bytes_max: u64::from(megabytes) * MB_BYTES,
            stall_max: Duration::from_secs(stall.into()),
        })
    }
}

fn at_least_one(environment: &Environment, variable: &Variable) -> Result<u32, ConfigError> {
    match environment.parse(variable, "a whole number, at least 1")? {
        0 => Err(environment.wrong(variable, "must be at least 1")),
        number => Ok(number),
    }
}
