//! A running connection, as the API uses it: the engine, and the inbox that keeps what is sent.

mod media;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};
use wharf_core::engine::{Engine, EngineError, Proxy, SeenRequest, SendRequest, Typing};
use wharf_core::ids::{ChatId, MessageId, MessageRef};
use wharf_core::message::{Message, MessageKind, Source};
use wharf_core::store::StoreError;

use super::idempotency::{Answer, Claim, IdempotencyKey, Known, Reservation, Sends};
use super::inbox::{SessionInbox, may_be_in};
use super::messages::{self, StoredMessage};

/// The longest that what is being sent may take when the connection has ended.
const TASKS_END_WITHIN: Duration = Duration::from_secs(2);

/// A running connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    engine: Arc<dyn Engine>,
    inbox: Arc<SessionInbox>,
    /// What everything of the session goes through.
    proxy: Option<Arc<Proxy>>,
    /// The sends that have keys.
    sends: Arc<Sends>,
    /// Everything that sends and keeps, so that none of it outlives the connection.
    tasks: TaskTracker,
    /// Cuts off what does not end, and what begins too late.
    over: CancellationToken,
    /// Cuts off what fetches files.
    ending: CancellationToken,
    /// Somebody uses it.
    activity: Arc<Notify>,
    /// Where what it logs belongs.
    span: Span,
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
    /// It had begun when the connection ended, or it broke off; whether it was sent is unknown.
    #[error("the send was cut off, whether it was sent is unknown")]
    CutOff,
    /// Another request with the same key is on its way; the same call will say what came of it.
    #[error("a request with this key is still being processed, repeat it in a moment")]
    UnderWay,
    /// The key belongs to another request.
    #[error("the Idempotency-Key was used for another request before; take a new key for a new message")]
    KeyUsed,
    /// The id belongs to another message.
    #[error("id: {0} is the id of another message in this chat; new-message-id makes a new one")]
    IdUsed(String),
}

/// A message id that the caller gave.
pub(crate) struct GivenId {
    /// WhatsApp's own part of it.
    pub(crate) id: String,
    /// Where it is to be used once only, if that is known.
    pub(crate) chat: Option<ChatId>,
}

/// A message that may be sent, once.
pub(crate) struct Draft {
    id: String,
    claim: Option<Claim>,
}

impl Draft {
    /// The id that the message will have.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// What a send is answered with.
#[derive(Debug)]
pub(crate) enum Answering {
    /// The message.
    Message,
    /// This, whatever the message.
    Fixed(Box<RawValue>),
}

/// What is to be done about a request to send.
pub(crate) enum Begun {
    /// Send it.
    Draft(Draft),
    /// Nothing: it was done, and this was the answer.
    Answered(Answer),
}

impl Connection {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        inbox: Arc<SessionInbox>,
        sends: Arc<Sends>,
        proxy: Option<Proxy>,
        span: Span,
    ) -> Self {
        Self {
            engine,
            proxy: proxy.map(Arc::new),
            inbox,
            sends,
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
            ending: CancellationToken::new(),
            activity: Arc::default(),
            span,
        }
    }

    /// Notifies whenever somebody uses it.
    pub(super) fn activity(&self) -> Arc<Notify> {
        Arc::clone(&self.activity)
    }

    /// Waits, but not for long, for what is being sent, and lets nothing more begin; for after the engine has
    /// disconnected. Afterwards nothing writes to the session's store or tells of it through this connection; `false` where
    /// something goes on though it was cut off.
    pub(super) async fn end_tasks(&self) -> bool {
        self.tasks.close();
        if timeout(TASKS_END_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("a send did not end with its connection and is cut off");
        }
        self.over.cancel();
        timeout(TASKS_END_WITHIN, self.tasks.wait()).await.is_ok()
    }

    /// The engine, for what leaves no trace of ours.
    pub(crate) fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// The proxy that everything of the session goes through.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// What it reports to.
    pub(super) fn inbox(&self) -> &Arc<SessionInbox> {
        &self.inbox
    }

