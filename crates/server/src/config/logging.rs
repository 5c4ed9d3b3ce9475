//! What is logged, and how.

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&LEVEL, &FORMAT, &DEBUG];

const LEVEL: Variable = Variable {
    names: &["WAHA_LOG_LEVEL"],
    default: "info",
    about: "The least important level that is logged: `error`, `warn`, `info`, `debug` or `trace`.",
    secret: false,
};
const FORMAT: Variable = Variable {
    names: &["WAHA_LOG_FORMAT"],
    default: "PRETTY",
    about: "`PRETTY` for people, `JSON` for log collectors.",
    secret: false,
};
const DEBUG: Variable = Variable {
    names: &["DEBUG"],
    default: "",
    about: "Any value but a false one logs at level `debug` where `WAHA_LOG_LEVEL` is not set.",
    secret: false,
};

/// What is logged.
#[derive(Debug, Clone)]
pub struct LoggingConfig {
    /// The least important level that is logged.
    pub level: tracing::Level,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For log collectors.
    Json,
}

impl LoggingConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let debug = !matches!(
            environment.text(&DEBUG).to_ascii_lowercase().as_str(),
            "" | "0" | "false" | "no" | "off"
        );
        let level = match environment.set(&LEVEL) {
            None if debug => tracing::Level::DEBUG,
            // WAHA's logger has `silent` and `fatal` too; the nearest we have is `error`.
            Some((_, "silent" | "fatal")) => tracing::Level::ERROR,
            _ => environment.parse(&LEVEL, "error, warn, info, debug or trace")?,
        };
        let format = match environment.text(&FORMAT).to_ascii_uppercase().as_str() {
            "PRETTY" => LogFormat::Pretty,
            "JSON" => LogFormat::Json,
            _ => return Err(environment.wrong(&FORMAT, "must be PRETTY or JSON")),
        };
        Ok(Self { level, format })
    }
}
