//! What handlers ask for: an authorized caller, a session, a session that is working, a body that is checked.
//!
//! Asking is the check: each of these is built on [`Caller`], which refuses whom the operation is not open to. WAHA puts the name
//! of the session into the path, the query or the body; a key of a session must fit wherever one stands. The order is WAHA's:
//! key, body is JSON, session, fields of the body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{self, FromRequest, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::form_urlencoded;
use wharf_core::ids::SessionName;
use wharf_core::session::SessionStatus;

use super::AppState;
use super::auth::{KEY_NAME, require_session, session_in_path, sessions_in_query};
use super::error::ApiError;
use super::upload::{self, Form};
use crate::keys::Caller;
use crate::media::{FileInput, LocalFile};
use crate::sessions::{Connection, Session, View};
use crate::validate::{self, Fields};

/// The longest that a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(120);
/// The session that is meant where none is named.
const SESSION_DEFAULT: &str = "default";

/// A body whose fields are checked before it is converted.
pub(super) trait Body: DeserializeOwned {
    /// Notes what is wrong, in WAHA's words.
    fn check(fields: &mut Fields<'_>);

    /// Whether a file may come as a part of a form.
    const TAKES_FILE: bool = false;

    /// Where that file goes; `None` where none is taken.
    fn file(&mut self) -> Option<&mut FileInput> {
        None
    }
}

/// An authorized request with a checked body.
pub(super) struct Input<B>(pub(super) B);

/// The session that the path names.
pub(super) struct Known(pub(super) Arc<Session>);

/// The session that the path names, or else the query, whether or not it runs.
pub(super) struct Linkable(pub(super) Arc<Session>);

/// A request to a session that is working; its fields are not checked yet.
pub(super) struct Request {
    /// Who sent it.
    pub(super) caller: Caller,
    /// All but the body.
    pub(super) parts: Parts,
    /// The body.
    pub(super) body: Value,
    /// The file that came with it, where it was a form.
    pub(super) part: Option<LocalFile>,
    /// The session's connection.
    pub(super) connection: Connection,
}

/// The session that the body or the query names, while it is working, and the checked body.
pub(super) struct Working<B> {
    /// Its connection.
    pub(super) connection: Connection,
    /// The body.
    pub(super) body: B,
}

impl<B: Body> FromRequest<AppState> for Input<B> {
    type Rejection = ApiError;

    async fn from_request(request: extract::Request, state: &AppState) -> Result<Self, ApiError> {
        let (_, _, Form { body, part }) = read(request, B::TAKES_FILE, state).await?;
        convert(body, part).map(Self)
    }
}

impl<B: Body> FromRequest<AppState> for Working<B> {
    type Rejection = ApiError;

    async fn from_request(request: extract::Request, state: &AppState) -> Result<Self, ApiError> {
        let Request {
            body, part, connection, ..
        } = Request::read(request, B::TAKES_FILE, state).await?;
        let body = convert(body, part)?;
        Ok(Self { connection, body })
    }
}

impl Request {
    /// Authorizes the caller, reads the body and finds the session.
    pub(super) async fn read(request: extract::Request, takes_file: bool, state: &AppState) -> Result<Self, ApiError> {
        let (caller, mut parts, Form { body, part }) = read(request, takes_file, state).await?;
        let name = session_name(&caller, &mut parts, &body, state).await?;
        let session = name.parse().ok().and_then(|name| state.registry.get(&name));
        let session = session.ok_or_else(|| ApiError::session_not_started(&name, false))?;
        let view = in_status(&session, SessionStatus::Working, state).await?;
        let connection = view.connection.clone();
        let connection = connection.ok_or_else(|| wrong_status(&session, &view, SessionStatus::Working, state))?;
        Ok(Self {
            caller,
            parts,
            body,
            part,
            connection,
        })
    }
}

impl FromRequestParts<AppState> for Known {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let name = session_name(&caller, parts, &Value::Null, state).await?;
        let session = name.parse().ok().and_then(|name| state.registry.get(&name));
        session.map(Self).ok_or_else(ApiError::session_not_found)
    }
}

impl FromRequestParts<AppState> for Linkable {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let name = session_name(&caller, parts, &Value::Null, state).await?;
        let session = name.parse().ok().and_then(|name| state.registry.get(&name));
        session
            .map(Self)
            .ok_or_else(|| ApiError::session_not_started(&name, false))
    }
}

impl Linkable {
    /// How it is once it has this status; waits while it is about to.
    pub(super) async fn in_status(&self, expected: SessionStatus, state: &AppState) -> Result<View, ApiError> {
        in_status(&self.0, expected, state).await
    }

