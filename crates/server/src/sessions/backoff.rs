//! How long a session waits before it connects again, and when it gives up.
//!
//! Decides nothing by itself: what happened to the connection chooses one of these.

use std::time::Duration;

use wharf_core::random::Random;

/// A way of waiting between connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    /// The wait before the first of a row; it doubles with each.
    first: Duration,
    /// The longest wait.
    max: Duration,
    /// How many of a row may be waited for in this way, before the session fails.
    tries_max: Option<u32>,
}

/// Connections in a row, with no stable one in between.
#[derive(Debug, Default)]
pub(super) struct Row {
    tries: u32,
    /// Those of them that count towards giving up.
    counted: u32,
}

impl Row {
    /// The wait before the next one, or nothing where that would be one too many.
    pub(super) fn next(&mut self, backoff: Backoff, random: &dyn Random) -> Option<Duration> {
        self.tries += 1;
        if let Some(max) = backoff.tries_max {
            self.counted += 1;
            if self.counted > max {
                return None;
            }
        }
        Some(backoff.delay(self.tries, random))
    }
}

impl Backoff {
    /// Nobody was reached, so nobody is bothered: a network that comes back is found within seconds.
    pub(super) const SOON: Self = Self {
        first: Duration::from_secs(1),
        max: Duration::from_secs(10),
        tries_max: None,
    };
    /// A connection was there and ended. For ever: what cuts it may go on for days, and messages wait at WhatsApp.
    pub(super) const STEADILY: Self = Self {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        tries_max: None,
    };
    /// WhatsApp asked to come back later.
    pub(super) const RARELY: Self = Self {
        first: Duration::from_secs(8),
        max: Duration::from_secs(300),
        tries_max: None,
    };
    /// Something is wrong here, and it may not help to go on.
    pub(super) const BOUNDED: Self = Self {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        tries_max: Some(10),
    };

    /// The wait before the `tries`-th connection of a row; half of it is random, so that many sessions do not come back
    /// at once.
    fn delay(&self, tries: u32, random: &dyn Random) -> Duration {
        let doublings = tries.saturating_sub(1).min(16);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        let share = f64::from(u16::from_be_bytes(random.bytes())) / f64::from(u16::MAX);
        full.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::random::SystemRandom;

    use super::*;

    #[test]
    fn the_delay_grows_up_to_a_limit_and_is_never_the_same_for_all() {
        for (backoff, tries, seconds) in [
            (Backoff::SOON, 1, 1),
            (Backoff::SOON, 3, 4),
            (Backoff::SOON, 1_000, 10),
            (Backoff::STEADILY, 7, 60),
            (Backoff::RARELY, 1, 8),
            (Backoff::RARELY, 1_000, 300),
            (Backoff::BOUNDED, 1_000, 60),
        ] {
            let full = Duration::from_secs(seconds);
            let delay = backoff.delay(tries, &SystemRandom);
            assert!(delay >= full / 2 && delay <= full, "{tries}: {delay:?}");
        }
    }

    #[test]
    fn a_session_gives_up_on_itself_and_never_on_the_network() {
        let mut row = Row::default();
        for _ in 0..1_000 {
            for backoff in [Backoff::SOON, Backoff::STEADILY, Backoff::RARELY] {
                assert!(row.next(backoff, &SystemRandom).is_some());
            }
        }
        let tries = std::iter::from_fn(|| row.next(Backoff::BOUNDED, &SystemRandom));
        assert_eq!(tries.count(), 10);
    }
}
