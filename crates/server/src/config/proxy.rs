//! The proxies that sessions connect through, where their own configuration names none.

use wharf_core::address::is_forbidden;
use wharf_core::engine::{Proxy, ProxyScheme};
use wharf_core::ids::SessionName;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&SERVER, &SERVER_LIST, &INDEX_PREFIX, &USERNAME, &PASSWORD];

const SERVER: Variable = Variable {
    names: &["WHATSAPP_PROXY_SERVER"],
    default: "",
    about: "The proxy of every session that has no `config.proxy`: `host:port`, an HTTP proxy that knows CONNECT; or a URL that \
            begins with `http://`, `https://`, `socks5://` or `socks5h://`. All that a session sends goes through it, also the \
            question which version of WhatsApp Web is current, and it resolves the names. `HTTP_PROXY` and the like are not looked at.",
    secret: false,
};
const SERVER_LIST: Variable = Variable {
    names: &["WHATSAPP_PROXY_SERVER_LIST"],
    default: "",
    about: "Several such proxies, with commas between them, where `WHATSAPP_PROXY_SERVER` is not set. Sessions \
            take turns: each gets the first turn that is free when it is created, keeps it, and gives it back when it is \
            deleted.",
    secret: false,
};
const INDEX_PREFIX: Variable = Variable {
    names: &["WHATSAPP_PROXY_SERVER_INDEX_PREFIX"],
    default: "",
    about: "A session whose name contains this and ends with a number gets the proxy of that number in the list: with `proxy-`, \
            the session `proxy-3` gets the third. After the last one it begins again.",
    secret: false,
};
const USERNAME: Variable = Variable {
    names: &["WHATSAPP_PROXY_SERVER_USERNAME"],
    default: "",
    about: "Who logs in at these proxies.",
    secret: false,
};
const PASSWORD: Variable = Variable {
    names: &["WHATSAPP_PROXY_SERVER_PASSWORD"],
    default: "",
    about: "With which password.",
    secret: true,
};

/// What SOCKS5 allows for a user name and for a password each, in bytes (RFC 1929).
const CREDENTIAL_BYTES_MAX: usize = 255;
/// The port of a SOCKS proxy that names none.
const SOCKS_PORT: u16 = 1080;

/// The proxies of sessions that have none of their own.
#[derive(Debug, Clone, Default)]
pub struct ProxiesConfig {
    servers: Vec<Proxy>,
    index_prefix: Option<String>,
}

impl ProxiesConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let variable = match environment.set(&SERVER) {
            Some(_) => &SERVER,
            None => &SERVER_LIST,
        };
        let listed = environment.text(variable).split(',').map(str::trim);
        let (username, password) = (environment.text(&USERNAME), environment.text(&PASSWORD));
        let servers = listed
            .filter(|server| !server.is_empty())
            .map(|server| read_proxy(server, Some(username), Some(password)))
            .collect::<Result<_, _>>()
            // Without the value, which may have a password where none belongs.
            .map_err(|problem| ConfigError {
                variable: variable.names[0].to_owned(),
                problem: problem.to_string(),
            })?;
        let prefix = environment.set(&INDEX_PREFIX);
        Ok(Self {
            servers,
            index_prefix: prefix.map(|(_, prefix)| prefix.to_owned()),
        })
    }

    /// The proxy of a session that has none of its own; `turn` is its place among them.
    pub(crate) fn of(&self, session: &SessionName, turn: usize) -> Option<&Proxy> {
        let index = self.number(session).unwrap_or(turn);
        self.servers.get(index.checked_rem(self.servers.len())?)
    }

    /// Which one the session's name asks for, from 0 on.
    fn number(&self, session: &SessionName) -> Option<usize> {
        let name = session.as_str();
        if !name.contains(self.index_prefix.as_deref()?) {
            return None;
        }
        let digits = &name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        digits.parse::<usize>().ok()?.checked_sub(1)
    }
}

/// Why something is no proxy. Finishes the sentence that begins with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("must be host:port, or a URL that begins with http://, https://, socks5:// or socks5h://")]
    Server,
    #[error("must not be link-local or a metadata service")]
    Forbidden,
    #[error("must have no credentials in it, they belong into username and password")]
    Credentials,
    #[error(
        "must go with a username and a password of at most {CREDENTIAL_BYTES_MAX} bytes, and no colon in the username"
    )]
    Login,
}

