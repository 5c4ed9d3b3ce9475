//! Configuration: one typed struct per area, read from environment variables under WAHA's names.
//!
//! Each variable is declared once, as a [`Variable`] next to the code that reads it; [`document`] makes `docs/env.md`
//! from those. Never reads the process's environment itself: the caller passes an [`Environment`].

mod auth;
mod defaults;
mod egress;
mod engine;
mod environment;
mod events;
mod fetching;
mod files;
mod foreign;
mod http;
mod key_file;
mod logging;
mod media;
mod pairing;
mod proxy;
mod sandbox;
mod sessions;
mod storage;
mod swagger;
mod webhooks;

pub use auth::{ApiKey, AuthConfig, MasterKey, PathPattern};
pub use defaults::SessionDefaults;
pub use egress::EgressConfig;
pub use engine::{Dialect, EngineConfig};
pub use environment::{ConfigError, Environment, Variable};
pub use events::EventsConfig;
pub use fetching::FetchingConfig;
pub use files::{FfmpegConfig, FilesConfig};
pub use http::HttpConfig;
pub use key_file::{KeyFileError, StoredKey, keep_generated_key, keep_generated_master_key};
pub use logging::{LogFormat, LoggingConfig};
pub use media::{MediaConfig, MediaStorageConfig, PostgresUrl, S3Settings};
pub use pairing::PairingConfig;
pub use proxy::ProxiesConfig;
pub(crate) use proxy::{ProxyError, read_proxy};
pub use sandbox::SandboxConfig;
pub use sessions::SessionsConfig;
pub use storage::StorageConfig;
pub use swagger::{Login, SwaggerConfig};
pub use webhooks::{DeliveryConfig, WebhooksConfig};

use std::fmt::Write as _;

/// An area of the configuration: its title in the documentation, and its variables.
type Area = (&'static str, &'static [&'static Variable]);

const AREAS: &[Area] = &[
    ("HTTP", http::VARIABLES),
    ("API keys", auth::VARIABLES),
    ("Sessions", sessions::VARIABLES),
    ("Pairing", pairing::VARIABLES),
    ("Defaults of sessions", defaults::VARIABLES),
    ("Proxies", proxy::VARIABLES),
    ("Storage", storage::VARIABLES),
    ("Engine", engine::VARIABLES),
    ("Media", media::VARIABLES),
    ("Files", files::VARIABLES),
    ("Outbound requests", egress::VARIABLES),
    ("Webhooks", webhooks::VARIABLES),
    ("Events", events::VARIABLES),
    ("Fetching media", fetching::VARIABLES),
    ("Swagger", swagger::VARIABLES),
    ("Logging", logging::VARIABLES),
    ("Sandbox", sandbox::VARIABLES),
];

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where and how to listen.
    pub http: HttpConfig,
    /// Who may call.
    pub auth: AuthConfig,
    /// How sessions are run.
    pub sessions: SessionsConfig,
    /// What a session runs with where its own configuration says nothing.
    pub defaults: SessionDefaults,
    /// The proxies of sessions that have none of their own.
    pub proxies: ProxiesConfig,
    /// How sessions are linked to phones.
    pub pairing: PairingConfig,
    /// Where data is kept.
    pub storage: StorageConfig,
    /// Which WAHA engine's answers to give.
    pub engine: EngineConfig,
    /// The files of messages.
    pub media: MediaConfig,
    /// The files that callers send.
    pub files: FilesConfig,
    /// Where requests may go to addresses that callers name.
    pub egress: EgressConfig,
    /// The webhook of all sessions.
    pub webhooks: WebhooksConfig,
    /// How long events are kept, and how slow a reader may be.
    pub events: EventsConfig,
    /// How the files of messages are fetched.
    pub fetching: FetchingConfig,
    /// The API's documentation page.
    pub swagger: SwaggerConfig,
    /// What is logged.
    pub logging: LoggingConfig,
    /// The network, in a build with the sandbox.
    pub sandbox: SandboxConfig,
    /// What was found odd but is not an error; to be logged once.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the configuration. The error is one line that names the variable and echoes no secret.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let engine = EngineConfig::read(environment)?;
        let mut warnings = unknown_variables(environment);
        let webhooks = WebhooksConfig::read(environment)?;
        let logging = LoggingConfig::read(environment)?;
        warnings.extend(webhooks.warning());
        warnings.extend(logging.warning());
        warnings.extend(AuthConfig::warning(environment));
        Ok(Self {
            http: HttpConfig::read(environment)?,
            auth: AuthConfig::read(environment)?,
            sessions: SessionsConfig::read(environment)?,
            pairing: PairingConfig::read(environment)?,
            defaults: SessionDefaults::read(environment)?,
            proxies: ProxiesConfig::read(environment)?,
            storage: StorageConfig::read(environment, engine.dialect)?,
            media: MediaConfig::read(environment)?,
            swagger: SwaggerConfig::read(environment)?,
            sandbox: SandboxConfig::read(environment)?,
            events: EventsConfig::read(environment)?,
            fetching: FetchingConfig::read(environment)?,
            files: FilesConfig::read(environment)?,
            egress: EgressConfig::read(environment)?,
            engine,
            logging,
            webhooks,
            warnings,
        })
    }
}

/// Names that look like WAHA's or ours but do nothing here, each as a warning.
fn unknown_variables(environment: &Environment) -> Vec<String> {
    let is_declared = |name: &str| {
        let mut declared = AREAS.iter().flat_map(|(_, variables)| variables.iter());
        declared.any(|variable| variable.names.contains(&name))
    };
    environment
        .names()
        .filter(|name| !is_declared(name))
        .filter_map(foreign::warning)
        .collect()
}

/// The documentation of every variable, in Markdown.
pub fn document() -> String {
    let quoted = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let mut page = String::from(
        "# Environment variables\n\n\
         Names, defaults and meaning are WAHA's; Wharf's own begin with `WHARF_`. Booleans are `True`, `true`, `1`, `yes`, \
         `on` and their opposites. An empty value counts as not set. Where a line has several names, the first one that is \
         set wins. A wrong value ends the start with exit code 2 and one line that says which.\n",
    );
    for (title, variables) in AREAS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| name | default | meaning |\n|---|---|---|\n");
        for variable in *variables {
            let default = match variable.default {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let secret = if variable.secret { " Secret: never logged." } else { "" };
            let _ = writeln!(
                page,
                "| {} | {default} | {}{secret} |",
                quoted(variable.names),
                variable.about
            );
        }
    }
    let _ = write!(
        page,
        "\n## Accepted without effect\n\n\
         WAHA's settings for browsers and for the insides of its engines are accepted silently, because Wharf has one native \
         engine and no browser: {}.\n\n\
         Settings that belong to what is not built yet are warned about, once, at start: those that begin with {}. So is \
         every other `WAHA_*`, `WHATSAPP_*` or `WHARF_*` name that is not on this page.\n",
        quoted(foreign::WITHOUT_EFFECT),
        quoted(foreign::NOT_BUILT)
    );
    page
}

#[cfg(test)]
mod tests;
