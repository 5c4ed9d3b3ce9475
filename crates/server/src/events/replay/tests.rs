//! Replays of a log whose clock was set.

use super::*;
use crate::events::follow::tests::Played;

/// How many events are replayed of these minutes, counted from `start`.
async fn replayed(played: &Played, start: Timestamp, since: Option<i64>, until: Option<i64>) -> usize {
    let at = |minutes| start + SignedDuration::from_mins(minutes);
    let wanted = Wanted {
        since: since.map(at),
        until: until.map(at),
        events: None,
        state: WantedState::Any,
    };
    let replayed = played
        .log
        .replay_many(&"a".parse().unwrap(), &wanted, None)
        .await
        .unwrap();
    assert_eq!(replayed.next, None);
    replayed.events
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_nothing_from_a_replay() {
    let played = Played::new().await;
    let start = played.log.clock.now();
    // More than a page each, so that the end of one says nothing about the next.
    for (minutes, count) in [(30, PAGE_EVENTS + 50), (0, PAGE_EVENTS + 60)] {
        played.set_clock(minutes);
        played.append_many("a", count).await;
    }
    played.listen("a").await;
    // Behind what bears a later moment.
    assert_eq!(replayed(&played, start, None, Some(10)).await, PAGE_EVENTS + 60);
    // Before what bears an earlier one.
    assert_eq!(replayed(&played, start, Some(20), None).await, PAGE_EVENTS + 50);
}
