//! How the files of messages are fetched from WhatsApp.

use std::num::{NonZeroU32, NonZeroU64};

use jiff::SignedDuration;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&HOLD, &BYTES_MAX, &JOBS, &JOBS_PER_SESSION, &TRIES, &RETRY_HOURS];

const HOLD: Variable = Variable {
    names: &["WHARF_MEDIA_HOLD_SECONDS"],
    default: "12",
    about: "How long the event of a message waits for its file. Then it comes without: `media.url` is `null`, and the file is in \
            later answers once it is there. With 0 it never waits.",
    secret: false,
};
const BYTES_MAX: Variable = Variable {
    names: &["WHARF_MEDIA_BYTES_MAX"],
    default: "2147483648",
    about: "The most bytes that are fetched of a file, whatever its message says; of a larger one the event says so in `media.error`. \
            WhatsApp takes files of up to 2 GiB.",
    secret: false,
};
const JOBS: Variable = Variable {
    names: &["WHARF_MEDIA_JOBS"],
    default: "16",
    about: "Files that are fetched at the same time, over all sessions; each is on the disk until it is in the media storage.",
    secret: false,
};
const JOBS_PER_SESSION: Variable = Variable {
    names: &["WHARF_MEDIA_JOBS_PER_SESSION"],
    default: "4",
    about: "Files that are fetched at the same time for one session.",
    secret: false,
};
const TRIES: Variable = Variable {
    names: &["WHARF_MEDIA_TRIES"],
    default: "8",
    about: "How often a file is fetched that comes damaged, or cannot be stored. Where WhatsApp's hosts or the phone do not give it, \
            the session is not `WORKING`, or the media storage or the disk takes nothing, no try is counted.",
    secret: false,
};
const RETRY_HOURS: Variable = Variable {
    names: &["WHARF_MEDIA_RETRY_HOURS"],
    default: "24",
    about: "A file that still cannot be fetched so long after it first failed is given up, whatever the reason; after a restart \
            it counts anew. WhatsApp keeps files for some weeks.",
    secret: false,
};

/// How the files of messages are fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchingConfig {
    /// How long an event waits for its file.
    pub hold: SignedDuration,
    /// The most bytes of a file.
    pub bytes_max: u64,
    /// Files that are fetched at the same time.
    pub jobs: usize,
    /// The same, of one session.
    pub jobs_per_session: usize,
    /// How often a file is tried that comes damaged.
    pub tries: u32,
    /// How long after it first failed a file is given up.
    pub retry: SignedDuration,
}

/// The longest that an event may wait: a receiver that hears nothing for longer takes us for dead.
const HOLD_SECONDS_MAX: u32 = 600;

impl FetchingConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let hours: NonZeroU32 = environment.parse(&RETRY_HOURS, "a number of hours, at least 1")?;
        let bytes: NonZeroU64 = environment.parse(&BYTES_MAX, "a number of bytes, at least 1")?;
        Ok(Self {
            hold: hold(environment)?,
            bytes_max: bytes.get(),
            jobs: at_least_one(environment, &JOBS)?,
            jobs_per_session: at_least_one(environment, &JOBS_PER_SESSION)?,
            tries: environment.parse::<NonZeroU32>(&TRIES, "a number, at least 1")?.get(),
            retry: SignedDuration::from_hours(hours.get().into()),
        })
    }
}

fn hold(environment: &Environment) -> Result<SignedDuration, ConfigError> {
    let seconds: u32 = environment.parse(&HOLD, "a number of seconds")?;
    match seconds > HOLD_SECONDS_MAX {
        true => Err(environment.wrong(&HOLD, format!("must be at most {HOLD_SECONDS_MAX}"))),
        false => Ok(SignedDuration::from_secs(seconds.into())),
    }
}

fn at_least_one(environment: &Environment, variable: &Variable) -> Result<usize, ConfigError> {
    let number: u16 = environment.parse(variable, "a number from 1 to 65535")?;
    match number {
        0 => Err(environment.wrong(variable, "must be at least 1")),
        number => Ok(number.into()),
    }
}
