//! The messages of one session, in the session's own store.

use bytes::{BufMut, Bytes, BytesMut};
use wharf_core::ids::{ChatId, MessageId};
use wharf_core::message::Message;
use wharf_core::store::{Batch, Collection, Condition, Document, Expect, Field, Query, Store, StoreError};

/// One document per message, under what its stanza called it.
static MESSAGES: Collection = Collection {
    name: "messages",
    fields: &[
        Field::text("chat"),
        Field::time("at"),
        // WhatsApp's own id, which receipts and replies name.
        Field::text("wa_id"),
        // The chat again, only while the message is unread.
        Field::text("unread_in"),
    ],
};

/// Bytes of the length that stands before the JSON part of a body.
const LENGTH_BYTES: usize = 4;

/// A message as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct StoredMessage {
    /// The message.
    pub(crate) message: Message,
    /// Whether somebody else wrote it and we have not read it.
    pub(crate) unread: bool,
    version: u64,
}

/// Which of these messages are kept already, by their stanzas.
pub(super) async fn known(store: &dyn Store, messages: &[Message]) -> Result<Vec<String>, StoreError> {
    let ids: Vec<String> = messages.iter().map(|message| message.stanza.clone()).collect();
    let found = store.get_many(&MESSAGES, &ids).await?;
    Ok(found.into_iter().map(|document| document.id).collect())
}

/// Adds the write that keeps a message for the first time.
pub(super) fn keep(batch: Batch, message: &Message) -> Result<Batch, StoreError> {
    let document = encode(message, !message.id.from_me)?;
    Ok(batch.put(&MESSAGES, document))
}

/// Adds the write that changes a message, unless somebody else changed it meanwhile.
pub(super) fn change(batch: Batch, stored: &StoredMessage) -> Result<Batch, StoreError> {
    let document = encode(&stored.message, stored.unread)?;
    Ok(batch.put_if(&MESSAGES, document, Expect::Version(stored.version)))
}

/// The message with this full id.
pub(crate) async fn get(store: &dyn Store, id: &MessageId) -> Result<Option<StoredMessage>, StoreError> {
    let found = with_own_ids(store, std::slice::from_ref(&id.id)).await?;
    Ok(found.into_iter().find(|stored| stored.message.id == *id))
}

/// The messages with these ids of WhatsApp's, in whatever chat.
pub(super) async fn with_own_ids(store: &dyn Store, ids: &[String]) -> Result<Vec<StoredMessage>, StoreError> {
    let values = ids.iter().map(|id| id.as_str().into()).collect();
    page(store, Query::all().filter(Condition::In("wa_id", values))).await
}

/// The message with this id of WhatsApp's in a chat.
pub(crate) async fn in_chat(store: &dyn Store, chat: &ChatId, id: &str) -> Result<Option<StoredMessage>, StoreError> {
    let found = with_own_ids(store, &[id.to_owned()]).await?;
    Ok(found.into_iter().find(|stored| stored.message.id.chat == *chat))
}

/// The newest unread messages of a chat, newest first.
pub(crate) async fn unread(store: &dyn Store, chat: &ChatId, limit: usize) -> Result<Vec<StoredMessage>, StoreError> {
    let query = Query::all()
        .filter(Condition::Equal("unread_in", chat.to_string().into()))
        .descending("at")
        .limit(limit);
    page(store, query).await
}

async fn page(store: &dyn Store, query: Query) -> Result<Vec<StoredMessage>, StoreError> {
    let page = store.find(&MESSAGES, query).await?;
    page.documents.iter().map(decode).collect()
}

/// The length of the JSON part, the JSON part, and the message in WhatsApp's encoding, which JSON would only inflate.
fn encode(message: &Message, unread: bool) -> Result<Document, StoreError> {
    let json = serde_json::to_vec(message).map_err(|error| StoreError::Internal(error.into()))?;
    let length = u32::try_from(json.len()).map_err(|error| StoreError::Internal(error.into()))?;
    let mut body = BytesMut::with_capacity(LENGTH_BYTES + json.len() + message.proto.len());
    body.put_u32(length);
    body.put_slice(&json);
    body.put_slice(&message.proto);
    let document = Document::new(message.stanza.as_str(), body.freeze())
        .with("chat", message.id.chat.to_string())
        .with("at", message.timestamp)
        .with("wa_id", message.id.id.as_str());
    Ok(match unread {
        true => document.with("unread_in", message.id.chat.to_string()),
        false => document,
    })
}

fn decode(document: &Document) -> Result<StoredMessage, StoreError> {
    let broken = |what: &str| StoreError::Internal(format!("message {} {what}", document.id).into());
    let body = &document.body;
    let length = body
        .first_chunk::<LENGTH_BYTES>()
        .map(|length| u32::from_be_bytes(*length) as usize)
        .ok_or_else(|| broken("has no length"))?;
    let json = body
        .get(LENGTH_BYTES..LENGTH_BYTES + length)
        .ok_or_else(|| broken("is cut off"))?;
    let mut message: Message = serde_json::from_slice(json).map_err(|error| StoreError::Internal(error.into()))?;
    message.proto = Bytes::copy_from_slice(&body[LENGTH_BYTES + length..]);
    Ok(StoredMessage {
        message,
        unread: document.field("unread_in").is_some(),
        version: document.version,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use jiff::Timestamp;
    use wharf_core::message::{Ack, MessageKind, Source};

    /// A text message from `chat`, or to it.
    pub(crate) fn text(from_me: bool, chat: &str, id: &str, body: &str) -> Message {
        let chat: ChatId = chat.parse().unwrap();
        let us: ChatId = "12025550100@c.us".parse().unwrap();
        let (from, to) = if from_me {
            (us, chat.clone())
        } else {
            (chat.clone(), us)
        };
        Message {
            id: MessageId {
                from_me,
                chat,
                id: id.to_owned(),
                participant: None,
            },
            stanza: format!("stanza {from_me} {id}"),
            timestamp: Timestamp::from_second(1_700_000_000).unwrap(),
            from,
            to,
            participant: None,
            sender_alt: None,
            push_name: Some("Alice".to_owned()),
            source: Source::App,
            kind: MessageKind::Content,
            body: body.to_owned(),
            media: None,
            reply_to: None,
            mentions: Vec::new(),
            location: None,
            vcards: Vec::new(),
            ack: Ack::Pending,
            proto: Bytes::from_static(b"\x0a\x02hi"),
        }
    }

    #[test]
    fn a_message_reads_back_whole() {
        let message = text(false, "12025550101@c.us", "3EB0AA", "grüß dich");
        for unread in [true, false] {
            let stored = decode(&encode(&message, unread).unwrap()).unwrap();
            assert_eq!(stored.message.id, message.id);
            assert_eq!(stored.message.body, message.body);
            assert_eq!(stored.message.proto, message.proto);
            assert_eq!(stored.unread, unread);
        }
    }

    #[test]
    fn a_cut_off_body_is_an_error() {
        let mut document = encode(&text(false, "12025550101@c.us", "A", "x"), true).unwrap();
        document.body = document.body.slice(..20);
        assert!(decode(&document).is_err());
    }
}
