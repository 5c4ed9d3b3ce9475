//! Where data is kept.

use std::path::PathBuf;

use super::{ConfigError, Dialect, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&BASE_DIR, &NAMESPACE, &SESSION_NAMESPACE, &RESERVE];

/// The most characters of a namespace; it is part of folder and database names.
const NAMESPACE_CHARS_MAX: usize = 40;

const BASE_DIR: Variable = Variable {
    names: &["WAHA_LOCAL_STORE_BASE_DIR"],
    default: ".sessions",
    about: "The folder for the local store.",
    secret: false,
};
const NAMESPACE: Variable = Variable {
    names: &["WAHA_NAMESPACE"],
    default: "",
    about: "Where the server's own data is (the sessions' configuration, the events), so that servers can share a store; \
            the engine's name in lower case where it is not set.",
    secret: false,
};
const SESSION_NAMESPACE: Variable = Variable {
    names: &["WAHA_SESSION_NAMESPACE"],
    default: "",
    about: "Where the sessions' own data is, if not under the engine's name in lower case.",
    secret: false,
};
const RESERVE: Variable = Variable {
    names: &["WHARF_DISK_RESERVE_BYTES"],
    default: "536870912",
    about: "What stays free on the disk of the local store, in bytes: files that would take of it are not taken (503), nor fetched from \
            WhatsApp for the time being, so that there is room to keep messages.",
    secret: false,
};

/// Where data is kept.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// The folder for the local store.
    pub base_dir: PathBuf,
    /// The part of the store that has the server's own data.
    pub namespace: String,
    /// The part of the store that has the sessions' data.
    pub session_namespace: String,
    /// What files leave free on the disk of the local store, in bytes.
    pub reserve_bytes: u64,
}

impl StorageConfig {
    /// The folder for files that are needed for a moment. It is emptied at the start, so nobody else may have it: it is among the
    /// sessions' folders, none of which begins with a dot.
    pub(crate) fn temp_dir(&self) -> PathBuf {
        self.base_dir.join(&self.namespace).join(".tmp")
    }

    pub(super) fn read(environment: &Environment, dialect: Dialect) -> Result<Self, ConfigError> {
        Ok(Self {
            base_dir: PathBuf::from(environment.text(&BASE_DIR)),
            namespace: read_namespace(environment, &NAMESPACE, dialect)?,
            session_namespace: read_namespace(environment, &SESSION_NAMESPACE, dialect)?,
            reserve_bytes: environment.parse(&RESERVE, "a number of bytes")?,
        })
    }
}

fn read_namespace(environment: &Environment, variable: &Variable, dialect: Dialect) -> Result<String, ConfigError> {
    let namespace = match environment.text(variable) {
        "" => dialect.as_str().to_ascii_lowercase(),
        namespace => namespace.to_owned(),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if namespace.len() > NAMESPACE_CHARS_MAX || !namespace.chars().all(allowed) {
        let problem = format!("must be at most {NAMESPACE_CHARS_MAX} characters of A-Z, a-z, 0-9, _ and -");
        return Err(environment.wrong(variable, problem));
    }
    Ok(namespace)
}
