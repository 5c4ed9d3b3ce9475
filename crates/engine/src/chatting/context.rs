//! What stands behind a message: which one it answers, and whom it mentions.

use wacore::proto_helpers::{MessageExt as _, build_quote_context_with_info};
use wacore_binary::{Jid, Server};
use waproto::whatsapp as wa;
use wharf_core::engine::{EngineError, Mentions, Quote, SendRequest};
use wharf_core::session::Me;

use super::original::said;
use crate::addresses::{is_me, to_jid};
use crate::connection::Connection;
use crate::error::failed;

impl Connection {
    /// The context of a message to `target`; `None` for one that answers nothing and mentions nobody.
    pub(super) async fn context(
        &self,
        request: &SendRequest,
        target: &Jid,
        me: &Me,
    ) -> Result<Option<wa::ContextInfo>, EngineError> {
        let quoting = match &request.quote {
            Some(quote) => Some(quoting(quote, &self.author(&quote.id, me).await?, target)?),
            None => None,
        };
        let mentioned = self.mentioned(&request.mentions, target).await?;
        if quoting.is_none() && mentioned.is_empty() {
            return Ok(None);
        }
        Ok(Some(wa::ContextInfo {
            mentioned_jid: mentioned,
            ..quoting.unwrap_or_default()
        }))
    }

    /// The addresses of whoever is mentioned. Everybody is spelled out, as WAHA does: WhatsApp's own mark for everybody
    /// (`nonJidMentions`) wants `@all` in the text, and administrators can forbid it.
    async fn mentioned(&self, mentions: &Mentions, target: &Jid) -> Result<Vec<String>, EngineError> {
        if !mentions.everyone {
            return Ok(mentions.people.iter().map(|chat| to_jid(chat).to_string()).collect());
        }
        if target.server != Server::Group {
            let hint = "mentions: everybody can be mentioned in groups only";
            return Err(EngineError::Invalid(hint.to_owned()));
        }
        // Whoever is named besides is one of them, maybe by another address.
        let group = self.client.groups().query_info(target).await.map_err(failed)?;
        let others = group.participants.iter().filter(|jid| !is_me(jid, &self.client));
        Ok(others.map(|jid| jid.to_non_ad_string()).collect())
    }
}

/// What tells which message is answered. Whoever sees the answer may not be of its chat, so its copy carries no keys, and
/// nothing of what it answered itself: one that the library cannot free of that is shown empty, and phones that have the
/// message show theirs.
fn quoting(quote: &Quote, author: &Jid, target: &Jid) -> Result<wa::ContextInfo, EngineError> {
    // Phones show a quote only if there is something in it.
    let empty = wa::Message {
        conversation: Some(String::new()),
        ..Default::default()
    };
    let mut quoted = match quote.proto.is_empty() {
        true => empty.clone(),
        false => said(&quote.proto)?,
    };
    if quoted.conversation.is_none() && !quoted.set_context_info(wa::ContextInfo::default()) {
        quoted = empty;
    }
    let quoted_in = match quote.id.chat.is_person() {
        // Both addresses of a person are one chat, and `target` may be either.
        true => target.clone(),
        false => to_jid(&quote.id.chat),
    };
    let id = quote.id.id.as_str();
    Ok(build_quote_context_with_info(id, author, &quoted_in, target, &quoted))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wacore::proto_helpers::MessageBuilderExt as _;
    use waproto::codec::message_to_vec;

    use super::*;

    fn quote(id: &str, proto: &wa::Message) -> Quote {
        Quote {
            id: id.parse().unwrap(),
            proto: Bytes::from(message_to_vec(proto)),
        }
    }

    fn text(context: &wa::ContextInfo) -> Option<&str> {
        context.quoted_message.as_option()?.conversation.as_deref()
    }

    #[test]
    fn a_quote_carries_what_it_quotes_and_no_secret_of_it() {
        let hello = wa::Message {
            message_context_info: buffa::MessageField::some(wa::MessageContextInfo {
                message_secret: Some(vec![7; 32]),
                ..Default::default()
            }),
            ..wa::Message::text("hello")
        };
        let quoted = quote("false_12025550102@c.us_3EB0AA", &hello);
        let (bob, target) = (Jid::pn("12025550102"), Jid::lid("100000000000002"));
        let context = quoting(&quoted, &bob, &target).unwrap();
        assert_eq!(context.stanza_id.as_deref(), Some("3EB0AA"));
        assert_eq!(context.participant.as_deref(), Some("12025550102@s.whatsapp.net"));
        assert_eq!(context.remote_jid, None);
        assert_eq!(text(&context), Some("hello"));
        assert!(
            context
                .quoted_message
                .as_option()
                .unwrap()
                .message_context_info
                .is_unset()
        );
    }

    #[test]
    fn what_is_quoted_is_taken_out_of_its_envelope() {
        let hello = wa::Message {
            ephemeral_message: buffa::MessageField::some(wa::message::FutureProofMessage {
                message: buffa::MessageField::some(wa::Message::text("hello")),
            }),
            ..Default::default()
        };
        let quoted = quote("false_12025550102@c.us_3EB0AA", &hello);
        let bob = Jid::pn("12025550102");
        assert_eq!(text(&quoting(&quoted, &bob, &bob).unwrap()), Some("hello"));
    }

    #[test]
    fn what_a_quoted_message_answered_itself_is_not_told() {
        let answering = || {
            buffa::MessageField::some(wa::ContextInfo {
                quoted_message: buffa::MessageField::some(wa::Message::text("between us")),
                ..Default::default()
            })
        };
        let answer = wa::Message::text_with_context("yes", answering().unwrap());
        let poll = wa::Message {
            poll_creation_message_v5: buffa::MessageField::some(wa::message::PollCreationMessage {
                context_info: answering(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let bob = Jid::pn("12025550102");
        for message in [answer, poll] {
            let quoted = quote("false_12025550102@c.us_3EB0AA", &message);
            let context = quoting(&quoted, &bob, &bob).unwrap();
            let bytes = waproto::codec::message_to_vec(context.quoted_message.as_option().unwrap());
            assert!(!bytes.windows(10).any(|part| part == b"between us"));
        }
    }

    #[test]
    fn a_quote_from_another_chat_names_it() {
        let id = "false_120363000000000001@g.us_3EB0AA_12025550103@c.us";
        let quoted = quote(id, &wa::Message::text("hello"));
        let (carol, target) = (Jid::pn("12025550103"), Jid::pn("12025550102"));
        let context = quoting(&quoted, &carol, &target).unwrap();
        assert_eq!(context.remote_jid.as_deref(), Some("120363000000000001@g.us"));
    }

    #[test]
    fn a_quote_of_what_we_do_not_have_is_shown_empty() {
        let unknown = Quote {
            id: "true_12025550102@c.us_3EB0AA".parse().unwrap(),
            proto: Bytes::new(),
        };
        let (alice, target) = (Jid::pn("12025550101"), Jid::pn("12025550102"));
        assert_eq!(text(&quoting(&unknown, &alice, &target).unwrap()), Some(""));
    }

    #[test]
    fn what_is_no_message_cannot_be_quoted() {
        let broken = Quote {
            id: "true_12025550102@c.us_3EB0AA".parse().unwrap(),
            proto: Bytes::from_static(&[0xff, 0xff]),
        };
        let (alice, target) = (Jid::pn("12025550101"), Jid::pn("12025550102"));
        let error = quoting(&broken, &alice, &target).unwrap_err();
        assert!(matches!(error, EngineError::Internal(_)), "{error}");
    }
}
