//! The one HTTP client for addresses that a caller can name.
//!
//! Literal addresses are checked in [`check_url`], resolved ones in the resolver, and the connection goes to exactly the
//! addresses that were checked, so a name that changes its mind in between gains nothing. Redirects are not followed and
//! no proxy of the environment is used. Loopback and private receivers are allowed, because webhooks are set with the
//! administrator's key; link-local and metadata addresses never are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};
use wharf_core::address::is_forbidden;

/// The longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most idle connections that are kept per receiver.
const IDLE_PER_HOST_MAX: usize = 8;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an address is not posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// It is not an `http` or `https` URL with a host.
    #[error("not an http or https url")]
    NotHttp,
    /// It names an address that is never contacted.
    #[error("address is link-local, a metadata service or not a host")]
    Forbidden,
}

/// The client could not be made, because the TLS configuration was refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up outbound https")]
pub struct EgressError(#[source] pub wharf_core::BoxError);

/// Parses a URL that a caller named, and refuses what is never contacted.
pub(crate) fn check_url(text: &str) -> Result<Url, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::NotHttp)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::NotHttp);
    }
    let literal = match url.host() {
        None => return Err(UrlError::NotHttp),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    match literal {
        Some(address) if is_forbidden(address) => Err(UrlError::Forbidden),
        _ => Ok(url),
    }
}

/// The client; shared, because it holds the pool of connections.
pub(crate) fn client() -> Result<reqwest::Client, EgressError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EgressError(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    #[expect(clippy::disallowed_methods, reason = "this is egress")]
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .dns_resolver(GuardedResolver)
        .build()
        .map_err(|error| EgressError(error.into()))
}

/// Resolves names with the system's resolver and drops the addresses that are never contacted.
struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| !is_forbidden(address.ip())).collect();
            if allowed.is_empty() {
                return Err(UrlError::Forbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_may_be_public_private_and_loopback() {
        for url in [
            "https://example.com/hook",
            "http://localhost:3900/hook/me",
            "http://127.0.0.1/",
            "http://10.0.0.1/",
            "http://192.168.1.1:8080/x?y",
            "http://[::1]/",
            "http://[fd00:ec3::254]/",
            "http://[fd20:ce::1]/",
            "http://[2001:db8::a9fe:a9fe]/",
            "http://[64:ff9b::203.0.113.1]/",
            "http://[2001:0:cb00:7101::34ff:8efe]/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            assert!(check_url(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_spelling() {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://0xA9FEA9FE/",
            "http://2852039166/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fd00:ec2::23]/",
            "http://[fd00:ec2:1:2:3:4:5:6]/",
            "http://[fd20:ce::254]/",
            "http://168.63.129.16/",
            "http://[::ffff:168.63.129.16]/",
            "http://[::169.254.169.254]/",
            "http://[::ffff:0:169.254.169.254]/",
            "http://[64:ff9b:1::169.254.169.254]/",
            "http://[64:ff9b:1:a9fe:a9:fe00::]/",
            "http://[2001:0:a9fe:a9fe::1]/",
            "http://[2001:0:cb00:7101::5601:5601]/",
            "http://[2002:a83f:8110::1]/",
            "http://100.100.100.200/",
            "http://0.0.0.0/",
            "http://224.0.0.1/",
        ] {
            assert_eq!(check_url(url), Err(UrlError::Forbidden), "{url}");
        }
    }

    #[test]
    fn other_texts_are_not_urls() {
        for url in [
            "",
            "example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "http://",
            "javascript:alert(1)",
        ] {
            assert_eq!(check_url(url), Err(UrlError::NotHttp), "{url}");
        }
    }
}