    /// Begins a send: with the id that an earlier request under the same key had, the one that the caller gave, or a new one.
    pub(crate) async fn begin(&self, key: Option<IdempotencyKey>, given: Option<GivenId>) -> Result<Begun, SendError> {
        let new_id = || self.engine.new_message_id();
        let Some(key) = key else {
            let id = given.map_or_else(new_id, |given| given.id);
            return Ok(Begun::Draft(Draft { id, claim: None }));
        };
        let (inbox, sends) = (Arc::clone(&self.inbox), Arc::clone(&self.sends));
        let known = self.run(async move {
            let known = sends.claim(key, given.as_ref()).await?;
            match (&known, &given) {
                (Known::Answered { stanza, is_older, .. }, _) => inbox.repeated(stanza, *is_older).await?,
                (Known::Open(claim), Some(given)) if claim.message_id().is_none() => inbox.check_unused(given).await?,
                (Known::Open(_), _) => {}
            }
            Ok((known, given))
        });
        Ok(match known.await? {
            (Known::Answered { answer, .. }, _) => Begun::Answered(answer),
            (Known::Open(claim), given) => {
                let before = claim.message_id().map(str::to_owned);
                let id = before.or(given.map(|given| given.id)).unwrap_or_else(new_id);
                Begun::Draft(Draft { id, claim: Some(claim) })
            }
        })
    }

    /// The kept messages that may be meant, in this chat where one is given, under either address of a person: one at most
    /// where the message is named in full.
    pub(crate) async fn messages(&self, named: &MessageRef, chat: Option<&ChatId>) -> Result<Vec<Message>, StoreError> {
        let found = messages::with_own_ids(self.inbox.store(), &[named.id().to_owned()]).await?;
        let found = found.into_iter().map(|stored| stored.message);
        let mut found: Vec<_> = found
            .filter(|message| chat.is_none_or(|chat| may_be_in(&message.id.chat, chat)))
            .collect();
        let MessageRef::Full(id) = named else { return Ok(found) };
        match found.iter().position(|message| message.id == *id) {
            Some(place) => Ok(vec![found.swap_remove(place)]),
            None => {
                found.retain(|message| may_be(&message.id, id));
                found.truncate(1);
                Ok(found)
            }
        }
    }

    /// Tells the senders that their messages were read: the newest unread ones of the chat, at most so many since then.
    pub(crate) async fn read_all(&self, chat: ChatId, since: Timestamp, limit: usize) -> Result<(), SendError> {
        let (engine, inbox) = (Arc::clone(&self.engine), Arc::clone(&self.inbox));
        self.run(async move {
            let read = messages::unread(inbox.store(), &chat, since, limit).await?;
            for request in receipts(&chat, authored(&read)) {
                engine.send_seen(request).await?;
            }
            Ok(inbox.mark_read(&read).await?)
        })
        .await
    }

    /// Tells the senders of these messages that they were read. What is not kept has its sender in its id.
    pub(crate) async fn read_these(&self, chat: ChatId, ids: Vec<MessageId>) -> Result<(), SendError> {
        let (engine, inbox) = (Arc::clone(&self.engine), Arc::clone(&self.inbox));
        self.run(async move {
            let own_ids: Vec<_> = ids.iter().map(|id| id.id.clone()).collect();
            let mut read = messages::with_own_ids(inbox.store(), &own_ids).await?;
            read.retain(|stored| ids.iter().any(|id| may_be(&stored.message.id, id)));
            let is_kept = |id: &MessageId| read.iter().any(|stored| may_be(&stored.message.id, id));
            let unknown: Vec<_> = ids.into_iter().filter(|id| !is_kept(id)).collect();
            let nobodys = unknown.iter().find(|id| id.participant.is_none() && !chat.is_person());
            if let Some(MessageId { id, .. }) = nobodys {
                let problem = format!("participant: the message {id} is not known here, say who wrote it");
                return Err(EngineError::Invalid(problem).into());
            }
            for request in receipts(&chat, authored(&read).chain(unknown)) {
                engine.send_seen(request).await?;
            }
            read.retain(|stored| stored.unread);
            Ok(inbox.mark_read(&read).await?)
        })
        .await
    }

    /// Shows in a chat that we type, record, or stopped.
    pub(crate) async fn set_typing(&self, chat: ChatId, typing: Typing) -> Result<(), SendError> {
        let engine = Arc::clone(&self.engine);
        self.run(async move { Ok(engine.set_typing(&chat, typing).await?) })
            .await
    }

