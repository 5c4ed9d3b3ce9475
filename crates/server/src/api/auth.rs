//! Who is calling: the key in `X-Api-Key`, or in the query as `x-api-key` where a header cannot be sent.
//!
//! [`Authorized`] is an extractor: a handler that takes it, or any extractor built on it, is checked. Checked before the
//! body is read.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use url::{Host, Url, form_urlencoded};

use super::AppState;
use super::error::ApiError;
use crate::config::{AuthConfig, HttpConfig};

/// The header with the key, and the query parameter.
const KEY_NAME: &str = "x-api-key";
/// What tells nothing but whether the server is well. Load balancers ask for it under any name.
const PROBE: &str = "/health";
/// Domains in which nobody can register a name (RFC 6761, RFC 6762, and ICANN's for private use).
const PRIVATE_DOMAINS: &[&str] = &["localhost", "local", "internal"];

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
            (false, true) if is_probe(parts) => Ok(Self { by_key }),
            (false, true) if is_foreign_page(&state.config.http, &parts.headers) => Err(ApiError::ForeignPage),
            (false, true) => Ok(Self { by_key }),
            (false, false) => Err(ApiError::Unauthorized { hint: hint(config) }),
        }
    }
}

/// Whether a request asks only whether the server is well, and no page does.
fn is_probe(parts: &Parts) -> bool {
    parts.uri.path().trim_end_matches('/') == PROBE && !parts.headers.contains_key(header::ORIGIN)
}

/// Whether a page of another site may be at work, which is not to use a server that lets it in without a key: whoever visits
/// that page did not mean it to. Such a page says where it is from in `Origin`, or has made its own name one of this machine
/// (DNS rebinding), and says that in `Host`; a browser may send nothing else that gives it away.
pub(super) fn is_foreign_page(config: &HttpConfig, headers: &HeaderMap) -> bool {
    // What is not text is no name of ours.
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let (host, origin) = (text(header::HOST), text(header::ORIGIN));
    let is_ours = host.is_none_or(|host| is_own_host(config, host));
    match origin {
        None => !is_ours,
        Some(origin)
            if config
                .own
                .iter()
                .any(|url| url.origin().ascii_serialization() == origin) =>
        {
            false
        }
        // An origin is `scheme://host[:port]`, or `null` for a page that hides where it is from.
        Some(origin) => {
            let site = origin.split_once("://").map(|(_, site)| site);
            !is_ours || site.is_none() || site.map(str::to_ascii_lowercase) != host.map(str::to_ascii_lowercase)
        }
    }
}

/// Whether a server is meant by this name: an address, a name that the settings give it, or one that nobody can register for
/// a page of theirs, as those of containers.
fn is_own_host(config: &HttpConfig, host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}")) else {
        return false;
    };
    match url.host() {
        None => false,
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let is_private = name
                .rsplit_once('.')
                .is_none_or(|(_, last)| PRIVATE_DOMAINS.contains(&last));
            is_private || config.own.iter().any(|url| url.host_str() == Some(name))
        }
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
