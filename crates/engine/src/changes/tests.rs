//! Who may change which message, and what votes say: with a device that reaches no network.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use buffa::MessageField;
use tempfile::TempDir;
use wacore::poll::{compute_option_hash, encrypt_poll_vote_with_secret};
use wacore::types::message::MessageInfo;
use waproto::whatsapp::message as wm;
use wharf_core::engine::Signal;
use wharf_core::store::{Batch, StoreError};
use whatsapp_rust::store::commands::DeviceCommand;
use wm::protocol_message::Type;

use super::*;
use crate::connection::Connection;
use crate::incoming::incoming;
use crate::testing::{options, unreachable};

const US: &str = "12025550101@s.whatsapp.net";
const OUR_LID: &str = "100000000000001@lid";
const BOB: &str = "12025550102@s.whatsapp.net";
const BOBS_LID: &str = "100000000000002@lid";
const CAROL: &str = "12025550103@s.whatsapp.net";
const GROUP: &str = "120363000000000001@g.us";
const SECRET: [u8; 32] = [7; 32];

/// What is kept; nothing is added by itself.
#[derive(Default)]
struct Kept(Mutex<Vec<Message>>);

#[async_trait]
impl Inbox for Kept {
    async fn commit(&self, _messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(&self, chat: &ChatId, id: &str) -> Result<Vec<Message>, StoreError> {
        let kept = self.0.lock().unwrap();
        let found = kept
            .iter()
            .filter(|message| message.id.chat == *chat && message.id.id == id);
        Ok(found.cloned().collect())
    }

    fn signal(&self, _signal: Signal) {}
}

/// A linked device.
struct Device {
    _folder: TempDir,
    connection: Connection,
    kept: Arc<Kept>,
}

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

/// A stanza's head, and what it carries.
#[derive(Clone)]
struct Stanza {
    id: &'static str,
    chat: &'static str,
    sender: &'static str,
    sender_alt: Option<&'static str>,
    edit: EditAttribute,
}

impl Stanza {
    fn from(sender: &'static str) -> Self {
        Self {
            id: "3EB0CC",
            chat: sender,
            sender,
            sender_alt: None,
            edit: EditAttribute::Empty,
        }
    }

    fn in_group(sender: &'static str) -> Self {
        let chat = GROUP;
        Self {
            chat,
            ..Self::from(sender)
        }
    }

    /// The message that is changed later.
    fn first(self) -> Self {
        let id = "3EB0BB";
        Self { id, ..self }
    }

    fn with(&self, proto: wa::Message) -> InboundMessage {
        let mut info = MessageInfo {
            id: self.id.to_owned(),
            edit: self.edit.clone(),
            ..Default::default()
        };
        info.source.chat = jid(self.chat);
        info.source.sender = jid(self.sender);
        info.source.sender_alt = self.sender_alt.map(jid);
        info.source.is_from_me = [US, OUR_LID].contains(&self.sender);
        info.source.is_group = self.chat == GROUP;
        InboundMessage::builder()
            .message(Arc::new(proto))
            .info(Arc::new(info))
            .build()
    }
}

impl Device {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let kept = Arc::new(Kept::default());
        let connection = unreachable(options(folder.path()).await, kept.clone()).await;
        let manager = connection.client.persistence_manager();
        manager.process_command(DeviceCommand::SetId(Some(jid(US)))).await;
        manager.process_command(DeviceCommand::SetLid(Some(jid(OUR_LID)))).await;
        Self {
            _folder: folder,
            connection,
            kept,
        }
    }

    async fn read(&self, inbound: &InboundMessage, before: &[Message]) -> Message {
        let known = Known {
            client: &self.connection.client,
            inbox: self.kept.as_ref(),
            before,
        };
        incoming(&known, inbound).await.unwrap().unwrap()
    }

    /// Receives a message, and keeps it.
    async fn keep(&self, stanza: &Stanza, proto: wa::Message) -> MessageId {
        let message = self.read(&stanza.with(proto), &[]).await;
        let id = message.id.clone();
        self.kept.0.lock().unwrap().push(message);
        id
    }

    /// What a change changes; `None` where it is ignored.
    async fn change(&self, stanza: &Stanza, proto: wa::Message) -> Option<Change> {
        match self.read(&stanza.with(proto), &[]).await.kind {
            MessageKind::Change(change) => Some(change),
            MessageKind::Control => None,
            MessageKind::Content => panic!("a change is no message"),
        }
    }
}

fn text(body: &str) -> wa::Message {
    wa::Message {
        conversation: Some(body.to_owned()),
        ..Default::default()
    }
}

