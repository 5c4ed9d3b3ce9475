//! How many requests an endpoint gets: more while it answers, one at a time while it does not.
//!
//! Pure: it is told what came of each request, and asked how many more there may be.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::later;

/// Failures in a row after which an endpoint counts as down.
const OPEN_AFTER: u32 = 5;
/// The longest that an endpoint is left alone, whatever it asks for. Also what a clock that was set back can cost.
pub(super) const HOLD_MAX: Duration = Duration::from_secs(60 * 60);

/// What is known of an endpoint's health.
#[derive(Debug)]
pub(super) struct Breaker {
    /// The most requests at the same time.
    most: usize,
    /// How many there may be now: half with every failure, one more with every success.
    window: usize,
    /// Failures since the last success.
    row: u32,
    /// Since when it counts as down.
    open_since: Option<Timestamp>,
    /// Not to be asked before.
    hold: Option<Timestamp>,
}

impl Breaker {
    /// An endpoint of which nothing is known, which gets at most so many requests at the same time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            // Of one that hangs from the start, not all requests are stuck.
            window: most.div_ceil(2),
            row: 0,
            open_since: None,
            hold: None,
        }
    }

    /// How many more requests there may be.
    pub(super) fn room(&self, now: Timestamp, under_way: usize) -> usize {
        let window = match (self.held_until(now), self.is_open()) {
            (Some(_), _) => 0,
            (None, true) => 1,
            (None, false) => self.window,
        };
        window.saturating_sub(under_way)
    }

    /// Until when there may be none.
    pub(super) fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = SignedDuration::try_from(HOLD_MAX).unwrap_or(SignedDuration::MAX);
        let is_ahead = |hold: &Timestamp| *hold > now && hold.duration_since(now) <= limit;
        self.hold.filter(is_ahead)
    }

    /// Whether the endpoint counts as down.
    pub(super) fn is_open(&self) -> bool {
        self.row >= OPEN_AFTER
    }

    /// Since when the endpoint counts as down.
    pub(super) fn open_since(&self) -> Option<Timestamp> {
        self.open_since
    }

    /// Failures since the last success.
    pub(super) fn row(&self) -> u32 {
        self.row
    }

    /// A request came through.
    pub(super) fn succeeded(&mut self) {
        self.row = 0;
        self.open_since = None;
        self.hold = None;
        self.window = self.most.min(self.window + 1);
    }

    /// A request failed. The endpoint is left alone for as long as it asks for, and once it is down until the next probe.
    pub(super) fn failed(&mut self, now: Timestamp, asked_for: Option<Duration>, probe: impl FnOnce(u32) -> Duration) {
        self.row = self.row.saturating_add(1);
        self.window = (self.window / 2).max(1);
        if self.is_open() {
            self.open_since = self.open_since.or(Some(now));
        }
        let until_probe = self.is_open().then(|| probe(self.row));
        let wait = asked_for.map(|wait| wait.min(HOLD_MAX)).max(until_probe);
        // Of several that were under way, one that asks for nothing does not shorten what another one asked for.
        self.hold = self.held_until(now).max(wait.map(|wait| later(now, wait)));
    }

    /// Somebody wants it to be tried now.
    pub(super) fn release(&mut self) {
        self.hold = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn down() -> Breaker {
        let mut breaker = Breaker::new(8);
        for room in [4, 2, 1, 1, 1] {
            assert_eq!(breaker.room(at(0), 0), room);
            breaker.failed(at(0), None, |_| STEP);
        }
        breaker
    }

    #[test]
    fn an_endpoint_that_is_down_gets_one_request_for_each_step() {
        let mut breaker = down();
        assert_eq!((breaker.room(at(0), 0), breaker.room(at(1), 0)), (0, 0));
        assert_eq!((breaker.room(at(2), 0), breaker.room(at(2), 1)), (1, 0));
        breaker.failed(at(2), None, |_| STEP);
        assert_eq!((breaker.room(at(3), 0), breaker.room(at(4), 0)), (0, 1));
    }

    #[test]
    fn an_endpoint_that_is_back_gets_more_with_every_success() {
        let mut breaker = down();
        for expected in [2, 3, 4, 5, 6, 7, 8, 8] {
            breaker.succeeded();
            assert_eq!(breaker.room(at(0), 0), expected);
        }
    }

    #[test]
    fn what_the_receiver_asks_for_is_kept_to_but_not_for_ever() {
        let mut breaker = Breaker::new(8);
        breaker.failed(at(0), Some(Duration::from_secs(60)), |_| STEP);
        breaker.failed(at(1), None, |_| STEP);
        assert_eq!(breaker.held_until(at(1)), Some(at(60)));
        assert_eq!((breaker.room(at(59), 0), breaker.room(at(60), 0)), (0, 1));
        breaker.failed(at(60), Some(Duration::from_secs(999_999)), |_| STEP);
        assert_eq!(breaker.held_until(at(60)), Some(at(60 + 3_600)));
        breaker.release();
        assert_eq!(breaker.held_until(at(60)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_hold_it_for_longer() {
        let breaker = down();
        assert_eq!(breaker.room(at(-10_000), 0), 1);
    }
}
