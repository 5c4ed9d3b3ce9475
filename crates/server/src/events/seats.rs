//! Seats for readers: how many may read the log at the same time, all together and those of one session.
//!
//! Pages, streams and websockets take one each, for as long as they last. Never says what a reader may read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wharf_core::ids::SessionName;

/// Readers at the same time.
const SEATS_MAX: usize = 2_048;
/// Readers with keys of one session at the same time, so that none takes all seats.
const SEATS_OF_SESSION_MAX: usize = 64;

/// All seats.
#[derive(Default)]
pub(crate) struct Seats {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_session: HashMap<SessionName, usize>,
}

/// One reader's seat, until it is dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    session: Option<SessionName>,
}

/// Why a reader is not let in now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSeat {
    /// There are too many readers.
    #[error("{SEATS_MAX} websockets, streams and pages are open, close one first")]
    Anywhere,
    /// Keys of this session have too many.
    #[error("keys of session '{0}' have {SEATS_OF_SESSION_MAX} websockets, streams and pages open, close one first")]
    OfSession(SessionName),
}

impl Seats {
    /// A seat for a reader with a key of this session, or with one for all.
    pub(crate) fn take(self: &Arc<Self>, session: Option<&SessionName>) -> Result<Seat, NoSeat> {
        let mut taken = self.taken();
        if taken.all >= SEATS_MAX {
            return Err(NoSeat::Anywhere);
        }
        if let Some(session) = session {
            let theirs = taken.by_session.entry(session.clone()).or_default();
            if *theirs >= SEATS_OF_SESSION_MAX {
                return Err(NoSeat::OfSession(session.clone()));
            }
            *theirs += 1;
        }
        taken.all += 1;
        Ok(Seat {
            seats: Arc::clone(self),
            session: session.cloned(),
        })
    }

    /// What is guarded is whole between any two statements, also where a holder panicked.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all -= 1;
        if let Some(session) = self.session.take()
            && let Entry::Occupied(mut theirs) = taken.by_session.entry(session)
        {
            *theirs.get_mut() -= 1;
            if *theirs.get() == 0 {
                theirs.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_session_takes_all_seats_and_what_is_left_is_free_again() {
        let (seats, a, b) = (Arc::<Seats>::default(), "a".parse().unwrap(), "b".parse().unwrap());
        let mut of_a: Vec<_> = (0..SEATS_OF_SESSION_MAX)
            .map(|_| seats.take(Some(&a)).unwrap())
            .collect();
        assert_eq!(seats.take(Some(&a)).err(), Some(NoSeat::OfSession(a.clone())));
        let others: Vec<_> = (SEATS_OF_SESSION_MAX..SEATS_MAX)
            .map(|_| seats.take(None).unwrap())
            .collect();
        assert_eq!(seats.take(Some(&b)).err(), Some(NoSeat::Anywhere));
        assert_eq!(seats.take(None).err(), Some(NoSeat::Anywhere));
        of_a.pop();
        of_a.push(seats.take(Some(&a)).unwrap());
        drop((of_a, others));
        let taken = seats.taken();
        assert!(taken.all == 0 && taken.by_session.is_empty());
    }
}
