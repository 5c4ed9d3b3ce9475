//! Crashes between the steps that an incoming message takes, from Signal's state to the acknowledgement: it is told under one
//! event id, wherever the server dies.
//!
//! The steps are the writes of a message's row (from which it is replayed), of Signal's state that has moved past it, of the
//! message with its mark and its row, and of its events. The library flushes Signal's state whenever it likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::watch;
use wharf_core::store::{Batch, Write};

use crate::support::rigged::{Judge, Verdict, stored};
use crate::support::{ALICE, BOB, CAROL, Receiver, TestWharf, within};

/// The step at which everything of the text stops.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    /// The flush of Signal's state with the rows.
    BeforeFlush,
    /// The commit of messages, marks and rows.
    BeforeMessage,
    /// The commit of events.
    BeforeEvents,
    /// As above, after it.
    AfterEvents,
}

/// Where rows may be written.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    /// Nowhere: Signal's state was flushed in the moment before the library handed them over, and the message is lost.
    Nowhere,
    /// With the messages only: Signal's state was flushed before.
    WithMessages,
    /// Wherever they are.
    Anywhere,
}

/// Stops what one person has written at a step.
struct Failpoint {
    /// The linked identity of the sender.
    sender: String,
    text: &'static str,
    stop: Stop,
    rows: Rows,
    is_reached: watch::Sender<bool>,
    /// Whether Signal's session with the sender was written after that.
    is_flushed: watch::Sender<bool>,
}

impl Failpoint {
    fn new(wharf: &TestWharf, text: &'static str, stop: Stop, rows: Rows) -> Arc<Self> {
        let lid = wharf.network.phone(BOB).unwrap().lid;
        Arc::new(Self {
            sender: lid.split(['@', ':']).next().unwrap().to_owned(),
            text,
            stop,
            rows,
            is_reached: watch::Sender::new(false),
            is_flushed: watch::Sender::new(false),
        })
    }

    async fn reached(&self) {
        let mut reached = self.is_reached.subscribe();
        let reached = reached.wait_for(|is_reached| *is_reached);
        within("the failpoint to be reached", reached).await.unwrap();
    }

    /// Has Signal's state written while everything stands still.
    async fn flush(&self, wharf: &TestWharf) {
        let mut flushed = self.is_flushed.subscribe();
        // What is sent makes the library flush the Signal sessions of all. It is kept behind what is held back: never.
        let text = json!({ "session": "default", "chatId": format!("{CAROL}@c.us"), "text": "meanwhile" });
        tokio::select! {
            flushed = within("the Signal session to be on disk", flushed.wait_for(|flushed| *flushed)) => {
                flushed.unwrap();
            }
            answer = wharf.post("/api/sendText", text) => panic!("kept before what is held back: {answer:?}"),
        }
    }

    fn is_of_sender(&self, batch: &Batch, collection: &str) -> bool {
        stored(batch, collection).any(|id| id.contains(&self.sender))
    }
}

impl Judge for Failpoint {
    fn judge(&self, batch: &Batch) -> Verdict {
        let has_messages = self.is_of_sender(batch, "wa_seen_inbound");
        let has_rows = self.is_of_sender(batch, "wa_pending_inbound");
        let is_here = match self.stop {
            Stop::BeforeFlush => has_rows,
            Stop::BeforeMessage => has_messages,
            Stop::BeforeEvents | Stop::AfterEvents => tells(batch, self.text),
        };
        if is_here && self.stop == Stop::AfterEvents {
            return Verdict::Unheard;
        }
        if is_here {
            self.is_reached.send_replace(true);
            return Verdict::HoldBack;
        }
        let may_have_rows = match self.rows {
            Rows::Nowhere => false,
            Rows::WithMessages => has_messages,
            Rows::Anywhere => true,
        };
        match has_rows && !may_have_rows {
            true => Verdict::Without("wa_pending_inbound"),
            false => Verdict::Pass,
        }
    }

    fn written(&self, batch: &Batch) {
        if self.is_of_sender(batch, "wa_sessions") && *self.is_reached.borrow() {
            self.is_flushed.send_replace(true);
        }
        if self.stop == Stop::AfterEvents && tells(batch, self.text) {
            self.is_reached.send_replace(true);
        }
    }
}

/// Whether a batch has an event with this text.
pub(crate) fn tells(batch: &Batch, text: &str) -> bool {
    batch.writes.iter().any(|write| {
        matches!(write, Write::Put { collection, document, .. }
            if collection.name == "events" && document.body.windows(text.len()).any(|part| part == text.as_bytes()))
    })
}

/// A server that crashed while a text of Bob's to Alice had come so far, with Signal's state on disk that has moved past it.
async fn crashed(text: &'static str, stop: Stop, rows: Rows) -> (TestWharf, Receiver) {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let failpoint = Failpoint::new(&wharf, text, stop, rows);
    wharf.boot_rigged(Arc::clone(&failpoint) as _).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.network.send(BOB, ALICE, text, None).await.unwrap();
    failpoint.reached().await;
    failpoint.flush(&wharf).await;
    wharf.crash().await;
    (wharf, receiver)
}

/// A server that crashed and lost a text of Bob's to Alice: it is decrypted, that is on disk, and the text is not.
pub(crate) async fn crashed_with_a_lost_text(text: &'static str) -> (TestWharf, Receiver) {
    crashed(text, Stop::BeforeMessage, Rows::Nowhere).await
}

