//! What a session runs with where its own configuration says nothing.

use std::time::Duration;

use wharf_core::engine::HistoryDepth;

use super::{ConfigError, Environment, Variable};
use crate::sessions::{ClientSessionConfig, IgnoreConfig};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[
    &IGNORE_STATUS,
    &IGNORE_GROUPS,
    &IGNORE_CHANNELS,
    &IGNORE_BROADCAST,
    &DEVICE_NAME,
    &BROWSER_NAME,
    &AUTO_ONLINE,
    &AUTO_ONLINE_SECONDS,
    &FULL_HISTORY,
    &FULL_HISTORY_DAYS,
    &FULL_HISTORY_MB,
    &RECENT_HISTORY_DAYS,
    &MESSAGES_PER_CHAT,
    &THUMBNAIL_DAYS,
    &STORAGE_QUOTA_MB,
];

const IGNORE_STATUS: Variable = ignore(
    &["WAHA_SESSION_CONFIG_IGNORE_STATUS"],
    "Neither keeps nor tells what comes in the status feed, `status@broadcast`. What a session's own `config.ignore` says \
     of one of the four rules goes before. Sending is never ignored.",
);
const IGNORE_GROUPS: Variable = ignore(&["WAHA_SESSION_CONFIG_IGNORE_GROUPS"], "The same for groups, `…@g.us`.");
const IGNORE_CHANNELS: Variable = ignore(
    &["WAHA_SESSION_CONFIG_IGNORE_CHANNELS"],
    "The same for channels, `…@newsletter`.",
);
const IGNORE_BROADCAST: Variable = ignore(
    &["WAHA_SESSION_CONFIG_IGNORE_BROADCAST"],
    "The same for broadcast lists, `…@broadcast` but the status feed.",
);
const DEVICE_NAME: Variable = Variable {
    names: &["WAHA_CLIENT_DEVICE_NAME"],
    default: "Ubuntu",
    about: "The name of a session in the phone's list of linked devices, where `config.client` says none. Told when the device \
            is linked.",
    secret: false,
};
const BROWSER_NAME: Variable = Variable {
    names: &["WAHA_CLIENT_BROWSER_NAME"],
    default: "Chrome",
    about: "The browser shown there: `Chrome`, `Firefox`, `IE`, `Opera`, `Safari` or `Edge`; `Desktop` shows the name alone.",
    secret: false,
};
const AUTO_ONLINE: Variable = Variable {
    names: &["WAHA_PRESENCE_AUTO_ONLINE"],
    default: "True",
    about: "Shows a session as online when it connects (unless `config.noweb.markOnline` is false) and when it does something. \
            While it is online, the phone gets no notifications.",
    secret: false,
};
const AUTO_ONLINE_SECONDS: Variable = Variable {
    names: &["WAHA_PRESENCE_AUTO_ONLINE_DURATION_SECONDS"],
    default: "25",
    about: "How long after that it is shown as offline again.",
    secret: false,
};
const FULL_HISTORY: Variable = history(
    &["WAHA_GOWS_DEVICE_REQUIRE_FULL_SYNC"],
    "Whether to ask the phone for all of its history when a device is linked, instead of the recent part. \
     `config.noweb.store.fullSync` asks for a year. `null` leaves any of these to WhatsApp.",
);
const FULL_HISTORY_DAYS: Variable = history(
    &["WAHA_GOWS_DEVICE_HISTORY_SYNC_FULL_SYNC_DAYS_LIMIT"],
    "How many days a full history goes back.",
);
const FULL_HISTORY_MB: Variable = history(
    &["WAHA_GOWS_DEVICE_HISTORY_SYNC_FULL_SYNC_SIZE_MB_LIMIT"],
    "How large a full history may be, in MB.",
);
const RECENT_HISTORY_DAYS: Variable = history(
    &["WAHA_GOWS_DEVICE_HISTORY_SYNC_RECENT_SYNC_DAYS_LIMIT"],
    "How many days the recent history goes back.",
);
const MESSAGES_PER_CHAT: Variable = history(
    &["WAHA_GOWS_DEVICE_HISTORY_SYNC_INITIAL_SYNC_MAX_MESSAGES_PER_CHAT"],
    "How many messages of each chat to get at first.",
);
const THUMBNAIL_DAYS: Variable = history(
    &["WAHA_GOWS_DEVICE_HISTORY_SYNC_THUMBNAIL_SYNC_DAYS_LIMIT"],
    "For how many days to get thumbnails.",
);
const STORAGE_QUOTA_MB: Variable = history(
    &["WAHA_GOWS_DEVICE_HISTORY_SYNC_STORAGE_QUOTA_MB"],
    "How much room to say there is for history, in MB.",
);

const fn ignore(names: &'static [&'static str], about: &'static str) -> Variable {
    Variable {
        names,
        default: "False",
        about,
        secret: false,
    }
}

const fn history(names: &'static [&'static str], about: &'static str) -> Variable {
    Variable {
        names,
        default: "",
        about,
        secret: false,
    }
}

/// What a session runs with where its own configuration says nothing.
#[derive(Debug, Clone)]
pub struct SessionDefaults {
    /// Which chats to ignore.
    pub(crate) ignore: IgnoreConfig,
    /// What the phone shows about the device.
    pub(crate) client: ClientSessionConfig,
    /// How long a session is shown as online after it did something; `None` where it never is by itself.
    pub(crate) online_for: Option<Duration>,
    /// How much history to ask the phone for.
    pub(crate) history: HistoryDepth,
}

impl SessionDefaults {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let seconds: u32 = environment.parse(&AUTO_ONLINE_SECONDS, "a number of seconds")?;
        let online_for = environment
            .boolean(&AUTO_ONLINE)?
            .then(|| Duration::from_secs(seconds.into()));
        Ok(Self {
            ignore: IgnoreConfig {
                status: Some(environment.boolean(&IGNORE_STATUS)?),
                groups: Some(environment.boolean(&IGNORE_GROUPS)?),
                channels: Some(environment.boolean(&IGNORE_CHANNELS)?),
                broadcast: Some(environment.boolean(&IGNORE_BROADCAST)?),
            },
            client: ClientSessionConfig {
                device_name: Some(environment.text(&DEVICE_NAME).to_owned()),
                browser_name: Some(environment.text(&BROWSER_NAME).to_owned()),
            },
            online_for,
            history: HistoryDepth {
                full: match is_set(environment, &FULL_HISTORY) {
                    true => Some(environment.boolean(&FULL_HISTORY)?),
                    false => None,
                },
                full_days_max: number(environment, &FULL_HISTORY_DAYS)?,
                full_mb_max: number(environment, &FULL_HISTORY_MB)?,
                recent_days_max: number(environment, &RECENT_HISTORY_DAYS)?,
                messages_per_chat_max: number(environment, &MESSAGES_PER_CHAT)?,
                thumbnail_days_max: number(environment, &THUMBNAIL_DAYS)?,
                storage_quota_mb: number(environment, &STORAGE_QUOTA_MB)?,
            },
        })
    }
}

/// Whether a setting of the history has a value; `null` is none, as in WAHA.
fn is_set(environment: &Environment, variable: &Variable) -> bool {
    !matches!(environment.text(variable), "" | "null")
}

fn number(environment: &Environment, variable: &Variable) -> Result<Option<u32>, ConfigError> {
    match is_set(environment, variable) {
        true => environment.parse(variable, "a whole number, or null").map(Some),
        false => Ok(None),
    }
}
