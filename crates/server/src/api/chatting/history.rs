//! The messages of a chat, as they are kept.

use axum::Json;
use axum::extract::RawQuery;
use jiff::Timestamp;
use serde::Deserialize;
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::events::MessagePayload;
use wharf_core::message::Ack;

use crate::api::AppState;
use crate::api::error::{ApiError, ApiResult};
use crate::api::events::number;
use crate::api::extract::{Body, Working, query_flag};
use crate::api::target::chat_id;
use crate::sessions::MessageQuery;
use crate::validate::Fields;

/// The most messages in an answer.
const LIMIT_MAX: u64 = 1_000;
/// As many are in an answer where the caller does not say, as in WAHA.
const LIMIT_DEFAULT: u64 = 10;
/// The most messages that are left out before it; whoever wants older ones asks by their time.
const OFFSET_MAX: u64 = 100_000;
/// The latest time that is understood, in seconds since 1970: the end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

/// The routes of this topic.
#[expect(deprecated, reason = "for callers of the HTTP API it is")]
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_messages))
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "for the document; the query is read by its names")]
struct GetMessagesQuery {
    /// The chat.
    #[serde(rename = "chatId")]
    chat_id: String,
    /// The session.
    #[param(default = "default", required = false, value_type = String)]
    session: Option<String>,
    /// How many at the most, up to 1000.
    #[param(default = 10, required = false, value_type = u32)]
    limit: Option<String>,
    /// How many of the first to leave out.
    #[param(value_type = Option<u32>)]
    offset: Option<String>,
    /// What they are ordered by: their time.
    #[param(inline)]
    sort_by: Option<SortBy>,
    /// Newest first, which is the default, or oldest first.
    #[param(inline)]
    sort_order: Option<SortOrder>,
    /// Whether files that are not here are fetched for the answer.
    #[param(default = true, value_type = Option<bool>)]
    download_media: Option<String>,
    /// Whether a person's messages under phone number and linked identity are one chat.
    #[param(default = true, value_type = Option<bool>)]
    merge: Option<String>,
    /// Not newer than this, in seconds since 1970.
    #[serde(rename = "filter.timestamp.lte")]
    #[param(value_type = Option<u64>)]
    until: Option<String>,
    /// Not older than this, in seconds since 1970.
    #[serde(rename = "filter.timestamp.gte")]
    #[param(value_type = Option<u64>)]
    since: Option<String>,
    /// Only those of this account, or only those of others.
    #[serde(rename = "filter.fromMe")]
    #[param(value_type = Option<bool>)]
    from_me: Option<String>,
    /// Only those that have come just so far.
    #[serde(rename = "filter.ack")]
    #[param(inline)]
    ack: Option<AckName>,
}

/// What messages are ordered by; both are the time at which they were sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum SortBy {
    Timestamp,
    MessageTimestamp,
}

/// Which messages come first.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SortOrder {
    Desc,
    Asc,
}

/// How far a message has come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum AckName {
    Error,
    Pending,
    Server,
    Device,
    Read,
    Played,
}

/// What is read of the query before the rest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InChat {
    chat_id: String,
}

impl Body for InChat {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.one_of("sortBy", &["timestamp", "messageTimestamp"]);
        fields.one_of("sortOrder", &["desc", "asc"]);
        fields.one_of(
            "filter.ack",
            &["ERROR", "PENDING", "SERVER", "DEVICE", "READ", "PLAYED"],
        );
    }
}

/// The messages of a chat.
#[utoipa::path(
    get, path = "/api/messages", tag = "📤 Chatting", params(GetMessagesQuery),
    responses((status = 200, description = "The messages as they are kept, with what was changed in them", body = [MessagePayload])),
    security(("api_key" = ["read"]))
)]
#[deprecated(note = "`GET /api/{session}/chats/{chatId}/messages`")]
async fn get_messages(
    RawQuery(query): RawQuery,
    Working { connection, body }: Working<InChat>,
) -> ApiResult<Json<Vec<MessagePayload>>> {
    let query = query.unwrap_or_default();
    let wanted = wanted(&query, &body)?;
    let download = query_flag(Some(&query), "downloadMedia")?.unwrap_or(true);
    Ok(Json(connection.chat_messages(&wanted, download).await?))
}

fn wanted(query: &str, body: &InChat) -> ApiResult<MessageQuery> {
    let count = |name, max| number(query, name, 0..=max);
    let limit = count("limit", LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let offset = count("offset", OFFSET_MAX)?.unwrap_or_default();
    let moment = |name| Ok::<_, ApiError>(count(name, SECONDS_MAX)?.and_then(moment));
    Ok(MessageQuery {
        chat: chat_id("chatId", &body.chat_id)?,
        merge: query_flag(Some(query), "merge")?.unwrap_or(true),
        // Both have limits that fit.
        limit: usize::try_from(limit).unwrap_or_default(),
        offset: usize::try_from(offset).unwrap_or_default(),
        oldest_first: value(query, "sortOrder").as_deref() == Some("asc"),
        since: moment("filter.timestamp.gte")?,
        until: moment("filter.timestamp.lte")?,
        from_me: query_flag(Some(query), "filter.fromMe")?,
        ack: value(query, "filter.ack").as_deref().and_then(ack),
    })
}

fn value(query: &str, name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name);
    values.next().map(|(_, value)| value.into_owned())
}

fn moment(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

fn ack(name: &str) -> Option<Ack> {
    let all = [
        Ack::Error,
        Ack::Pending,
        Ack::Server,
        Ack::Device,
        Ack::Read,
        Ack::Played,
    ];
    all.into_iter().find(|ack| ack.name() == name)
}
