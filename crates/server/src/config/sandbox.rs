//! Which network sessions connect to, in a build with the sandbox; a production build knows one network only.

use super::{ConfigError, Environment, Variable};

pub(super) const VARIABLES: &[&Variable] = &[&URL];

const URL: Variable = Variable {
    names: &["WHARF_SANDBOX_URL"],
    default: "",
    about: "The websocket of a sandbox network that runs elsewhere: `ws://host:port/ws/chat`. Only in a build with the \
            sandbox; a production build does not start with it.",
    secret: false,
};

/// Which sandbox network to use.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The websocket of one that runs elsewhere.
    pub url: Option<url::Url>,
}

impl SandboxConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let url = match environment.text(&URL) {
            "" => None,
            text => Some(
                text.parse()
                    .ok()
                    .filter(is_websocket)
                    .ok_or_else(|| environment.wrong(&URL, "must be a URL like ws://127.0.0.1:3900/ws/chat"))?,
            ),
        };
        Ok(Self { url })
    }
}

fn is_websocket(url: &url::Url) -> bool {
    matches!(url.scheme(), "ws" | "wss") && url.has_host()
}