    /// Sends a message, or a change to one, and keeps it. What `files` guards stays until that is done, also where the
    /// caller has hung up.
    pub(crate) async fn send(
        &self,
        draft: Draft,
        request: SendRequest,
        answering: Answering,
        files: impl Send + 'static,
    ) -> Result<Answer, SendError> {
        let (engine, inbox) = (Arc::clone(&self.engine), Arc::clone(&self.inbox));
        self.run(async move {
            let _files = files;
            let Draft { id, claim } = draft;
            let reservation = match &claim {
                // The key stays free for whatever the caller makes of that.
                Some(_) if !engine.is_connected() => return Err(EngineError::Offline.into()),
                Some(claim) => Some(claim.reserve(&id).await?),
                None => None,
            };
            let _outgoing = inbox.begin_send(request.chat.clone(), id);
            let mut message = match engine.send(request).await {
                Ok(sent) => sent.message,
                Err(error) => {
                    if let Some(reservation) = reservation {
                        reservation.failed(&error).await;
                    }
                    return Err(error.into());
                }
            };
            message.source = Source::Api;
            if let MessageKind::Change(_) = &message.kind {
                // A change is not kept itself, so nothing else says when a try before this one was, and that is part of the
                // identity of its event.
                let at = reservation.as_ref().map_or(message.timestamp, Reservation::at);
                // In whole seconds, as WhatsApp tells the time of what others do: the later of one second must not count as older.
                message.timestamp = Timestamp::from_second(at.as_second()).unwrap_or(at);
            }
            let body = match answering {
                Answering::Message => inbox.rendered(&message)?,
                Answering::Fixed(body) => body,
            };
            let id = message.id.clone();
            let kept = async {
                let answer = reservation.map(|reservation| reservation.answered(&message, &body));
                inbox.keep_sent(message, answer.transpose()?.unwrap_or_default()).await
            };
            if let Err(error) = kept.await {
                // It has left; an error answer would make the caller send it twice.
                tracing::error!(%id, error = %error, "a message was sent but could not be kept");
            }
            Ok(Answer::new(&body))
        })
        .await
    }

    /// Puts a star on a message, or takes it off.
    pub(crate) async fn set_starred(&self, id: MessageId, starred: bool) -> Result<(), SendError> {
        let engine = Arc::clone(&self.engine);
        self.run(async move { Ok(engine.set_starred(&id, starred).await?) })
            .await
    }

    /// Runs in a task of the connection's: a caller that hangs up must not leave a message sent but not kept, and
    /// nothing may be kept after the connection has ended.
    async fn run<T, Fut>(&self, work: Fut) -> Result<T, SendError>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T, SendError>> + Send + 'static,
    {
        self.activity.notify_one();
        let over = self.over.clone();
        let work = work.instrument(self.span.clone());
        let task = self.tasks.spawn(async move { unless_over(&over, work).await });
        task.await.map_err(|_| SendError::CutOff)?
    }
}

/// Whether these may be the same message, of which one side knows phone numbers and the other linked identities.
fn may_be(kept: &MessageId, named: &MessageId) -> bool {
    let same_author = match (&kept.participant, &named.participant) {
        (Some(kept), Some(named)) => may_be_in(kept, named),
        _ => true,
    };
    kept.from_me == named.from_me && kept.id == named.id && may_be_in(&kept.chat, &named.chat) && same_author
}

/// What comes of the work, unless the connection is over first: then it has not begun, or nobody knows how far it came.
async fn unless_over<T>(
    over: &CancellationToken,
    work: impl Future<Output = Result<T, SendError>>,
) -> Result<T, SendError> {
    if over.is_cancelled() {
        return Err(EngineError::Offline.into());
    }
    over.run_until_cancelled(work).await.unwrap_or(Err(SendError::CutOff))
}

/// The ids of kept messages, with who wrote them.
fn authored(kept: &[StoredMessage]) -> impl Iterator<Item = MessageId> {
    kept.iter().map(|stored| MessageId {
        participant: stored.message.participant.clone(),
        ..stored.message.id.clone()
    })
}

/// The receipts for these messages. WhatsApp takes one per sender.
fn receipts(chat: &ChatId, ids: impl Iterator<Item = MessageId>) -> impl Iterator<Item = SeenRequest> {
    let mut by_sender: Vec<(Option<ChatId>, Vec<String>)> = Vec::new();
    for MessageId { participant, id, .. } in ids {
        match by_sender.iter_mut().find(|(known, _)| *known == participant) {
            Some((_, ids)) => ids.push(id),
            None => by_sender.push((participant, vec![id])),
        }
    }
    by_sender.into_iter().map(|(participant, ids)| SeenRequest {
        chat: chat.clone(),
        participant,
        ids,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_send_that_comes_too_late_has_not_begun_and_one_that_is_cut_off_may_have_happened() {
        let over = CancellationToken::new();
        let cut_off = unless_over(&over, async {
            over.cancel();
            std::future::pending::<Result<(), SendError>>().await
        });
        assert!(matches!(cut_off.await, Err(SendError::CutOff)));
        let too_late = unless_over(&over, async { panic!("it must not begin") });
        let outcome: Result<(), SendError> = too_late.await;
        assert!(matches!(outcome, Err(SendError::Engine(EngineError::Offline))));
    }
}
