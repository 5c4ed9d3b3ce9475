//! Played connections: what a server asks of the network is remembered, and answered as a test wants it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::SignedDuration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use wharf_core::engine::{
    Chatting, Connector, Contacts, Content, Engine, EngineError, EngineOptions, Inbox, Lifecycle, Media, MediaError,
    Pairing, PasskeyAssertion, Presence, SeenRequest, SendRequest, SentMessage, Typing,
};
use wharf_core::ids::{ChatId, MessageId, SessionName};
use wharf_core::message::{Change, Message, MessageKind};
use wharf_core::session::Me;

use super::{Link, PATIENCE, me, text};

pub(super) struct PlayedConnector {
    pub(super) links: mpsc::UnboundedSender<Link>,
    pub(super) connecting: Arc<Door>,
    pub(super) vacating: Arc<Door>,
    pub(super) engines: Mutex<Vec<(SessionName, Arc<PlayedEngine>)>>,
    /// Connections that were made while another one of the same session had not ended.
    pub(super) overlaps: Arc<AtomicU32>,
}

#[async_trait]
impl Connector for PlayedConnector {
    async fn vacated(&self, _session: &SessionName) {
        self.vacating.pass().await;
    }

    async fn connect(&self, options: EngineOptions, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Engine>, EngineError> {
        self.connecting.pass().await;
        let engine = Arc::new(PlayedEngine::default());
        let mut engines = self.engines.lock().unwrap();
        engines.retain(|(_, engine)| engine.is_connected());
        if engines.iter().any(|(session, _)| *session == options.session) {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        engines.push((options.session.clone(), Arc::clone(&engine)));
        let link = Link {
            options,
            inbox,
            engine: Arc::clone(&engine),
        };
        self.links.send(link).unwrap();
        Ok(engine)
    }
}

/// Sends nothing, but remembers what it was asked.
#[derive(Default)]
pub(crate) struct PlayedEngine {
    pub(crate) sent: Mutex<Vec<SendRequest>>,
    pub(crate) seen: Mutex<Vec<SeenRequest>>,
    pub(crate) typing: Mutex<Vec<Typing>>,
    pub(crate) starred: Mutex<Vec<(MessageId, bool)>>,
    /// Why the next downloads fail.
    pub(crate) undownloadable: Mutex<VecDeque<MediaError>>,
    pub(crate) downloading: Door,
    pub(crate) downloading_panics: AtomicBool,
    /// Why the phone does not upload the next files again.
    pub(crate) unasked: Mutex<VecDeque<MediaError>>,
    /// What was shown, oldest first: online or not.
    pub(crate) shown: watch::Sender<Vec<bool>>,
    pub(crate) refuses: Mutex<VecDeque<EngineError>>,
    /// The phones that codes were requested for.
    pub(crate) coded: Mutex<Vec<ChatId>>,
    pub(crate) assertions: Mutex<Vec<PasskeyAssertion>>,
    pub(crate) sending: Door,
    pub(crate) sending_panics: AtomicBool,
    pub(crate) seeing: Door,
    pub(crate) disconnecting: Door,
    pub(crate) disconnecting_panics: AtomicBool,
    pub(crate) is_disconnected: AtomicBool,
    pub(crate) is_logged_out: AtomicBool,
}

/// Stops something half-way, while it is shut.
#[derive(Default)]
pub(crate) struct Door(Mutex<Option<Arc<Gate>>>);

/// A door that was shut.
pub(crate) struct Gate {
    waiting: Semaphore,
    free: Semaphore,
}

impl Door {
    /// From now on whoever comes waits at the gate.
    pub(crate) fn shut(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            waiting: Semaphore::new(0),
            free: Semaphore::new(0),
        });
        *self.0.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    /// Lets everybody pass who comes from now on.
    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = None;
    }

    pub(super) async fn pass(&self) {
        let gate = self.0.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.waiting.add_permits(1);
            gate.free.acquire().await.unwrap().forget();
        }
    }
}

impl Gate {
    /// Waits until somebody stands at it who was not counted before.
    pub(crate) async fn reached(&self) {
        let reached = timeout(PATIENCE, self.waiting.acquire()).await;
        reached.expect("nobody came to the gate").unwrap().forget();
    }

    /// Lets one pass.
    pub(crate) fn let_one_pass(&self) {
        self.free.add_permits(1);
    }
}

