//! The one place that makes HTTP clients for addresses that a caller can name.
//!
//! What a URL says is checked in [`check`](Egress::check), what its name resolves to in a [`Rule`], and the connection
//! goes to exactly the addresses that were checked, so a name that changes its mind in between gains nothing. The clients for
//! webhooks follow no redirects; files and pages come through [`fetch`](Egress::fetch), which checks each. No proxy of the
//! environment is used. How far somebody reaches is a [`Reach`]: the operator's receivers may be loopback and private ones, all
//! else that callers name only public ones and those on the [`AllowList`]; link-local and metadata addresses are nobody's.

mod allow;
mod connect;
mod fetch;
mod tls;

pub(crate) use allow::{AllowList, AllowListError};
pub(crate) use fetch::{Fetch, FetchError, Fetched};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use url::{Host, Url};
use wharf_core::address::{is_forbidden, is_public};
use wharf_core::lookup::Lookup;

/// The longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most idle connections that are kept per receiver.
const IDLE_PER_HOST_MAX: usize = 8;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where somebody's requests may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everywhere but to what is never contacted.
    Private,
    /// To public addresses, and to what is allow-listed.
    Public,
}

/// Why an address is not posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// It is not an `http` or `https` URL with a host.
    #[error("not an http or https url")]
    NotHttp,
    /// It names an address that is never contacted.
    #[error("address is link-local, a metadata service or not a host")]
    Forbidden,
    /// It names an address that is not public, and the one who named it may name only such.
    #[error("address is not a public one; WHARF_EGRESS_ALLOW has the exceptions")]
    NotPublic,
}

/// The clients could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The TLS configuration was refused.
    #[error("cannot set up outbound https")]
    Client(#[source] wharf_core::BoxError),
    /// The file of `WHARF_EGRESS_CA_FILE` is of no use.
    #[error("cannot take certificates from {}", file.display())]
    Authorities {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: wharf_core::BoxError,
    },
}

/// The clients; shared, because they hold the pools of connections.
pub(crate) struct Egress {
    allow: Arc<AllowList>,
    private: Client,
    private_unverified: Client,
    public: Client,
    /// The same, for the ports at which the allow-list has networks of their own. A resolver does not learn the port.
    public_at: BTreeMap<u16, Client>,
    lookup: Arc<dyn Lookup>,
    tls: Arc<ClientConfig>,
}

impl Egress {
    /// Clients that trust the public authorities and those in `ca_file`.
    pub(crate) fn new(allow: AllowList, ca_file: Option<&Path>, lookup: Arc<dyn Lookup>) -> Result<Self, EgressError> {
        let (allow, tls) = (Arc::new(allow), tls::verified(ca_file)?);
        let resolver = |rule| Resolver {
            rule,
            lookup: Arc::clone(&lookup),
        };
        let public = |port| {
            let allow = Arc::clone(&allow);
            client(tls.clone(), resolver(Rule::Public { allow, port }))
        };
        let ports = allow.network_ports();
        Ok(Self {
            private: client(tls.clone(), resolver(Rule::Private))?,
            private_unverified: client(tls::unverified()?, resolver(Rule::Private))?,
            public: public(None)?,
            public_at: ports
                .map(|port| Ok((port, public(Some(port))?)))
                .collect::<Result<_, EgressError>>()?,
            tls: Arc::new(tls),
            allow,
            lookup,
        })
    }

    /// Parses a URL that somebody named, and refuses what is out of reach. What its name resolves to is checked later.
    pub(crate) fn check(&self, text: &str, reach: Reach) -> Result<Url, UrlError> {
        let url = check_url(text)?;
        if reach == Reach::Private || self.allow.has_name(&url) {
            return Ok(url);
        }
        let is_local = match url.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            _ => {
                let port = url.port_or_known_default();
                literal(&url).is_some_and(|address| !is_public(address) && !self.allow.has_address(address, port))
            }
        };
        match is_local {
            true => Err(UrlError::NotPublic),
            false => Ok(url),
        }
    }

    /// The client for a URL that was checked. Only the operator may do without a certificate.
    pub(crate) fn client(&self, url: &Url, reach: Reach, verifies: bool) -> &Client {
        match reach {
            Reach::Private if verifies => &self.private,
            Reach::Private => &self.private_unverified,
            Reach::Public if self.allow.has_name(url) => &self.private,
            Reach::Public => {
                let port = url.port_or_known_default();
                port.and_then(|port| self.public_at.get(&port)).unwrap_or(&self.public)
            }
        }
    }
}

/// Parses a URL that a caller named, and refuses what is never contacted.
pub(crate) fn check_url(text: &str) -> Result<Url, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::NotHttp)?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(UrlError::NotHttp);
    }
    match literal(&url) {
        Some(address) if is_forbidden(address) => Err(UrlError::Forbidden),
        _ => Ok(url),
    }
}

/// The address that a URL has in place of a name.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
    }
}

fn client(tls: ClientConfig, resolver: Resolver) -> Result<Client, EgressError> {
    #[expect(clippy::disallowed_methods, reason = "this is egress")]
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .dns_resolver(resolver)
        .build()
        .map_err(|error| EgressError::Client(error.into()))
}

