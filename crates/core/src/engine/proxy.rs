//! The proxy of a session: what it is, never how it is used.

use std::fmt;

/// A proxy that everything of a session goes through.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// How to speak with it.
    pub scheme: ProxyScheme,
    /// Its name or address; that of an IPv6 address stands in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who logs in at it, and with which password.
    pub credentials: Option<(String, String)>,
}

/// How to speak with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP, with CONNECT.
    Http,
    /// HTTP over TLS, with CONNECT.
    Https,
    /// SOCKS version 5. Names are resolved by the proxy.
    Socks5,
}

impl ProxyScheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            // The `h` says that the proxy resolves names.
            Self::Socks5 => "socks5h",
        }
    }
}

/// Without the credentials, so that it can stand in logs and errors.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
