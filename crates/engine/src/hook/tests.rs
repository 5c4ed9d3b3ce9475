//! What cannot be stored is never acknowledged: on real files, with a device that reaches no network.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use buffa::MessageField;
use tempfile::TempDir;
use wacore::types::message::MessageInfo;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use waproto::whatsapp::message as wm;
use wharf_core::clock::SystemClock;
use wharf_core::engine::{Closed, EngineOptions, Signal};
use wharf_core::message::Message;
use wharf_core::store::{Batch, Collection, Condition, Document, Page, Query, Store};
use whatsapp_rust::store::commands::DeviceCommand;
use wm::protocol_message::Type;

use super::*;
use crate::connection::Connection;
use crate::testing::{options, unreachable};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);

/// A store that can stop to answer questions.
struct Moody {
    store: Arc<dyn Store>,
    fails: Arc<AtomicBool>,
}

impl Moody {
    fn mood(&self) -> Result<(), StoreError> {
        match self.fails.load(Ordering::Acquire) {
            true => Err(StoreError::Unavailable("no answer".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Moody {
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        self.mood()?;
        self.store.get(collection, id).await
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        self.mood()?;
        self.store.get_many(collection, ids).await
    }

    async fn find(&self, collection: &'static Collection, query: Query) -> Result<Page, StoreError> {
        self.mood()?;
        self.store.find(collection, query).await
    }

    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError> {
        self.mood()?;
        self.store.count(collection, conditions).await
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.write(batch).await
    }
}

/// Keeps what is committed, or never answers.
#[derive(Default)]
struct Kept {
    bodies: Mutex<Vec<String>>,
    hangs: AtomicBool,
    /// Cannot say what is kept.
    forgets: AtomicBool,
}

#[async_trait]
impl Inbox for Kept {
    async fn commit(&self, messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        let bodies = messages.into_iter().map(|message| message.body);
        self.bodies.lock().unwrap().extend(bodies);
        Ok(())
    }

    async fn find(&self, _chat: &wharf_core::ids::ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        match self.forgets.load(Ordering::Acquire) {
            true => Err(StoreError::Unavailable("no answer".into())),
            false => Ok(Vec::new()),
        }
    }

    fn signal(&self, _signal: Signal) {}
}

/// A hook, and the client that calls it.
struct Device {
    _folder: TempDir,
    connection: Connection,
    store_fails: Arc<AtomicBool>,
    kept: Arc<Kept>,
    hook: Hook,
}

impl Device {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let options = options(folder.path()).await;
        let store_fails = Arc::new(AtomicBool::new(false));
        let store = Moody {
            store: options.store,
            fails: store_fails.clone(),
        };
        let options = EngineOptions {
            store: Arc::new(store),
            ..options
        };
        let kept = Arc::new(Kept::default());
        let (backend, _) = Backend::new(options.store.clone(), Arc::new(SystemClock), Arc::default());
        let connection = unreachable(options, kept.clone()).await;
        let hook = Hook {
            inbox: kept.clone(),
            backend: Arc::new(backend),
            clock: Arc::new(SystemClock),
            ending: Arc::default(),
        };
        Self {
            _folder: folder,
            connection,
            store_fails,
            kept,
            hook,
        }
    }

    async fn link(&self) {
        let own = DeviceCommand::SetId(Some(Jid::pn("12025550101")));
        self.connection.client.persistence_manager().process_command(own).await;
    }

    async fn receive(&self, message: InboundMessage, limit: Duration) -> Result<(), HookError> {
        self.hook.keep(&self.connection.client, &[message], limit).await
    }

    fn bodies(&self) -> Vec<String> {
        self.kept.bodies.lock().unwrap().clone()
    }

    /// Nothing was kept, nothing more will be, and the connection ends.
    #[track_caller]
    fn assert_failed(&self) {
        assert!(self.bodies().is_empty());
        assert!(self.hook.ending.begun().is_cancelled());
        assert!(matches!(self.hook.ending.reason(), Closed::StoreFailed { .. }));
    }
}

fn from(sender: Jid) -> InboundMessage {
    let mut info = MessageInfo {
        id: "3EB0AA".to_owned(),
        ..Default::default()
    };
    info.source.chat = sender.clone();
    info.source.sender = sender;
    let message = wa::Message {
        conversation: Some("hi".to_owned()),
        ..Default::default()
    };
    InboundMessage::builder()
        .message(Arc::new(message))
        .info(Arc::new(info))
        .build()
}

#[tokio::test]
async fn a_message_is_kept() {
    let device = Device::start().await;
    device.link().await;
    device.receive(from(Jid::pn("12025550102")), NEVER).await.unwrap();
    device.receive(from(Jid::lid("100000000000002")), NEVER).await.unwrap();
    assert_eq!(device.bodies(), ["hi", "hi"]);
    assert!(!device.hook.ending.begun().is_cancelled());
    device.connection.end().await;
}

#[tokio::test]
async fn a_change_is_kept_like_a_message_and_a_note_between_devices_is_not() {
    let device = Device::start().await;
    device.link().await;
    let key = wa::MessageKey {
        id: Some("3EB0BB".to_owned()),
        from_me: Some(true),
        ..Default::default()
    };
    let protocol = |kind, edited| wa::Message {
        protocol_message: MessageField::some(wm::ProtocolMessage {
            key: MessageField::some(key.clone()),
            r#type: Some(kind),
            edited_message: edited,
            ..Default::default()
        }),
        ..Default::default()
    };
    let edited = MessageField::some(wa::Message {
        conversation: Some("new".to_owned()),
        ..Default::default()
    });
    let note = protocol(Type::APP_STATE_SYNC_KEY_SHARE, MessageField::none());
    for proto in [note, protocol(Type::MESSAGE_EDIT, edited)] {
        let carrier = from(Jid::pn("12025550102"));
        let carrier = InboundMessage::builder()
            .message(Arc::new(proto))
            .info(carrier.info)
            .build();
        device.receive(carrier, NEVER).await.unwrap();
    }
    assert_eq!(device.bodies(), ["new"]);
    device.connection.end().await;
}

#[tokio::test]
async fn a_change_to_a_message_that_cannot_be_looked_up_is_not_acknowledged() {
    let device = Device::start().await;
    device.link().await;
    device.kept.forgets.store(true, Ordering::Release);
    let proto = wa::Message {
        reaction_message: MessageField::some(wm::ReactionMessage {
            key: MessageField::some(wa::MessageKey {
                id: Some("3EB0BB".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let carrier = from(Jid::pn("12025550102"));
    let carrier = InboundMessage::builder()
        .message(Arc::new(proto))
        .info(carrier.info)
        .build();
    let outcome = device.receive(carrier, NEVER).await;
    assert!(matches!(outcome, Err(HookError::Incoming(IncomingError::Store(_)))));
    device.assert_failed();
    device.connection.end().await;
}

#[tokio::test]
async fn a_message_to_nobody_is_not_acknowledged() {
    let device = Device::start().await;
    let outcome = device.receive(from(Jid::pn("12025550102")), NEVER).await;
    assert!(matches!(outcome, Err(HookError::Incoming(IncomingError::NoAccount))));
    device.assert_failed();
    device.link().await;
    let later = device.receive(from(Jid::pn("12025550102")), NEVER).await;
    assert!(matches!(later, Err(HookError::Earlier)), "not before the first one");
    device.connection.end().await;
}

#[tokio::test]
async fn a_message_whose_chat_cannot_be_looked_up_is_not_acknowledged() {
    let device = Device::start().await;
    device.link().await;
    device.store_fails.store(true, Ordering::Release);
    let outcome = device.receive(from(Jid::lid("100000000000002")), NEVER).await;
    assert!(matches!(outcome, Err(HookError::Incoming(IncomingError::Lookup(_)))));
    device.assert_failed();
    device.connection.end().await;
}

#[tokio::test]
async fn a_store_that_hangs_ends_the_connection() {
    let device = Device::start().await;
    device.link().await;
    device.kept.hangs.store(true, Ordering::Release);
    let limit = Duration::from_millis(1);
    let outcome = device.receive(from(Jid::pn("12025550102")), limit).await;
    assert!(matches!(outcome, Err(HookError::TimedOut(_))));
    device.assert_failed();
    device.connection.end().await;
}

#[tokio::test]
async fn messages_in_chats_of_unknown_kinds_do_not_hold_up_others() {
    let device = Device::start().await;
    device.link().await;
    let bot: Jid = "867051314767696@bot".parse().unwrap();
    device.receive(from(bot), NEVER).await.unwrap();
    device.receive(from(Jid::pn("12025550102")), NEVER).await.unwrap();
    assert_eq!(device.bodies(), ["hi"]);
    device.connection.end().await;
}
