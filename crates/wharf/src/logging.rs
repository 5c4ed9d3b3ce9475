//! The log, on standard error: for people or, as JSON, for collectors.

use std::io::stderr;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wharf_server::config::{LogFormat, LoggingConfig};

/// Our crates. Libraries tell of single stanzas and connections at `info`, so from them only warnings are news.
const OURS: &[&str] = &[
    "wharf_cli",
    "wharf_core",
    "wharf_engine",
    "wharf_server",
    "wharf_simulator",
    "wharf_storage",
];

/// Starts logging. Does nothing where a log was started already, as in tests.
pub(crate) fn start(config: &LoggingConfig) {
    let directives = match config.level {
        // Somebody looks for something: show everything.
        level @ (Level::DEBUG | Level::TRACE) => format!("{level},sqlx=warn,hyper=info"),
        level => {
            let ours = OURS.iter().map(|name| format!(",{name}={level}"));
            format!("{}{}", level.min(Level::WARN), ours.collect::<String>())
        }
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(directives));
    // An error means that there is a log already.
    let _ = match config.format {
        LogFormat::Pretty => registry.with(layer().with_writer(stderr).with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer().json().with_writer(stderr)).try_init(),
    };
}
