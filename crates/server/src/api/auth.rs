//! Who is calling: the key in `X-Api-Key`, or in the query as `x-api-key` where a header cannot be sent.
//!
//! [`Authorized`] is an extractor: a handler that takes it, or any extractor built on it, is checked. Checked before the
//! body is read.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use url::form_urlencoded;

use super::AppState;
use super::error::ApiError;
use crate::config::AuthConfig;

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
        match (by_key, is_free) {
            (true, _) => Ok(Self { by_key }),
            (false, true) if is_unwelcome_page(config, &parts.headers) => Err(ApiError::ForeignPage),
            (false, true) => Ok(Self { by_key }),
            (false, false) => Err(ApiError::Unauthorized { hint: hint(config) }),
        }
    }
}

/// Whether a page of another site is at work, on a server where everybody is let in: whoever visits that page did not
/// mean it to use the server.
pub(super) fn is_unwelcome_page(config: &AuthConfig, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN).filter(|_| config.no_key) else {
        return false;
    };
    // An origin is `scheme://host[:port]`, or `null` for a page that hides where it is from.
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (site, host) {
        (Some((_, site)), Some(host)) => !site.eq_ignore_ascii_case(host),
        _ => true,
    }
}

/// Where to find the key.
fn hint(config: &AuthConfig) -> String {
    let place = match &config.key_file {
        Some(file) => format!("in the file {}, which the first start made", file.display()),
        None => "WAHA_API_KEY".to_owned(),
    };
    format!("send the key in the X-Api-Key header; it is {place}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_file_of_a_generated_key_only() {
        let configured = AuthConfig::default();
        assert!(hint(&configured).ends_with("it is WAHA_API_KEY"));
        let generated = AuthConfig {
            key_file: Some("data/api-key".into()),
            ..configured
        };
        assert!(hint(&generated).contains("the file data/api-key,"));
    }
}
