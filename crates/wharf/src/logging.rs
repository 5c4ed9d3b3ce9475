//! The log, on standard error: for people or, as JSON, for collectors.

use std::io::stderr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wharf_server::config::{LogFormat, LoggingConfig};

/// Libraries whose messages are about single stanzas, queries or connections: a step quieter than ours.
const QUIETER: &str = "whatsapp_rust=warn,wacore=warn,sqlx=warn,hyper=warn,reqwest=warn,rustls=warn";

/// Starts logging. Does nothing where a log was started already, as in tests.
pub(crate) fn start(config: &LoggingConfig) {
    let directives = match config.level {
        // Somebody looks for something: show everything.
        level @ (tracing::Level::DEBUG | tracing::Level::TRACE) => format!("{level},sqlx=warn,hyper=info"),
        level => format!("{level},{QUIETER}"),
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(directives));
    // An error means that there is a log already.
    let _ = match config.format {
        LogFormat::Pretty => registry.with(layer().with_writer(stderr).with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer().json().with_writer(stderr)).try_init(),
    };
}
