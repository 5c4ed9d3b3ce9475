//! Chatting: messages of every kind, what can be done to them, and what a chat shows of us. One file per topic.
//!
//! A message leaves through [`Sending`](super::sending::Sending), which makes it safe to repeat the request.

mod cards;
mod changes;
mod deprecated;
mod history;
mod interactive;
mod media;
mod polls;
mod seen;
mod text;
mod vcard;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::{Content, Quote};
use wharf_core::ids::ChatId;
use wharf_core::session::SessionStatus;

use super::AppState;
use super::error::ApiResult;
use super::extract::Linkable;
use super::sending::{NewMessage, Sender};
use super::target;
use crate::validate::Fields;

/// The most characters of a text or a caption, as in WhatsApp's own clients.
pub(super) const TEXT_CHARS_MAX: usize = 65_536;
/// The most characters of what stands on a button, in a row of a list, or beside a picture; WhatsApp shows fewer.
const LABEL_CHARS_MAX: usize = 1_024;

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(text::router())
        .merge(media::router())
        .merge(cards::router())
        .merge(polls::router())
        .merge(interactive::router())
        .merge(changes::router())
        .merge(seen::router())
        .merge(history::router())
        .merge(deprecated::router())
        .routes(routes!(new_message_id))
}

/// What the body of every message has.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Addressed {
    /// Where to: a phone number, or an id of a chat.
    chat_id: String,
    /// The id that the message will have, from `new-message-id`; of use once in a chat.
    #[expect(dead_code, reason = "read by the extractor")]
    id: Option<String>,
    /// The message that this one answers, by its full id or by WhatsApp's own.
    #[serde(rename = "reply_to")]
    reply_to: Option<String>,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

/// Where a message goes, and which one it answers.
struct Destination {
    chat: ChatId,
    quote: Option<Quote>,
}

/// An id for a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewMessageIDResponse)]
struct NewMessageId {
    /// What to send as `id`.
    id: String,
}

impl Addressed {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.string("id");
        fields.string("reply_to");
    }

    /// Where it goes. Asked before anything is fetched or converted for the message.
    async fn destination(&self, sender: &Sender) -> ApiResult<Destination> {
        let chat = target::chat_id("chatId", &self.chat_id)?;
        let quote = match &self.reply_to {
            Some(reply_to) => Some(target::quote(&sender.connection, &chat, "reply_to", reply_to).await?),
            None => None,
        };
        Ok(Destination { chat, quote })
    }
}

impl Destination {
    fn message(self, content: Content) -> NewMessage {
        NewMessage {
            quote: self.quote,
            ..NewMessage::new(self.chat, content)
        }
    }
}

/// Make an id for a message that is to be sent.
#[utoipa::path(
    get, path = "/api/{session}/new-message-id", tag = "📤 Chatting",
    params(("session" = String, Path, description = "The session's name")),
    responses((status = 200, description = "An id that no message has", body = NewMessageId)),
    security(("api_key" = ["send"]))
)]
async fn new_message_id(State(state): State<AppState>, session: Linkable) -> ApiResult<Json<NewMessageId>> {
    let view = session.in_status(SessionStatus::Working, &state).await?;
    match &view.connection {
        Some(connection) => Ok(Json(NewMessageId {
            id: connection.engine().new_message_id(),
        })),
        None => Err(session.wrong_status(&view, SessionStatus::Working, &state)),
    }
}
