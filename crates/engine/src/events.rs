//! Turns the protocol library's events into the engine port's signals, in order.
//!
//! The library calls [`Events::handle_event`] inline, in the middle of its work, so nothing there waits: it notes that
//! the connection is alive and why it ends, and queues the rest. [`Signaller`] works the queue off in a task of its own,
//! because naming a chat by its phone number may need the store. Messages come this way only where the durability hook
//! has not seen them (channels, messages recovered from the phone): they carry a weaker promise.

mod acks;
mod sent;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use wacore::types::events::{
    ConnectFailure, ConnectFailureReason, Event, EventHandler, EventInterest, EventKind, LoggedOut, MessageBatch,
    Receipt, TemporaryBan,
};
use wacore_binary::JidExt as _;
use wharf_core::clock::Clock;
use wharf_core::engine::{AckUpdate, Closed, Inbox, Signal};
use wharf_core::message::{Ack, MessageKind};
use wharf_core::session::Me;
use wharf_core::store::Batch;
use whatsapp_rust::Client;

pub(crate) use sent::Unacknowledged;

use crate::addresses::{linked_as, me};
use crate::changes::Known;
use crate::ending::Ending;
use crate::error::one_line;
use crate::incoming::incoming;
use crate::pairing::Linking;
use crate::stream_error;
use crate::transport::Answered;
use crate::waiting::Waiting;

/// How often a connection says that it is alive, at most.
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// The events that mean something here; the library does not even make the others.
const INTEREST: [EventKind; 20] = [
    EventKind::PairingQrCode,
    EventKind::PairingQrCodesExhausted,
    EventKind::PairPasskeyRequest,
    EventKind::PairPasskeyConfirmation,
    EventKind::PairPasskeyError,
    EventKind::PairSuccess,
    EventKind::PairError,
    EventKind::Connected,
    EventKind::Disconnected,
    EventKind::LoggedOut,
    EventKind::StreamReplaced,
    EventKind::TemporaryBan,
    EventKind::ClientOutdated,
    EventKind::ConnectFailure,
    EventKind::SelfPushNameUpdated,
    EventKind::Receipt,
    EventKind::ServerAck,
    EventKind::Messages,
    EventKind::UndecryptableMessage,
    EventKind::OfflineSyncCompleted,
];

/// Receives the events of one connection.
pub(crate) struct Events {
    inbox: Arc<dyn Inbox>,
    ending: Arc<Ending>,
    answered: Arc<Answered>,
    linking: Arc<Linking>,
    drained: Arc<SetOnce<()>>,
    queue: UnboundedSender<Arc<Event>>,
    started: Instant,
    /// When the connection said last that it is alive, in milliseconds after `started`, plus one; 0 for never.
    alive_ms: AtomicU64,
}

/// Works off the events of one connection.
pub(crate) struct Signaller {
    pub(crate) client: Arc<Client>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sent: Arc<Unacknowledged>,
    pub(crate) waiting: Waiting,
    pub(crate) ending: Arc<Ending>,
    pub(crate) linking: Arc<Linking>,
}

impl Events {
    /// A receiver, and the queue that it fills. The queue has no limit of its own: what fills it is bounded by what the
    /// socket delivers, and dropping an acknowledgement would be a lie.
    pub(crate) fn new(
        inbox: Arc<dyn Inbox>,
        ending: Arc<Ending>,
        answered: Arc<Answered>,
        linking: Arc<Linking>,
        drained: Arc<SetOnce<()>>,
    ) -> (Self, UnboundedReceiver<Arc<Event>>) {
        let (queue, queued) = unbounded_channel();
        let events = Self {
            inbox,
            ending,
            answered,
            linking,
            drained,
            queue,
            started: Instant::now(),
            alive_ms: AtomicU64::new(0),
        };
        (events, queued)
    }

