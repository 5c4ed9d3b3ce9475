//! What is outside of the internet and may be named by anybody who may send: `WHARF_EGRESS_ALLOW`.

use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};
use wharf_core::address::Network;

/// Hosts and networks, each with a port or without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllowList(Vec<Allowed>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Allowed {
    what: What,
    /// Any port where it is `None`.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Name(String),
    Network(Network),
}

/// Why a text is not a list of receivers. Finishes the sentence that begins with its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be hosts, addresses and networks with commas between them, each with a port or without: n8n:5678,10.0.0.0/8"
)]
pub(crate) struct AllowListError;

impl FromStr for AllowList {
    type Err = AllowListError;

    fn from_str(text: &str) -> Result<Self, AllowListError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn read(entry: &str) -> Result<Allowed, AllowListError> {
    // `[fd00::]/8:443` and `fd00::/8`, `10.0.0.0/8:443` and `n8n:443`: a port stands behind the last colon, but the colons of
    // an IPv6 address without brackets are its own.
    let (what, port) = match entry.rsplit_once(':') {
        Some((what, port)) if what.ends_with(']') || what.contains("]/") || !what.contains(':') => {
            (what, Some(port.parse().map_err(|_| AllowListError)?))
        }
        _ => (entry, None),
    };
    // `[fd00::]/8` is `fd00::/8`, and `[::1]` is `::1`.
    let what = match what.replace(['[', ']'], "").parse::<Network>() {
        Ok(network) => What::Network(network),
        // Read as the host of a URL is, so that both are spelled the same.
        Err(_) => match Host::parse(what) {
            Ok(Host::Domain(name)) => What::Name(name),
            _ => return Err(AllowListError),
        },
    };
    Ok(Allowed { what, port })
}

impl AllowList {
    /// Whether the host that a URL names is on it, whatever it resolves to.
    pub(super) fn has_name(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        self.at(port)
            .any(|allowed| matches!(&allowed.what, What::Name(name) if Some(name.as_str()) == url.host_str()))
    }

    /// Whether an address is on it, at this port; at any where there is none.
    pub(super) fn has_address(&self, address: IpAddr, port: Option<u16>) -> bool {
        self.at(port)
            .any(|allowed| matches!(allowed.what, What::Network(network) if network.contains(address)))
    }

    /// The ports at which networks are on it that are not at every port.
    pub(super) fn network_ports(&self) -> impl Iterator<Item = u16> {
        let networks = self.0.iter().filter(|allowed| matches!(allowed.what, What::Network(_)));
        networks.filter_map(|allowed| allowed.port)
    }

    fn at(&self, port: Option<u16>) -> impl Iterator<Item = &Allowed> {
        self.0
            .iter()
            .filter(move |allowed| allowed.port.is_none() || allowed.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> AllowList {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_allowed_at_their_port_only() {
        let list = list("n8n:5678, Chat.Internal");
        for (url, allowed) in [
            ("http://n8n:5678/hook", true),
            ("http://n8n/hook", false),
            ("https://chat.internal/", true),
            ("http://chat.internal:8080/", true),
            ("http://other.chat.internal/", false),
        ] {
            assert_eq!(list.has_name(&url.parse().unwrap()), allowed, "{url}");
        }
    }

    #[test]
    fn addresses_are_allowed_by_network_and_port() {
        let list = list("10.0.0.0/8,192.168.1.5:8080,fd00:1::/32,[::1]:9000,[fd01::]/16:443");
        for (address, port, allowed) in [
            ("10.255.0.1", 80, true),
            ("11.0.0.1", 80, false),
            ("::ffff:10.0.0.1", 80, true),
            ("192.168.1.5", 8080, true),
            ("192.168.1.5", 80, false),
            ("fd00:1::7", 1, true),
            ("fd00:2::7", 1, false),
            ("::1", 9000, true),
            ("::1", 9001, false),
            ("fd01::1", 443, true),
        ] {
            assert_eq!(
                list.has_address(address.parse().unwrap(), Some(port)),
                allowed,
                "{address}:{port}"
            );
        }
        assert!(
            AllowList::default() == super::AllowList(Vec::new()) && !list.has_address([192, 168, 1, 5].into(), None)
        );
        assert!(
            "0.0.0.0/0"
                .parse::<AllowList>()
                .unwrap()
                .has_address([1, 1, 1, 1].into(), None)
        );
    }

    #[test]
    fn what_is_no_receiver_is_refused() {
        for text in ["10.0.0.0/33", "n8n/8", "n8n:port", "http://n8n", "10.0.0.0/x", "a b"] {
            assert_eq!(text.parse::<AllowList>(), Err(AllowListError), "{text}");
        }
    }
}
