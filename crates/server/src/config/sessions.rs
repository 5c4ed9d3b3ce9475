//! How sessions are run.

use std::num::NonZeroU32;
use std::time::Duration;

use wharf_core::ids::SessionName;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[
    &WORKER_ID,
    &RESTART_SESSIONS,
    &RESTART_ALL,
    &START,
    &START_DELAY,
    &CONNECTS,
    &LOGIN,
    &SILENCE,
    &IDEMPOTENCY,
];

/// A connection that is well can be silent for nearly this long: the library sends a keepalive after up to 30 seconds, and
/// WhatsApp has 20 to answer it.
const SILENCE_SECONDS_MIN: u32 = 60;

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

const RESTART_ALL: Variable = Variable {
    names: &["WHATSAPP_RESTART_ALL_SESSIONS"],
    default: "False",
    about: "Starts all sessions with the server, also those that were stopped.",
    secret: false,
};
const START: Variable = Variable {
    names: &["WHATSAPP_START_SESSION"],
    default: "",
    about: "Sessions to start with the server, by name, separated by commas. Those that are not there are created.",
    secret: false,
};
const START_DELAY: Variable = Variable {
    names: &["WAHA_AUTO_START_DELAY_SECONDS"],
    default: "0",
    about: "How long to wait between the sessions that start with the server. Without it they start as fast as \
            `WHARF_CONNECTS_PER_SECOND` lets them.",
    secret: false,
};
const CONNECTS: Variable = Variable {
    names: &["WHARF_CONNECTS_PER_SECOND"],
    default: "30",
    about: "Connections to WhatsApp that begin within a second, over all sessions; further ones wait for their turn.",
    secret: false,
};
const LOGIN: Variable = Variable {
    names: &["WHARF_SESSION_LOGIN_SECONDS"],
    default: "240",
    about: "A connection that is neither logged in nor waits for a scan after this long is made anew. WhatsApp may take three \
            minutes for the first synchronisation of a new device.",
    secret: false,
};
const SILENCE: Variable = Variable {
    names: &["WHARF_SESSION_SILENCE_SECONDS"],
    default: "60",
    about: "Without any sign of life from WhatsApp for this long, a session's connection is made anew, whatever its socket says. \
            WhatsApp answers a keepalive at least every 50 seconds, so less than 60 is not taken.",
    secret: false,
};

const IDEMPOTENCY: Variable = Variable {
    names: &["WHARF_IDEMPOTENCY_KEY_HOURS"],
    default: "48",
    about: "How long the `Idempotency-Key` of a send is kept, with its answer. A repeat after that is a new message.",
    secret: false,
};

/// How sessions are run.
#[derive(Debug, Clone)]
pub struct SessionsConfig {
    /// The name of this process.
    pub worker_id: String,
    /// Whether sessions that ran are started again at boot.
    pub restart: bool,
    /// Whether all sessions are started at boot.
    pub restart_all: bool,
    /// The sessions to start at boot, created where they are not there.
    pub start: Vec<SessionName>,
    /// The wait between sessions that start at boot.
    pub start_delay: Duration,
    /// Connections that begin within a second, over all sessions.
    pub connects_per_second: NonZeroU32,
    /// A connection that is not logged in after this long is made anew.
    pub login_max: Duration,
    /// Without any sign of life for this long a connection is made anew.
    pub silence_max: Duration,
    /// How long the keys of sends are kept.
    pub idempotency: Duration,
}

impl SessionsConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            worker_id: environment.text(&WORKER_ID).to_owned(),
            restart: environment.boolean(&RESTART_SESSIONS)?,
            restart_all: environment.boolean(&RESTART_ALL)?,
            start: names(environment)?,
            start_delay: Duration::from_secs(environment.parse::<u32>(&START_DELAY, "a number of seconds")?.into()),
            connects_per_second: environment.parse(&CONNECTS, "a number, at least 1")?,
            login_max: Duration::from_secs(environment.parse::<u32>(&LOGIN, "a number of seconds")?.max(1).into()),
            silence_max: silence(environment)?,
            idempotency: idempotency(environment)?,
        })
    }
}

fn silence(environment: &Environment) -> Result<Duration, ConfigError> {
    let seconds: u32 = environment.parse(&SILENCE, "a number of seconds")?;
    match seconds < SILENCE_SECONDS_MIN {
        true => Err(environment.wrong(&SILENCE, format!("must be at least {SILENCE_SECONDS_MIN}"))),
        false => Ok(Duration::from_secs(seconds.into())),
    }
}

fn idempotency(environment: &Environment) -> Result<Duration, ConfigError> {
    let expected = "a number of hours, at least 1";
    let hours: NonZeroU32 = environment.parse(&IDEMPOTENCY, expected)?;
    Ok(Duration::from_secs(u64::from(hours.get()) * 3600))
}

fn names(environment: &Environment) -> Result<Vec<SessionName>, ConfigError> {
    let names = environment.text(&START).split(',').map(str::trim);
    let parsed = names.filter(|name| !name.is_empty()).map(str::parse::<SessionName>);
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error| environment.wrong(&START, format!("has a wrong name ({error})")))
}
