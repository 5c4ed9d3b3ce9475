//! Sending to chats, and what becomes of what was sent.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{Content, EngineError};
use crate::ids::{ChatId, MessageId};
use crate::message::{Ack, Message};

/// What can be done in a chat.
#[async_trait]
pub trait Chatting: Send + Sync + 'static {
    /// A new message id, as WhatsApp's own clients make them.
    fn new_message_id(&self) -> String;

    /// Sends a message, or a change to one. Returns once it was written to the connection; [`AckUpdate`] tells when WhatsApp has
    /// it. The same request under the same id makes the same message.
    async fn send(&self, request: SendRequest) -> Result<SentMessage, EngineError>;

    /// Tells the senders that their messages were read.
    async fn send_seen(&self, request: SeenRequest) -> Result<(), EngineError>;

    /// Shows in a chat that we type, record, or stopped.
    async fn set_typing(&self, chat: &ChatId, typing: Typing) -> Result<(), EngineError>;

    /// Puts a star on a message, or takes it off; only this account sees it.
    async fn set_starred(&self, message: &MessageId, starred: bool) -> Result<(), EngineError>;
}

/// What is to be sent, and where to.
#[derive(Debug, Clone)]
pub struct SendRequest {
    /// The id that the message will have.
    pub id: String,
    /// Where to.
    pub chat: ChatId,
    /// What.
    pub content: Content,
    /// The message that this one answers.
    pub quote: Option<Quote>,
    /// Who is mentioned.
    pub mentions: Mentions,
}

/// Who is mentioned in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// These people.
    pub people: Vec<ChatId>,
    /// Everybody in the group.
    pub everyone: bool,
}

/// A message that is quoted.
#[derive(Debug, Clone)]
pub struct Quote {
    /// Which.
    pub id: MessageId,
    /// It in WhatsApp's own encoding; empty where we do not have it, then the quote is shown without its text.
    pub proto: Bytes,
}

/// A message that has left.
#[derive(Debug, Clone)]
pub struct SentMessage {
    /// The message as it will be kept; its `ack` is [`Ack::Pending`].
    pub message: Message,
}

/// Messages that were read.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// Where.
    pub chat: ChatId,
    /// Who wrote them, in a group.
    pub participant: Option<ChatId>,
    /// WhatsApp's own ids; none of ours.
    pub ids: Vec<String>,
}

/// What a chat shows of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// A text is being typed.
    Composing,
    /// A voice message is being recorded.
    Recording,
    /// Neither.
    Paused,
}

/// Messages of ours that have come further, or messages to us that another device of ours has read.
#[derive(Debug, Clone)]
pub struct AckUpdate {
    /// The chat they are in.
    pub chat: ChatId,
    /// Who acknowledged, in a group.
    pub participant: Option<ChatId>,
    /// WhatsApp's own ids.
    pub ids: Vec<String>,
    /// How far.
    pub ack: Ack,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
    /// WhatsApp's error code, for [`Ack::Error`].
    pub error: Option<String>,
}
