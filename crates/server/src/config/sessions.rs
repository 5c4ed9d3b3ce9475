//! How sessions are run.

use std::time::Duration;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&WORKER_ID, &RESTART_SESSIONS, &SILENCE];

const WORKER_ID: Variable = Variable {
    names: &["WAHA_WORKER_ID"],
    default: "",
    about: "The name of this process in `environment.worker.id` and `assignedWorker`.",
    secret: false,
};
const RESTART_SESSIONS: Variable = Variable {
    names: &["WAHA_WORKER_RESTART_SESSIONS"],
    default: "True",
    about: "Starts the sessions again that ran when the server ended.",
    secret: false,
};

const SILENCE: Variable = Variable {
    names: &["WHARF_SESSION_SILENCE_SECONDS"],
    default: "120",
    about: "Without any sign of life from WhatsApp for this long, a session's connection is made anew, whatever its socket says. \
            WhatsApp answers a keepalive about twice a minute.",
    secret: false,
};

/// How sessions are run.
#[derive(Debug, Clone)]
pub struct SessionsConfig {
    /// The name of this process.
    pub worker_id: String,
    /// Whether sessions that ran are started again at boot.
    pub restart: bool,
    /// Without any sign of life for this long a connection is made anew.
    pub silence_max: Duration,
}

impl SessionsConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            worker_id: environment.text(&WORKER_ID).to_owned(),
            restart: environment.boolean(&RESTART_SESSIONS)?,
            silence_max: Duration::from_secs(environment.parse::<u32>(&SILENCE, "a number of seconds")?.max(1).into()),
        })
    }
}
