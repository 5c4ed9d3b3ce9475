//! When a failed delivery is tried again: the one place that knows.

use std::time::Duration;

use wharf_core::random::Random;

use crate::sessions::{RetryPolicy, RetryRules};

/// How far an exponential delay strays to either side, so that receivers are not hit by all at once.
const JITTER: f64 = 0.2;
/// The longest time between two attempts, whatever the rules say.
const DELAY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait after the `failures`th failure, or `None` where there is no further attempt.
pub(super) fn delay(rules: &RetryRules, failures: u32, random: &dyn Random) -> Option<Duration> {
    if failures > rules.attempts() {
        return None;
    }
    let factor = match rules.policy() {
        RetryPolicy::Constant => 1.0,
        RetryPolicy::Linear => f64::from(failures),
        RetryPolicy::Exponential => {
            let share = f64::from(u16::from_be_bytes(random.bytes())) / f64::from(u16::MAX);
            let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
            2f64.powi(doublings) * (1.0 - JITTER + 2.0 * JITTER * share)
        }
    };
    let seconds = rules.delay_seconds() * factor;
    Some(Duration::from_secs_f64(seconds.clamp(0.0, DELAY_MAX.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::random::SystemRandom;

    fn delays(policy: RetryPolicy, attempts: u32) -> Vec<Option<f64>> {
        let rules = RetryRules {
            delay_seconds: Some(2.0),
            attempts: Some(attempts),
            policy: Some(policy),
        };
        (1..=attempts + 1)
            .map(|failures| delay(&rules, failures, &SystemRandom).map(|delay| delay.as_secs_f64()))
            .collect()
    }

    #[test]
    fn policies_grow_as_they_say_and_then_end() {
        assert_eq!(
            delays(RetryPolicy::Constant, 3),
            [Some(2.0), Some(2.0), Some(2.0), None]
        );
        assert_eq!(delays(RetryPolicy::Linear, 3), [Some(2.0), Some(4.0), Some(6.0), None]);
        for (delay, full) in delays(RetryPolicy::Exponential, 3)
            .into_iter()
            .flatten()
            .zip([2.0, 4.0, 8.0])
        {
            assert!(delay >= full * 0.799 && delay <= full * 1.201, "{delay} for {full}");
        }
    }

    #[test]
    fn the_default_is_fifteen_retries_two_seconds_apart() {
        let rules = RetryRules::default();
        assert_eq!(delay(&rules, 15, &SystemRandom), Some(Duration::from_secs(2)));
        assert_eq!(delay(&rules, 16, &SystemRandom), None);
    }

    #[test]
    fn huge_exponents_stay_within_a_day() {
        let rules = RetryRules {
            delay_seconds: Some(2.0),
            attempts: Some(1_000),
            policy: Some(RetryPolicy::Exponential),
        };
        assert_eq!(delay(&rules, 900, &SystemRandom), Some(DELAY_MAX));
    }
}
