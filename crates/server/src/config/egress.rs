//! Where requests may go to addresses that callers name: webhooks, files, links.

use std::path::PathBuf;

use super::{ConfigError, Environment, Variable};
use crate::egress::{AllowList, AllowListError};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&ALLOW, &CA_FILE];

const ALLOW: Variable = Variable {
    names: &["WHARF_EGRESS_ALLOW", "WHARF_WEBHOOK_ALLOW"],
    default: "",
    about: "What is not on the internet and may be named all the same in the `url` of a file, in a text whose links get a \
            preview, and in webhooks that are set with a session's key: hosts, addresses and networks with commas between \
            them, each with a port or without, as in `n8n:5678,10.0.0.0/8`. With the admin's key and in the environment \
            webhooks may name any but link-local addresses and metadata services, which nothing allows.",
    secret: false,
};
const CA_FILE: Variable = Variable {
    names: &["WHARF_EGRESS_CA_FILE", "WHARF_WEBHOOK_CA_FILE"],
    default: "",
    about: "A PEM file with authorities whose certificates such addresses may have, beside the public ones.",
    secret: false,
};

/// Where requests may go to addresses that callers name.
#[derive(Debug, Clone)]
pub struct EgressConfig {
    /// What is outside of the internet and may be named by anybody.
    pub(crate) allow: AllowList,
    /// Authorities beside the public ones.
    pub ca_file: Option<PathBuf>,
}

impl EgressConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let allow = environment.text(&ALLOW).parse();
        Ok(Self {
            allow: allow.map_err(|error: AllowListError| environment.wrong(&ALLOW, error.to_string()))?,
            ca_file: environment.set(&CA_FILE).map(|(_, file)| file.into()),
        })
    }
}
