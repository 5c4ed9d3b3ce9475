//! What a person wants to send, as the protobuf that clients exchange.
//!
//! Shapes as the official phone apps send them (Baileys `Utils/messages.ts`, whatsmeow `send.go`). Whether a message can
//! be delivered is not decided here.

mod files;

use buffa::MessageField;
use rand::Rng as _;
use waproto::whatsapp::message::{
    ButtonsResponseMessage, ContactMessage, ContactsArrayMessage, ExtendedTextMessage, ListResponseMessage,
    LiveLocationMessage, LocationMessage, PollCreationMessage, TemplateButtonReplyMessage, buttons_response_message,
    list_response_message, poll_creation_message,
};
use waproto::whatsapp::{ContextInfo, Message, MessageContextInfo};

use super::Desk;
use super::content::{said, unwrapped};
use crate::error::SandboxError;
use crate::media::MediaRef;
use crate::model::Space;
use crate::views::{Contact, Location, NewContent, NewLinkPreview, NewMessage, NewPoll};

/// Longest text, in bytes, as the official apps allow.
const TEXT_LEN_MAX: usize = 65_536;
/// How many options a poll has, as in the official apps.
const POLL_OPTIONS: std::ops::RangeInclusive<usize> = 2..=12;
/// Contacts in one message, as the official apps allow.
const CONTACTS_MAX: usize = 257;
/// Length of a message secret, in bytes.
const SECRET_LEN: usize = 32;