/// The ids of the `message` events with this text.
fn event_ids(receiver: &Receiver, text: &str) -> Vec<String> {
    let mut ids: Vec<_> = receiver
        .deliveries()
        .into_iter()
        .filter(|it| it.event["event"] == "message" && it.event["payload"]["body"] == text)
        .map(|it| it.event["id"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// The server comes back, and tells of these texts, once each, without asking anybody for them.
async fn assert_replayed_once(wharf: TestWharf, receiver: &Receiver, texts: &[&str]) {
    let asks = json!({ "match": { "stanza": "receipt", "type": "retry" }, "action": "drop", "count": 100 });
    let network = wharf.network.clone();
    network.set_faults(vec![serde_json::from_value(asks).unwrap()]).unwrap();
    assert_told_once(wharf, receiver, texts).await;
    assert_eq!(network.faults()[0].count, 100, "what has a row is replayed from it");
}

/// The server comes back and tells of these texts and the next one under one id each; and after one more start everything
/// is acknowledged, and nothing has come again.
async fn assert_told_once(mut wharf: TestWharf, receiver: &Receiver, texts: &[&str]) {
    wharf.boot().await;
    wharf.network.send(BOB, ALICE, "next", None).await.unwrap();
    for text in texts.iter().chain(&["next"]) {
        receiver
            .wait_for(text, |event| {
                event["event"] == "message" && event["payload"]["body"] == *text
            })
            .await;
    }
    wharf.settled().await;
    wharf.restart().await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.settled().await;
    for text in texts.iter().chain(&["next"]) {
        assert_eq!(event_ids(receiver, text).len(), 1, "{text}");
    }
    let waiting = |name: &String| name.starts_with("message.waiting");
    assert!(!receiver.names().iter().any(waiting), "{:?}", receiver.names());
    wharf.finish().await;
}

#[tokio::test]
async fn a_message_whose_signal_state_outlived_its_row_is_recovered_with_one_event() {
    let (wharf, receiver) = crashed_with_a_lost_text("lost").await;
    assert_eq!(event_ids(&receiver, "lost").len(), 0, "nobody has stored it");
    assert_told_once(wharf, &receiver, &["lost"]).await;
}

#[tokio::test]
async fn a_message_that_only_has_its_row_is_told_once() {
    let (wharf, receiver) = crashed("replayed", Stop::BeforeMessage, Rows::Anywhere).await;
    assert_replayed_once(wharf, &receiver, &["replayed"]).await;
}

#[tokio::test]
async fn a_message_that_is_kept_and_whose_row_came_too_late_for_the_signal_state_is_told_once() {
    let (wharf, receiver) = crashed("kept", Stop::BeforeEvents, Rows::WithMessages).await;
    assert_replayed_once(wharf, &receiver, &["kept"]).await;
}

#[tokio::test]
async fn a_message_that_is_kept_and_has_its_row_is_told_once() {
    let (wharf, receiver) = crashed("kept", Stop::BeforeEvents, Rows::Anywhere).await;
    assert_replayed_once(wharf, &receiver, &["kept"]).await;
}

#[tokio::test]
async fn a_message_that_is_told_and_not_acknowledged_is_told_once() {
    let (wharf, receiver) = crashed("told", Stop::AfterEvents, Rows::WithMessages).await;
    assert_replayed_once(wharf, &receiver, &["told"]).await;
}

#[tokio::test]
async fn what_came_while_the_server_was_away_is_told_once_wherever_it_crashes() {
    const TEXTS: [&str; 3] = ["away 0", "away 1", "away 2"];
    for stop in [
        Stop::BeforeFlush,
        Stop::BeforeMessage,
        Stop::BeforeEvents,
        Stop::AfterEvents,
    ] {
        let (mut wharf, receiver) = TestWharf::with_alice().await;
        wharf.stop().await;
        for text in TEXTS {
            wharf.network.send(BOB, ALICE, text, None).await.unwrap();
        }
        let failpoint = Failpoint::new(&wharf, "away", stop, Rows::Anywhere);
        wharf.boot_rigged(Arc::clone(&failpoint) as _).await;
        failpoint.reached().await;
        wharf.crash().await;
        assert_replayed_once(wharf, &receiver, &TEXTS).await;
    }
}

/// A log without room for one text, while it is so.
struct FullLog(&'static str, AtomicBool);

impl Judge for FullLog {
    fn judge(&self, batch: &Batch) -> Verdict {
        match tells(batch, self.0) && self.1.load(Ordering::SeqCst) {
            true => Verdict::Full,
            false => Verdict::Pass,
        }
    }

    fn written(&self, _: &Batch) {}
}

#[tokio::test]
async fn a_log_that_alone_is_full_costs_no_event() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let log = Arc::new(FullLog("kept", AtomicBool::new(true)));
    wharf.boot_rigged(Arc::clone(&log) as _).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.network.send(BOB, ALICE, "kept", None).await.unwrap();
    wharf.wait_for_status("default", "STARTING").await;
    assert_eq!(event_ids(&receiver, "kept").len(), 0);
    log.1.store(false, Ordering::SeqCst);
    wharf.wait_for_status("default", "WORKING").await;
    receiver
        .wait_for("the text", |event| event["payload"]["body"] == "kept")
        .await;
    wharf.settled().await;
    wharf.stop().await;
    assert_replayed_once(wharf, &receiver, &["kept"]).await;
}
