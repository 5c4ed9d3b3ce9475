//! The messages of one session, in the session's own store, with what became of them.

pub(crate) mod body;
mod changes;
mod query;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wharf_core::ids::{ChatId, MessageId};
use wharf_core::message::{Change, Message};
use wharf_core::store::{Batch, Collection, Condition, Document, Expect, Field, Query, Store, StoreError};

use body::BodyError;
pub(crate) use changes::Changes;
pub(crate) use query::MessageQuery;

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

/// The most bytes of text that a reduced message keeps; WhatsApp's own clients send at most 65,536 characters.
const REDUCED_BODY_BYTES_MAX: usize = 64 * 1024;

/// A message as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct StoredMessage {
    /// The message.
    pub(crate) message: Message,
    /// Whether somebody else wrote it and we have not read it.
    pub(crate) unread: bool,
    /// What became of it.
    pub(crate) changes: Changes,
    version: u64,
}

impl StoredMessage {
    /// Takes in what another message does to this one. `false` where nothing follows from it.
    pub(super) fn take(&mut self, change: &Message, what: &Change) -> bool {
        self.changes.take(&mut self.message, change, what)
    }
}

/// Those of the messages of these stanzas that are kept already. One that cannot be read is kept anew.
pub(super) async fn known(store: &dyn Store, stanzas: &[String]) -> Result<Vec<StoredMessage>, StoreError> {
    let found = store.get_many(&MESSAGES, stanzas).await?;
    Ok(found.iter().filter_map(read).collect())
}

/// The message as it is kept already, under the name that its stanza has now or under another: the phone, and WhatsApp at
/// another time, may have named its people by their other addresses.
pub(super) async fn same(store: &dyn Store, message: &Message) -> Result<Option<StoredMessage>, StoreError> {
    match known(store, std::slice::from_ref(&message.stanza)).await?.pop() {
        Some(stored) => Ok(Some(stored)),
        None => get(store, &message.id).await,
    }
}

/// What is left of a message that cannot be stored whole: who wrote it, where and when, and the beginning of its text.
pub(crate) fn reduced(mut message: Message) -> Message {
    message
        .body
        .truncate(message.body.floor_char_boundary(REDUCED_BODY_BYTES_MAX));
    Message {
        body: message.body,
        push_name: None,
        media: None,
        reply_to: None,
        mentions: Vec::new(),
        location: None,
        vcards: Vec::new(),
        proto: Bytes::new(),
        ..message
    }
}

/// Adds the write that keeps a message for the first time.
pub(super) fn keep(batch: Batch, message: &Message) -> Result<Batch, StoreError> {
    let document = encode(message, &Changes::default(), !message.id.from_me)?;
    Ok(batch.put(&MESSAGES, document))
}

/// Adds the write that keeps a message that is not known; a conflict where it is.
pub(super) fn keep_new(batch: Batch, message: &Message) -> Result<Batch, StoreError> {
    let document = encode(message, &Changes::default(), !message.id.from_me)?;
    Ok(batch.put_if(&MESSAGES, document, Expect::Absent))
}

