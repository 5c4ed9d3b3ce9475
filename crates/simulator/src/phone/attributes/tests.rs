//! What goes with a message in the open, against the client library, and what is objected to.

use buffa::MessageField;
use wacore::send::{media_type_from_message, should_hide_decrypt_fail_for_send, stanza_type_from_message};
use wacore::types::message::EditAttribute;
use waproto::whatsapp::message::secret_encrypted_message::SecretEncType;
use waproto::whatsapp::message::{
    AudioMessage, FutureProofMessage, ImageMessage, InteractiveMessage, ListMessage, LocationMessage, PinInChatMessage,
    PollCreationMessage, PollEncValue, PollUpdateMessage, ReactionMessage, SecretEncryptedMessage,
};
use waproto::whatsapp::{MessageContextInfo, MessageKey};

use super::*;

fn with(fill: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message::default();
    fill(&mut message);
    message
}

fn wrapped(message: Message) -> MessageField<FutureProofMessage> {
    MessageField::some(FutureProofMessage {
        message: MessageField::some(message),
    })
}

fn image() -> Message {
    let image = ImageMessage {
        direct_path: Some("/v/t62.7118-24/a".to_owned()),
        media_key: Some(vec![1; 32]),
        file_sha256: Some(vec![2; 32]),
        file_enc_sha256: Some(vec![3; 32]),
        file_length: Some(4),
        mimetype: Some("image/jpeg".to_owned()),
        ..Default::default()
    };
    with(|it| it.image_message = MessageField::some(image))
}

fn list() -> Message {
    with(|it| it.list_message = MessageField::some(ListMessage::default()))
}

fn text() -> Message {
    with(|it| it.conversation = Some("hi".to_owned()))
}

fn interactive_message() -> Message {
    with(|it| it.interactive_message = MessageField::some(InteractiveMessage::default()))
}

fn poll() -> Message {
    with(|it| it.poll_creation_message_v3 = MessageField::some(PollCreationMessage::default()))
}

fn pin(kind: PinType, seconds: Option<u32>) -> Message {
    let pin = PinInChatMessage {
        key: MessageField::some(MessageKey::default()),
        r#type: Some(kind),
        ..Default::default()
    };
    let context = MessageContextInfo {
        message_add_on_duration_in_secs: seconds,
        ..Default::default()
    };
    with(|it| {
        it.pin_in_chat_message = MessageField::some(pin);
        it.message_context_info = MessageField::some(context);
    })
}

fn voice() -> Message {
    let voice = AudioMessage {
        ptt: Some(true),
        ..Default::default()
    };
    with(|it| it.audio_message = MessageField::some(voice))
}

fn reaction(emoji: &str) -> Message {
    let reaction = ReactionMessage {
        text: Some(emoji.to_owned()),
        ..Default::default()
    };
    with(|it| it.reaction_message = MessageField::some(reaction))
}

fn vote() -> Message {
    let vote = PollUpdateMessage {
        vote: MessageField::some(PollEncValue::default()),
        ..Default::default()
    };
    with(|it| it.poll_update_message = MessageField::some(vote))
}

fn revoke(from_me: bool) -> Message {
    let key = MessageKey {
        from_me: Some(from_me),
        ..Default::default()
    };
    let protocol = ProtocolMessage {
        key: MessageField::some(key),
        r#type: Some(ProtocolType::REVOKE),
        ..Default::default()
    };
    with(|it| it.protocol_message = MessageField::some(protocol))
}

fn edit() -> Message {
    let protocol = ProtocolMessage {
        r#type: Some(ProtocolType::MESSAGE_EDIT),
        edited_message: MessageField::some(Message::default()),
        ..Default::default()
    };
    with(|it| it.protocol_message = MessageField::some(protocol))
}

fn encrypted_edit() -> Message {
    let sealed = SecretEncryptedMessage {
        secret_enc_type: Some(SecretEncType::MESSAGE_EDIT),
        ..Default::default()
    };
    with(|it| it.secret_encrypted_message = MessageField::some(sealed))
}

#[test]
fn what_goes_with_a_message_is_what_the_client_library_says() {
    for (message, kind) in [
        (text(), "text"),
        (image(), "media"),
        (with(|it| it.view_once_message_v2 = wrapped(image())), "media"),
        (voice(), "media"),
        (
            with(|it| it.location_message = MessageField::some(LocationMessage::default())),
            "media",
        ),
        (list(), "media"),
        (poll(), "poll"),
        (vote(), "poll"),
        (reaction("👍"), "reaction"),
        (reaction(""), "reaction"),
        (edit(), "text"),
        (with(|it| it.edited_message = wrapped(edit())), "text"),
        (encrypted_edit(), "text"),
        (revoke(true), "text"),
        (revoke(false), "text"),
        (
            with(|it| it.pin_in_chat_message = MessageField::some(PinInChatMessage::default())),
            "text",
        ),
    ] {
        let attributes = Attributes::of(&message);
        let edit = EditAttribute::infer_from_message(&message);
        let hides = should_hide_decrypt_fail_for_send(edit.as_ref(), &message);
        assert_eq!(attributes.kind, kind, "{message:?}");
        assert_eq!(attributes.kind, stanza_type_from_message(&message), "{message:?}");
        assert_eq!(attributes.media_type, media_type_from_message(&message), "{message:?}");
        assert_eq!(
            attributes.edit,
            edit.as_ref().map(EditAttribute::to_string_val),
            "{message:?}"
        );
        assert_eq!(attributes.hides, hides, "{message:?}");
    }
}

