//! What the stanza around an encrypted message says of it, so that a server can treat it right without reading it.
//!
//! Phones set these, and object to companions that set them wrong: WhatsApp's server drops such stanzas or shows them as
//! something else. Facts from whatsmeow `send.go` (`getTypeFromMessage`, `getMediaTypeFromMessage`, `getEditAttribute`),
//! whatsapp-rust `wacore/send/classify.rs`, and Baileys `messages-send.ts`, which leaves some of them out and works.

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp::Message;
use waproto::whatsapp::message::ProtocolMessage;
use waproto::whatsapp::message::pin_in_chat_message::Type as PinType;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;

use super::content::{media, poll_of, unwrapped, with_file};
use super::secrets::sealed_edit;
use crate::media::MediaRef;
use crate::stanza::{self, Malformed};

/// `edit` of a message that replaces the text of another one.
const EDIT: &str = "1";
/// `edit` of a message that pins another one or unpins it.
const PIN: &str = "2";
/// `edit` of a message that deletes one of its sender, or takes a reaction back.
const REVOKE: &str = "7";
/// `edit` of a message by which a group's admin deletes one of somebody else.
const ADMIN_REVOKE: &str = "8";

/// How long a message can be pinned, in seconds: a day, a week, a month (WhatsApp's apps offer these and no other).
const PIN_SECONDS: [u32; 3] = [86_400, 604_800, 2_592_000];

/// What goes with a message in the open.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `type` of the stanza.
    pub(crate) kind: &'static str,
    /// `mediatype` of each `<enc>`.
    pub(crate) media_type: Option<&'static str>,
    /// `edit` of the stanza.
    pub(crate) edit: Option<&'static str>,
    /// Whether who cannot decrypt it shows nothing (`decrypt-fail="hide"` of each `<enc>`).
    pub(crate) hides: bool,
    /// `<meta>`.
    pub(crate) poll_type: Option<&'static str>,
    /// Whether the media can be opened only once, in `<meta>` too.
    view_once: bool,
}

impl Attributes {
    /// What goes with this message.
    pub(crate) fn of(message: &Message) -> Self {
        let inner = unwrapped(message);
        let edit = edit(message, inner);
        let votes = inner.poll_update_message.is_set();
        let changes = inner.reaction_message.is_set() || inner.pin_in_chat_message.is_set() || votes;
        let media_type = media_type(inner);
        Self {
            kind: match media_type {
                _ if inner.reaction_message.is_set() => "reaction",
                _ if poll_of(inner).is_some() || votes => "poll",
                Some(_) => "media",
                None if inner.buttons_message.is_set() => "media",
                None => "text",
            },
            media_type,
            edit,
            // A server drops a deletion that says so.
            hides: changes || edit == Some(EDIT),
            poll_type: match votes {
                true => Some("vote"),
                false => poll_of(inner).map(|_| "creation"),
            },
            view_once: message.view_once_message_v2.is_set() && media_type.is_some(),
        }
    }

    /// The `<meta>` that goes with it.
    pub(crate) fn meta(&self) -> Option<Node> {
        let mut meta = NodeBuilder::new("meta");
        if let Some(poll_type) = self.poll_type {
            meta = meta.attr("polltype", poll_type);
        }
        if self.view_once {
            meta = meta.attr("view_once", "true");
        }
        (self.poll_type.is_some() || self.view_once).then(|| meta.build())
    }
}

fn edit(message: &Message, inner: &Message) -> Option<&'static str> {
    if inner.pin_in_chat_message.is_set() {
        return Some(PIN);
    }
    if inner
        .reaction_message
        .as_option()
        .is_some_and(|reaction| reaction.text.as_deref().unwrap_or_default().is_empty())
    {
        return Some(REVOKE);
    }
    if sealed_edit(inner).is_some() {
        return Some(EDIT);
    }
    let protocol = inner.protocol_message.as_option();
    match protocol.and_then(|protocol| protocol.r#type) {
        Some(ProtocolType::REVOKE) => Some(match is_own(protocol) {
            true => REVOKE,
            false => ADMIN_REVOKE,
        }),
        Some(ProtocolType::MESSAGE_EDIT) => Some(EDIT),
        _ => message.edited_message.is_set().then_some(EDIT),
    }
}