    /// How it is, while it runs; waits while it starts.
    pub(super) async fn running(&self) -> Result<View, ApiError> {
        started(&self.0, self.0.settled().await)
    }

    /// The refusal of an operation that needs another status.
    pub(super) fn wrong_status(&self, view: &View, expected: SessionStatus, state: &AppState) -> ApiError {
        wrong_status(&self.0, view, expected, state)
    }
}

/// The session's name in the path, for operations that are fine without the session.
pub(super) struct Named(pub(super) SessionName);

impl FromRequestParts<AppState> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let name = session_name(&caller, parts, &Value::Null, state).await?;
        name.parse().map(Self).map_err(|_| ApiError::session_not_found())
    }
}

/// The id that stands in the path, or all of them; a path that is not text is refused in WAHA's shape.
pub(super) struct Id<T = String>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let id = extract::Path::from_request_parts(parts, state).await;
        id.map(|extract::Path(id)| Self(id))
            .map_err(|error| ApiError::Unreadable(error.body_text()))
    }
}

/// Waits while the session is about to have this status; the error says what to do about any other.
async fn in_status(session: &Session, expected: SessionStatus, state: &AppState) -> Result<View, ApiError> {
    // What comes next by itself is worth a moment: the phone answers the passkey's signature at once.
    let is_near = |view: &View| {
        let is_signed = expected == SessionStatus::PasskeyConfirmationRequired;
        view.is_settling() || (is_signed && view.status == SessionStatus::PasskeyRequired)
    };
    let view = started(session, session.until(|view| !is_near(view)).await)?;
    match view.status == expected {
        true => Ok(view),
        false => Err(wrong_status(session, &view, expected, state)),
    }
}

/// A session that is stopped is answered as if there were none.
fn started(session: &Session, view: View) -> Result<View, ApiError> {
    match view.status {
        SessionStatus::Stopped => Err(ApiError::session_not_started(session.name().as_str(), true)),
        _ => Ok(view),
    }
}

fn wrong_status(session: &Session, view: &View, expected: SessionStatus, state: &AppState) -> ApiError {
    let name = session.name();
    let base = &state.config.http.public_url;
    let hint = match view.status {
        SessionStatus::ScanQrCode => format!(
            "link a phone first: open {base}/api/{name}/auth/qr and scan it with WhatsApp on the phone, under Linked devices"
        ),
        SessionStatus::PasskeyRequired => format!(
            "the account's passkey has to sign: GET {base}/api/{name}/auth/passkey/challenge, sign it in a browser at \
             web.whatsapp.com, and POST the answer to {base}/api/{name}/auth/passkey"
        ),
        SessionStatus::PasskeyConfirmationRequired => format!(
            "compare the code at {base}/api/{name}/auth/passkey/confirmation with the one on the phone, then POST to \
             {base}/api/{name}/auth/passkey/confirm"
        ),
        SessionStatus::Failed => {
            let problem = view.problem.as_ref().map(|problem| format!("{}; ", problem.message));
            format!(
                "{}POST /api/sessions/{name}/restart starts it again",
                problem.unwrap_or_default()
            )
        }
        SessionStatus::Working if expected != SessionStatus::Working => {
            format!("a phone is linked already; POST /api/sessions/{name}/logout unlinks it")
        }
        _ => match &view.problem {
            Some(problem) => problem.message.clone(),
            None => "it is connecting; try again in a few seconds".to_owned(),
        },
    };
    ApiError::Status {
        session: name.clone(),
        status: view.status,
        expected,
        hint,
    }
}

/// Authorizes the caller, then reads the body.
async fn read(
    request: extract::Request,
    takes_file: bool,
    state: &AppState,
) -> Result<(Caller, Parts, Form), ApiError> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, state).await?;
    // A form of another site is refused as any other is.
    let form = match upload::boundary(&parts).filter(|_| caller.by_key()) {
        Some(boundary) => upload::read(boundary, body, takes_file, &state.files).await?,
        None => Form {
            body: read_whole(&caller, &parts, body, state).await?,
            part: None,
        },
    };
    if let Some(Value::String(name)) = form.body.get("session") {
        require_session(&caller, name)?;
    }
    Ok((caller, parts, form))
}

/// Reads a body that is wanted as a whole.
async fn read_whole(caller: &Caller, parts: &Parts, body: HttpBody, state: &AppState) -> Result<Value, ApiError> {
    let request = extract::Request::from_parts(parts.clone(), body);
    let bytes = match timeout(BODY_WITHIN, Bytes::from_request(request, state)).await {
        Err(_) => return Err(ApiError::TooSlow),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => return Err(ApiError::TooLarge),
        Ok(Err(error)) => return Err(ApiError::Unreadable(error.body_text())),
        Ok(Ok(bytes)) => bytes,
    };
    match parts.method {
        Method::GET => Ok(fields_in_query(parts.uri.query().unwrap_or_default())),
        _ => parse(&parts.headers, &bytes, caller.by_key()),
    }
}

