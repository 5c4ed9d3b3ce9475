//! Which network this process may talk to, and the one check that keeps it there.
//!
//! A production build reaches WhatsApp's own hosts over TLS and nothing else, whatever address a message carries. A
//! sandbox build does not verify the Noise certificate chain, so it must never reach WhatsApp: it dials the host of the
//! configured sandbox only. Every socket and every HTTP request of this crate passes [`Gate::check`].

use url::{Host, Url};
use wacore::net::WHATSAPP_WEB_WS_URL;
use wharf_core::engine::Proxy;

use crate::error::ConfigError;

/// The domains that are WhatsApp's.
const WHATSAPP_DOMAINS: [&str; 2] = ["whatsapp.net", "whatsapp.com"];

/// The network that sessions connect to.
#[derive(Debug, Clone)]
pub enum Network {
    /// WhatsApp itself. A build with the feature `sandbox` refuses it.
    WhatsApp,
    /// A sandbox network: our simulator, wherever it runs.
    #[cfg(feature = "sandbox")]
    Sandbox {
        /// Its websocket, for example `ws://127.0.0.1:3900/ws/chat`.
        url: Url,
        /// The certificate, as PEM, of the authority behind its media hosts; where it is `None`, the sandbox is asked.
        authority: Option<String>,
    },
}

#[cfg(feature = "sandbox")]
impl Network {
    /// The sandbox at this websocket, whose authority is not known yet.
    pub fn sandbox(url: Url) -> Self {
        Self::Sandbox { url, authority: None }
    }
}

/// Lets connections to the configured network pass, and no others.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    chat_url: Url,
    sandbox: Option<Host<String>>,
}

/// The address leads somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this build does not connect to {0}")]
pub(crate) struct Elsewhere(String);

impl Gate {
    pub(crate) fn new(network: &Network) -> Result<Self, ConfigError> {
        match network {
            Network::WhatsApp if cfg!(feature = "sandbox") => Err(ConfigError::SandboxOnly),
            Network::WhatsApp => {
                let chat_url = Url::parse(WHATSAPP_WEB_WS_URL).map_err(|_| ConfigError::Url)?;
                Ok(Self {
                    chat_url,
                    sandbox: None,
                })
            }
            #[cfg(feature = "sandbox")]
            Network::Sandbox { url, .. } => Self::sandbox(url),
        }
    }

    #[cfg(feature = "sandbox")]
    fn sandbox(url: &Url) -> Result<Self, ConfigError> {
        let host = url.host().ok_or(ConfigError::Url)?.to_owned();
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err(ConfigError::Url);
        }
        if is_whatsapp(&host) {
            return Err(ConfigError::SandboxOnly);
        }
        Ok(Self {
            chat_url: url.clone(),
            sandbox: Some(host),
        })
    }

    /// Lets one address pass, whatever the build: for the test that a build for WhatsApp refuses other networks.
    #[cfg(test)]
    #[cfg(not(feature = "sandbox"))]
    pub(crate) fn anywhere(chat_url: Url) -> Self {
        let sandbox = chat_url.host().map(|host| host.to_owned());
        Self { chat_url, sandbox }
    }

    /// Where the chat connection goes.
    pub(crate) fn chat_url(&self) -> &Url {
        &self.chat_url
    }

    /// Whether the network is a sandbox.
    pub(crate) fn is_sandbox(&self) -> bool {
        self.sandbox.is_some()
    }

    /// Refuses addresses outside of the network.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Elsewhere> {
        let Some(host) = url.host() else {
            return Err(Elsewhere(url.scheme().to_owned()));
        };
        let host = host.to_owned();
        let inside = match &self.sandbox {
            Some(sandbox) => *sandbox == host && !is_whatsapp(&host),
            None => matches!(url.scheme(), "https" | "wss") && is_whatsapp(&host),
        };
        inside.then_some(()).ok_or_else(|| Elsewhere(host.to_string()))
    }

    /// Refuses a proxy of a sandbox build that is WhatsApp. Any other host can be one: what it is asked for was checked.
    pub(crate) fn check_proxy(&self, proxy: &Proxy) -> Result<(), Elsewhere> {
        let host = Host::Domain(proxy.host.clone());
        match self.is_sandbox() && is_whatsapp(&host) {
            true => Err(Elsewhere(proxy.host.clone())),
            false => Ok(()),
        }
    }
}

fn is_whatsapp(host: &Host<String>) -> bool {
    let Host::Domain(name) = host else { return false };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    WHATSAPP_DOMAINS.iter().any(|domain| {
        name.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[cfg(feature = "sandbox")]
    #[test]
    fn a_sandbox_build_reaches_its_sandbox_only() {
        let network = Network::sandbox(url("ws://127.0.0.1:3900/ws/chat"));
        let gate = Gate::new(&network).unwrap();
        for inside in ["ws://127.0.0.1:3900/ws/chat", "https://127.0.0.1:3901/mms/image"] {
            assert_eq!(gate.check(&url(inside)), Ok(()), "{inside}");
        }
        for outside in [
            "wss://web.whatsapp.com/ws/chat",
            "https://mmg.whatsapp.net/x",
            "https://WHATSAPP.NET./x",
            "http://127.0.0.2:3900/",
            "http://example.com/",
            "file:///etc/passwd",
        ] {
            assert!(gate.check(&url(outside)).is_err(), "{outside}");
        }
    }

    #[cfg(feature = "sandbox")]
    #[test]
    fn a_sandbox_build_has_no_way_to_whatsapp() {
        assert!(matches!(Gate::new(&Network::WhatsApp), Err(ConfigError::SandboxOnly)));
        for (address, expected) in [
            ("wss://web.whatsapp.com/ws/chat", "sandbox"),
            ("wss://g.whatsapp.net/ws/chat", "sandbox"),
            ("http://127.0.0.1:3900/", "url"),
        ] {
            let error = Gate::new(&Network::sandbox(url(address))).unwrap_err();
            let kind = match error {
                ConfigError::SandboxOnly => "sandbox",
                ConfigError::Url => "url",
                ConfigError::Client(_) => "client",
            };
            assert_eq!(kind, expected, "{address}");
        }
    }

    #[cfg(not(feature = "sandbox"))]
    #[test]
    fn a_production_build_reaches_whatsapp_only() {
        let gate = Gate::new(&Network::WhatsApp).unwrap();
        assert_eq!(gate.check(gate.chat_url()), Ok(()));
        for inside in ["https://mmg.whatsapp.net/x", "https://web.whatsapp.com/sw.js"] {
            assert_eq!(gate.check(&url(inside)), Ok(()), "{inside}");
        }
        for outside in [
            "http://mmg.whatsapp.net/x",
            "https://mmg.whatsapp.net.example.com/x",
            "https://notwhatsapp.net/x",
            "https://127.0.0.1/x",
            "https://169.254.169.254/latest",
        ] {
            assert!(gate.check(&url(outside)).is_err(), "{outside}");
        }
    }
}