/// Which addresses may be connected to.
#[derive(Clone)]
enum Rule {
    Private,
    Public { allow: Arc<AllowList>, port: Option<u16> },
}

impl Rule {
    fn check(&self, address: IpAddr) -> Result<(), UrlError> {
        match self {
            _ if is_forbidden(address) => Err(UrlError::Forbidden),
            Self::Public { allow, port } if !is_public(address) && !allow.has_address(address, *port) => {
                Err(UrlError::NotPublic)
            }
            _ => Ok(()),
        }
    }

    /// What of the addresses behind a name may be connected to. One address that is not public gives away a name that must be,
    /// whatever else it has; the operator's own machines may well have a link-local address beside others.
    fn select(&self, mut found: Vec<IpAddr>) -> Result<Vec<IpAddr>, UrlError> {
        let refusal = found.iter().find_map(|address| self.check(*address).err());
        found.retain(|address| self.check(*address).is_ok());
        match (self, refusal) {
            (Self::Public { .. }, Some(refusal)) => Err(refusal),
            (Self::Private, Some(refusal)) if found.is_empty() => Err(refusal),
            _ => Ok(found),
        }
    }
}

/// Resolves names for a client, as far as its rule lets it.
struct Resolver {
    rule: Rule,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rule, lookup) = (self.rule.clone(), Arc::clone(&self.lookup));
        Box::pin(async move {
            let found = rule.select(lookup.addresses(name.as_str()).await?)?;
            let found: Vec<_> = found.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::lookup::SystemLookup;

    use super::*;

    fn egress(allow: &str) -> Egress {
        Egress::new(allow.parse().unwrap(), None, Arc::new(SystemLookup)).unwrap()
    }

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
    fn a_tenant_reaches_public_addresses_and_what_is_allow_listed() {
        let egress = egress("n8n:5678,10.1.0.0/16,192.168.1.5:8080");
        for (url, expected) in [
            ("https://example.com/", Ok(())),
            ("https://1.1.1.1/", Ok(())),
            ("http://n8n:5678/", Ok(())),
            ("http://10.1.2.3/", Ok(())),
            ("http://192.168.1.5:8080/", Ok(())),
            ("http://192.168.1.5/", Err(UrlError::NotPublic)),
            ("http://10.2.0.1/", Err(UrlError::NotPublic)),
            ("http://localhost/", Err(UrlError::NotPublic)),
            ("http://localhost./", Err(UrlError::NotPublic)),
            ("http://127.0.0.1:9/", Err(UrlError::NotPublic)),
            ("http://2130706433/", Err(UrlError::NotPublic)),
            ("http://127.1/", Err(UrlError::NotPublic)),
            ("http://[::1]/", Err(UrlError::NotPublic)),
            ("http://[::ffff:127.0.0.1]/", Err(UrlError::NotPublic)),
            ("http://[2002:7f00:1::]/", Err(UrlError::NotPublic)),
            ("http://169.254.169.254/", Err(UrlError::Forbidden)),
            ("http:/\\127.0.0.1", Err(UrlError::NotPublic)),
            ("http://good@127.0.0.1/", Err(UrlError::NotPublic)),
        ] {
            assert_eq!(egress.check(url, Reach::Public).map(drop), expected, "{url}");
        }
        assert!(egress.check("http://127.0.0.1/", Reach::Private).is_ok());
    }

    #[tokio::test]
    async fn what_a_name_resolves_to_is_checked_at_every_connection() {
        let egress = egress("127.0.0.0/8:1,[::1]:1");
        for (port, expected) in [(1, None), (2, Some(UrlError::NotPublic))] {
            let url: Url = format!("http://localhost:{port}/").parse().unwrap();
            let error = egress
                .client(&url, Reach::Public, true)
                .get(url)
                .send()
                .await
                .unwrap_err();
            let mut source = std::error::Error::source(&error);
            let mut refusal = None;
            while let Some(cause) = source {
                refusal = refusal.or_else(|| cause.downcast_ref::<UrlError>().copied());
                source = cause.source();
            }
            assert_eq!(refusal, expected, "{error:?}");
        }
    }

    #[test]
    fn one_address_out_of_reach_gives_away_a_name_that_must_be_public() {
        let addresses = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let (allow, port) = (Arc::new("10.0.0.1".parse().unwrap()), Some(80));
        let public = Rule::Public { allow, port };
        for (found, of_public, of_private) in [
            (&["1.1.1.1", "1.0.0.1"][..], Ok(2), Ok(2)),
            (&["1.1.1.1", "10.0.0.1"], Ok(2), Ok(2)),
            (&["1.1.1.1", "127.0.0.1"], Err(UrlError::NotPublic), Ok(2)),
            (&["1.1.1.1", "fe80::1"], Err(UrlError::Forbidden), Ok(1)),
            (&["fe80::1"], Err(UrlError::Forbidden), Err(UrlError::Forbidden)),
        ] {
            let selected = |rule: &Rule| rule.select(addresses(found)).map(|addresses| addresses.len());
            assert_eq!(
                (selected(&public), selected(&Rule::Private)),
                (of_public, of_private),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let made = Egress::new(AllowList::default(), Some(file.path()), Arc::new(SystemLookup));
        let error = made.err().unwrap();
        assert!(matches!(error, EgressError::Authorities { .. }), "{error}");
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