/// Reads a proxy as WAHA writes it. Empty credentials are none.
pub(crate) fn read_proxy(server: &str, username: Option<&str>, password: Option<&str>) -> Result<Proxy, ProxyError> {
    let (scheme, rest) = match server.split_once("://") {
        None => (ProxyScheme::Http, server),
        Some(("http", rest)) => (ProxyScheme::Http, rest),
        Some(("https", rest)) => (ProxyScheme::Https, rest),
        Some(("socks5" | "socks5h", rest)) => (ProxyScheme::Socks5, rest),
        Some(_) => return Err(ProxyError::Server),
    };
    let url: url::Url = format!("{}://{rest}", scheme.as_str())
        .parse()
        .map_err(|_| ProxyError::Server)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ProxyError::Credentials);
    }
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().filter(|host| is_bare && !host.is_empty());
    // A name, and a number in another spelling, is looked at when it is resolved.
    let literal = host.and_then(|host| host.trim_matches(['[', ']']).parse().ok());
    if literal.is_some_and(is_forbidden) {
        return Err(ProxyError::Forbidden);
    }
    let (username, password) = (username.unwrap_or_default(), password.unwrap_or_default());
    let fits = |text: &str| text.len() <= CREDENTIAL_BYTES_MAX;
    if !fits(username) || !fits(password) || username.contains(':') {
        return Err(ProxyError::Login);
    }
    let has_login = !username.is_empty() || !password.is_empty();
    Ok(Proxy {
        scheme,
        host: host.ok_or(ProxyError::Server)?.to_owned(),
        port: url.port_or_known_default().unwrap_or(SOCKS_PORT),
        credentials: has_login.then(|| (username.to_owned(), password.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ProxiesConfig, ConfigError> {
        ProxiesConfig::read(&variables.iter().copied().collect())
    }

    fn of(config: &ProxiesConfig, session: &str, turn: usize) -> String {
        let found = config.of(&session.parse().unwrap(), turn);
        found.map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn a_proxy_is_read_as_waha_writes_it() {
        for (server, expected) in [
            ("localhost:3128", "http://localhost:3128"),
            ("http://proxy.example.com", "http://proxy.example.com:80"),
            ("https://proxy.example.com/", "https://proxy.example.com:443"),
            ("socks5://10.0.0.1:9050", "socks5h://10.0.0.1:9050"),
            ("socks5h://proxy.example.com", "socks5h://proxy.example.com:1080"),
            ("[::1]:3128", "http://[::1]:3128"),
        ] {
            assert_eq!(
                read_proxy(server, None, Some("")).unwrap().to_string(),
                expected,
                "{server}"
            );
        }
        let login = read_proxy("localhost:1", Some("me"), None).unwrap();
        assert_eq!(login.credentials, Some(("me".to_owned(), String::new())));
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        let long = "x".repeat(CREDENTIAL_BYTES_MAX + 1);
        for (server, username, expected) in [
            ("socks4://localhost:1080", "", ProxyError::Server),
            ("file:///etc/passwd", "", ProxyError::Server),
            ("localhost:port", "", ProxyError::Server),
            ("http://localhost:1/path", "", ProxyError::Server),
            ("socks5://", "", ProxyError::Server),
            ("169.254.169.254:80", "", ProxyError::Forbidden),
            ("https://0xA9FEA9FE", "", ProxyError::Forbidden),
            ("socks5://169.254.169.254", "", ProxyError::Forbidden),
            ("socks5h://[fe80::1]:1080", "", ProxyError::Forbidden),
            ("[fd00:ec2::254]:80", "", ProxyError::Forbidden),
            ("me:secret@localhost:1", "", ProxyError::Credentials),
            ("localhost:1", "a:b", ProxyError::Login),
            ("localhost:1", long.as_str(), ProxyError::Login),
        ] {
            assert_eq!(read_proxy(server, Some(username), None), Err(expected), "{server}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        let proxy = read_proxy("localhost:1", Some("me"), Some("secret")).unwrap();
        assert_eq!(format!("{proxy} {proxy:?}"), "http://localhost:1 http://localhost:1");
        let error = read(&[("WHATSAPP_PROXY_SERVER", "me:secret@localhost:1")]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.to_string().starts_with("WHATSAPP_PROXY_SERVER must "), "{error}");
    }

    #[test]
    fn sessions_take_turns_or_name_a_number() {
        let list = ("WHATSAPP_PROXY_SERVER_LIST", "one:1, two:2,three:3");
        let turns = read(&[list]).unwrap();
        assert_eq!(of(&turns, "proxy-3", 0), "http://one:1");
        assert_eq!(of(&turns, "a", 4), "http://two:2");
        let numbered = read(&[list, ("WHATSAPP_PROXY_SERVER_INDEX_PREFIX", "proxy-")]).unwrap();
        for (session, expected) in [
            ("proxy-1", "http://one:1"),
            ("eu-proxy-3", "http://three:3"),
            ("proxy-5", "http://two:2"),
            ("proxy-x", "http://two:2"),
            ("other-3", "http://two:2"),
        ] {
            assert_eq!(of(&numbered, session, 1), expected, "{session}");
        }
    }

    #[test]
    fn one_server_goes_before_the_list_and_none_is_none() {
        let both = [
            ("WHATSAPP_PROXY_SERVER", "only:1"),
            ("WHATSAPP_PROXY_SERVER_LIST", "one:1,two:2"),
            ("WHATSAPP_PROXY_SERVER_USERNAME", "me"),
            ("WHATSAPP_PROXY_SERVER_PASSWORD", "secret"),
        ];
        let config = read(&both).unwrap();
        assert_eq!(of(&config, "a", 1), "http://only:1");
        let login = Some(("me".to_owned(), "secret".to_owned()));
        assert_eq!(config.servers[0].credentials, login);
        assert_eq!(of(&read(&[]).unwrap(), "a", 1), "");
    }
}
