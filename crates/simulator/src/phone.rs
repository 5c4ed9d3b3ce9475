//! A simulated phone: device 0 of an account, a real end point of the end-to-end encryption, without a socket.
//!
//! It takes its stanzas from the network like any device and answers them with stanzas. All of its work is done at
//! once under its own lock; the network's lock may be taken inside it, never the other way round.

mod appstate;
mod attributes;
mod changes;
mod compose;
mod content;
pub(crate) mod history;
pub(crate) mod inbox;
mod incoming;
pub(crate) mod linking;
mod media_retry;
mod outgoing;
mod peers;
mod polls;
mod retries;
mod secrets;
mod showing;
pub(crate) mod signal;
mod stars;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use wacore_binary::Node;
use wacore_libsignal::protocol::SignalProtocolError;

use crate::echo::Echo;
use crate::error::SandboxError;
use crate::keys::Blob;
use crate::media::MediaRef;
use crate::model::{ConnId, DeviceRef, Flow, Out};
use crate::network::Network;
use crate::phone::appstate::AppState;
use crate::phone::inbox::{Chats, Inbox};
use crate::phone::linking::Exchange;
use crate::phone::signal::Signal;
use crate::views::{Change, InboxPage, NewMessage};

/// Stanzas that may wait for a phone's task before the rest stays in its queue.
const PHONE_DEPTH: usize = 4096;
/// Own messages that a phone can send again when a device asks.
const SENT_MAX: usize = 2_000;
/// Received messages that a phone recognises when they come again.
const SEEN_MAX: usize = 5_000;
/// The phone uploads new one-time keys when fewer are left.
const PREKEYS_LOW: usize = 10;

/// A phone and the lock around what it knows.
pub(crate) struct Phone {
    number: String,
    memory: Mutex<Memory>,
    /// The newest cursor of its inbox.
    news: watch::Sender<u64>,
    echo: Option<mpsc::Sender<Incoming>>,
}

/// Everything a phone knows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) signal: Signal,
    pub(crate) contacts: BTreeMap<String, String>,
    pub(crate) chats: Chats,
    pub(crate) inbox: Inbox,
    app_state: Option<AppState>,
    sent: VecDeque<Sent>,
    seen: VecDeque<String>,
    /// Whether this phone answers by itself.
    pub(crate) echoes: bool,
    #[serde(skip)]
    conn: Option<ConnId>,
    /// With the device that is about to be linked with the account's passkey.
    #[serde(skip)]
    exchange: Option<Exchange>,
    /// Whether it was loaded and its companions do not know yet that its sessions are gone.
    #[serde(skip, default = "loaded")]
    is_loaded: bool,
}

fn loaded() -> bool {
    true
}

/// An own message, kept to be sent again.
#[derive(Clone, Serialize, Deserialize)]
struct Sent {
    id: String,
    /// The other party's digits; the own number for messages to companions.
    chat: String,
    /// The encoded message, as the other party gets it.
    message: Blob,
    /// Whether it is between the account's own devices.
    peer: bool,
}

/// A text that arrived, for a phone that answers by itself.
pub(crate) struct Incoming {
    pub(crate) chat: String,
    pub(crate) id: String,
    pub(crate) text: String,
}

/// A phone at work: its memory, the network, and a source of randomness.
struct Desk<'p> {
    number: &'p str,
    memory: MutexGuard<'p, Memory>,
    network: &'p Network,
    rng: StdRng,
    echo: Option<&'p mpsc::Sender<Incoming>>,
}

