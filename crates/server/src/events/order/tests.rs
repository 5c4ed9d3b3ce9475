//! However appends end, the log is told in its order: nothing early, nothing twice, nothing left out.

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use wharf_core::events::EventName;

use super::*;

/// One step of a run.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody appends so many events.
    Reserve(usize),
    /// One of the appends under way ends.
    End(usize, Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Written,
    Failed,
    /// Its caller gave up, and it turns out whether it was written.
    Dropped {
        is_written: bool,
    },
}

/// What is known of one append.
struct Expected {
    seqs: Vec<i64>,
    ending: Option<Ending>,
}

impl Expected {
    fn told(&self) -> &[i64] {
        match self.ending {
            Some(Ending::Written | Ending::Dropped { is_written: true }) => &self.seqs,
            _ => &[],
        }
    }
}

fn event(number: usize) -> LoggedEvent {
    let mut digest = [0; 16];
    digest[8..].copy_from_slice(&number.to_be_bytes());
    LoggedEvent {
        id: EventId::derived(Timestamp::UNIX_EPOCH, digest),
        seq: 0,
        name: EventName::Message,
        session: "a".parse().unwrap(),
        at: Timestamp::UNIX_EPOCH,
        body: Bytes::from(vec![b'x'; 2 + number % 7]),
    }
}

/// The events as the store has them.
fn copies(events: &[Arc<LoggedEvent>]) -> Vec<LoggedEvent> {
    let copy = |it: &Arc<LoggedEvent>| LoggedEvent {
        id: it.id.clone(),
        seq: it.seq,
        session: it.session.clone(),
        body: it.body.clone(),
        ..**it
    };
    events.iter().map(copy).collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ending = prop_oneof![
        Just(Ending::Written),
        Just(Ending::Failed),
        any::<bool>().prop_map(|is_written| Ending::Dropped { is_written }),
    ];
    let step = prop_oneof![
        (1..4usize).prop_map(Step::Reserve),
        (any::<usize>(), ending).prop_map(|(which, ending)| Step::End(which, ending)),
    ];
    prop::collection::vec(step, 1..120)
}

/// Runs the steps, then ends what is left. Checks after each that exactly what may be told is told.
fn run(steps: Vec<Step>) {
    let (order, mut unsettled) = Order::new(Told { seq: 0, newest: None });
    let (_, mut live) = order.follow();
    let mut under_way: Vec<(usize, Places<'_>)> = Vec::new();
    let (mut expected, mut told, mut count): (Vec<Expected>, Vec<i64>, usize) = Default::default();
    let rest = vec![Step::End(0, Ending::Written); steps.len()];
    for step in steps.into_iter().chain(rest) {
        match step {
            Step::Reserve(events) => {
                let places = order.reserve((count..count + events).map(event).collect());
                count += events;
                let seqs = places.events().iter().map(|event| event.seq).collect();
                under_way.push((expected.len(), places));
                expected.push(Expected { seqs, ending: None });
            }
            Step::End(_, _) if under_way.is_empty() => continue,
            Step::End(which, ending) => {
                let (append, places) = under_way.swap_remove(which % under_way.len());
                match ending {
                    Ending::Written => places.written(),
                    Ending::Failed => places.failed(),
                    Ending::Dropped { is_written } => {
                        let written = if is_written {
                            copies(places.events())
                        } else {
                            Vec::new()
                        };
                        drop(places);
                        order.settle(&unsettled.try_recv().unwrap(), written);
                    }
                }
                expected[append].ending = Some(ending);
            }
        }
        while let Ok(event) = live.try_recv() {
            told.push(event.seq);
        }
        let settled = expected.iter().take_while(|append| append.ending.is_some());
        let allowed: Vec<i64> = settled.clone().flat_map(Expected::told).copied().collect();
        assert_eq!(told, allowed);
        let end = settled.last().and_then(|append| append.seqs.last()).copied();
        assert_eq!(order.told().seq, end.unwrap_or_default());
    }
    assert!(under_way.is_empty() && told.is_sorted_by(|a, b| a < b));
}

proptest! {
    #[test]
    fn the_log_is_told_in_order_whatever_becomes_of_appends(steps in steps()) {
        run(steps);
    }
}

#[test]
fn places_count_the_bytes_of_the_log() {
    let (order, _unsettled) = Order::new(Told { seq: 100, newest: None });
    let sized = |bytes| LoggedEvent {
        body: Bytes::from(vec![b'x'; bytes]),
        ..event(0)
    };
    let places = order.reserve(vec![sized(10), sized(5)]);
    let seqs: Vec<_> = places.events().iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [110, 115]);
    places.written();
    assert_eq!(order.told().seq, 115);
}

#[test]
fn a_panic_of_an_appender_holds_nobody_back_for_ever() {
    let (order, mut unsettled) = Order::new(Told { seq: 0, newest: None });
    let (_, mut live) = order.follow();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _places = order.reserve(vec![event(1)]);
        panic!("the store is broken");
    }));
    assert!(panicked.is_err());
    order.reserve(vec![event(2)]).written();
    assert!(live.try_recv().is_err(), "told before the first one is settled");
    let lost = unsettled.try_recv().unwrap();
    assert_eq!(lost.events, [(event(1).id, 3)]);
    order.settle(&lost, Vec::new());
    assert_eq!(live.try_recv().unwrap().id, event(2).id);
}
