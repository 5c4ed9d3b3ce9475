//! Who is calling: the key in `X-Api-Key`, or in the query as `x-api-key` where a header cannot be sent.
//!
//! [`Authorized`] is an extractor: a handler that takes it, or any extractor built on it, is checked. Checked before the
//! body is read.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

use super::AppState;
use super::error::ApiError;

/// The header with the key, and the query parameter.
const KEY_NAME: &str = "x-api-key";

/// A caller who may use the API.
pub(super) struct Authorized {
    /// Whether a right key was sent, not merely none needed.
    pub(super) by_key: bool,
}

impl FromRequestParts<AppState> for Authorized {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let config = &state.config.auth;
        let is_free = config.no_key || config.exclude.iter().any(|pattern| pattern.fits(parts.uri.path()));
        let by_key = match (sent_key(parts), &config.key) {
            (Sent::One(sent), Some(key)) => key.accepts(&sent),
            _ => false,
        };
        match by_key || is_free {
            true => Ok(Self { by_key }),
            false => Err(ApiError::Unauthorized),
        }
    }
}

/// The key that a request carries.
enum Sent {
    Nothing,
    One(String),
    /// More than one, or one that is not text: nobody can say which is meant.
    Unclear,
}

fn sent_key(parts: &Parts) -> Sent {
    let mut headers = parts.headers.get_all(KEY_NAME).iter();
    match (headers.next(), headers.next()) {
        (Some(key), None) => match key.to_str() {
            Ok(key) => Sent::One(key.to_owned()),
            Err(_) => Sent::Unclear,
        },
        (Some(_), Some(_)) => Sent::Unclear,
        (None, _) => match key_in_query(parts) {
            Some(key) => Sent::One(key),
            None => Sent::Nothing,
        },
    }
}

/// Only where a browser cannot set a header: pictures, files and websockets. Elsewhere a key in the address would end up
/// in logs and histories.
fn key_in_query(parts: &Parts) -> Option<String> {
    let path = parts.uri.path().trim_end_matches('/');
    let allowed =
        path == "/ws" || path == "/api/screenshot" || path.ends_with("/auth/qr") || path.starts_with("/api/files/");
    let query = parts.uri.query().filter(|_| allowed)?;
    let mut keys = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == KEY_NAME);
    keys.next().map(|(_, key)| key.into_owned())
}
