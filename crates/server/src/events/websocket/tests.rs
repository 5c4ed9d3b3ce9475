//! A socket whose client is played: one that is slow, one that is silent, and one whose key is gone.

use std::pin::Pin;
use std::task::Context;

use super::*;
use crate::events::follow::tests::{PATIENCE, Played};
use futures::channel::mpsc::{self, SendError};

/// So that a test need not wait for what a client may take in earnest.
const IMPATIENT: Patience = Patience {
    ping_every: Duration::from_millis(10),
    silence_max: Duration::from_millis(100),
    stall_max: Duration::from_millis(100),
};

/// The server's side of a socket whose client takes frames when the test does, and says nothing.
struct Wire(mpsc::Sender<Message>);

impl Sink<Message> for Wire {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.0).poll_ready(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        Pin::new(&mut self.0).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}

impl Stream for Wire {
    type Item = Result<Message, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

/// The code and the error.
fn said(closing: Closing) -> (u16, String) {
    let (code, reason) = closing.expect("it ends without a reason");
    let reason: serde_json::Value = serde_json::from_str(&reason).unwrap();
    (code, reason["error"].as_str().unwrap().to_owned())
}

#[test]
fn reasons_fit_a_close_frame() {
    assert_eq!(json_reason("no").as_str(), r#"{"error":"no"}"#);
    assert!(json_reason(&"ü".repeat(200)).len() <= REASON_BYTES_MAX);
    let id = "evt_01ktvc6zt8tc3t0pw2qhmnp8v3".parse().unwrap();
    let (_, reason) = failed(&FollowError::UnknownEvent(id));
    assert!(reason.ends_with(r#"oldest or newest"}"#), "{reason}");
}

#[tokio::test]
async fn a_client_that_answers_no_pings_is_told_so() {
    let played = Played::new().await;
    let follow = played.follow("after=newest").await;
    // Room for everything: that it is sent says nothing about the client.
    let (wire, _frames) = mpsc::channel(1_024);
    let mut wire = Wire(wire);
    let told = tell(&mut wire, follow, &IMPATIENT, std::future::pending());
    let (code, reason) = said(timeout(PATIENCE, told).await.expect("it stays open for ever"));
    assert_eq!(code, CLOSE_TOO_SLOW);
    assert!(reason.starts_with("pings were not answered"), "{reason}");
}

#[tokio::test]
async fn a_client_that_takes_frames_slowly_is_kept() {
    let played = Played::new().await;
    let follow = played.follow("after=newest").await;
    let (wire, mut frames) = mpsc::channel(0);
    let count = 20;
    for number in 0..count {
        played.tell(&number.to_string());
    }
    let patience = Patience {
        stall_max: PATIENCE,
        ..IMPATIENT
    };
    let mut wire = Wire(wire);
    let mut telling = pin!(tell(&mut wire, follow, &patience, std::future::pending()));
    // All together it takes much longer than it may be silent.
    let mut taking = interval(IMPATIENT.silence_max / 4);
    let mut taken = 0;
    while taken < count {
        tokio::select! {
            closing = &mut telling => panic!("a slow client is closed: {closing:?}"),
            _ = taking.tick() => {
                if let Ok(frame) = frames.try_recv() {
                    taken += usize::from(matches!(frame, Message::Text(_)));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_told_so() {
    let played = Played::new().await;
    let follow = played.follow("after=newest").await;
    let (wire, _frames) = mpsc::channel(0);
    let mut wire = Wire(wire);
    let told = tell(&mut wire, follow, &IMPATIENT, std::future::pending());
    let (code, reason) = said(timeout(PATIENCE, told).await.expect("it stays open for ever"));
    assert_eq!(code, CLOSE_TOO_SLOW);
    assert!(reason.starts_with("nothing was read for too long"), "{reason}");
}

#[tokio::test]
async fn a_key_that_is_gone_is_told_nothing_more() {
    let played = Played::new().await;
    // Often, because what is ready at the same moment is else taken by chance.
    for _ in 0..32 {
        let follow = played.follow("after=newest").await;
        let (revoked, stop) = (CancellationToken::new(), CancellationToken::new());
        let (wire, mut frames) = mpsc::channel(64);
        let mut wire = Wire(wire);
        let mut telling = pin!(tell(&mut wire, follow, &IMPATIENT, over(&revoked, &stop)));
        assert!(poll!(&mut telling).is_pending());
        played.tell("to whoever may read it");
        revoked.cancel();
        let (code, _) = said(telling.await);
        assert_eq!(code, CLOSE_REVOKED);
        while let Ok(frame) = frames.try_recv() {
            assert!(matches!(frame, Message::Ping(_)), "{frame:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_says_so_in_json() {
    let (revoked, stop) = (CancellationToken::new(), CancellationToken::new());
    stop.cancel();
    let (code, reason) = said(Some(over(&revoked, &stop).await));
    assert_eq!((code, reason.as_str()), (1001, "the server stops, go on with after"));
}
