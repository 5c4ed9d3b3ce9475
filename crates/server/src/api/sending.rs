//! What operations that send a message ask for: all of [`Request`], and that a repeated request sends nothing twice.
//!
//! A request with `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), or with an `id` for its message, gets the answer
//! of the first one; the handler is not even called. A message leaves only with a [`Draft`], and a draft comes only from here:
//! no sending operation can forget about it.

use axum::extract::{FromRequest, FromRequestParts as _, MatchedPath, RawPathParams, Request as HttpRequest};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use url::form_urlencoded;
use utoipa::ToSchema as _;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Ref, Schema, Type};
use utoipa::openapi::{OpenApi, RefOr};
use wharf_core::events::MessagePayload;
use wharf_core::ids::MessageRef;

use super::error::ApiError;
use super::extract::{Body, Request, convert};
use super::policy::Access;
use super::{AppState, policy, refusals};
use crate::keys::{Action, Caller};
use crate::sessions::{Answer, Begun, Connection, Draft, GivenId, IdempotencyKey, SendError};

/// The header with the key.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The most characters of a key.
const KEY_CHARS_MAX: usize = 255;
/// What the OpenAPI document says of the header.
const ABOUT_KEY: &str = "Makes the request safe to repeat: the same key with the same body is one message, and gets the same \
                         answer again (with `Idempotent-Replayed: true`), also after a crash. With another body it is refused.";

/// The session that a request names, while it is working, the checked body, and the message to be made of it.
pub(super) struct Sending<B> {
    /// Its connection.
    pub(super) connection: Connection,
    /// What may leave.
    pub(super) draft: Draft,
    /// The body.
    pub(super) body: B,
}

/// A message that has left, now or before.
pub(super) struct Sent(Answer);

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
            connection,
        } = Request::read(request, state).await?;
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
        let body = convert(body)?;
        let given = given?;
        let id = given.as_ref().map(|given| given.id.clone());
        let begun = connection.begin(key, given).await;
        let begun = begun.map_err(|error| match (error, sent_key, id) {
            (SendError::KeyUsed, None, Some(id)) => SendError::IdUsed(id),
            (error, ..) => error,
        });
        match begun.map_err(ApiError::from)? {
            Begun::Draft(draft) => Ok(Self {
                connection,
                draft,
                body,
            }),
            Begun::Answered(answer) => Err(Instead::Sent(answer.into())),
        }
    }
}

/// Declares the header, and what comes of it, at every operation that sends a message: at those for keys that may send, and that
/// answer with a message.
pub(super) fn declare(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.post, &mut item.put].into_iter().flatten();
        for operation in operations.filter(|operation| sends_a_message(operation)) {
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

fn sends_a_message(operation: &Operation) -> bool {
    let may_send = policy::declared(operation).is_some_and(|policy| policy.access == Access::Action(Action::Send));
    let message = Ref::from_schema_name(MessagePayload::name()).ref_location;
    let mut answers = operation.responses.responses.values().filter_map(json_schema);
    may_send && answers.any(|schema| matches!(schema, RefOr::Ref(it) if it.ref_location == message))
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
    let in_query = in_query.filter(|(name, _)| name != "session" && name != "x-api-key");
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

impl From<Answer> for Sent {
    fn from(answer: Answer) -> Self {
        Self(answer)
    }
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let replayed = self.0.is_repeated.then(|| (REPLAYED, HeaderValue::from_static("true")));
        let mut response = (StatusCode::CREATED, [kind], self.0.body).into_response();
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
