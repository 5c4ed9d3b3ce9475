//! A job as it is kept: the message whose file is to be fetched, and whether its event waits for that.
//!
//! It has all of the message, because the session's own store may be gone before the event is told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wharf_core::ids::SessionName;
use wharf_core::message::Message;
use wharf_core::store::{Collection, Condition, Document, Field, StoreError};

use crate::sessions::body::{self, BodyError};

/// One document per message whose file is not there yet, in the server's store.
pub(super) static JOBS: Collection = Collection {
    name: "media_jobs",
    fields: &[Field::text("session")],
};

/// A job.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// The message.
    pub(super) message: Message,
    /// What is said of the job itself.
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Until when the event waits for the file; `None` where it was told.
    pub(super) held_until: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Described<M> {
    message: M,
    #[serde(flatten)]
    state: State,
}

/// The id of the job of a message: the same whenever the message comes again.
pub(super) fn id_of(session: &SessionName, stanza: &str) -> String {
    format!("{session}|{stanza}")
}

/// The jobs of a session.
pub(super) fn of_session(session: &SessionName) -> Vec<Condition> {
    vec![Condition::Equal("session", session.as_str().into())]
}

impl Record {
    /// What is kept of it.
    pub(super) fn document(&self, session: &SessionName) -> Result<Document, StoreError> {
        let Self { message, state } = self;
        let described = Described { message, state: *state };
        let body = body::encode(&described, &message.proto)?;
        Ok(Document::new(id_of(session, &message.stanza), body).with("session", session.as_str()))
    }

    /// The job in a document.
    pub(super) fn read(document: &Document) -> Result<Self, BodyError> {
        let (Described { mut message, state }, proto): (Described<Message>, _) = body::decode(&document.body)?;
        message.proto = proto;
        Ok(Self { message, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::messages_tests::text;

    #[test]
    fn a_job_reads_back_whole() {
        let state = State {
            held_until: Some(Timestamp::from_second(1_790_000_012).unwrap()),
        };
        let message = text(false, "12025550101@c.us", "3EB0AA", "look");
        let record = Record { message, state };
        let document = record.document(&"default".parse().unwrap()).unwrap();
        assert_eq!(document.id, "default|stanza false 3EB0AA");
        let read = Record::read(&document).unwrap();
        assert_eq!((read.state, read.message.proto), (state, record.message.proto));
    }
}
