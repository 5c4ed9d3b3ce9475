//! What operations that send something into a chat ask for, be it a message or a change to one: all of [`Request`], and that a
//! repeated request sends nothing twice.
//!
//! A request with `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), or with an `id` for its message, gets the answer
//! of the first one; the handler is not even called. A message leaves only with a [`Draft`], and a draft comes only from here:
//! no sending operation can forget about it.

use axum::extract::{FromRequest, FromRequestParts as _, MatchedPath, RawPathParams, Request as HttpRequest};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::to_raw_value;
use tempfile::TempPath;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Ref, Schema, Type};
use utoipa::openapi::{OpenApi, RefOr};
use wharf_core::engine::{Content, LinkPreview, Mentions, Quote, SendRequest};
use wharf_core::events::MessagePayload;
use wharf_core::ids::{ChatId, MessageRef};

use super::auth::KEY_NAME;
use super::error::{ApiError, ApiResult};
use super::extract::{Body, Request, convert};
use super::policy::Access;
use super::{AppState, policy, refusals};
use crate::keys::{Action, Caller};
use crate::sessions::{Answer, Answering, Begun, Connection, Draft, GivenId, IdempotencyKey, SendError};

/// The header with the key.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The most characters of a key.
const KEY_CHARS_MAX: usize = 255;
/// What the OpenAPI document says of the header.
const ABOUT_KEY: &str = "Makes the request safe to repeat: the same key with the same body is one message, and gets the same \
                         answer again (with `Idempotent-Replayed: true`), also after a crash. With another body it is refused.";

/// The session that a request names, while it is working, and the checked body.
pub(super) struct Sending<B> {
    /// What may send.
    pub(super) sender: Sender,
    /// The body.
    pub(super) body: B,
}

/// May send one message, or one change, into a chat of its session.
pub(super) struct Sender {
    /// The session's connection.
    pub(super) connection: Connection,
    draft: Draft,
    status: StatusCode,
}

/// What is to be sent, but for the id of the message.
pub(super) struct NewMessage {
    /// Where to.
    pub(super) chat: ChatId,
    /// What.
    pub(super) content: Content,
    /// The message that this one answers.
    pub(super) quote: Option<Quote>,
    /// Who is mentioned.
    pub(super) mentions: Mentions,
}

/// What a caller wants to be shown of the first link in a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum PreviewWanted {
    /// Nothing.
    No,
    /// The page's title and a small picture.
    Small,
    /// The same with a large picture.
    Large,
}

/// Something that has left, now or before.
pub(super) struct Sent {
    answer: Answer,
    status: StatusCode,
}

/// The answer to what is no message to its caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Success {
    /// Always `true`.
    success: bool,
}

/// Why the handler is not called.
pub(super) enum Instead {
    /// The message has left already.
    Sent(Sent),
    /// It may not.
    Error(ApiError),
}

impl<B: Body + Send> FromRequest<AppState> for Sending<B> {
    type Rejection = Instead;

    async fn from_request(request: HttpRequest, state: &AppState) -> Result<Self, Instead> {
        let Request {
            caller,
            mut parts,
            mut body,
            part,
            connection,
        } = Request::read(request, B::TAKES_FILE, state).await?;
        if parts.method == Method::GET && !caller.by_key() {
            // Any page can make a browser ask for an address, and says nothing of itself in that.
            let hint = "without an api key nothing is sent by GET; use POST, or send the key".to_owned();
            return Err(ApiError::Forbidden { hint }.into());
        }
        let sent_key = sent_key(&parts)?;
        let given = given_id(&body);
        let key = match (&sent_key, &given) {
            (Some(key), _) => Some(format!("key {key}")),
            // An id that may be used once only is a key as well.
            (None, Ok(Some(GivenId { id, chat: Some(chat) }))) => Some(format!("id {chat} {id}")),
            (None, _) => None,
        };
        // The order of its fields means nothing.
        body.sort_all_objects();
        let key = match key {
            Some(key) => Some(idempotency_key(&caller, &mut parts, &body, &key, state).await?),
            None => None,
        };
        let body = convert(body, part)?;
        let given = given?;
        let id = given.as_ref().map(|given| given.id.clone());
        let begun = connection.begin(key, given).await;
        let begun = begun.map_err(|error| match (error, sent_key, id) {
            (SendError::KeyUsed, None, Some(id)) => SendError::IdUsed(id),
            (error, ..) => error,
        });
        // WAHA's rule for all methods.
        let status = match parts.method {
            Method::POST => StatusCode::CREATED,
            _ => StatusCode::OK,
        };
        match begun.map_err(ApiError::from)? {
            Begun::Draft(draft) => Ok(Self {
                sender: Sender {
                    connection,
                    draft,
                    status,
                },
                body,
            }),
            Begun::Answered(answer) => Err(Instead::Sent(Sent { answer, status })),
        }
    }
}

