//! Who is calling: the key in `X-Api-Key`, or in the query as `x-api-key` where a header cannot be sent, and whether the
//! operation is open to it.
//!
//! [`Caller`] is an extractor: a handler that takes it, or any extractor built on it, is checked. Checked before the body is
//! read. A key of a session is held to that session wherever a request names one: in the path and the query here, in the
//! body by [`super::extract`].

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use tokio::time::Instant;
use url::{Host, Url, form_urlencoded};

use super::attempts::Verdict;
use super::error::ApiError;
use super::policy::{self, Access, Policy};
use super::{AppState, address};
use crate::config::{AuthConfig, HttpConfig};
use crate::keys::{Action, Caller};

/// The header with the key, and the query parameter.
pub(super) const KEY_NAME: &str = "x-api-key";
/// The most bytes of a key; what is longer is none.
const KEY_BYTES_MAX: usize = 1_024;
/// What the path and the query call the session.
const SESSION_NAME: &str = "session";
/// The session of a filter that wants all of them.
const ALL_SESSIONS: &str = "*";
/// What tells nothing but whether the server is well. Load balancers ask for it under any name.
const PROBE: &str = "/health";
/// Domains in which nobody can register a name (RFC 6761, RFC 6762, and ICANN's for private use).
const PRIVATE_DOMAINS: &[&str] = &["localhost", "local", "internal"];

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        // Several extractors of one handler ask.
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let policy = policy::of(parts);
        let caller = authenticate(parts, policy, state)?;
        let Some(policy) = policy else {
            tracing::error!(path = parts.uri.path(), "an operation does not declare who may call it");
            return Err(ApiError::Forbidden {
                hint: "nobody may do this".to_owned(),
            });
        };
        authorize(&caller, policy.access)?;
        let in_path = session_in_path(parts, state).await?;
        let in_query = sessions_in_query(parts).filter(|name| name != ALL_SESSIONS);
        for name in in_path.into_iter().chain(in_query) {
            require_session(&caller, &name)?;
        }
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

fn authenticate(parts: &Parts, policy: Option<Policy>, state: &AppState) -> Result<Caller, ApiError> {
    let config = &state.config.auth;
    let in_query = config.key_in_query || policy.is_some_and(|policy| policy.in_query);
    let sent = sent_key(parts, in_query);
    if let Sent::One(sent) = &sent {
        if config.key.as_ref().is_some_and(|key| key.accepts(sent)) {
            return Ok(Caller::OPERATOR);
        }
        if let Some(key) = state.keys.find(sent) {
            return Ok(Caller::with(key));
        }
    }
    let is_free = config.no_key || config.exclude.iter().any(|pattern| pattern.fits(parts.uri.path()));
    match is_free {
        true if is_probe(parts) => Ok(Caller::ANYONE),
        true if is_foreign_page(&state.config.http, &parts.headers) => Err(ApiError::ForeignPage),
        true => Ok(Caller::ANYONE),
        false if sent == Sent::Nothing => Err(ApiError::Unauthorized { hint: hint(config) }),
        false => Err(refuse_wrong_key(parts, state)),
    }
}

/// The refusal of a wrong key. Who sends too many hears only that.
fn refuse_wrong_key(parts: &Parts, state: &AppState) -> ApiError {
    let address = address::of(parts, &state.config.http.trusted_proxies);
    let retry_after = match state.attempts.count(address, Instant::now()) {
        Verdict::Wrong => {
            return ApiError::Unauthorized {
                hint: hint(&state.config.auth),
            };
        }
        Verdict::LimitReached(rest) => {
            let address = address.map(tracing::field::display);
            tracing::warn!(address, "too many wrong api keys come from one address");
            rest
        }
        Verdict::TooMany(rest) => rest,
    };
    let what = "too many wrong api keys came from this address, wait a while; a right one is let in at any time";
    ApiError::TooOften {
        what: what.to_owned(),
        retry_after,
    }
}

fn authorize(caller: &Caller, access: Access) -> Result<(), ApiError> {
    match access {
        Access::AnyKey => Ok(()),
        Access::Action(action) => require_action(caller, action),
        Access::Admin if caller.is_admin() => Ok(()),
        Access::Admin => Err(ApiError::Forbidden {
            hint: "only the key of an administrator may do this".to_owned(),
        }),
    }
}