fn is_own(protocol: Option<&ProtocolMessage>) -> bool {
    let key = protocol.and_then(|protocol| protocol.key.as_option());
    key.and_then(|key| key.from_me) == Some(true)
}

/// `mediatype` of an unwrapped message.
fn media_type(message: &Message) -> Option<&'static str> {
    if message.image_message.is_set() {
        return Some("image");
    }
    if let Some(video) = message.video_message.as_option() {
        return Some(if video.gif_playback == Some(true) {
            "gif"
        } else {
            "video"
        });
    }
    if let Some(audio) = message.audio_message.as_option() {
        return Some(if audio.ptt == Some(true) { "ptt" } else { "audio" });
    }
    if let Some(location) = message.location_message.as_option() {
        return Some(if location.is_live == Some(true) {
            "livelocation"
        } else {
            "location"
        });
    }
    let has_link = |text: &waproto::whatsapp::message::ExtendedTextMessage| {
        text.matched_text.as_deref().is_some_and(|url| !url.trim().is_empty())
    };
    let others = [
        (message.ptv_message.is_set(), "ptv"),
        (message.document_message.is_set(), "document"),
        (message.sticker_message.is_set(), "sticker"),
        (message.live_location_message.is_set(), "livelocation"),
        (message.contact_message.is_set(), "vcard"),
        (message.contacts_array_message.is_set(), "contact_array"),
        (message.extended_text_message.as_option().is_some_and(has_link), "url"),
        (message.list_message.is_set(), "list"),
        (message.list_response_message.is_set(), "list_response"),
        (message.buttons_response_message.is_set(), "buttons_response"),
        (message.interactive_response_message.is_set(), "native_flow_response"),
    ];
    others.into_iter().find(|(is_set, _)| *is_set).map(|(_, name)| name)
}

/// Objects to a stanza of a companion that says something else than the message in it.
///
/// # Errors
/// What is wrong, and what it should be.
pub(crate) fn check(node: &Node, enc: &Node, message: &Message) -> Result<(), Malformed> {
    let inner = unwrapped(message);
    if !is_known(inner) {
        return Ok(());
    }
    let right = Attributes::of(message);
    let wrong = |what: &str, is: Option<String>, should: Option<&str>| {
        let (is, should) = (is.unwrap_or_default(), should.unwrap_or_default());
        Err(Malformed::new(format!(
            "message with {what}={is:?} that should be {should:?}"
        )))
    };
    let media_type = stanza::text(enc, "mediatype");
    // Baileys sends these as texts.
    let texts_elsewhere = ["location", "url", "ptv"];
    let is_text_elsewhere = right.media_type.is_some_and(|it| texts_elsewhere.contains(&it));
    let may_be_text = (is_text_elsewhere || inner.buttons_message.is_set()) && media_type.is_none();
    let kind = stanza::text(node, "type");
    if kind.as_deref() != Some(right.kind) && !(may_be_text && kind.as_deref() == Some("text")) {
        return wrong("type", kind, Some(right.kind));
    }
    let edit = stanza::text(node, "edit");
    let takes_reaction_back = inner.reaction_message.is_set() && edit.is_none();
    // What is sent again to one device is known to it by then; clients differ in what they say of it.
    let is_again = enc.attrs.get("count").is_some();
    if edit.as_deref() != right.edit && !takes_reaction_back && !is_again {
        return wrong("edit", edit, right.edit);
    }
    if media_type.as_deref() != right.media_type && !may_be_text && !is_again {
        return wrong("mediatype", media_type, right.media_type);
    }
    let hides = stanza::text(enc, "decrypt-fail");
    let must_hide = inner.reaction_message.is_set() || inner.pin_in_chat_message.is_set();
    if (hides.is_some() && !right.hides) || (hides.is_none() && must_hide && !is_again) {
        return wrong("decrypt-fail", hides, right.hides.then_some("hide"));
    }
    if !is_again {
        check_poll_type(node, &right)?;
        check_biz(node, inner)?;
    }
    check_file(inner)?;
    check_pin(message, inner)
}

