//! Lists and buttons, and what was chosen of them.

use waproto::whatsapp::Message;
use waproto::whatsapp::message::interactive_message::InteractiveMessage as Interactive;
use waproto::whatsapp::message::interactive_message::native_flow_message::NativeFlowButton;
use waproto::whatsapp::message::{
    ButtonsMessage, InteractiveMessage, ListMessage, buttons_message, buttons_response_message,
};

use crate::views::{Button, Buttons, List, ListRow, ListSection, Selected};

/// A list to choose from.
pub(super) fn list(list: &ListMessage) -> List {
    let sections = list.sections.iter().map(|section| {
        let rows = section.rows.iter().map(|row| ListRow {
            id: row.row_id.clone().unwrap_or_default(),
            title: row.title.clone().unwrap_or_default(),
            description: row.description.clone(),
        });
        ListSection {
            title: section.title.clone(),
            rows: rows.collect(),
        }
    });
    List {
        title: list.title.clone(),
        footer: list.footer_text.clone(),
        button: list.button_text.clone(),
        sections: sections.collect(),
    }
}

/// The buttons of an unwrapped message, of either kind.
pub(super) fn buttons(message: &Message) -> Option<Buttons> {
    if let Some(buttons) = message.buttons_message.as_option() {
        return Some(plain_buttons(buttons));
    }
    let interactive = message.interactive_message.as_option()?;
    let Some(Interactive::NativeFlowMessage(flow)) = &interactive.interactive_message else {
        return None;
    };
    Some(Buttons {
        header: header_of(interactive),
        footer: interactive.footer.as_option().and_then(|footer| footer.text.clone()),
        buttons: flow.buttons.iter().map(native_button).collect(),
    })
}

fn plain_buttons(message: &ButtonsMessage) -> Buttons {
    let header = match &message.header {
        Some(buttons_message::Header::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let button = |button: &buttons_message::Button| Button {
        kind: "reply".to_owned(),
        text: button
            .button_text
            .as_option()
            .and_then(|text| text.display_text.clone())
            .unwrap_or_default(),
        value: button.button_id.clone(),
    };
    Buttons {
        header,
        footer: message.footer_text.clone(),
        buttons: message.buttons.iter().map(button).collect(),
    }
}

fn header_of(interactive: &InteractiveMessage) -> Option<String> {
    let header = interactive.header.as_option()?;
    header.title.clone().filter(|title| !title.is_empty())
}

/// A button of a native flow has its words in JSON.
fn native_button(button: &NativeFlowButton) -> Button {
    let parameters: serde_json::Value = button
        .button_params_json
        .as_deref()
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let word = |key: &str| parameters[key].as_str().map(str::to_owned);
    let name = button.name.clone().unwrap_or_default();
    Button {
        kind: if name == "quick_reply" {
            "reply".to_owned()
        } else {
            name
        },
        text: word("display_text").unwrap_or_default(),
        // All buttons have ids, and only the ids of those that answer mean something.
        value: word("url")
            .or_else(|| word("phone_number"))
            .or_else(|| word("copy_code"))
            .or_else(|| word("id")),
    }
}

/// What an unwrapped message answers to a list or to buttons.
pub(super) fn selected(message: &Message) -> Option<Selected> {
    if let Some(list) = message.list_response_message.as_option() {
        let row = list.single_select_reply.as_option()?;
        return Some(Selected {
            id: row.selected_row_id.clone().unwrap_or_default(),
            title: list.title.clone(),
        });
    }
    if let Some(button) = message.buttons_response_message.as_option() {
        let text = |response: &buttons_response_message::Response| match response {
            buttons_response_message::Response::SelectedDisplayText(text) => text.clone(),
        };
        let title = button.response.as_ref().map(text);
        return Some(Selected {
            id: button.selected_button_id.clone().unwrap_or_default(),
            title,
        });
    }
    let button = message.template_button_reply_message.as_option()?;
    Some(Selected {
        id: button.selected_id.clone().unwrap_or_default(),
        title: button.selected_display_text.clone(),
    })
}
