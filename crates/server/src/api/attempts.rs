//! Counts wrong keys per address, so that guessing is noticed: who sends too many is told so, and the log once a minute.
//!
//! Never stands in the way of a right key: an attacker behind the same address must not lock anybody out. So it does not keep
//! anybody from guessing; that a key cannot be guessed is up to its length. Forgets within a minute, and holds a bounded number of
//! addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong keys of one address within [`WINDOW`] that are answered as such; further ones are answered "too many".
const ATTEMPTS_MAX: u32 = 20;
/// How long attempts count, from the first.
const WINDOW: Duration = Duration::from_secs(60);
/// How often what is forgotten makes room, where there is none.
const PRUNE_EVERY: Duration = Duration::from_secs(1);
/// Addresses that are counted at the same time; what comes from further ones counts together.
const ADDRESSES_MAX: usize = 10_000;

/// The wrong keys of the last minute.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<Windows>);

#[derive(Default)]
struct Windows {
    by_source: HashMap<Source, Window>,
    pruned: Option<Instant>,
}

/// Where attempts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// One IPv4 address, or the 64 bits of IPv6 that one customer has.
    Address(IpAddr),
    /// Everywhere else.
    Others,
}

struct Window {
    began: Instant,
    attempts: u32,
}

/// What is to be done about a wrong key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is wrong, and that is all.
    Wrong,
    /// It is the first one too many.
    LimitReached(Duration),
    /// There are too many; they may go on after this long.
    TooMany(Duration),
}

impl Attempts {
    /// Counts a wrong key.
    pub(super) fn count(&self, address: Option<IpAddr>, now: Instant) -> Verdict {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut source = address.map_or(Source::Others, |address| Source::Address(network(address)));
        if !windows.by_source.contains_key(&source) && !windows.has_room(now) {
            source = Source::Others;
        }
        let window = windows.by_source.entry(source).or_insert(Window {
            began: now,
            attempts: 0,
        });
        if now.duration_since(window.began) >= WINDOW {
            *window = Window {
                began: now,
                attempts: 0,
            };
        }
        window.attempts = window.attempts.saturating_add(1);
        let rest = WINDOW.saturating_sub(now.duration_since(window.began));
        match window.attempts {
            ..=ATTEMPTS_MAX => Verdict::Wrong,
            attempts if attempts == ATTEMPTS_MAX + 1 => Verdict::LimitReached(rest),
            _ => Verdict::TooMany(rest),
        }
    }
}

impl Windows {
    fn has_room(&mut self, now: Instant) -> bool {
        let is_due = self
            .pruned
            .is_none_or(|pruned| now.duration_since(pruned) >= PRUNE_EVERY);
        if self.by_source.len() >= ADDRESSES_MAX && is_due {
            self.by_source
                .retain(|_, window| now.duration_since(window.began) < WINDOW);
            self.pruned = Some(now);
        }
        self.by_source.len() < ADDRESSES_MAX
    }
}

fn network(address: IpAddr) -> IpAddr {
    /// The bits of IPv6 that tell customers apart.
    const NETWORK: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(attempts: &Attempts, address: &str, now: Instant, times: u32) -> Verdict {
        let address = address.parse().unwrap();
        (0..times).map(|_| attempts.count(Some(address), now)).last().unwrap()
    }

    #[test]
    fn each_address_has_a_number_of_tries_a_minute() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        assert_eq!(tries(&attempts, "203.0.113.1", now, ATTEMPTS_MAX), Verdict::Wrong);
        let later = now + Duration::from_secs(20);
        let rest = Duration::from_secs(40);
        assert_eq!(tries(&attempts, "203.0.113.1", later, 1), Verdict::LimitReached(rest));
        assert_eq!(tries(&attempts, "::ffff:203.0.113.1", later, 1), Verdict::TooMany(rest));
        assert_eq!(tries(&attempts, "203.0.113.2", later, 1), Verdict::Wrong);
        assert_eq!(
            tries(&attempts, "203.0.113.1", now + WINDOW, ATTEMPTS_MAX),
            Verdict::Wrong
        );
    }

    #[test]
    fn an_ipv6_customer_is_one_source() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        tries(&attempts, "2001:db8:1:2::1", now, ATTEMPTS_MAX);
        assert_eq!(
            tries(&attempts, "2001:db8:1:2:ffff::2", now, 1),
            Verdict::LimitReached(WINDOW)
        );
        assert_eq!(tries(&attempts, "2001:db8:1:3::1", now, 1), Verdict::Wrong);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..3 * ADDRESSES_MAX {
            attempts.count(Some(address(n)), now);
        }
        let held = || attempts.0.lock().unwrap().by_source.len();
        assert!(held() <= ADDRESSES_MAX + 1, "{}", held());
        assert!(matches!(
            attempts.count(Some(address(1 << 20)), now),
            Verdict::TooMany(_)
        ));
        // A minute later all of them are forgotten, and addresses count by themselves again.
        let later = now + WINDOW;
        assert_eq!(attempts.count(Some(address(1 << 20)), later), Verdict::Wrong);
        assert_eq!(held(), 1);
    }
}
