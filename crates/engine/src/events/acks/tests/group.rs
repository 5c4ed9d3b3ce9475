//! In a group every member acknowledges; where one stanza brings many together, the library makes one receipt of each.

use std::sync::Arc;

use async_trait::async_trait;
use wacore::types::message::MessageSource;
use wharf_core::engine::{Inbox, Signal};
use wharf_core::ids::ChatId;
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};
use whatsapp_rust::store::commands::DeviceCommand;

use super::*;
use crate::testing::{options, unreachable};

const GROUP: &str = "120363000000000001@g.us";
const BOBS_LID: &str = "100000000000002@lid";

/// Nobody.
struct Nobody;

#[async_trait]
impl Inbox for Nobody {
    async fn commit(&self, _messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(&self, _chat: &ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    fn signal(&self, _signal: Signal) {}
}

fn told(kind: &str, sender: &str, sender_alt: Option<&str>) -> Receipt {
    Receipt::builder()
        .source(MessageSource {
            chat: GROUP.parse().unwrap(),
            sender: sender.parse().unwrap(),
            sender_alt: sender_alt.map(|alt| alt.parse().unwrap()),
            is_group: true,
            ..Default::default()
        })
        .message_ids(vec!["3EB0AA".to_owned()])
        .timestamp(whatsapp_rust::chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap())
        .r#type(ReceiptType::parse(kind))
        .offline(false)
        .build()
}

#[tokio::test]
async fn every_member_acknowledges_on_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let connection = unreachable(options(folder.path()).await, Arc::new(Nobody)).await;
    let client = &connection.client;
    let own = DeviceCommand::SetId(Some(Jid::pn("12025550101")));
    client.persistence_manager().process_command(own).await;
    let bob = Some("12025550102@s.whatsapp.net");
    for (kind, sender, sender_alt, expected) in [
        (
            "",
            "12025550103:2@s.whatsapp.net",
            None,
            Some((Ack::Device, "12025550103@c.us")),
        ),
        ("read", BOBS_LID, bob, Some((Ack::Read, "12025550102@c.us"))),
        ("played", BOBS_LID, bob, Some((Ack::Played, "12025550102@c.us"))),
        ("played", BOBS_LID, None, Some((Ack::Played, BOBS_LID))),
        // What our other devices have is no news; what they have read or heard is.
        ("", "12025550101:3@s.whatsapp.net", None, None),
        (
            "read-self",
            "12025550101:3@s.whatsapp.net",
            None,
            Some((Ack::Read, "12025550101@c.us")),
        ),
        (
            "played-self",
            "12025550101:3@s.whatsapp.net",
            None,
            Some((Ack::Played, "12025550101@c.us")),
        ),
    ] {
        let update = receipt(client, &told(kind, sender, sender_alt)).await;
        let found = update.map(|update| {
            assert_eq!(update.chat.to_string(), GROUP);
            assert_eq!(update.ids, ["3EB0AA"]);
            (update.ack, update.participant.unwrap().to_string())
        });
        let expected = expected.map(|(ack, participant)| (ack, participant.to_owned()));
        assert_eq!(found, expected, "{kind} of {sender}");
    }
    connection.end().await;
}
