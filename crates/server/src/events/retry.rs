//! When a failed delivery is tried again: the one place that knows.
//!
//! First as the webhook's rules say (the fast phase, which is WAHA's), then over three days (the slow phase).

use std::time::Duration;

use wharf_core::random::Random;

use crate::sessions::{RetryPolicy, RetryRules};

/// How far a delay strays to either side where it is not the same for all, so that receivers are not hit by all at once.
const JITTER: f64 = 0.2;
/// The longest time between two attempts, whatever the rules say.
const DELAY_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The waits of the slow phase.
const SLOW: [Duration; 8] = [
    minutes(5),
    minutes(30),
    minutes(2 * 60),
    minutes(5 * 60),
    minutes(10 * 60),
    minutes(14 * 60),
    minutes(20 * 60),
    minutes(24 * 60),
];
/// The longest wait for the next try of a receiver that has failed again and again while deliveries are due.
const PROBE_WITHIN: Duration = Duration::from_secs(15);
/// How much longer than all retries together a delivery may wait: they stray, and end by themselves.
const PATIENCE: f64 = 1.25;

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// When what failed is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule<'a> {
    /// The fast phase.
    pub(super) rules: &'a RetryRules,
    /// Whether there is a slow phase.
    pub(super) slow: bool,
}

impl Schedule<'_> {
    /// The wait after the `failures`th failure of a delivery, or `None` where there is no further attempt.
    pub(super) fn delay(self, failures: u32, random: &dyn Random) -> Option<Duration> {
        let share = f64::from(u16::from_be_bytes(random.bytes())) / f64::from(u16::MAX);
        let stray = 1.0 - JITTER + 2.0 * JITTER * share;
        let strays = failures > self.rules.attempts() || self.rules.policy() == RetryPolicy::Exponential;
        let delay = self.usual(failures)?.mul_f64(if strays { stray } else { 1.0 });
        Some(delay.min(DELAY_MAX))
    }

    /// The wait before a receiver is tried again that has failed so often in a row, whichever delivery it is tried with.
    pub(super) fn probe(self, failures: u32) -> Duration {
        let is_fast = failures <= self.rules.attempts();
        let usual = self.usual(failures).filter(|_| is_fast);
        // No longer than a single delivery that strays to that side: its own schedule must not suffer.
        usual.map_or(PROBE_WITHIN, |usual| usual.mul_f64(1.0 - JITTER).min(PROBE_WITHIN))
    }

    /// The longest that a delivery waits from when it is first due, through all its retries.
    pub(super) fn lasts(self) -> Duration {
        let steps = (1..).map_while(|failures| self.usual(failures));
        let all: Duration = steps.sum();
        all.mul_f64(PATIENCE) + PROBE_WITHIN
    }

    /// The wait after the `failures`th failure, without jitter.
    fn usual(self, failures: u32) -> Option<Duration> {
        let Some(over) = failures.checked_sub(self.rules.attempts() + 1) else {
            let factor = match self.rules.policy() {
                RetryPolicy::Constant => 1.0,
                RetryPolicy::Linear => f64::from(failures),
                RetryPolicy::Exponential => 2f64.powi(i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX)),
            };
            let seconds = self.rules.delay_seconds() * factor;
            return Some(Duration::from_secs_f64(seconds.clamp(0.0, DELAY_MAX.as_secs_f64())));
        };
        let over = usize::try_from(over).ok().filter(|_| self.slow)?;
        SLOW.get(over).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::random::SystemRandom;

    fn rules(policy: RetryPolicy, attempts: u32) -> RetryRules {
        RetryRules {
            delay_seconds: Some(2.0),
            attempts: Some(attempts),
            policy: Some(policy),
        }
    }

    fn delays(rules: &RetryRules, slow: bool) -> Vec<f64> {
        let schedule = Schedule { rules, slow };
        let delays = (1..).map_while(|failures| schedule.delay(failures, &SystemRandom));
        delays.map(|delay| delay.as_secs_f64()).collect()
    }

    fn assert_near(delays: &[f64], expected: &[f64]) {
        assert_eq!(delays.len(), expected.len(), "{delays:?}");
        for (delay, full) in delays.iter().zip(expected) {
            let most = (full * 1.201).min(DELAY_MAX.as_secs_f64());
            assert!(*delay >= full * 0.799 && *delay <= most, "{delay} for {full}");
        }
    }

    #[test]
    fn policies_grow_as_they_say_and_then_end() {
        assert_eq!(delays(&rules(RetryPolicy::Constant, 3), false), [2.0, 2.0, 2.0]);
        assert_eq!(delays(&rules(RetryPolicy::Linear, 3), false), [2.0, 4.0, 6.0]);
        assert_near(&delays(&rules(RetryPolicy::Exponential, 3), false), &[2.0, 4.0, 8.0]);
    }

    #[test]
    fn the_default_is_fifteen_retries_two_seconds_apart_and_then_three_days() {
        let delays = delays(&RetryRules::default(), true);
        assert_eq!(delays[..15], [2.0; 15]);
        let slow = [
            300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0,
        ];
        assert_near(&delays[15..], &slow);
    }

    #[test]
    fn huge_exponents_stay_within_a_day() {
        let delays = delays(&rules(RetryPolicy::Exponential, 1_000), false);
        assert_near(&delays[899..900], &[86_400.0]);
    }

    #[test]
    fn a_receiver_that_is_down_is_tried_as_often_as_one_delivery_is() {
        for policy in [RetryPolicy::Constant, RetryPolicy::Linear, RetryPolicy::Exponential] {
            let rules = rules(policy, 15);
            let schedule = Schedule {
                rules: &rules,
                slow: true,
            };
            for failures in 1..=15 {
                assert!(schedule.probe(failures) <= schedule.delay(failures, &SystemRandom).unwrap());
            }
            assert_eq!(schedule.probe(16), PROBE_WITHIN);
        }
    }

    #[test]
    fn nothing_waits_for_ever_nor_shorter_than_its_own_retries() {
        let rules = RetryRules::default();
        for slow in [false, true] {
            let all: f64 = delays(&rules, slow).iter().sum();
            let lasts = Schedule { rules: &rules, slow }.lasts().as_secs_f64();
            assert!(lasts > all && lasts < all * 1.7 + 16.0, "{lasts} for {all}");
        }
    }
}