/// Refuses a caller who may not do this. For what an operation needs beyond its policy.
pub(super) fn require_action(caller: &Caller, action: Action) -> Result<(), ApiError> {
    match caller.may(action) {
        true => Ok(()),
        false => Err(ApiError::Forbidden {
            hint: format!("the key does not have the action '{}'", action.as_str()),
        }),
    }
}

/// Refuses a session that is not the caller's. Says the same whether or not there is such a session.
pub(super) fn require_session(caller: &Caller, name: &str) -> Result<(), ApiError> {
    match caller.session() {
        Some(own) if own.as_str() != name => Err(ApiError::Forbidden {
            hint: format!("the key is for the session '{own}' only"),
        }),
        _ => Ok(()),
    }
}

/// The session that the path names.
pub(super) async fn session_in_path(parts: &mut Parts, state: &AppState) -> Result<Option<String>, ApiError> {
    match RawPathParams::from_request_parts(parts, state).await {
        Ok(path) => Ok(path
            .iter()
            .find_map(|(name, value)| (name == SESSION_NAME).then(|| value.to_owned()))),
        // There is nothing to be named in the path.
        Err(RawPathParamsRejection::MissingPathParams(_)) => Ok(None),
        Err(error) => Err(ApiError::Unreadable(error.body_text())),
    }
}

/// Every session that the query names.
pub(super) fn sessions_in_query(parts: &Parts) -> impl Iterator<Item = String> {
    form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == SESSION_NAME)
        .map(|(_, value)| value.into_owned())
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
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    One(String),
    /// More than one, or one that cannot be a key: nobody can say which is meant.
    Unclear,
}

/// A key in the query counts only where it is welcome: elsewhere it would end up in logs and histories for nothing.
fn sent_key(parts: &Parts, in_query: bool) -> Sent {
    let mut headers = parts.headers.get_all(KEY_NAME).iter();
    let in_header = (headers.next(), headers.next());
    let query = parts.uri.query().filter(|_| in_query).unwrap_or_default();
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == KEY_NAME);
    let in_query = (values.next(), values.next());
    let key = match (in_header, in_query) {
        ((None, _), (None, _)) => return Sent::Nothing,
        ((Some(_), Some(_)), _) | (_, (Some(_), Some(_))) => None,
        ((Some(header), None), (None, _)) => header.to_str().ok().map(str::to_owned),
        ((None, _), (Some((_, value)), None)) => Some(value.into_owned()),
        // The same one twice is clear.
        ((Some(header), None), (Some((_, value)), None)) => (*header == *value).then(|| value.into_owned()),
    };
    key.filter(|key| key.len() <= KEY_BYTES_MAX)
        .map_or(Sent::Unclear, Sent::One)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[&[u8]]) -> Parts {
        let mut request = axum::http::Request::builder().uri(uri);
        for header in headers {
            request = request.header(KEY_NAME, axum::http::HeaderValue::from_bytes(header).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_carries_one_key_or_none_that_counts() {
        let one = |key: &str| Sent::One(key.to_owned());
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for (uri, headers, in_query, sent) in [
            ("/", [].as_slice(), true, Sent::Nothing),
            ("/", &[b"a".as_slice()], false, one("a")),
            ("/", &[b"".as_slice()], false, one("")),
            ("/", &[b"a".as_slice(), b"a"], false, Sent::Unclear),
            ("/", &[b"a".as_slice(), b"b"], false, Sent::Unclear),
            ("/", &[b"".as_slice(), b"a"], false, Sent::Unclear),
            ("/", &[b"\xff".as_slice()], false, Sent::Unclear),
            ("/", &[long.as_bytes()], false, Sent::Unclear),
            ("/?x-api-key=a", &[], true, one("a")),
            ("/?x-api-key=a%20b", &[], true, one("a b")),
            ("/?X-Api-Key=a", &[], true, Sent::Nothing),
            ("/?x-api-key=a", &[], false, Sent::Nothing),
            ("/?x-api-key=a&x-api-key=b", &[], true, Sent::Unclear),
            ("/?x-api-key=a", &[b"a".as_slice()], true, one("a")),
            ("/?x-api-key=b", &[b"a".as_slice()], true, Sent::Unclear),
            ("/?x-api-key=b", &[b"a".as_slice()], false, one("a")),
        ] {
            assert_eq!(sent_key(&request(uri, headers), in_query), sent, "{uri} {headers:?}");
        }
    }

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
