//! Lists to choose from, buttons, and the answer to buttons.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::{self, ButtonAction, Buttons, Content, List, ListRow, ListSection, MediaKind};
use wharf_core::events::MessagePayload;

use super::{Addressed, LABEL_CHARS_MAX, TEXT_CHARS_MAX};
use crate::api::AppState;
use crate::api::error::{ApiError, ApiResult};
use crate::api::extract::Body;
use crate::api::sending::{NewMessage, Sending, Sent};
use crate::api::target;
use crate::api::upload::{self, File};
use crate::media::FileInput;
use crate::validate::Fields;

/// The most rows of a list, over all of its sections; WhatsApp shows no more.
const ROWS_MAX: usize = 10;
/// The most buttons of a message, as in WAHA.
const BUTTONS_MAX: usize = 4;

/// The routes of this topic.
#[expect(deprecated, reason = "for callers of the HTTP API it is")]
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_list))
        .routes(routes!(send_buttons))
        .routes(routes!(send_buttons_reply))
}

/// A list to be sent.
#[derive(Debug, Deserialize, ToSchema)]
struct SendListRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The list.
    message: SendListMessage,
}

/// A list to choose from.
#[derive(Debug, Deserialize, ToSchema)]
struct SendListMessage {
    /// Its title.
    #[schema(example = "Simple Menu")]
    title: String,
    /// What it is about.
    #[schema(example = "Please choose an option")]
    description: Option<String>,
    /// The small print.
    #[schema(example = "Thank you!")]
    footer: Option<String>,
    /// What stands on the button that opens it.
    #[schema(example = "Choose")]
    button: String,
    /// Its parts, with at most ten rows in all.
    sections: Vec<Section>,
}

/// A part of a list.
#[derive(Debug, Deserialize, ToSchema)]
struct Section {
    /// Its title.
    #[schema(example = "Main")]
    title: String,
    /// What can be chosen in it.
    rows: Vec<Row>,
}

/// Something to choose from a list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// Its title.
    #[schema(example = "Option 1")]
    title: String,
    /// More about it.
    description: Option<String>,
    /// What the answer names it by.
    #[schema(example = "option1")]
    row_id: String,
}

/// A text with buttons, to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SendButtonsRequest {
    #[serde(flatten)]
    to: Addressed,
    /// Its heading.
    #[schema(example = "How are you?")]
    header: Option<String>,
    /// A picture above it.
    #[schema(value_type = Option<File>)]
    header_image: Option<FileInput>,
    /// The text.
    #[schema(example = "Tell us how are you please 🙏")]
    body: Option<String>,
    /// The small print.
    #[schema(example = "If you have any questions, please send it in the chat")]
    footer: Option<String>,
    /// What can be pressed, 1 to 4.
    buttons: Vec<Button>,
}

/// A button.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Button {
    /// What it does: answers with its id, opens a page, calls a number, or copies a code.
    #[serde(rename = "type")]
    #[schema(value_type = ButtonType)]
    action: Option<ButtonType>,
    /// What stands on it.
    #[schema(example = "Button Text")]
    text: String,
    /// What the answer names it by; its place in the row where none is given.
    #[schema(example = "321321")]
    id: Option<String>,
    /// The page, for `url`.
    #[schema(example = "https://example.com")]
    url: Option<String>,
    /// The number, for `call`.
    #[schema(example = "+1234567890")]
    phone_number: Option<String>,
    /// The code, for `copy`.
    #[schema(example = "4321")]
    copy_code: Option<String>,
}

/// What a button does.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ButtonType {
    #[default]
    Reply,
    Url,
    Call,
    Copy,
}

/// The answer to a message with buttons.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageButtonReply)]
struct SendButtonsReplyRequest {
    /// Where to.
    chat_id: String,
    /// The message with the buttons, by its full id or by WhatsApp's own.
    reply_to: Option<String>,
    /// What stands on the chosen button.
    #[schema(example = "No")]
    selected_display_text: String,
    /// The id of the chosen button.
    #[serde(rename = "selectedButtonID")]
    #[schema(example = "button:id")]
    selected_button_id: String,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

impl Body for SendListRequest {
    fn check(fields: &mut Fields<'_>) {
        Addressed::check(fields);
        fields.required_object("message", |list| {
            list.required_text("title", LABEL_CHARS_MAX);
            list.text("description", TEXT_CHARS_MAX);
            list.text("footer", LABEL_CHARS_MAX);
            list.required_text("button", LABEL_CHARS_MAX);
            list.required_array("sections", 1..=ROWS_MAX);
            list.objects("sections", ROWS_MAX, check_section);
            check_rows(list);
        });
    }
}

fn check_section(section: &mut Fields<'_>) {
    section.text("title", LABEL_CHARS_MAX);
    if !section.get("title").is_some_and(Value::is_string) {
        section.fail("title", "must be a string");
    }
    section.required_array("rows", 1..=ROWS_MAX);
    section.objects("rows", ROWS_MAX, |row| {
        row.required_text("title", LABEL_CHARS_MAX);
        row.text("description", LABEL_CHARS_MAX);
        row.required_text("rowId", LABEL_CHARS_MAX);
    });
}

/// What holds for the rows of all sections together.
fn check_rows(list: &mut Fields<'_>) {
    let sections = list
        .get("sections")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let rows = sections
        .iter()
        .filter_map(|section| section["rows"].as_array())
        .flatten();
    let mut ids: Vec<_> = rows.filter_map(|row| row["rowId"].as_str()).collect();
    if ids.len() > ROWS_MAX {
        list.fail("sections", &format!("must have no more than {ROWS_MAX} rows in all"));
    }
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        list.fail("sections", "must have rows with a rowId of its own each");
    }
}

