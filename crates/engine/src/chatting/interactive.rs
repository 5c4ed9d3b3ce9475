//! Lists and buttons, and the answers to buttons.

use buffa::MessageField;
use serde_json::json;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::buttons_response_message::{Response, Type as ResponseType};
use waproto::whatsapp::message::interactive_message::header::Media as HeaderMedia;
use waproto::whatsapp::message::interactive_message::native_flow_message::NativeFlowButton;
use waproto::whatsapp::message::interactive_message::{
    Body, Footer, Header, InteractiveMessage as Payload, NativeFlowMessage,
};
use waproto::whatsapp::message::list_message::{ListType, Row, Section};
use wharf_core::engine::{Button, ButtonAction, Buttons, EngineError, List, ListSection};

use crate::connection::Connection;

/// A list to choose from.
pub(super) fn list(list: &List) -> wa::Message {
    wa::Message {
        list_message: MessageField::some(wa::message::ListMessage {
            title: Some(list.title.clone()),
            description: list.description.clone(),
            button_text: Some(list.button.clone()),
            list_type: Some(ListType::SINGLE_SELECT),
            sections: list.sections.iter().map(section).collect(),
            footer_text: list.footer.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn section(section: &ListSection) -> Section {
    let rows = section.rows.iter().map(|row| Row {
        title: Some(row.title.clone()),
        description: row.description.clone(),
        row_id: Some(row.id.clone()),
    });
    Section {
        title: Some(section.title.clone()),
        rows: rows.collect(),
    }
}

/// What the stanza of a list says of it; without, phones do not show the list.
pub(super) fn list_node() -> Node {
    let list = NodeBuilder::new("list")
        .attr("type", "product_list")
        .attr("v", "2")
        .build();
    NodeBuilder::new("biz").children([list]).build()
}

/// The answer to a button, as if it had been pressed (Baileys `messages.ts` buttonReply).
pub(super) fn button_reply(button: &str, text: &str) -> wa::Message {
    wa::Message {
        buttons_response_message: MessageField::some(wa::message::ButtonsResponseMessage {
            selected_button_id: Some(button.to_owned()),
            r#type: Some(ResponseType::DISPLAY_TEXT),
            response: Some(Response::SelectedDisplayText(text.to_owned())),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Connection {
    /// A text with buttons.
    pub(super) async fn buttons(&self, buttons: &Buttons, id: &str) -> Result<wa::Message, EngineError> {
        let picture = match &buttons.picture {
            Some(picture) => self.media(picture).await?.image_message.take(),
            None => None,
        };
        Ok(with_buttons(buttons, picture, id))
    }
}

/// What phones take for a text with buttons (WAHA `noweb.buttons.ts`). The library adds what its stanza says of it.
fn with_buttons(buttons: &Buttons, picture: Option<wa::message::ImageMessage>, id: &str) -> wa::Message {
    let header = (buttons.header.is_some() || picture.is_some()).then(|| Header {
        title: buttons.header.clone(),
        has_media_attachment: Some(picture.is_some()),
        media: picture.map(|picture| HeaderMedia::ImageMessage(Box::new(picture))),
        ..Default::default()
    });
    let footer = buttons.footer.clone().map(|text| Footer {
        text: Some(text),
        ..Default::default()
    });
    let flow = NativeFlowMessage {
        buttons: (1..)
            .zip(&buttons.buttons)
            .map(|(number, one)| button(number, one))
            .collect(),
        message_params_json: Some(json!({"from": "api", "templateId": id}).to_string()),
        message_version: Some(1),
    };
    wa::Message {
        interactive_message: MessageField::some(wa::message::InteractiveMessage {
            header: header.into(),
            body: MessageField::some(Body {
                text: Some(buttons.body.clone()),
            }),
            footer: footer.into(),
            interactive_message: Some(Payload::NativeFlowMessage(Box::new(flow))),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn button(number: u32, button: &Button) -> NativeFlowButton {
    let text = &button.text;
    let number = number.to_string();
    let (name, params) = match &button.action {
        ButtonAction::Reply { id } => (
            "quick_reply",
            json!({"display_text": text, "id": id, "disabled": false}),
        ),
        ButtonAction::Url(url) => (
            "cta_url",
            json!({"display_text": text, "id": number, "disabled": false, "url": url, "merchant_url": url}),
        ),
        ButtonAction::Call(phone) => (
            "cta_call",
            json!({"display_text": text, "id": number, "disabled": false, "phone_number": phone}),
        ),
        ButtonAction::Copy(code) => (
            "cta_copy",
            json!({"display_text": text, "id": number, "disabled": false, "copy_code": code}),
        ),
    };
    NativeFlowButton {
        name: Some(name.to_owned()),
        button_params_json: Some(params.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use wharf_core::engine::ListRow;

    use super::*;

    #[test]
    fn a_list_has_sections_of_rows() {
        let message = list(&List {
            title: "Menu".to_owned(),
            description: Some("Today".to_owned()),
            footer: None,
            button: "Choose".to_owned(),
            sections: vec![ListSection {
                title: "Soups".to_owned(),
                rows: vec![ListRow {
                    id: "leek".to_owned(),
                    title: "Leek".to_owned(),
                    description: None,
                }],
            }],
        });
        let list = message.list_message.as_option().unwrap();
        assert_eq!(list.list_type, Some(ListType::SINGLE_SELECT));
        assert_eq!(list.button_text.as_deref(), Some("Choose"));
        assert_eq!(list.sections[0].title.as_deref(), Some("Soups"));
        assert_eq!(list.sections[0].rows[0].row_id.as_deref(), Some("leek"));
    }

    #[test]
    fn each_action_is_a_button_of_its_own_kind() {
        let action = |action| Button {
            text: "Press".to_owned(),
            action,
        };
        let buttons = Buttons {
            header: Some("Hello".to_owned()),
            picture: None,
            body: "What now?".to_owned(),
            footer: Some("small".to_owned()),
            buttons: vec![
                action(ButtonAction::Reply { id: "yes".to_owned() }),
                action(ButtonAction::Url("https://example.com/".to_owned())),
                action(ButtonAction::Call("+12025550102".to_owned())),
                action(ButtonAction::Copy("4321".to_owned())),
            ],
        };
        let message = with_buttons(&buttons, None, "3EB0AA");
        let interactive = message.interactive_message.as_option().unwrap();
        let header = interactive.header.as_option().unwrap();
        assert_eq!(
            (header.title.as_deref(), header.has_media_attachment),
            (Some("Hello"), Some(false))
        );
        assert_eq!(interactive.body.as_option().unwrap().text.as_deref(), Some("What now?"));
        let Some(Payload::NativeFlowMessage(flow)) = &interactive.interactive_message else {
            panic!("no native flow");
        };
        let names: Vec<_> = flow
            .buttons
            .iter()
            .filter_map(|button| button.name.as_deref())
            .collect();
        assert_eq!(names, ["quick_reply", "cta_url", "cta_call", "cta_copy"]);
        let params = |at: usize| -> Value {
            serde_json::from_str(flow.buttons[at].button_params_json.as_deref().unwrap()).unwrap()
        };
        assert_eq!(
            params(0),
            json!({"display_text": "Press", "id": "yes", "disabled": false})
        );
        assert_eq!(params(1)["url"], "https://example.com/");
        assert_eq!(params(2)["phone_number"], "+12025550102");
        assert_eq!(params(3)["copy_code"], "4321");
        assert_eq!(
            with_buttons(&buttons, None, "3EB0AA"),
            message,
            "a repeat is the same message"
        );
    }

    #[test]
    fn a_picture_stands_in_the_header() {
        let buttons = Buttons {
            header: None,
            picture: None,
            body: "What now?".to_owned(),
            footer: None,
            buttons: Vec::new(),
        };
        let picture = wa::message::ImageMessage {
            direct_path: Some("/v/picture".to_owned()),
            ..Default::default()
        };
        let message = with_buttons(&buttons, Some(picture), "3EB0AA");
        let header = message
            .interactive_message
            .as_option()
            .unwrap()
            .header
            .as_option()
            .unwrap();
        assert_eq!(header.has_media_attachment, Some(true));
        let Some(HeaderMedia::ImageMessage(picture)) = &header.media else {
            panic!("no picture");
        };
        assert_eq!(picture.direct_path.as_deref(), Some("/v/picture"));
    }

    #[test]
    fn a_reply_names_the_button_and_what_stands_on_it() {
        let message = button_reply("yes", "Yes!");
        let reply = message.buttons_response_message.as_option().unwrap();
        assert_eq!(reply.selected_button_id.as_deref(), Some("yes"));
        assert_eq!(reply.response, Some(Response::SelectedDisplayText("Yes!".to_owned())));
    }
}