/// A body as JSON. Forms are read too, as in WAHA, but only with a key: a browser sends them across sites unasked.
fn parse(headers: &HeaderMap, bytes: &[u8], by_key: bool) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json");
    if is_json {
        return serde_json::from_slice(bytes)
            .map_err(|error| ApiError::Unreadable(format!("body is not JSON: {error}")));
    }
    // `curl -d` calls everything a form; a form that is JSON is a forgotten header.
    let looks_like_json = bytes
        .trim_ascii_start()
        .first()
        .is_some_and(|first| matches!(first, b'{' | b'['));
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") && by_key && !looks_like_json {
        let fields = form_urlencoded::parse(bytes);
        return Ok(fields
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect::<Map<_, _>>()
            .into());
    }
    Err(ApiError::Unreadable(
        "send the body as JSON, with the header Content-Type: application/json".to_owned(),
    ))
}

/// What stands in a query for a body: all texts, but not the key.
fn fields_in_query(query: &str) -> Value {
    let fields = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != KEY_NAME);
    let fields = fields.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())));
    fields.collect::<Map<_, _>>().into()
}

pub(super) fn convert<B: Body>(body: Value, part: Option<LocalFile>) -> Result<B, ApiError> {
    let problems = validate::problems(&body, B::check);
    if !problems.is_empty() {
        return Err(ApiError::Invalid(problems));
    }
    let mut body: B = serde_json::from_value(body).map_err(|error| ApiError::Invalid(vec![error.to_string()]))?;
    match (part, body.file()) {
        (None, _) => {}
        (Some(part), Some(file)) => file.part = Some(part),
        (Some(_), None) => return Err(upload::not_taken()),
    }
    Ok(body)
}

/// The session that a request is about: the one that it names in its path, query or body, or else the caller's own, or else
/// WAHA's default. Two that differ are a mistake, not a choice.
async fn session_name(caller: &Caller, parts: &mut Parts, body: &Value, state: &AppState) -> Result<String, ApiError> {
    let in_body = match body.get("session") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(ApiError::Invalid(vec!["session must be a string".to_owned()])),
    };
    let in_path = session_in_path(parts, state).await?;
    let mut named = in_path.into_iter().chain(sessions_in_query(parts)).chain(in_body);
    let own = || caller.session().map_or(SESSION_DEFAULT, SessionName::as_str).to_owned();
    let name = named.next().unwrap_or_else(own);
    match named.all(|other| other == name) {
        true => Ok(name),
        false => Err(ApiError::Invalid(vec![
            "session must be the same in path, query and body".to_owned(),
        ])),
    }
}

/// A boolean in a query as WAHA reads it; `None` where it is not there.
pub(super) fn query_flag(query: Option<&str>, name: &str) -> Result<Option<bool>, ApiError> {
    let mut values = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(known, _)| known == name);
    match values.next().as_ref().map(|(_, value)| value.as_ref()) {
        None => Ok(None),
        Some("true" | "True" | "1") => Ok(Some(true)),
        Some("false" | "False" | "0") => Ok(Some(false)),
        Some(_) => Err(ApiError::Invalid(vec![format!("{name} must be a boolean value")])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(kind: &'static str, body: &[u8], by_key: bool) -> Result<Value, ApiError> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, header::HeaderValue::from_static(kind))]);
        parse(&headers, body, by_key)
    }

    #[test]
    fn json_is_read_and_forms_only_with_a_key() {
        assert_eq!(
            parsed("application/json; charset=utf-8", b"{\"a\":1}", false).unwrap()["a"],
            1
        );
        assert_eq!(
            parsed("application/x-www-form-urlencoded", b"name=a%20b", true).unwrap()["name"],
            "a b"
        );
        assert!(parsed("application/x-www-form-urlencoded", b"name=a", false).is_err());
        assert!(parsed("text/plain", b"{\"a\":1}", true).is_err());
    }

    #[test]
    fn booleans_in_queries_are_wahas() {
        for (query, expected) in [
            ("all=true", true),
            ("all=True", true),
            ("all=1", true),
            ("all=false", false),
            ("all=0", false),
        ] {
            assert_eq!(query_flag(Some(query), "all").unwrap(), Some(expected), "{query}");
        }
        assert_eq!(query_flag(None, "all").unwrap(), None);
        for query in ["all=", "all=maybe", "all=TRUE"] {
            assert!(query_flag(Some(query), "all").is_err(), "{query}");
        }
    }
}