impl Desk<'_> {
    /// The protobuf of a new message. `file` is where the hosts keep its media.
    pub(super) fn compose(
        &mut self,
        to: &str,
        new: &NewMessage,
        file: Option<&MediaRef>,
    ) -> Result<Message, SandboxError> {
        let context = self.context(to, new)?;
        let timestamp = i64::try_from(self.now()).unwrap_or(i64::MAX);
        let message = match &new.content {
            NewContent::Text(body, preview) => {
                check_text("a text", body)?;
                text(body, preview.as_ref(), context)
            }
            NewContent::Media(media) => {
                check_text("a caption", media.caption.as_deref().unwrap_or("-"))?;
                let file = file.ok_or_else(|| SandboxError::Invalid("the file was not uploaded".to_owned()))?;
                files::message(media, file, timestamp, context)?
            }
            NewContent::Location(place) => location(place, context)?,
            NewContent::Contacts(cards) => contacts(cards, context)?,
            NewContent::Poll(new) => poll(new, context)?,
            NewContent::ListReply(row) => self.list_reply(to, new, row, context)?,
            NewContent::ButtonReply(button) => self.button_reply(to, new, button, context)?,
        };
        Ok(Message {
            message_context_info: MessageField::some(self.message_secret()),
            ..message
        })
    }

    /// A secret that belongs to one message; votes in a poll are encrypted with it.
    fn message_secret(&mut self) -> MessageContextInfo {
        let mut secret = vec![0; SECRET_LEN];
        self.rng.fill_bytes(&mut secret);
        MessageContextInfo {
            message_secret: Some(secret),
            ..Default::default()
        }
    }

    /// What the message quotes and whom it mentions; nothing where it does neither.
    fn context(&self, chat: &str, new: &NewMessage) -> Result<Option<ContextInfo>, SandboxError> {
        let mut context = match &new.reply_to {
            Some(id) => self.quote(chat, id)?,
            None => ContextInfo::default(),
        };
        for number in &new.mentions {
            let state = self.network.lock();
            let account = state.account(number);
            let account = account.ok_or_else(|| SandboxError::not_found("mentioned phone", number.clone()))?;
            context.mentioned_jid.push(account.user_jid(Space::Lid).to_string());
        }
        if new.forwarded {
            context.is_forwarded = Some(true);
            context.forwarding_score = Some(1);
        }
        Ok((context != ContextInfo::default()).then_some(context))
    }

    fn quote(&self, chat: &str, id: &str) -> Result<ContextInfo, SandboxError> {
        let quoted = self.memory.chats.message(chat, id);
        let quoted = quoted.ok_or_else(|| SandboxError::not_found("message", id))?;
        let author = if quoted.from_me { self.number } else { chat };
        let author = self
            .network
            .lock()
            .account(author)
            .map(|account| account.user_jid(Space::Lid));
        let message = Message {
            message_context_info: MessageField::none(),
            ..quoted.message()
        };
        Ok(ContextInfo {
            stanza_id: Some(id.to_owned()),
            participant: author.map(|author| author.to_string()),
            quoted_message: MessageField::some(message),
            ..Default::default()
        })
    }

    /// The message that an answer is for; answers need one.
    fn answered(&self, chat: &str, new: &NewMessage) -> Result<Message, SandboxError> {
        let id = new.reply_to.as_deref();
        let id = id.ok_or_else(|| SandboxError::Invalid("an answer needs the message in reply_to".to_owned()))?;
        let message = self.memory.chats.message(chat, id);
        let message = message.ok_or_else(|| SandboxError::not_found("message", id))?;
        Ok(unwrapped(&message.message()).clone())
    }

    fn list_reply(
        &self,
        chat: &str,
        new: &NewMessage,
        id: &str,
        context: Option<ContextInfo>,
    ) -> Result<Message, SandboxError> {
        let list = said(&self.answered(chat, new)?).content.list;
        let rows = list
            .into_iter()
            .flat_map(|list| list.sections)
            .flat_map(|section| section.rows);
        let row = rows.into_iter().find(|row| row.id == id);
        let row = row.ok_or_else(|| SandboxError::not_found("row of the list", id))?;
        let chosen = list_response_message::SingleSelectReply {
            selected_row_id: Some(row.id),
        };
        let response = ListResponseMessage {
            title: Some(row.title),
            description: row.description,
            list_type: Some(list_response_message::ListType::SINGLE_SELECT),
            single_select_reply: MessageField::some(chosen),
            context_info: field(context),
        };
        Ok(Message {
            list_response_message: MessageField::some(response),
            ..Default::default()
        })
    }

    /// Answers plain buttons with their own kind of answer, and those of a native flow with a template's.
    fn button_reply(
        &self,
        chat: &str,
        new: &NewMessage,
        id: &str,
        context: Option<ContextInfo>,
    ) -> Result<Message, SandboxError> {
        let answered = self.answered(chat, new)?;
        let buttons = said(&answered)
            .content
            .buttons
            .map(|buttons| buttons.buttons)
            .unwrap_or_default();
        let chosen = buttons
            .iter()
            .position(|button| button.kind == "reply" && button.value.as_deref() == Some(id));
        let index = chosen.ok_or_else(|| SandboxError::not_found("button", id))?;
        let text = buttons[index].text.clone();
        if answered.buttons_message.is_set() {
            let response = ButtonsResponseMessage {
                selected_button_id: Some(id.to_owned()),
                r#type: Some(buttons_response_message::Type::DISPLAY_TEXT),
                response: Some(buttons_response_message::Response::SelectedDisplayText(text)),
                context_info: field(context),
            };
            return Ok(Message {
                buttons_response_message: MessageField::some(response),
                ..Default::default()
            });
        }
        let reply = TemplateButtonReplyMessage {
            selected_id: Some(id.to_owned()),
            selected_display_text: Some(text),
            selected_index: u32::try_from(index).ok(),
            context_info: field(context),
            ..Default::default()
        };
        Ok(Message {
            template_button_reply_message: MessageField::some(reply),
            ..Default::default()
        })
    }
}

/// A text that is neither empty nor longer than the official apps allow.
pub(super) fn check_text(what: &str, text: &str) -> Result<(), SandboxError> {
    if text.is_empty() || text.len() > TEXT_LEN_MAX {
        return Err(SandboxError::Invalid(format!(
            "{what} must have 1 to {TEXT_LEN_MAX} bytes"
        )));
    }
    Ok(())
}

fn field(context: Option<ContextInfo>) -> MessageField<ContextInfo> {
    context.map_or_else(MessageField::none, MessageField::some)
}