impl Body for SendButtonsRequest {
    fn check(fields: &mut Fields<'_>) {
        Addressed::check(fields);
        fields.text("header", LABEL_CHARS_MAX);
        upload::check_optional_file(fields, "headerImage");
        fields.text("body", TEXT_CHARS_MAX);
        fields.text("footer", LABEL_CHARS_MAX);
        fields.required_array("buttons", 1..=BUTTONS_MAX);
        fields.objects("buttons", BUTTONS_MAX, check_button);
    }
}

fn check_button(button: &mut Fields<'_>) {
    button.one_of("type", &["reply", "url", "call", "copy"]);
    button.required_text("text", LABEL_CHARS_MAX);
    button.text("id", LABEL_CHARS_MAX);
    match button.get("type").and_then(Value::as_str) {
        Some("url") => {
            button.required_text("url", TEXT_CHARS_MAX);
            button.link("url");
        }
        Some("call") => button.required_text("phoneNumber", LABEL_CHARS_MAX),
        Some("copy") => button.required_text("copyCode", LABEL_CHARS_MAX),
        _ => {}
    }
}

impl Body for SendButtonsReplyRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.string("replyTo");
        fields.required_text("selectedDisplayText", LABEL_CHARS_MAX);
        fields.required_text("selectedButtonID", LABEL_CHARS_MAX);
    }
}

/// Send a list to choose from, to one person.
#[utoipa::path(
    post, path = "/api/sendList", tag = "📤 Chatting", request_body = SendListRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_list(Sending { sender, body }: Sending<SendListRequest>) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    if !to.chat.is_person() {
        let problem = format!("chatId: lists are for chats with one person, {} is none", to.chat);
        return Err(ApiError::Invalid(vec![problem]));
    }
    let list = body.message;
    let content = Content::List(List {
        title: list.title,
        description: list.description,
        footer: list.footer,
        button: list.button,
        sections: list.sections.into_iter().map(Section::into).collect(),
    });
    sender.send(to.message(content)).await
}

/// Send a text with buttons.
#[utoipa::path(
    post, path = "/api/sendButtons", tag = "📤 Chatting", request_body = SendButtonsRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
#[deprecated(note = "WhatsApp may stop showing buttons at any time: `POST /api/sendPoll`")]
async fn send_buttons(
    State(state): State<AppState>,
    Sending { sender, body }: Sending<SendButtonsRequest>,
) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    let picture = match body.header_image {
        Some(file) => {
            let preparing = state.files.prepare("headerImage", file, MediaKind::Image, false);
            Some(Box::pin(preparing).await?)
        }
        None => None,
    };
    let (picture, guard) = picture.map(|picture| (picture.media, picture.guard)).unzip();
    let content = Content::Buttons(Buttons {
        header: body.header,
        picture,
        body: body.body.unwrap_or_default(),
        footer: body.footer,
        buttons: body.buttons.into_iter().enumerate().map(Button::made).collect(),
    });
    sender.send_with(to.message(content), guard).await
}

/// Answer buttons, as if one had been pressed.
#[utoipa::path(
    post, path = "/api/send/buttons/reply", tag = "📤 Chatting", request_body = SendButtonsReplyRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_buttons_reply(Sending { sender, body }: Sending<SendButtonsReplyRequest>) -> ApiResult<Sent> {
    let chat = target::chat_id("chatId", &body.chat_id)?;
    let quote = match &body.reply_to {
        Some(reply_to) => Some(target::quote(&sender.connection, &chat, "replyTo", reply_to).await?),
        None => None,
    };
    let content = Content::ButtonReply {
        button: body.selected_button_id,
        text: body.selected_display_text,
    };
    let message = NewMessage {
        quote,
        ..NewMessage::new(chat, content)
    };
    sender.send(message).await
}

impl Button {
    /// The button in this place. What its type needs was checked.
    fn made((place, button): (usize, Self)) -> engine::Button {
        let action = match button.action.unwrap_or_default() {
            ButtonType::Reply => ButtonAction::Reply {
                id: button.id.unwrap_or_else(|| (place + 1).to_string()),
            },
            ButtonType::Url => ButtonAction::Url(button.url.unwrap_or_default()),
            ButtonType::Call => ButtonAction::Call(button.phone_number.unwrap_or_default()),
            ButtonType::Copy => ButtonAction::Copy(button.copy_code.unwrap_or_default()),
        };
        engine::Button {
            text: button.text,
            action,
        }
    }
}

impl From<Section> for ListSection {
    fn from(section: Section) -> Self {
        let rows = section.rows.into_iter().map(|row| ListRow {
            id: row.row_id,
            title: row.title,
            description: row.description,
        });
        Self {
            title: section.title,
            rows: rows.collect(),
        }
    }
}