/// Polls and votes say what they are. Baileys leaves it out of votes.
fn check_poll_type(node: &Node, right: &Attributes) -> Result<(), Malformed> {
    let meta = node.get_optional_child("meta");
    let poll_type = meta.and_then(|meta| stanza::text(meta, "polltype"));
    let is_left_out = poll_type.is_none() && right.poll_type == Some("vote");
    match poll_type.as_deref() == right.poll_type || is_left_out {
        true => Ok(()),
        false => Err(Malformed::new(format!(
            "message with polltype={:?} that should be {:?}",
            poll_type.unwrap_or_default(),
            right.poll_type.unwrap_or_default()
        ))),
    }
}

/// Phones show lists and buttons only where the stanza says what is in it (whatsmeow `send.go` `getButtonTypeFromMessage`,
/// `getButtonAttributes`; whatsapp-rust `send/mod.rs` `infer_biz_node`).
fn check_biz(node: &Node, message: &Message) -> Result<(), Malformed> {
    let is_list = message.list_message.is_set();
    let is_interactive = message.interactive_message.is_set();
    if !is_list && !is_interactive && !message.buttons_message.is_set() {
        return Ok(());
    }
    let biz = stanza::child(node, "biz")?;
    let says = |tag: &str, attributes: &[(&str, &str)]| {
        let child = biz.get_optional_child(tag);
        child.filter(|child| {
            let mut attributes = attributes.iter();
            attributes.all(|(name, value)| stanza::text(child, name).as_deref() == Some(value))
        })
    };
    let is_right = if is_list {
        ["product_list", "single_select"]
            .into_iter()
            .any(|kind| says("list", &[("type", kind), ("v", "2")]).is_some())
    } else if is_interactive {
        let flow = says("interactive", &[("type", "native_flow"), ("v", "1")]);
        flow.is_some_and(|it| it.get_optional_child("native_flow").is_some())
            || stanza::text(biz, "native_flow_name").is_some()
    } else {
        says("buttons", &[]).is_some()
    };
    match is_right {
        true => Ok(()),
        false => Err(Malformed::new("<biz> that does not say what is in the message")),
    }
}

/// A file is of use only with everything that it takes to open it.
fn check_file(message: &Message) -> Result<(), Malformed> {
    let message = with_file(message);
    match media(&message) {
        Some(file) if MediaRef::of(&message).is_none() || file.mimetype.is_none() => {
            Err(Malformed::new("a file without what it takes to open it"))
        }
        _ => Ok(()),
    }
}

/// Whether it is of a kind whose attributes are known here.
fn is_known(message: &Message) -> bool {
    message.conversation.is_some()
        || message.extended_text_message.is_set()
        || message.protocol_message.is_set()
        || sealed_edit(message).is_some()
        || message.reaction_message.is_set()
        || message.pin_in_chat_message.is_set()
        || message.poll_update_message.is_set()
        || message.buttons_message.is_set()
        || message.interactive_message.is_set()
        || message.template_button_reply_message.is_set()
        || poll_of(message).is_some()
        || media_type(message).is_some()
}

fn check_pin(message: &Message, inner: &Message) -> Result<(), Malformed> {
    let Some(pin) = inner.pin_in_chat_message.as_option() else {
        return Ok(());
    };
    match pin.r#type {
        Some(PinType::UNPIN_FOR_ALL) if pin.key.is_set() => Ok(()),
        Some(PinType::PIN_FOR_ALL) if pin.key.is_set() => match pinned_for(message) {
            Some(seconds) if PIN_SECONDS.contains(&seconds) => Ok(()),
            seconds => Err(Malformed::new(format!(
                "a pin for {} seconds, which are none of {PIN_SECONDS:?}",
                seconds.unwrap_or_default()
            ))),
        },
        _ => Err(Malformed::new("a pin that neither pins nor unpins")),
    }
}

/// How long a pin lasts, in seconds.
pub(super) fn pinned_for(message: &Message) -> Option<u32> {
    let of = |message: &Message| {
        message
            .message_context_info
            .as_option()?
            .message_add_on_duration_in_secs
    };
    of(message).or_else(|| of(unwrapped(message)))
}

#[cfg(test)]
mod tests;