/// Adds the write that changes a message, unless somebody else changed it meanwhile.
pub(super) fn change(batch: Batch, stored: &StoredMessage) -> Result<Batch, StoreError> {
    let document = encode(&stored.message, &stored.changes, stored.unread)?;
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

/// The newest unread messages of a chat since a time, newest first.
pub(crate) async fn unread(
    store: &dyn Store,
    chat: &ChatId,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<StoredMessage>, StoreError> {
    let query = Query::all()
        .filter(Condition::Equal("unread_in", chat.to_string().into()))
        .filter(Condition::AtLeast("at", since.into()))
        .descending("at")
        .limit(limit);
    page(store, query).await
}

async fn page(store: &dyn Store, query: Query) -> Result<Vec<StoredMessage>, StoreError> {
    let page = store.find(&MESSAGES, query).await?;
    Ok(page.documents.iter().filter_map(read).collect())
}

/// The message in a document. One that is damaged must not hide all others: it is logged and left out.
fn read(document: &Document) -> Option<StoredMessage> {
    decode(document)
        .inspect_err(|error| tracing::error!(document = document.id, error = %error, "a stored message cannot be read"))
        .ok()
}

/// The JSON part of a body.
#[derive(Serialize, Deserialize)]
struct Described<M> {
    #[serde(flatten)]
    message: M,
    #[serde(default, skip_serializing_if = "is_default")]
    changes: Changes,
}

fn is_default(changes: &Changes) -> bool {
    *changes == Changes::default()
}

fn encode(message: &Message, changes: &Changes, unread: bool) -> Result<Document, StoreError> {
    let changes = changes.clone();
    let body = body::encode(&Described { message, changes }, &message.proto)?;
    let document = Document::new(message.stanza.as_str(), body)
        .with("chat", message.id.chat.to_string())
        .with("at", message.timestamp)
        .with("wa_id", message.id.id.as_str());
    Ok(match unread {
        true => document.with("unread_in", message.id.chat.to_string()),
        false => document,
    })
}

fn decode(document: &Document) -> Result<StoredMessage, BodyError> {
    let (Described { mut message, changes }, proto): (Described<Message>, Bytes) = body::decode(&document.body)?;
    message.proto = proto;
    Ok(StoredMessage {
        message,
        unread: document.field("unread_in").is_some(),
        changes,
        version: document.version,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::{option, sample::select};
    use wharf_core::ids::ChatKind;
    use wharf_core::message::{Ack, Location, MessageKind, ReplyTo, Source};

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
            let stored = decode(&encode(&message, &Changes::default(), unread).unwrap()).unwrap();
            assert_eq!(stored.message.id, message.id);
            assert_eq!(stored.message.body, message.body);
            assert_eq!(stored.message.proto, message.proto);
            assert_eq!(stored.unread, unread);
        }
    }

    #[test]
    fn a_cut_off_body_is_an_error() {
        let whole = encode(&text(false, "12025550101@c.us", "A", "x"), &Changes::default(), true).unwrap();
        for bytes in [0, 3, 4, 20] {
            let mut document = whole.clone();
            document.body = document.body.slice(..bytes);
            assert!(decode(&document).is_err(), "{bytes}");
        }
    }

    fn any_chat() -> impl Strategy<Value = ChatId> {
        let kinds = [
            ChatKind::Phone,
            ChatKind::Lid,
            ChatKind::Group,
            ChatKind::Newsletter,
            ChatKind::Broadcast,
        ];
        (select(kinds.to_vec()), any::<String>()).prop_map(|(kind, user)| ChatId::new(kind, user))
    }

    fn any_location() -> impl Strategy<Value = Location> {
        (any_number(), any_number(), any::<bool>()).prop_map(|(latitude, longitude, live)| Location {
            latitude,
            longitude,
            live,
            name: None,
            address: None,
            url: None,
            description: None,
            thumbnail: None,
        })
    }

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            Just(f64::NAN),
            Just(f64::NEG_INFINITY)
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_sender_makes_up_reads_back(
            chat in any_chat(),
            participant in option::of(any_chat()),
            id in "\\PC{0,300}|[_@]{1,9}",
            mentions in vec(any_chat(), 0..4),
            location in option::of(any_location()),
            body in any::<String>(),
        ) {
            let mut message = text(false, "12025550101@c.us", "A", &body);
            message.id = MessageId { from_me: false, chat: chat.clone(), id: id.clone(), participant: participant.clone() };
            (message.from, message.participant, message.sender_alt) = (chat, participant.clone(), participant.clone());
            (message.stanza, message.mentions, message.location) = (id.clone(), mentions, location);
            message.reply_to = Some(ReplyTo { id, participant, body: Some(body), media: None });
            let stored = decode(&encode(&message, &Changes::default(), true).unwrap()).unwrap();
            // By their debug form, because one NaN is not equal to another.
            prop_assert_eq!(format!("{:?}", stored.message), format!("{message:?}"));
        }
    }
}
