//! A running connection, as the API uses it: the engine, and the inbox that keeps what is sent.

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use wharf_core::engine::{Engine, EngineError, SeenRequest, SendText, SentMessage};
use wharf_core::ids::{ChatId, MessageId};
use wharf_core::message::{Message, Source};
use wharf_core::store::StoreError;

use super::inbox::SessionInbox;
use super::messages;

/// Unread messages that one "seen" without ids takes in.
const SEEN_MESSAGES_MAX: usize = 100;

/// A running connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    engine: Arc<dyn Engine>,
    inbox: Arc<SessionInbox>,
    tasks: TaskTracker,
}

/// Why something could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The engine could not.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What it needs could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that sent it ended before its time; whether it was sent is unknown.
    #[error("the send was cut off")]
    CutOff,
}

impl Connection {
    pub(super) fn new(engine: Arc<dyn Engine>, inbox: Arc<SessionInbox>, tasks: TaskTracker) -> Self {
        Self { engine, inbox, tasks }
    }

    /// The engine, for what leaves no trace of ours.
    pub(crate) fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// What it reports to.
    pub(super) fn inbox(&self) -> &Arc<SessionInbox> {
        &self.inbox
    }

    /// Sends a text and keeps it.
    pub(crate) async fn send_text(&self, request: SendText) -> Result<Message, SendError> {
        let id = request.id.clone();
        self.send(id, move |engine| async move { engine.send_text(request).await })
            .await
    }

    /// The message with this full id, if it is kept.
    pub(crate) async fn message(&self, id: &MessageId) -> Result<Option<Message>, StoreError> {
        let found = messages::get(self.inbox.store(), id).await?;
        Ok(found.map(|stored| stored.message))
    }

    /// The message with WhatsApp's own id in a chat, if it is kept.
    pub(crate) async fn message_in_chat(&self, chat: &ChatId, id: &str) -> Result<Option<Message>, StoreError> {
        let found = messages::in_chat(self.inbox.store(), chat, id).await?;
        Ok(found.map(|stored| stored.message))
    }

    /// Tells the senders that their messages were read: these, or all unread ones of the chat where `ids` is empty.
    pub(crate) async fn send_seen(
        &self,
        chat: ChatId,
        participant: Option<ChatId>,
        ids: Vec<String>,
    ) -> Result<(), SendError> {
        let mut read = messages::unread(self.inbox.store(), &chat, SEEN_MESSAGES_MAX).await?;
        if !ids.is_empty() {
            read.retain(|stored| ids.contains(&stored.message.id.id));
        }
        // WhatsApp takes one receipt per sender.
        let mut by_sender: Vec<(Option<ChatId>, Vec<String>)> = Vec::new();
        let mut add =
            |sender: Option<ChatId>, id: String| match by_sender.iter_mut().find(|(known, _)| *known == sender) {
                Some((_, ids)) => ids.push(id),
                None => by_sender.push((sender, vec![id])),
            };
        for stored in &read {
            add(stored.message.participant.clone(), stored.message.id.id.clone());
        }
        let is_kept = |id: &String| read.iter().any(|stored| stored.message.id.id == *id);
        for id in ids.into_iter().filter(|id| !is_kept(id)) {
            add(participant.clone(), id);
        }
        for (participant, ids) in by_sender {
            let request = SeenRequest {
                chat: chat.clone(),
                participant,
                ids,
            };
            self.engine.send_seen(request).await?;
        }
        Ok(self.inbox.mark_read(read).await?)
    }

    /// Sends in a task of its own: a caller that hangs up must not leave a message sent but not kept.
    async fn send<F, Fut>(&self, id: String, send: F) -> Result<Message, SendError>
    where
        F: FnOnce(Arc<dyn Engine>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<SentMessage, EngineError>> + Send,
    {
        let (engine, inbox) = (Arc::clone(&self.engine), Arc::clone(&self.inbox));
        let task = self.tasks.spawn(async move {
            inbox.begin_send(&id);
            let mut message = match send(engine).await {
                Ok(sent) => sent.message,
                Err(error) => {
                    inbox.end_send(&id);
                    return Err(SendError::Engine(error));
                }
            };
            message.source = Source::Api;
            if let Err(error) = inbox.finish_send(message.clone()).await {
                // It has left; an error answer would make the caller send it twice.
                tracing::error!(message = %message.id, error = %error, "a message was sent but could not be kept");
            }
            Ok(message)
        });
        task.await.map_err(|_| SendError::CutOff)?
    }
}