fn text(body: &str, preview: Option<&NewLinkPreview>, context: Option<ContextInfo>) -> Message {
    if preview.is_none() && context.is_none() {
        return Message {
            conversation: Some(body.to_owned()),
            ..Default::default()
        };
    }
    let extended = ExtendedTextMessage {
        text: Some(body.to_owned()),
        matched_text: preview.map(|preview| preview.url.clone()),
        title: preview.and_then(|preview| preview.title.clone()),
        description: preview.and_then(|preview| preview.description.clone()),
        jpeg_thumbnail: preview.and_then(|preview| preview.thumbnail.clone()),
        context_info: field(context),
        ..Default::default()
    };
    Message {
        extended_text_message: MessageField::some(extended),
        ..Default::default()
    }
}

fn location(place: &Location, context: Option<ContextInfo>) -> Result<Message, SandboxError> {
    if !(-90.0..=90.0).contains(&place.latitude) || !(-180.0..=180.0).contains(&place.longitude) {
        return Err(SandboxError::Invalid("a location is not on Earth".to_owned()));
    }
    if place.live {
        let live = LiveLocationMessage {
            degrees_latitude: Some(place.latitude),
            degrees_longitude: Some(place.longitude),
            caption: place.name.clone(),
            sequence_number: Some(1),
            context_info: field(context),
            ..Default::default()
        };
        return Ok(Message {
            live_location_message: MessageField::some(live),
            ..Default::default()
        });
    }
    let location = LocationMessage {
        degrees_latitude: Some(place.latitude),
        degrees_longitude: Some(place.longitude),
        name: place.name.clone(),
        address: place.address.clone(),
        context_info: field(context),
        ..Default::default()
    };
    Ok(Message {
        location_message: MessageField::some(location),
        ..Default::default()
    })
}

fn contacts(cards: &[Contact], context: Option<ContextInfo>) -> Result<Message, SandboxError> {
    let card = |contact: &Contact| ContactMessage {
        display_name: Some(contact.name.clone()),
        vcard: Some(contact.vcard.clone()),
        ..Default::default()
    };
    match cards {
        [] => Err(SandboxError::Invalid("there must be a contact".to_owned())),
        [only] => Ok(Message {
            contact_message: MessageField::some(ContactMessage {
                context_info: field(context),
                ..card(only)
            }),
            ..Default::default()
        }),
        several if several.len() > CONTACTS_MAX => Err(SandboxError::Invalid(format!(
            "a message has at most {CONTACTS_MAX} contacts"
        ))),
        several => Ok(Message {
            contacts_array_message: MessageField::some(ContactsArrayMessage {
                display_name: Some(format!("{} contacts", several.len())),
                contacts: several.iter().map(card).collect(),
                context_info: field(context),
            }),
            ..Default::default()
        }),
    }
}

fn poll(new: &NewPoll, context: Option<ContextInfo>) -> Result<Message, SandboxError> {
    check_text("the question of a poll", &new.name)?;
    let mut known = std::collections::BTreeSet::new();
    let are_distinct = new
        .options
        .iter()
        .all(|option| !option.is_empty() && known.insert(option));
    if !POLL_OPTIONS.contains(&new.options.len()) || !are_distinct {
        return Err(SandboxError::Invalid(format!(
            "a poll has {} to {} different options",
            POLL_OPTIONS.start(),
            POLL_OPTIONS.end()
        )));
    }
    let option = |name: &String| poll_creation_message::Option {
        option_name: Some(name.clone()),
        ..Default::default()
    };
    let poll = PollCreationMessage {
        name: Some(new.name.clone()),
        options: new.options.iter().map(option).collect(),
        selectable_options_count: Some(u32::from(!new.multiple)),
        context_info: field(context),
        ..Default::default()
    };
    // Those of one choice came later, with a version of their own.
    Ok(match new.multiple {
        true => Message {
            poll_creation_message: MessageField::some(poll),
            ..Default::default()
        },
        false => Message {
            poll_creation_message_v3: MessageField::some(poll),
            ..Default::default()
        },
    })
}
