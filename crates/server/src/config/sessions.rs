//! How sessions are run.

use super::{ConfigError, Environment, Variable};

pub(super) const VARIABLES: &[&Variable] = &[&WORKER_ID, &RESTART_SESSIONS];

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

/// How sessions are run.
#[derive(Debug, Clone)]
pub struct SessionsConfig {
    /// The name of this process.
    pub worker_id: String,
    /// Whether sessions that ran are started again at boot.
    pub restart: bool,
}

impl SessionsConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            worker_id: environment.text(&WORKER_ID).to_owned(),
            restart: environment.boolean(&RESTART_SESSIONS)?,
        })
    }
}
