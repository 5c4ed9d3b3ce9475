//! Time and randomness as the sandbox sees them: passed in, so that tests can fix both.
//!
//! Nothing else in this crate reads the system clock or the system's random source.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;

/// The surroundings of a sandbox.
#[derive(Clone)]
pub struct Env {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where keys, ids and refs come from.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The machine's own clock and random source.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        }
    }

    /// Seconds since the Unix epoch, the unit of every `t` attribute.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.clock.now_ms() / 1000
    }
}

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// A source of randomness.
pub trait Random: Send + Sync {
    /// A generator that is fit for keys.
    fn rng(&self) -> StdRng;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the system clock"
    )]
    fn now_ms(&self) -> u64 {
        // A clock before 1970 is a broken machine; time 0 keeps the sandbox usable on it.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }
}

/// The machine's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn rng(&self) -> StdRng {
        rand::make_rng()
    }
}
