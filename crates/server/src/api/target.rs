//! The chats and messages that callers name: by a phone number or an id, by a full or a bare message id.
//!
//! Errors name the field. What is found is the message as it is kept; nothing here sends.

use wharf_core::engine::{Mentions, Quote};
use wharf_core::ids::{ChatId, MessageId, MessageRef};
use wharf_core::message::Message;

use super::error::{ApiError, ApiResult};
use crate::sessions::Connection;
use crate::validate::Fields;

/// The most people that one message mentions; WhatsApp's largest groups have as many.
const MENTIONS_MAX: usize = 1_024;
/// What mentions everybody in a group.
const EVERYONE: &str = "all";

/// Who is mentioned, as callers write it.
#[derive(Debug, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(super) enum Mentioned {
    /// Nobody.
    #[default]
    Nobody,
    /// `all`.
    Everyone(String),
    /// Phone numbers, or ids of people; `all` for everybody.
    People(Vec<String>),
}

/// The chat that a field names.
pub(super) fn chat_id(field: &str, text: &str) -> ApiResult<ChatId> {
    text.parse()
        .map_err(|error| ApiError::Invalid(vec![format!("{field}: {error}")]))
}

/// The message that a field names, whether or not there is one.
pub(super) fn message_ref(field: &str, text: &str) -> ApiResult<MessageRef> {
    text.parse()
        .map_err(|error| ApiError::Invalid(vec![format!("{field}: {error}")]))
}

/// The message that a field names, as it is kept; in this chat, where one is given.
pub(super) async fn message(
    connection: &Connection,
    field: &str,
    text: &str,
    chat: Option<&ChatId>,
) -> ApiResult<Message> {
    let named = message_ref(field, text)?;
    let mut found = connection.messages(&named, chat).await?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(unknown(field, text)),
        (Some(message), true) => Ok(message),
        (Some(_), false) => Err(ApiError::Invalid(vec![format!(
            "{field}: several messages have the id {text}, name one in full: false_<chat>_<id>"
        )])),
    }
}

/// The message to be quoted. One that is not kept can still be quoted, without its text, if its author is known.
pub(super) async fn quote(connection: &Connection, chat: &ChatId, field: &str, text: &str) -> ApiResult<Quote> {
    let named = message_ref(field, text)?;
    // One named in full may be quoted in another chat; that is how a private reply is made.
    let within = matches!(named, MessageRef::Bare(_)).then_some(chat);
    if let Some(message) = connection.messages(&named, within).await?.pop() {
        return Ok(Quote {
            id: message.id,
            proto: message.proto,
        });
    }
    let id = match named {
        MessageRef::Full(id) => id,
        MessageRef::Bare(id) if chat.is_person() => MessageId {
            from_me: false,
            chat: chat.clone(),
            id,
            participant: None,
        },
        MessageRef::Bare(_) => return Err(unknown(field, text)),
    };
    Ok(Quote {
        id,
        proto: bytes::Bytes::new(),
    })
}

fn unknown(field: &str, text: &str) -> ApiError {
    ApiError::NotFound(format!(
        "{field}: the message {text} is not known here; its full id is false_<chat>_<id>, with _<participant> in groups"
    ))
}

impl Mentioned {
    /// Notes what is wrong with the field `mentions`.
    pub(super) fn check(fields: &mut Fields<'_>) {
        match fields.get("mentions").and_then(|mentions| mentions.as_str()) {
            Some(EVERYONE) => {}
            Some(_) => fields.fail("mentions", "must be an array, or all"),
            None => fields.strings("mentions", MENTIONS_MAX),
        }
    }

    /// The people whom it names.
    pub(super) fn mentions(&self) -> ApiResult<Mentions> {
        let named: &[String] = match self {
            Self::Nobody => &[],
            Self::Everyone(all) => std::slice::from_ref(all),
            Self::People(people) => people,
        };
        let (everyone, people): (Vec<_>, Vec<_>) = named.iter().partition(|one| *one == EVERYONE);
        let people = people.into_iter().map(|one| match chat_id("mentions", one)? {
            person if person.is_person() => Ok(person),
            _ => Err(ApiError::Invalid(vec![format!(
                "mentions: {one} is nobody, only people can be mentioned"
            )])),
        });
        Ok(Mentions {
            people: people.collect::<ApiResult<_>>()?,
            everyone: !everyone.is_empty(),
        })
    }
}