impl Sender {
    /// Sends it; the answer is the message.
    pub(super) async fn send(self, message: NewMessage) -> ApiResult<Sent> {
        self.send_with(message, ()).await
    }

    /// The same, and `files` stays until it is sent, also where the caller hangs up.
    pub(super) async fn send_with(self, message: NewMessage, files: impl Send + 'static) -> ApiResult<Sent> {
        self.leave(message, Answering::Message, files).await
    }

    /// Sends it; the answer is that it was done.
    pub(super) async fn succeed(self, message: NewMessage) -> ApiResult<Sent> {
        let done = to_raw_value(&Success { success: true }).map_err(|error| ApiError::Internal(error.into()))?;
        self.leave(message, Answering::Fixed(done), ()).await
    }

    async fn leave(self, message: NewMessage, answering: Answering, files: impl Send + 'static) -> ApiResult<Sent> {
        let request = SendRequest {
            id: self.draft.id().to_owned(),
            chat: message.chat,
            content: message.content,
            quote: message.quote,
            mentions: message.mentions,
        };
        // On the heap, as it is large and what sends a file is large already.
        let sending = Box::pin(self.connection.send(self.draft, request, answering, files));
        let answer = sending.await?;
        Ok(Sent {
            answer,
            status: self.status,
        })
    }
}

impl PreviewWanted {
    /// By `linkPreview` and `linkPreviewHighQuality`.
    pub(super) fn new(preview: Option<bool>, high_quality: Option<bool>) -> Self {
        match (preview.unwrap_or(true), high_quality.unwrap_or_default()) {
            (false, _) => Self::No,
            (true, false) => Self::Small,
            (true, true) => Self::Large,
        }
    }

    /// Makes the preview, and what guards its picture until that was sent.
    pub(super) async fn make(
        self,
        state: &AppState,
        sender: &Sender,
        text: &str,
    ) -> (Option<LinkPreview>, Option<TempPath>) {
        let high_quality = match self {
            Self::No => return (None, None),
            Self::Small => false,
            Self::Large => true,
        };
        let made = state.previews.of(text, high_quality, sender.connection.proxy()).await;
        made.map_or((None, None), |made| (Some(made.preview), made.guard))
    }
}

impl NewMessage {
    /// What quotes and mentions nobody.
    pub(super) fn new(chat: ChatId, content: Content) -> Self {
        Self {
            chat,
            content,
            quote: None,
            mentions: Mentions::default(),
        }
    }
}

/// Declares the header, and what comes of it, at every operation that sends something: at those for keys that may send, and that
/// answer as [`Sent`] does.
pub(super) fn declare(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        let operations = operations.into_iter().flatten();
        for operation in operations.filter(|operation| sends(operation)) {
            let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
            let header = ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .description(Some(ABOUT_KEY))
                .schema(Some(text.max_length(Some(KEY_CHARS_MAX))))
                .build();
            operation.parameters.get_or_insert_default().push(RefOr::T(header));
            let under_way = refusals::response("The same request is still being processed; repeat it in a moment");
            let responses = &mut operation.responses.responses;
            responses.insert("409".to_owned(), RefOr::T(under_way));
        }
    }
    document
}