#[async_trait]
impl Pairing for PlayedEngine {
    async fn request_code(&self, phone: &ChatId) -> Result<String, EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.coded.lock().unwrap().push(phone.clone());
        Ok("ABCD2345".to_owned())
    }

    async fn answer_passkey(&self, assertion: PasskeyAssertion) -> Result<(), EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.assertions.lock().unwrap().push(assertion);
        Ok(())
    }

    async fn confirm_passkey(&self) -> Result<(), EngineError> {
        self.refuses.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Presence for PlayedEngine {
    async fn set_online(&self, online: bool) -> Result<(), EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.shown.send_modify(|shown| shown.push(online));
        Ok(())
    }
}

#[async_trait]
impl Chatting for PlayedEngine {
    fn new_message_id(&self) -> String {
        // No two connections make the same one.
        static IDS: AtomicU32 = AtomicU32::new(0);
        format!("3EB0{:04X}", IDS.fetch_add(1, Ordering::SeqCst))
    }

    async fn send(&self, request: SendRequest) -> Result<SentMessage, EngineError> {
        if let Some(error) = self.refuses.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.sent.lock().unwrap().push(request.clone());
        self.sending.pass().await;
        assert!(!self.sending_panics.load(Ordering::SeqCst), "as the test asked");
        let mut message = text(&request.chat.to_string(), &request.id, said(&request));
        message.id.from_me = true;
        (message.from, message.to) = (message.to, message.from);
        if let Content::Reaction { target, text } = request.content {
            message.kind = MessageKind::Change(Change::Reaction { target, text });
            // No two tries are made at the same time.
            static TRIES: AtomicU32 = AtomicU32::new(0);
            message.timestamp += SignedDuration::from_secs(TRIES.fetch_add(1, Ordering::SeqCst).into());
        }
        Ok(SentMessage { message })
    }

    async fn send_seen(&self, request: SeenRequest) -> Result<(), EngineError> {
        self.seeing.pass().await;
        self.seen.lock().unwrap().push(request);
        Ok(())
    }

    async fn set_typing(&self, _chat: &ChatId, typing: Typing) -> Result<(), EngineError> {
        self.typing.lock().unwrap().push(typing);
        Ok(())
    }

    async fn set_starred(&self, message: &MessageId, starred: bool) -> Result<(), EngineError> {
        self.starred.lock().unwrap().push((message.clone(), starred));
        Ok(())
    }
}

#[async_trait]
impl Contacts for PlayedEngine {
    async fn find(&self, person: &ChatId) -> Result<Option<ChatId>, EngineError> {
        Ok(Some(person.clone()))
    }
}

/// The text of a request; empty where it is none.
pub(crate) fn said(request: &SendRequest) -> &str {
    match &request.content {
        Content::Text { text, .. } => text,
        _ => "",
    }
}

/// A file of this content is what every message has.
const FILE: &[u8] = b"the file";

#[async_trait]
impl Media for PlayedEngine {
    async fn download(&self, _message: &Message, to: &Path, _bytes_max: u64) -> Result<u64, MediaError> {
        self.downloading.pass().await;
        assert!(
            !self.downloading_panics.swap(false, Ordering::SeqCst),
            "as the test asked"
        );
        if let Some(error) = self.undownloadable.lock().unwrap().pop_front() {
            return Err(error);
        }
        std::fs::write(to, FILE).map_err(MediaError::Disk)?;
        Ok(FILE.len() as u64)
    }

    async fn request_reupload(&self, message: &Message) -> Result<Message, MediaError> {
        let refusal = self.unasked.lock().unwrap().pop_front();
        refusal.map_or_else(|| Ok(message.clone()), Err)
    }
}

#[async_trait]
impl Lifecycle for PlayedEngine {
    fn me(&self) -> Option<Me> {
        Some(me())
    }

    fn is_connected(&self) -> bool {
        !self.is_disconnected.load(Ordering::SeqCst)
    }

    async fn logout(&self) {
        self.is_logged_out.store(true, Ordering::SeqCst);
    }

    async fn disconnect(&self) {
        self.disconnecting.pass().await;
        let panics = self.disconnecting_panics.swap(false, Ordering::SeqCst);
        self.is_disconnected.store(true, Ordering::SeqCst);
        assert!(!panics, "as the test asked");
    }
}
