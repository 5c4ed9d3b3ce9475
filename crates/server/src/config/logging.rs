//! What is logged, and how.

use jiff::tz::TimeZone;
use tracing::Level;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&LEVEL, &HTTP_LEVEL, &FORMAT, &DEBUG, &ZONE];

const LEVEL: Variable = Variable {
    names: &["WAHA_LOG_LEVEL"],
    default: "info",
    about: "The least important level that is logged: `error`, `warn`, `info`, `debug` or `trace`. `fatal` and `silent` log errors.",
    secret: false,
};
const HTTP_LEVEL: Variable = Variable {
    names: &["WAHA_HTTP_LOG_LEVEL"],
    default: "info",
    about: "The level of the line `request completed` that each request gets; `silent` for none.",
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
    about: "Any value but a false one logs at level `debug`, whatever `WAHA_LOG_LEVEL` says. `config.debug` does it for one \
            session.",
    secret: false,
};
const ZONE: Variable = Variable {
    names: &["TZ"],
    default: "UTC",
    about: "The time zone of the times in the log, such as `Europe/Warsaw`.",
    secret: false,
};

/// What is logged.
#[derive(Debug, Clone)]
pub struct LoggingConfig {
    /// The least important level that is logged.
    pub level: Level,
    /// The level of the line that each request gets; `None` where it gets none.
    pub http_level: Option<Level>,
    /// How lines look.
    pub format: LogFormat,
    /// The time zone of their times.
    pub zone: TimeZone,
    has_odd_zone: bool,
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
        let level = match debug {
            true => Level::DEBUG,
            false => read_level(environment, &LEVEL)?,
        };
        let format = match environment.text(&FORMAT).to_ascii_uppercase().as_str() {
            "PRETTY" => LogFormat::Pretty,
            "JSON" => LogFormat::Json,
            _ => return Err(environment.wrong(&FORMAT, "must be PRETTY or JSON")),
        };
        let zone = TimeZone::get(environment.text(&ZONE).trim_start_matches(':'));
        Ok(Self {
            level,
            http_level: match environment.text(&HTTP_LEVEL) {
                "silent" => None,
                _ => Some(read_level(environment, &HTTP_LEVEL)?),
            },
            format,
            has_odd_zone: zone.is_err(),
            zone: zone.unwrap_or(TimeZone::UTC),
        })
    }

    /// What to tell the operator about it. `TZ` is the system's variable too, so an odd one does not end the start.
    pub(super) fn warning(&self) -> Option<String> {
        self.has_odd_zone.then(|| {
            format!(
                "{} is not a time zone like Europe/Warsaw, the log has UTC",
                ZONE.names[0]
            )
        })
    }
}

fn read_level(environment: &Environment, variable: &Variable) -> Result<Level, ConfigError> {
    match environment.text(variable) {
        // WAHA's logger has these two as well. Whatever ends a session must be said, so here they are `error`.
        "silent" | "fatal" => Ok(Level::ERROR),
        _ => environment.parse(variable, "error, warn, info, debug or trace"),
    }
}