fn sends(operation: &Operation) -> bool {
    let may_send = policy::declared(operation).is_some_and(|policy| policy.access == Access::Action(Action::Send));
    let sent = [MessagePayload::name(), Success::name()].map(|name| Ref::from_schema_name(name).ref_location);
    let mut answers = operation.responses.responses.values().filter_map(json_schema);
    may_send && answers.any(|schema| matches!(schema, RefOr::Ref(it) if sent.contains(&it.ref_location)))
}

fn json_schema(response: &RefOr<utoipa::openapi::Response>) -> Option<&RefOr<Schema>> {
    let RefOr::T(response) = response else { return None };
    let RefOr::T(content) = response.content.get("application/json")? else {
        return None;
    };
    content.schema.as_ref()
}

/// The key of a request: of its caller, and for this operation with all that its path, its query and its body name.
async fn idempotency_key(
    caller: &Caller,
    parts: &mut Parts,
    body: &Value,
    key: &str,
    state: &AppState,
) -> Result<IdempotencyKey, ApiError> {
    let in_path = RawPathParams::from_request_parts(parts, state).await;
    let in_path = in_path.map_err(|error| ApiError::Unreadable(error.body_text()))?;
    let operation = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let mut request = vec![
        parts.method.to_string(),
        operation.unwrap_or_default().to_owned(),
        body.to_string(),
    ];
    request.extend(in_path.iter().map(|(name, value)| format!("{name}={value}")));
    let in_query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    // Who sends it, and in which session, is told apart elsewhere.
    let in_query = in_query.filter(|(name, _)| name != "session" && name != KEY_NAME);
    request.extend(in_query.map(|(name, value)| format!("?{name}={value}")));
    let request: Vec<&[u8]> = request.iter().map(String::as_bytes).collect();
    Ok(IdempotencyKey::new(caller.id(), key, &request))
}

/// The key in the header: bare, as most send it, or in quotes, as the draft has it.
fn sent_key(parts: &Parts) -> Result<Option<String>, ApiError> {
    let mut sent = parts.headers.get_all(KEY).iter();
    let key = match (sent.next(), sent.next()) {
        (None, _) => return Ok(None),
        (Some(key), None) => key.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => "",
    };
    let bare = key
        .strip_prefix('"')
        .and_then(|key| key.strip_suffix('"'))
        .unwrap_or(key);
    let is_fine = (1..=KEY_CHARS_MAX).contains(&bare.len()) && bare.bytes().all(|byte| byte.is_ascii_graphic());
    match is_fine {
        true => Ok(Some(bare.to_owned())),
        false => Err(ApiError::Invalid(vec![format!(
            "Idempotency-Key must be sent once, and be 1 to {KEY_CHARS_MAX} visible characters"
        )])),
    }
}

/// The id that the caller gave the message. Anything wrong with the types of the fields is said by who checks the body.
fn given_id(body: &Value) -> Result<Option<GivenId>, ApiError> {
    let text = |field| body.get(field).and_then(Value::as_str);
    let Some(id) = text("id") else { return Ok(None) };
    let id: MessageRef = id
        .parse()
        .map_err(|error| ApiError::Invalid(vec![format!("id: {error}")]))?;
    Ok(Some(GivenId {
        id: id.id().to_owned(),
        chat: text("chatId").and_then(|chat| chat.parse().ok()),
    }))
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let Self { answer, status } = self;
        let replayed = answer.is_repeated.then(|| (REPLAYED, HeaderValue::from_static("true")));
        let mut response = (status, [kind], answer.body).into_response();
        response.headers_mut().extend(replayed);
        response
    }
}

impl IntoResponse for Instead {
    fn into_response(self) -> Response {
        match self {
            Self::Sent(sent) => sent.into_response(),
            Self::Error(error) => error.into_response(),
        }
    }
}

impl From<ApiError> for Instead {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}
