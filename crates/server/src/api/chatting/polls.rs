//! Polls, and votes in them.

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::Content;
use wharf_core::events::MessagePayload;

use super::Addressed;
use crate::api::AppState;
use crate::api::error::ApiResult;
use crate::api::extract::Body;
use crate::api::sending::{NewMessage, Sending, Sent};
use crate::api::target;
use crate::validate::Fields;

/// The most characters of a question; WhatsApp's own clients take as many.
const NAME_CHARS_MAX: usize = 255;
/// The most characters of an option, likewise.
const OPTION_CHARS_MAX: usize = 100;
/// The options of a poll.
const OPTIONS_MIN: usize = 2;
const OPTIONS_MAX: usize = 12;

/// The routes of this topic.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_poll))
        .routes(routes!(send_poll_vote))
}

/// A poll to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MessagePollRequest)]
struct SendPollRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The poll.
    poll: MessagePoll,
}

/// A question and its answers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MessagePoll {
    /// What is asked.
    #[schema(example = "How are you?")]
    name: String,
    /// What can be chosen, 2 to 12.
    #[schema(example = json!(["Awesome!", "Good!", "Not bad!"]))]
    options: Vec<String>,
    /// Whether several can be chosen.
    #[schema(default = false, value_type = bool)]
    multiple_answers: Option<bool>,
}

/// A vote.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessagePollVoteRequest)]
struct SendPollVoteRequest {
    /// The chat of the poll.
    chat_id: String,
    /// The poll, by its full id or by WhatsApp's own.
    poll_message_id: String,
    /// The poll's number in a channel. Without effect yet: there are no channels.
    #[expect(dead_code, reason = "accepted for WAHA's clients, without effect yet")]
    poll_server_id: Option<f64>,
    /// All options that are chosen now; none takes the vote back.
    #[schema(example = json!(["Awesome!"]))]
    votes: Vec<String>,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

impl Body for SendPollRequest {
    fn check(fields: &mut Fields<'_>) {
        Addressed::check(fields);
        fields.required_object("poll", |poll| {
            poll.required_text("name", NAME_CHARS_MAX);
            poll.required_array("options", OPTIONS_MIN..=OPTIONS_MAX);
            poll.distinct("options", OPTION_CHARS_MAX);
            poll.boolean("multipleAnswers");
        });
    }
}

impl Body for SendPollVoteRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.required_string("pollMessageId");
        fields.number("pollServerId", u32::MAX);
        fields.required_array("votes", 0..=OPTIONS_MAX);
        fields.distinct("votes", OPTION_CHARS_MAX);
    }
}

/// Send a poll.
#[utoipa::path(
    post, path = "/api/sendPoll", tag = "📤 Chatting", request_body = SendPollRequest,
    responses((status = 201, description = "The poll as it was sent; `poll.vote` tells of votes", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_poll(Sending { sender, body }: Sending<SendPollRequest>) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    let content = Content::Poll {
        name: body.poll.name,
        options: body.poll.options,
        multiple: body.poll.multiple_answers.unwrap_or_default(),
    };
    sender.send(to.message(content)).await
}

/// Vote in a poll.
#[utoipa::path(
    post, path = "/api/sendPollVote", tag = "📤 Chatting", request_body = SendPollVoteRequest,
    responses((status = 201, description = "The vote as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_poll_vote(Sending { sender, body }: Sending<SendPollVoteRequest>) -> ApiResult<Sent> {
    let chat = target::chat_id("chatId", &body.chat_id)?;
    let poll = target::message(&sender.connection, "pollMessageId", &body.poll_message_id, Some(&chat)).await?;
    let content = Content::PollVote {
        poll: poll.id.clone(),
        proto: poll.proto,
        options: body.votes,
    };
    sender.send(NewMessage::new(poll.id.chat, content)).await
}
