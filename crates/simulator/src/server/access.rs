//! Keeps web pages from elsewhere away from the sandbox.
//!
//! A browser on this machine may show any page, and that page may send requests to `localhost`. Two checks stop it: the
//! Host must be one of ours (a foreign name that resolves to the loopback address is refused), and an Origin, which
//! browsers cannot leave out, must be our own. There are no CORS headers.
//!
//! What WhatsApp clients use answers to every Host, because clients on other machines name this one as they please: the
//! websocket, the certificate of our authority, and all of the TLS listener. Web pages stay out of it by their Origin alone: being the page of a Host that we do
//! not know is not enough.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use super::network::AUTHORITY_PATH;
use super::websocket::CHAT_PATH;

/// Names that only this machine answers to.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// The origin that WhatsApp clients claim when they open the websocket, and when they send and fetch media.
const WHATSAPP_ORIGIN: &str = "https://web.whatsapp.com";

/// Which hosts a listener answers to.
#[derive(Clone)]
pub(crate) struct Access {
    allowed_hosts: Arc<[String]>,
    /// Whether there is nothing but what clients ask WhatsApp for.
    is_for_clients: bool,
}

impl Access {
    /// The loopback hosts and the given ones.
    pub(crate) fn new(allowed_hosts: Vec<String>) -> Self {
        Self {
            allowed_hosts: allowed_hosts.into(),
            is_for_clients: false,
        }
    }

    /// Every host: for the TLS listener, which has nothing but what clients ask WhatsApp for.
    pub(crate) fn for_clients(self) -> Self {
        Self {
            is_for_clients: true,
            ..self
        }
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = only(headers, header::HOST).ok_or_else(|| ApiError::forbidden("one host header is needed"))?;
        let authority: Authority = host
            .parse()
            .map_err(|_| ApiError::forbidden("the host header is not a host"))?;
        let known = self.knows(authority.host());
        let is_clients = self.is_for_clients || matches!(path, CHAT_PATH | AUTHORITY_PATH);
        if !known && !is_clients {
            let name = authority.host();
            return Err(ApiError::forbidden(format!(
                "this sandbox does not answer to {name}; add it with --allow-host {name} (serve: --sandbox-allow-host)"
            )));
        }
        if !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let origin = only(headers, header::ORIGIN).unwrap_or_default();
        if (known && is_same(origin, host)) || (is_clients && origin == WHATSAPP_ORIGIN) {
            return Ok(());
        }
        Err(ApiError::forbidden("requests of other web pages are refused"))
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        LOOPBACK_HOSTS.contains(&host.as_str())
            || self
                .allowed_hosts
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(&host))
    }
}

/// Refuses what [`Access`] does not allow, before anything else looks at the request.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Result<Response, ApiError> {
    access.check(request.uri().path(), request.headers())?;
    Ok(next.run(request).await)
}

/// The value of a header that must not be repeated.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first: &HeaderValue = values.next()?;
    if values.next().is_some() {
        None
    } else {
        first.to_str().ok()
    }
}

/// Whether the origin is the page of this host. The scheme does not matter: behind a TLS proxy it is not ours.
fn is_same(origin: &str, host: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(access: &Access, path: &str, host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        access.check(path, &headers).is_ok()
    }

    #[test]
    fn only_known_hosts_are_answered() {
        let access = Access::new(vec!["sandbox.test".into()]);
        let check = |host| allowed(&access, "/", Some(host), None);
        for host in [
            "localhost",
            "localhost:3900",
            "127.0.0.1:1",
            "[::1]:3900",
            "Sandbox.Test:80",
            "LOCALHOST",
        ] {
            assert!(check(host), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "127.0.0.2",
            "web.whatsapp.com",
            "",
        ] {
            assert!(!check(host), "{host}");
        }
        assert!(!allowed(&access, "/", None, None));
    }

    #[test]
    fn a_second_host_header_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.test"));
        assert!(Access::new(Vec::new()).check("/", &headers).is_err());
    }

    #[test]
    fn the_tls_listener_answers_to_every_host_but_not_to_its_pages() {
        let access = Access::new(Vec::new()).for_clients();
        let check = |host, origin| allowed(&access, "/mms/image/token", Some(host), origin);
        for host in ["mmg.whatsapp.net", "sandbox:3901", "127.0.0.1:3901"] {
            assert!(check(host, None), "{host}");
            assert!(check(host, Some(WHATSAPP_ORIGIN)), "{host}");
            assert!(!check(host, Some("http://evil.test")), "{host}");
        }
        assert!(!check("evil.test", Some("https://evil.test")));
    }

    #[test]
    fn an_origin_must_be_our_own() {
        let access = Access::new(Vec::new());
        let check = |path, origin| allowed(&access, path, Some("localhost:3900"), Some(origin));
        assert!(check("/admin/phones", "http://localhost:3900"));
        assert!(check("/admin/phones", "https://localhost:3900"));
        for origin in [
            "null",
            "http://evil.test",
            "http://localhost",
            "http://localhost:3000",
            "localhost:3900",
            "",
        ] {
            assert!(!check("/admin/phones", origin), "{origin}");
        }
        assert!(!check("/admin/phones", WHATSAPP_ORIGIN));
        assert!(check(CHAT_PATH, WHATSAPP_ORIGIN));
        assert!(!check(CHAT_PATH, "http://evil.test"));
    }

    #[test]
    fn the_chat_answers_to_every_host_but_not_to_its_pages() {
        let access = Access::new(Vec::new());
        let check = |origin| allowed(&access, CHAT_PATH, Some("sandbox:3900"), origin);
        assert!(check(None));
        assert!(check(Some(WHATSAPP_ORIGIN)));
        // A name of theirs that resolves to us makes a page "ours".
        assert!(!check(Some("http://sandbox:3900")));
        assert!(!allowed(&access, CHAT_PATH, None, None));
        assert!(!allowed(&access, "/ws/chat/", Some("sandbox:3900"), None));
    }
}