/// Why a phone could not do something.
#[derive(Debug, thiserror::Error)]
enum PhoneError {
    #[error("the phone's keys do not work: {0}")]
    Signal(#[from] SignalProtocolError),
    #[error("the stanza is not for a phone: {0}")]
    Stanza(#[from] crate::stanza::Malformed),
    #[error("the message is not readable: {0}")]
    Content(String),
    #[error("the app state is not readable: {0}")]
    AppState(#[from] wacore_appstate::AppStateError),
}

impl From<PhoneError> for SandboxError {
    fn from(error: PhoneError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl Memory {
    pub(crate) fn new(signal: Signal) -> Self {
        Self {
            signal,
            contacts: BTreeMap::new(),
            chats: Chats::default(),
            inbox: Inbox::default(),
            app_state: None,
            sent: VecDeque::new(),
            seen: VecDeque::new(),
            echoes: false,
            conn: None,
            exchange: None,
            is_loaded: false,
        }
    }
}

impl Phone {
    /// Puts a phone on the network; its task runs until the network ends.
    pub(crate) fn start(network: &Network, number: String, memory: Memory) -> Arc<Self> {
        let (echo, script) = match memory.echoes {
            true => {
                let (sender, receiver) = mpsc::channel(Echo::BACKLOG_MAX);
                (Some(sender), Some(receiver))
            }
            false => (None, None),
        };
        let news = watch::Sender::new(memory.inbox.last());
        // On the network at once, so that what it is told to send is never lost; its task comes when it comes.
        let (conn, stanzas) = network.connect(PHONE_DEPTH);
        let memory = Memory {
            conn: Some(conn),
            ..memory
        };
        let phone = Arc::new(Self {
            number,
            memory: Mutex::new(memory),
            news,
            echo,
        });
        network.add_phone(phone.clone());
        network
            .lock()
            .attach_phone(conn, &DeviceRef::new(phone.number.clone(), 0));
        let (tasks, ended) = (network.tasks(), network.ended());
        let run = phone.clone().run(network.clone(), conn, stanzas);
        tasks.spawn(ended.clone().run_until_cancelled_owned(run));
        if let Some(receiver) = script {
            let echo = Echo::new(network.clone(), phone.clone(), receiver);
            tasks.spawn(ended.run_until_cancelled_owned(echo.run()));
        }
        phone
    }

    pub(crate) fn number(&self) -> &str {
        &self.number
    }

    async fn run(self: Arc<Self>, network: Network, conn: ConnId, mut stanzas: mpsc::Receiver<Out>) {
        self.desk(&network).renew_sessions();
        while let Some(out) = stanzas.recv().await {
            match out {
                Out::Node(node) | Out::Later(_, node) => self.desk(&network).handle(&node),
                Out::Ready(device) => self.desk(&network).welcome(device),
                Out::Linking(conn, step) => self.link_further(&network, conn, step),
                Out::Close | Out::Cut | Out::Stall => {} // For clients; a phone stays as long as its network.
            }
            self.publish();
            if stanzas.is_empty() {
                network.drained(conn);
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The phone's memory while the whole network is saved.
    pub(crate) fn memory_for_snapshot(&self) -> MutexGuard<'_, Memory> {
        self.memory()
    }

    fn desk<'p>(&'p self, network: &'p Network) -> Desk<'p> {
        Desk {
            number: &self.number,
            memory: self.memory(),
            network,
            rng: network.env().random.rng(),
            echo: self.echo.as_ref(),
        }
    }

    fn publish(&self) {
        let last = self.memory().inbox.last();
        self.news
            .send_if_modified(|known| std::mem::replace(known, last) != last);
    }

    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(crate) fn inbox(&self, after: u64) -> InboxPage {
        self.memory().inbox.page(after)
    }

    /// Logs a companion out.
    pub(crate) fn unlink(&self, network: &Network, device: u16) -> Result<(), SandboxError> {
        let who = DeviceRef::new(self.number.clone(), device);
        let mut desk = self.desk(network);
        if device == 0 || network.lock().device(&who).is_none() {
            return Err(SandboxError::not_found("linked device", who.to_string()));
        }
        network.lock().remove_device(&who);
        desk.forget_device(&who);
        Ok(())
    }

    /// Sends a message and answers its id.
    pub(crate) fn send(
        &self,
        network: &Network,
        to: &str,
        new: &NewMessage,
        file: Option<&MediaRef>,
    ) -> Result<String, SandboxError> {
        let sent = self.desk(network).send_message(to, new, file);
        self.publish();
        sent
    }

    /// Changes a message, and answers the id of the message that says so.
    pub(crate) fn change(
        &self,
        network: &Network,
        chat: &str,
        id: &str,
        change: &Change,
    ) -> Result<String, SandboxError> {
        let changed = self.desk(network).change(chat, id, change);
        self.publish();
        changed
    }

    /// Reports how far a received message got.
    pub(crate) fn receipt(
        &self,
        network: &Network,
        chat: &str,
        id: &str,
        kind: crate::views::ReceiptKind,
    ) -> Result<(), SandboxError> {
        self.desk(network).send_receipt(chat, id, kind)
    }

    pub(crate) fn typing(
        &self,
        network: &Network,
        chat: &str,
        state: crate::views::TypingState,
    ) -> Result<(), SandboxError> {
        self.desk(network).send_typing(chat, state)
    }
}

impl Desk<'_> {
    fn now(&self) -> u64 {
        self.network.env().unix_seconds()
    }

    fn who(&self) -> DeviceRef {
        DeviceRef::new(self.number, 0)
    }

    /// Hands a stanza of the phone to the network.
    fn submit(&mut self, node: Node) {
        if let Some(conn) = self.memory.conn {
            self.network.lock().handle(conn, &node);
        }
    }

    /// A stanza from the network.
    fn handle(&mut self, node: &Node) {
        let outcome = match node.tag.as_ref() {
            "message" => self.on_message(node),
            "receipt" => self.on_receipt(node),
            "notification" => self.on_notification(node),
            "ack" => self.on_ack(node),
            "presence" => self.on_presence(node),
            "chatstate" => self.on_chatstate(node),
            _ => Ok(()), // Login chatter such as the end of the offline drain.
        };
        if let Err(error) = outcome {
            tracing::warn!(phone = self.number, stanza = %node.tag, %error, "a phone could not handle a stanza");
        }
        self.refill_prekeys();
    }
}

impl crate::model::State {
    /// A phone is on the network: always active. It lies in a pocket, though: an account is online only while one of its
    /// companions says so.
    fn attach_phone(&mut self, conn: ConnId, who: &DeviceRef) {
        self.attach(conn, who, Flow::Open);
        let waiting: Vec<u16> = self
            .account(&who.number)
            .map(|account| {
                account
                    .devices
                    .values()
                    .filter(|d| d.awaits_phone)
                    .map(|d| d.id)
                    .collect()
            })
            .unwrap_or_default();
        for device in waiting {
            self.tell_phone_if_ready(&DeviceRef::new(who.number.clone(), device));
        }
    }
}
