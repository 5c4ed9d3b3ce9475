//! What texts become on the wire.

use bytes::Bytes;
use wharf_core::engine::Mentions;
use wharf_core::ids::MessageId;

use super::*;

fn request(quote: Option<Quote>, mentions: &[&str]) -> SendRequest {
    SendRequest {
        id: "3EB0CC".to_owned(),
        chat: "12025550102@c.us".parse().unwrap(),
        content: Content::Text {
            text: "hi".to_owned(),
            preview: None,
        },
        quote,
        mentions: Mentions {
            people: mentions.iter().map(|chat| chat.parse().unwrap()).collect(),
            everyone: false,
        },
    }
}

fn quote(id: &str, proto: &wa::Message) -> Quote {
    Quote {
        id: id.parse::<MessageId>().unwrap(),
        proto: Bytes::from(waproto::codec::message_to_vec(proto)),
    }
}

fn context(message: &wa::Message) -> &wa::ContextInfo {
    let text = message.extended_text_message.as_option().unwrap();
    text.context_info.as_option().unwrap()
}

#[test]
fn a_plain_text_is_a_conversation() {
    let message = text_message("hi", &request(None, &[]), None, &Jid::pn("12025550102")).unwrap();
    assert_eq!(message.conversation.as_deref(), Some("hi"));
    assert!(message.extended_text_message.is_unset());
}

#[test]
fn mentions_are_whatsapps_addresses() {
    let request = request(None, &["12025550103@c.us", "100000000000001@lid"]);
    let message = text_message("hi", &request, None, &Jid::group("120363000000000001")).unwrap();
    assert_eq!(
        context(&message).mentioned_jid,
        ["12025550103@s.whatsapp.net", "100000000000001@lid"]
    );
    assert_eq!(context(&message).stanza_id, None);
}

#[test]
fn a_quote_carries_what_it_quotes() {
    let quoted = quote("false_12025550102@c.us_3EB0AA", &wa::Message::text("hello"));
    let (bob, target) = (Jid::pn("12025550102"), Jid::lid("100000000000002"));
    let message = text_message("hi", &request(Some(quoted), &[]), Some(bob), &target).unwrap();
    let context = context(&message);
    assert_eq!(context.stanza_id.as_deref(), Some("3EB0AA"));
    assert_eq!(context.participant.as_deref(), Some("12025550102@s.whatsapp.net"));
    assert_eq!(context.remote_jid, None);
    let inside = context.quoted_message.as_option().unwrap();
    assert_eq!(inside.conversation.as_deref(), Some("hello"));
}

#[test]
fn a_quote_from_another_chat_names_it() {
    let quoted = quote(
        "false_120363000000000001@g.us_3EB0AA_12025550103@c.us",
        &wa::Message::text("hello"),
    );
    let (carol, target) = (Jid::pn("12025550103"), Jid::pn("12025550102"));
    let message = text_message("hi", &request(Some(quoted), &[]), Some(carol), &target).unwrap();
    assert_eq!(context(&message).remote_jid.as_deref(), Some("120363000000000001@g.us"));
}

#[test]
fn a_quote_of_what_we_do_not_have_is_shown_empty() {
    let unknown = Quote {
        id: "true_12025550102@c.us_3EB0AA".parse().unwrap(),
        proto: Bytes::new(),
    };
    let (alice, target) = (Jid::pn("12025550101"), Jid::pn("12025550102"));
    let message = text_message("hi", &request(Some(unknown), &[]), Some(alice), &target).unwrap();
    let inside = context(&message).quoted_message.as_option().unwrap();
    assert_eq!(inside.conversation.as_deref(), Some(""));
}

#[test]
fn what_is_no_message_cannot_be_quoted() {
    let broken = Quote {
        id: "true_12025550102@c.us_3EB0AA".parse().unwrap(),
        proto: Bytes::from_static(&[0xff, 0xff]),
    };
    let (alice, target) = (Jid::pn("12025550101"), Jid::pn("12025550102"));
    let error = text_message("hi", &request(Some(broken), &[]), Some(alice), &target).unwrap_err();
    assert!(matches!(error, EngineError::Internal(_)), "{error}");
}
