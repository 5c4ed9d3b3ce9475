//! What ends a connection, and how often it says that it is alive.

use std::sync::Mutex;

use async_trait::async_trait;
use wacore::types::events::{
    BatchOrigin, ClientOutdated, ConnectFailureReason, PairPasskeyRequest, PairingQrCode, PairingQrCodesExhausted,
    StreamReplaced, TempBanReason,
};
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};

use super::*;

fn failure(reason: ConnectFailureReason) -> Event {
    Event::ConnectFailure(
        ConnectFailure::builder()
            .reason(reason)
            .message("go away".to_owned())
            .build(),
    )
}

#[test]
fn final_events_say_why() {
    let logged_out = LoggedOut::builder()
        .on_connect(true)
        .reason(ConnectFailureReason::LoggedOut)
        .build();
    let ban = TemporaryBan::builder()
        .code(TempBanReason::from(101))
        .expire(whatsapp_rust::chrono::Duration::seconds(3600))
        .build();
    for (event, expected) in [
        (
            Event::PairingQrCodesExhausted(PairingQrCodesExhausted::builder().disconnected(true).build()),
            Closed::QrCodesExpired,
        ),
        (
            Event::LoggedOut(logged_out),
            Closed::LoggedOut {
                reason: "LoggedOut (401)".to_owned(),
            },
        ),
        (
            Event::StreamReplaced(StreamReplaced::builder().build()),
            Closed::Replaced,
        ),
        (
            Event::TemporaryBan(ban),
            Closed::Banned {
                code: 101,
                expires_in: Some(Duration::from_secs(3600)),
            },
        ),
        (
            Event::ClientOutdated(ClientOutdated::builder().build()),
            Closed::Outdated,
        ),
        (
            failure(ConnectFailureReason::BadUserAgent),
            Closed::Refused {
                reason: "BadUserAgent (409): go away".to_owned(),
            },
        ),
    ] {
        assert_eq!(closed_by(&event), Some(expected));
    }
}

#[test]
fn a_failure_that_passes_is_not_the_end() {
    assert_eq!(closed_by(&failure(ConnectFailureReason::ServiceUnavailable)), None);
}

#[derive(Default)]
struct Alive(Mutex<usize>);

#[async_trait]
impl Inbox for Alive {
    async fn commit(&self, _messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(&self, _chat: &wharf_core::ids::ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    fn signal(&self, signal: Signal) {
        if matches!(signal, Signal::Alive) {
            *self.0.lock().unwrap() += 1;
        }
    }
}

#[test]
fn stanzas_are_a_sign_of_life_once_a_second() {
    let inbox = Arc::new(Alive::default());
    let (events, _queued) = Events::new(
        inbox.clone(),
        Arc::default(),
        Arc::default(),
        Arc::default(),
        Arc::default(),
    );
    let alive = || *inbox.0.lock().unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        events.stanza(start);
    }
    assert_eq!(alive(), 1);
    for _ in 0..10 {
        events.stanza(start + ALIVE_INTERVAL);
    }
    assert_eq!(alive(), 2);
}

#[test]
fn only_messages_that_the_hook_has_not_seen_are_queued() {
    let inbox = Arc::new(Alive::default());
    let (events, mut queued) = Events::new(inbox, Arc::default(), Arc::default(), Arc::default(), Arc::default());
    for hook_committed in [true, false] {
        let batch = MessageBatch::builder()
            .messages(Vec::new().into())
            .origin(BatchOrigin::Live)
            .hook_committed(hook_committed)
            .build();
        events.handle_event(Arc::new(Event::Messages(batch)));
    }
    let first = queued.try_recv().unwrap();
    assert!(matches!(&*first, Event::Messages(batch) if !batch.hook_committed));
    assert!(queued.try_recv().is_err());
}

#[test]
fn qr_codes_are_no_news_once_a_passkey_is_asked_for() {
    let inbox = Arc::new(Alive::default());
    let (events, mut queued) = Events::new(inbox, Arc::default(), Arc::default(), Arc::default(), Arc::default());
    let qr = || {
        let qr = PairingQrCode::builder()
            .code("a code".to_owned())
            .timeout(Duration::ZERO);
        events.handle_event(Arc::new(Event::PairingQrCode(qr.build())));
    };
    qr();
    assert!(matches!(&*queued.try_recv().unwrap(), Event::PairingQrCode(_)));
    let request = PairPasskeyRequest::builder().request_options_json("{}".to_owned());
    events.handle_event(Arc::new(Event::PairPasskeyRequest(request.build())));
    assert!(matches!(&*queued.try_recv().unwrap(), Event::PairPasskeyRequest(_)));
    qr();
    assert!(queued.try_recv().is_err());
    let exhausted = PairingQrCodesExhausted::builder().disconnected(true).build();
    events.handle_event(Arc::new(Event::PairingQrCodesExhausted(exhausted)));
    assert_eq!(events.ending.reason(), Closed::PasskeyExpired);
}

#[test]
fn qr_codes_that_run_out_beside_a_link_code_end_nothing() {
    let exhausted = PairingQrCodesExhausted::builder().disconnected(false).build();
    assert_eq!(closed_by(&Event::PairingQrCodesExhausted(exhausted)), None);
}
