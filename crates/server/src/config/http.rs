//! Where and how the HTTP server listens.

use std::net::{IpAddr, SocketAddr};

use url::Url;
use wharf_core::address::Network;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[
    &PORT,
    &LISTEN,
    &HOSTNAME,
    &SCHEMA,
    &BASE_URL,
    &PUBLIC_URL,
    &TRUSTED_PROXIES,
];

const PORT: Variable = Variable {
    names: &["PORT", "WHATSAPP_API_PORT"],
    default: "3000",
    about: "The port to listen on.",
    secret: false,
};
const LISTEN: Variable = Variable {
    names: &["WHARF_LISTEN"],
    default: "127.0.0.1",
    about: "The address to listen on; `0.0.0.0` for all, as in the container image.",
    secret: false,
};
const HOSTNAME: Variable = Variable {
    names: &["WHATSAPP_API_HOSTNAME"],
    default: "localhost",
    about: "The host name in links to this server.",
    secret: false,
};
const SCHEMA: Variable = Variable {
    names: &["WHATSAPP_API_SCHEMA"],
    default: "http",
    about: "The scheme in links to this server, `http` or `https`.",
    secret: false,
};
const BASE_URL: Variable = Variable {
    names: &["WAHA_BASE_URL"],
    default: "",
    about: "What links to this server begin with, where scheme, host name and port do not say it.",
    secret: false,
};
const PUBLIC_URL: Variable = Variable {
    names: &["WAHA_PUBLIC_URL"],
    default: "",
    about: "What links for people begin with, such as the one to a QR code, where they reach this server under another address \
            than programs do; otherwise `WAHA_BASE_URL`.",
    secret: false,
};
const TRUSTED_PROXIES: Variable = Variable {
    names: &["WHARF_TRUSTED_PROXIES"],
    default: "",
    about: "The addresses and networks of reverse proxies, separated by commas: `127.0.0.1,10.0.0.0/8`. Only from them \
            `X-Forwarded-For` is believed, which tells the addresses that send wrong keys apart.",
    secret: false,
};

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// The address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What links to this server begin with, without a slash at the end.
    pub base_url: String,
    /// What links for people begin with, without a slash at the end.
    pub public_url: String,
    /// Who is believed when they say for whom they ask.
    pub trusted_proxies: Vec<Network>,
    /// The addresses under which this server is meant, by all of these settings.
    pub(crate) own: Vec<Url>,
}

impl HttpConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let port: u16 = environment.parse(&PORT, "a port number from 0 to 65535")?;
        let address: IpAddr = environment.parse(&LISTEN, "an IP address")?;
        let scheme = environment.text(&SCHEMA);
        if !matches!(scheme, "http" | "https") {
            return Err(environment.wrong(&SCHEMA, "must be http or https"));
        }
        let by_name = format!("{scheme}://{}:{port}", environment.text(&HOSTNAME));
        if Url::parse(&by_name).is_err() {
            return Err(environment.wrong(&HOSTNAME, "must be a host name"));
        }
        let base_url = read_url(environment, &BASE_URL)?.unwrap_or_else(|| by_name.clone());
        let public_url = read_url(environment, &PUBLIC_URL)?.unwrap_or_else(|| base_url.clone());
        let own = [&by_name, &base_url, &public_url];
        Ok(Self {
            listen: SocketAddr::new(address, port),
            own: own.into_iter().filter_map(|url| Url::parse(url).ok()).collect(),
            base_url,
            public_url,
            trusted_proxies: read_networks(environment, &TRUSTED_PROXIES)?,
        })
    }
}

fn read_networks(environment: &Environment, variable: &Variable) -> Result<Vec<Network>, ConfigError> {
    let entries = environment.text(variable).split(',').map(str::trim);
    let networks = entries.filter(|entry| !entry.is_empty()).map(str::parse);
    let networks = networks.collect::<Result<_, _>>();
    networks.map_err(|_| environment.wrong(variable, "must be IP addresses and networks with commas between them"))
}

/// A URL without the slash at its end, if one is set.
fn read_url(environment: &Environment, variable: &Variable) -> Result<Option<String>, ConfigError> {
    let Some((_, text)) = environment.set(variable) else {
        return Ok(None);
    };
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(text.trim_end_matches('/').to_owned())),
        _ => Err(environment.wrong(variable, "must be an http or https URL")),
    }
}