fn stanza(kind: &'static str, edit: &'static str) -> NodeBuilder {
    let node = NodeBuilder::new("message").attr("type", kind);
    match edit {
        "" => node,
        edit => node.attr("edit", edit),
    }
}

fn enc(media_type: &'static str) -> NodeBuilder {
    match media_type {
        "" => NodeBuilder::new("enc"),
        media_type => NodeBuilder::new("enc").attr("mediatype", media_type),
    }
}

fn biz(child: NodeBuilder) -> Node {
    NodeBuilder::new("biz").children([child.build()]).build()
}

fn meta(poll_type: &'static str) -> Node {
    NodeBuilder::new("meta").attr("polltype", poll_type).build()
}

fn hiding(media_type: &'static str) -> NodeBuilder {
    enc(media_type).attr("decrypt-fail", "hide")
}

#[test]
fn a_stanza_that_says_what_the_message_is_passes() {
    let list_biz = biz(NodeBuilder::new("list").attr("type", "product_list").attr("v", "2"));
    let flow = NodeBuilder::new("native_flow").attr("name", "mixed").build();
    let interactive = NodeBuilder::new("interactive")
        .attr("type", "native_flow")
        .attr("v", "1");
    let flow_biz = biz(interactive.children([flow]));
    for (node, enc, message) in [
        (stanza("media", ""), enc("image"), image()),
        // Sent again to one device.
        (stanza("media", ""), enc("").attr("count", 1), image()),
        // As Baileys takes a reaction back.
        (stanza("reaction", ""), hiding(""), reaction("")),
        (stanza("media", "").children([list_biz]), enc("list"), list()),
        (stanza("text", "").children([flow_biz]), enc(""), interactive_message()),
        (stanza("poll", "").children([meta("creation")]), enc(""), poll()),
        (stanza("poll", "").children([meta("vote")]), hiding(""), vote()),
        // As Baileys votes.
        (stanza("poll", ""), hiding(""), vote()),
        (
            stanza("text", PIN),
            hiding(""),
            pin(PinType::PIN_FOR_ALL, Some(604_800)),
        ),
        (stanza("text", PIN), hiding(""), pin(PinType::UNPIN_FOR_ALL, None)),
        (stanza("text", REVOKE), enc(""), revoke(true)),
        (stanza("text", EDIT), hiding(""), edit()),
    ] {
        check(&node.build(), &enc.build(), &message).unwrap();
    }
}

#[test]
fn a_stanza_that_says_something_else_is_objected_to() {
    let empty_biz = NodeBuilder::new("biz").build();
    let other_biz = biz(NodeBuilder::new("list").attr("type", "product_list"));
    let bare_biz = biz(NodeBuilder::new("interactive")
        .attr("type", "native_flow")
        .attr("v", "1"));
    for (node, enc, message) in [
        (stanza("text", ""), enc("image"), image()),
        (stanza("media", ""), enc(""), image()),
        (stanza("media", ""), hiding("image"), image()),
        (stanza("media", ""), enc("ptt"), voice()),
        (stanza("media", ""), enc("list"), list()),
        (stanza("media", "").children([empty_biz]), enc("list"), list()),
        (stanza("media", "").children([other_biz]), enc("list"), list()),
        (stanza("text", "").children([bare_biz]), enc(""), interactive_message()),
        (stanza("poll", ""), enc(""), poll()),
        (stanza("poll", "").children([meta("vote")]), enc(""), poll()),
        (stanza("poll", "").children([meta("creation")]), hiding(""), vote()),
        (stanza("text", "").children([meta("creation")]), enc(""), text()),
        (stanza("text", PIN), hiding(""), pin(PinType::PIN_FOR_ALL, None)),
        (stanza("text", PIN), hiding(""), pin(PinType::PIN_FOR_ALL, Some(0))),
        (stanza("text", PIN), hiding(""), pin(PinType::PIN_FOR_ALL, Some(3600))),
        (stanza("reaction", ""), enc(""), reaction("👍")),
        (stanza("reaction", REVOKE), hiding(""), reaction("👍")),
        (stanza("text", ""), enc(""), revoke(true)),
        (stanza("text", REVOKE), hiding(""), revoke(true)),
        (stanza("text", ""), hiding(""), edit()),
        (stanza("text", ""), hiding(""), vote()),
    ] {
        let (node, enc) = (node.build(), enc.build());
        assert!(check(&node, &enc, &message).is_err(), "{node:?} {enc:?}");
    }
}