    /// A stanza was decrypted and is about to be handled. Every stanza comes here, also the answers to keepalives.
    fn stanza(&self, now: Instant) {
        self.answered.set();
        let passed = now.saturating_duration_since(self.started).as_millis();
        let now = u64::try_from(passed).unwrap_or(u64::MAX - 1) + 1;
        let last = self.alive_ms.load(Ordering::Relaxed);
        let due =
            last == 0 || now.saturating_sub(last) >= u64::try_from(ALIVE_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let exchange = |from| {
            self.alive_ms
                .compare_exchange(from, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if due && exchange(last).is_ok() {
            self.inbox.signal(Signal::Alive);
        }
    }
}

impl EventHandler for Events {
    fn handle_event(&self, event: Arc<Event>) {
        if let Event::RawNode(node) = &*event {
            self.stanza(Instant::now());
            if node.get().get_optional_child("pair-success").is_some() {
                self.answered.paired();
            }
            if acks::names_recipient(node.get()) || stream_error::signal(node.get()).is_some() {
                let _ = self.queue.send(event);
            }
            return;
        }
        // What the hook has seen is kept, and would only lie in the queue with all its messages.
        if matches!(&*event, Event::Messages(batch) if batch.hook_committed) {
            return;
        }
        match &*event {
            Event::PairingQrCode(_) if self.linking.is_held() => return,
            Event::PairPasskeyRequest(_) => self.linking.passkey_required(),
            Event::OfflineSyncCompleted(_) => {
                // It stays set.
                let _ = self.drained.set(());
                return;
            }
            // The library takes a Signal session that could not be read for a message that cannot be decrypted
            // (`whatsapp-rust` message/receive.rs, the catch-all of the session batch). It is not acknowledged, and comes again.
            Event::UndecryptableMessage(_) if self.ending.has_store_failed() => return,
            _ => {}
        }
        if let Some(reason) = closed_by(&event) {
            self.ending.tell(self.linking.closed_by(reason));
        } else if matches!(&*event, Event::Disconnected(_)) && self.ending.is_told() {
            // The end that was announced.
            return;
        }
        // The receiver is gone only when the connection is over.
        let _ = self.queue.send(event);
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&INTEREST).with(EventKind::RawNode)
    }
}

/// Why the library will not connect again after this event, if it will not.
fn closed_by(event: &Event) -> Option<Closed> {
    match event {
        Event::PairingQrCodesExhausted(exhausted) => exhausted.disconnected.then_some(Closed::QrCodesExpired),
        Event::LoggedOut(logged_out) => {
            let reason = logged_out_reason(logged_out);
            Some(match logged_out.reason {
                ConnectFailureReason::AccountLocked => Closed::Locked { reason },
                _ => Closed::LoggedOut { reason },
            })
        }
        Event::StreamReplaced(_) => Some(Closed::Replaced),
        Event::TemporaryBan(ban) => Some(banned(ban)),
        Event::ClientOutdated(_) => Some(Closed::Outdated),
        // A ban that does not say for how long comes this way.
        Event::ConnectFailure(failure) if failure.reason == ConnectFailureReason::TempBanned => Some(Closed::Banned {
            code: failure.reason.code(),
            expires_in: None,
        }),
        Event::ConnectFailure(failure) if !failure.reason.should_reconnect() => Some(Closed::Refused {
            reason: failure_reason(failure),
        }),
        _ => None,
    }
}

fn logged_out_reason(logged_out: &LoggedOut) -> String {
    let message = logged_out.logout_message.as_ref();
    let header = message.and_then(|message| message.header.clone());
    header.unwrap_or_else(|| format!("{:?} ({})", logged_out.reason, logged_out.reason.code()))
}

fn banned(ban: &TemporaryBan) -> Closed {
    Closed::Banned {
        code: ban.code.code(),
        expires_in: ban.expire.to_std().ok(),
    }
}

fn failure_reason(failure: &ConnectFailure) -> String {
    let message = failure.message.clone().filter(|message| !message.is_empty());
    let kind = format!("{:?} ({})", failure.reason, failure.reason.code());
    message.map_or(kind.clone(), |message| format!("{kind}: {message}"))
}

impl Signaller {
    /// Signals until the connection is over and the queue is empty.
    pub(crate) async fn run(self, mut queued: UnboundedReceiver<Arc<Event>>) {
        while let Some(event) = queued.recv().await {
            self.handle(&event).await;
        }
    }

    async fn handle(&self, event: &Event) {
        let signal = match event {
            Event::PairingQrCode(qr) => Some(Signal::QrCode {
                code: qr.code.clone(),
                valid_for: qr.timeout,
            }),
            Event::PairingQrCodesExhausted(exhausted) => {
                if !exhausted.disconnected {
                    self.linking.outlast_qr_codes(&self.client).await;
                }
                None
            }
            Event::PairPasskeyRequest(request) => self.passkey(&request.request_options_json).await,
            // Whether a person may do without comparing is for the person to say.
            Event::PairPasskeyConfirmation(confirmation) => Some(Signal::PasskeyConfirmation {
                code: confirmation.code.clone(),
            }),
            Event::PairPasskeyError(error) => {
                let reason = error.error.clone();
                self.ending.give_up(Closed::PasskeyFailed { reason });
                None
            }
            Event::PairSuccess(pair) => {
                // Who is told of the account must find its credentials after a crash.
                if let Err(error) = self.client.persistence_manager().flush().await {
                    tracing::error!(error = %one_line(&error), "the credentials of a new device cannot be written");
                }
                linked_as(&pair.id, Some(&pair.lid), self.client.push_name()).map(Signal::Linked)
            }
            Event::Connected(_) => self.connected(),
            Event::Disconnected(disconnected) => Some(Signal::Disconnected {
                reason: disconnected.reason.to_string(),
            }),
            Event::ConnectFailure(failure) if failure.reason.should_reconnect() => Some(Signal::TurnedAway {
                reason: failure_reason(failure),
            }),
            Event::SelfPushNameUpdated(update) => me(&self.client).map(|me| {
                let push_name = update.new_name.clone();
                Signal::Renamed(Me { push_name, ..me })
            }),
            Event::Receipt(receipt) => self.receipt(receipt).await,
            Event::RawNode(node) => {
                let now = self.clock.now();
                match stream_error::signal(node.get()) {
                    Some(signal) => Some(signal),
                    None => acks::own_receipt(&self.client, node.get(), now).await.map(Signal::Ack),
                }
            }
            Event::ServerAck(ack) => {
                self.sent.take(&ack.id);
                let now = self.clock.now();
                acks::server_ack(&self.client, ack, now).await.map(Signal::Ack)
            }
            Event::Messages(batch) => {
                self.messages(batch).await;
                None
            }
            Event::UndecryptableMessage(told) => {
                self.waiting.undecryptable(told).await;
                None
            }
            Event::PairError(error) => {
                tracing::warn!(error = error.error, "pairing failed");
                None
            }
            _ => None,
        };
        if let Some(signal) = signal {
            self.inbox.signal(signal);
        }
    }

    async fn passkey(&self, options: &str) -> Option<Signal> {
        match self.linking.ask_for_passkey(&self.client, options).await {
            Ok(challenge) => Some(Signal::PasskeyRequired(challenge)),
            Err(error) => {
                let reason = error.to_string();
                self.ending.give_up(Closed::PasskeyFailed { reason });
                None
            }
        }
    }

    fn connected(&self) -> Option<Signal> {
        let me = me(&self.client);
        if me.is_none() {
            tracing::error!("connected without an account");
        }
        me.map(Signal::Connected)
    }

    /// A receipt, and before it what it implies.
    async fn receipt(&self, receipt: &Receipt) -> Option<Signal> {
        let update = acks::receipt(&self.client, receipt).await?;
        let implied: Vec<String> = update.ids.iter().filter(|id| self.sent.take(id)).cloned().collect();
        if !implied.is_empty() {
            self.inbox.signal(Signal::Ack(AckUpdate {
                participant: None,
                ids: implied,
                ack: Ack::Server,
                ..update.clone()
            }));
        }
        Some(Signal::Ack(update))
    }

    async fn messages(&self, batch: &MessageBatch) {
        let known = Known {
            client: &self.client,
            inbox: self.inbox.as_ref(),
            before: &[],
        };
        for inbound in batch.iter() {
            match incoming(&known, inbound).await {
                Ok(Some(message)) if message.kind != MessageKind::Control => {
                    let marks = match inbound.info.source.chat.is_newsletter() {
                        true => Ok(Batch::new()),
                        // The phone may have sent one that a crash lost, whose stanza is still to be acknowledged.
                        false => self.waiting.recovered(inbound).await,
                    };
                    let message = Box::new(message);
                    match marks {
                        Ok(marks) => self.inbox.signal(Signal::Message { message, marks }),
                        Err(error) => tracing::error!(error = %one_line(&error), "a message is passed over"),
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::error!(error = %one_line(&error), "a message is passed over"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