fn key(from_me: bool, participant: Option<&str>) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey {
        id: Some("3EB0BB".to_owned()),
        from_me: Some(from_me),
        participant: participant.map(str::to_owned),
        ..Default::default()
    })
}

fn reaction(key: MessageField<wa::MessageKey>) -> wa::Message {
    wa::Message {
        reaction_message: MessageField::some(wm::ReactionMessage {
            key,
            text: Some("👍".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn protocol(kind: Type, key: MessageField<wa::MessageKey>, edited: Option<wa::Message>) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(wm::ProtocolMessage {
            key,
            r#type: Some(kind),
            edited_message: edited.map_or_else(MessageField::none, MessageField::some),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn edit(body: &str) -> wa::Message {
    protocol(Type::MESSAGE_EDIT, key(true, None), Some(text(body)))
}

fn revoke(key: MessageField<wa::MessageKey>) -> wa::Message {
    protocol(Type::REVOKE, key, None)
}

fn edited(target: MessageId) -> Option<Change> {
    Some(Change::Edited { target })
}

fn revoked(target: MessageId) -> Option<Change> {
    Some(Change::Revoked { target })
}

#[tokio::test]
async fn nobody_edits_or_deletes_a_message_of_somebody_else() {
    let device = Device::start().await;
    let (bob, carol) = (Stanza::in_group(BOB), Stanza::in_group(CAROL));
    let bobs = device.keep(&bob.clone().first(), text("hi")).await;
    let named = || key(true, Some(BOB));
    let by_carol = [
        edit("evil"),
        revoke(key(true, None)),
        revoke(named()),
        revoke(key(false, Some(BOB))),
        protocol(Type::MESSAGE_EDIT, named(), Some(text("evil"))),
    ];
    for proto in by_carol {
        assert_eq!(device.change(&carol, proto.clone()).await, None, "{proto:?}");
    }
    assert_eq!(device.change(&bob, edit("new")).await, edited(bobs.clone()));
    assert_eq!(device.change(&bob, revoke(named())).await, revoked(bobs));
    device.connection.end().await;
}

#[tokio::test]
async fn in_a_chat_of_two_nobody_deletes_what_the_other_wrote() {
    let device = Device::start().await;
    let ours = Stanza {
        chat: BOB,
        ..Stanza::from(US)
    };
    let our_own = device.keep(&ours.clone().first(), text("hi")).await;
    for proto in [revoke(key(false, None)), revoke(key(true, None)), edit("evil")] {
        assert_eq!(
            device.change(&Stanza::from(BOB), proto.clone()).await,
            None,
            "{proto:?}"
        );
    }
    assert_eq!(device.change(&ours, edit("new")).await, edited(our_own.clone()));
    assert_eq!(device.change(&ours, revoke(key(true, None))).await, revoked(our_own));
    device.connection.end().await;
}

#[tokio::test]
async fn an_administrator_deletes_what_whatsapp_lets_them() {
    let device = Device::start().await;
    let bobs = device.keep(&Stanza::in_group(BOB).first(), text("hi")).await;
    let administrator = Stanza {
        edit: EditAttribute::AdminRevoke,
        ..Stanza::in_group(CAROL)
    };
    let told = || revoke(key(false, Some(BOB)));
    assert_eq!(device.change(&administrator, told()).await, revoked(bobs));
    let in_a_chat_of_two = Stanza {
        chat: CAROL,
        ..administrator.clone()
    };
    assert_eq!(device.change(&in_a_chat_of_two, told()).await, None);
    let editing = protocol(Type::MESSAGE_EDIT, key(false, Some(BOB)), Some(text("evil")));
    assert_eq!(device.change(&administrator, editing).await, None);
    device.connection.end().await;
}

#[tokio::test]
async fn a_made_up_id_hides_nobodys_message() {
    let device = Device::start().await;
    let (bob, carol) = (Stanza::in_group(BOB), Stanza::in_group(CAROL));
    let carols = device.keep(&carol.clone().first(), text("mine now")).await;
    let bobs = device.keep(&bob.clone().first(), text("hi")).await;
    assert_eq!(device.change(&bob, edit("new")).await, edited(bobs.clone()));
    assert_eq!(device.change(&carol, edit("new")).await, edited(carols.clone()));
    let to = |target| {
        let text = "👍".to_owned();
        Some(Change::Reaction { target, text })
    };
    let reacted = reaction(key(false, Some(CAROL)));
    assert_eq!(device.change(&bob, reacted).await, to(carols));
    let reacted = reaction(key(false, Some(BOB)));
    assert_eq!(device.change(&carol, reacted).await, to(bobs));
    device.connection.end().await;
}

#[tokio::test]
async fn what_is_not_kept_is_changed_all_the_same() {
    let device = Device::start().await;
    let change = device.change(&Stanza::in_group(BOB), edit("new")).await;
    let Some(Change::Edited { target }) = change else {
        panic!("{change:?}")
    };
    let expected = "false_120363000000000001@g.us_3EB0BB_12025550102@c.us";
    assert_eq!(target.to_string(), expected);
    device.connection.end().await;
}

#[tokio::test]
async fn people_are_the_same_under_both_addresses() {
    let device = Device::start().await;
    let by_lid = Stanza::from(BOBS_LID).first();
    let unlearnt = device.keep(&by_lid, text("hi")).await;
    assert_eq!(unlearnt.chat.to_string(), BOBS_LID);
    let in_group = Stanza { chat: GROUP, ..by_lid };
    let in_group = device.keep(&in_group, text("hi")).await;
    let both = Stanza {
        sender_alt: Some(BOBS_LID),
        ..Stanza::in_group(BOB)
    };
    assert_eq!(device.change(&both, edit("new")).await, edited(in_group));
    let client = &device.connection.client;
    client
        .add_lid_pn_mapping(
            "100000000000002",
            "12025550102",
            whatsapp_rust::lid_pn_cache::LearningSource::Usync,
        )
        .await
        .unwrap();
    assert_eq!(device.change(&Stanza::from(BOB), edit("new")).await, edited(unlearnt));
    device.connection.end().await;
}

#[tokio::test]
async fn our_linked_identity_in_a_key_is_us() {
    let device = Device::start().await;
    let ours = device.keep(&Stanza::in_group(US).first(), text("hi")).await;
    assert!(ours.from_me);
    let change = device
        .change(&Stanza::in_group(BOB), reaction(key(false, Some(OUR_LID))))
        .await;
    let text = "👍".to_owned();
    assert_eq!(change, Some(Change::Reaction { target: ours, text }));
    device.connection.end().await;
}

#[tokio::test]
async fn our_linked_identity_in_a_quote_is_us() {
    let device = Device::start().await;
    let quote = wa::ContextInfo {
        stanza_id: Some("3EB0BB".to_owned()),
        participant: Some(OUR_LID.to_owned()),
        ..Default::default()
    };
    let reply = wa::Message {
        extended_text_message: MessageField::some(wm::ExtendedTextMessage {
            text: Some("yes".to_owned()),
            context_info: MessageField::some(quote),
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = device.read(&Stanza::from(BOB).with(reply), &[]).await;
    let author = message.reply_to.unwrap().participant.unwrap();
    assert_eq!(author.to_string(), "12025550101@c.us");
    device.connection.end().await;
}

#[tokio::test]
async fn what_is_hidden_from_people_is_no_message() {
    let device = Device::start().await;
    let unknown = wa::Message::default();
    let marked = |edit| Stanza {
        edit,
        ..Stanza::from(BOB)
    };
    for (stanza, proto, kind) in [
        (Stanza::from(BOB), unknown.clone(), MessageKind::Content),
        (marked(EditAttribute::SenderRevoke), unknown, MessageKind::Control),
        (marked(EditAttribute::SenderRevoke), text("hi"), MessageKind::Content),
        (marked(EditAttribute::MessageEdit), text("hi"), MessageKind::Control),
    ] {
        let message = device.read(&stanza.with(proto), &[]).await;
        assert_eq!(message.kind, kind, "{:?} {}", stanza.edit, message.body);
    }
    device.connection.end().await;
}

#[tokio::test]
async fn a_new_caption_keeps_the_picture() {
    let device = Device::start().await;
    let picture = |caption: &str, is_whole: bool| wa::Message {
        image_message: MessageField::some(wm::ImageMessage {
            caption: Some(caption.to_owned()),
            mimetype: is_whole.then(|| "image/jpeg".to_owned()),
            direct_path: is_whole.then(|| "/v/picture".to_owned()),
            media_key: is_whole.then(|| vec![1; 32]),
            file_sha256: is_whole.then(|| vec![2; 32]),
            ..Default::default()
        }),
        ..Default::default()
    };
    device.keep(&Stanza::from(BOB).first(), picture("old", true)).await;
    for edited in [picture("new", false), picture("new", true), text("new")] {
        let proto = protocol(Type::MESSAGE_EDIT, key(true, None), Some(edited));
        let message = device.read(&Stanza::from(BOB).with(proto), &[]).await;
        assert_eq!(message.body, "new");
        assert_eq!(message.media.unwrap().mimetype.as_deref(), Some("image/jpeg"));
        let kept = waproto::codec::message_decode(&message.proto).unwrap();
        assert_eq!(kept, picture("new", true));
    }
    device.connection.end().await;
}

fn poll() -> wa::Message {
    let option = |name: &str| wm::poll_creation_message::Option {
        option_name: Some(name.to_owned()),
        ..Default::default()
    };
    wa::Message {
        poll_creation_message: MessageField::some(wm::PollCreationMessage {
            name: Some("Lunch?".to_owned()),
            options: vec![option("soup"), option("salad"), option("cake")],
            ..Default::default()
        }),
        message_context_info: MessageField::some(wa::MessageContextInfo {
            message_secret: Some(SECRET.to_vec()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A vote for these options, by `voter`, in a poll by `creator`, as the voter's client names both.
fn vote(options: &[&str], creator: &str, voter: &str, secret: &[u8]) -> wa::Message {
    let hashes: Vec<Vec<u8>> = options.iter().map(|name| compute_option_hash(name).to_vec()).collect();
    let (payload, iv) = encrypt_poll_vote_with_secret(&hashes, secret, "3EB0BB", creator, voter).unwrap();
    wa::Message {
        poll_update_message: MessageField::some(wm::PollUpdateMessage {
            poll_creation_message_key: key(voter == creator, None),
            vote: MessageField::some(wm::PollEncValue {
                enc_payload: Some(payload),
                enc_iv: Some(iv.to_vec()),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Device {
    async fn options(&self, stanza: &Stanza, proto: wa::Message) -> Option<Vec<String>> {
        match self.change(stanza, proto).await {
            Some(Change::PollVote { options, .. }) => options,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_vote_is_read_under_every_pair_of_addresses() {
    let device = Device::start().await;
    let ours = Stanza {
        chat: BOB,
        ..Stanza::from(US)
    };
    device.keep(&ours.first(), poll()).await;
    let bob = Stanza {
        sender_alt: Some(BOBS_LID),
        ..Stanza::from(BOB)
    };
    for creator in [US, OUR_LID] {
        for voter in [BOB, BOBS_LID] {
            let chosen = device
                .options(&bob, vote(&["cake", "soup"], creator, voter, &SECRET))
                .await;
            assert_eq!(
                chosen.unwrap(),
                ["soup", "cake"],
                "{creator} {voter}, in the poll's order"
            );
        }
    }
    let none = device.options(&bob, vote(&[], US, BOB, &SECRET)).await;
    assert_eq!(none, Some(Vec::new()), "a vote taken back");
    device.connection.end().await;
}

#[tokio::test]
async fn a_vote_that_cannot_be_read_says_so() {
    let device = Device::start().await;
    let bob = Stanza::from(BOB);
    let cake = || vote(&["cake"], BOB, BOB, &SECRET);
    assert_eq!(device.options(&bob, cake()).await, None, "the poll is not kept");
    let bobs = device.keep(&bob.clone().first(), poll()).await;
    let change = device.change(&bob, cake()).await;
    let options = Some(vec!["cake".to_owned()]);
    assert_eq!(change, Some(Change::PollVote { poll: bobs, options }));
    let unreadable = [
        ("with another secret", vote(&["cake"], BOB, BOB, &[8; 32])),
        ("as somebody else", vote(&["cake"], BOB, CAROL, &SECRET)),
        ("for what is no option", vote(&["cake", "tea"], BOB, BOB, &SECRET)),
    ];
    for (how, proto) in unreadable {
        assert_eq!(device.options(&bob, proto).await, None, "{how}");
    }
    let mut empty = cake();
    empty.poll_update_message.as_option_mut().unwrap().vote = MessageField::some(wm::PollEncValue::default());
    assert_eq!(device.options(&bob, empty).await, None);
    device.connection.end().await;
}

#[tokio::test]
async fn a_poll_that_came_just_before_is_known() {
    let device = Device::start().await;
    let bob = Stanza::from(BOB);
    let poll = device.read(&bob.clone().first().with(poll()), &[]).await;
    let voted = bob.with(vote(&["soup"], BOB, BOB, &SECRET));
    let message = device.read(&voted, std::slice::from_ref(&poll)).await;
    let options = Some(vec!["soup".to_owned()]);
    assert_eq!(
        message.kind,
        MessageKind::Change(Change::PollVote { poll: poll.id, options })
    );
    device.connection.end().await;
}
