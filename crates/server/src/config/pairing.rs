//! How sessions are linked to phones.

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&PRINT_QR];

const PRINT_QR: Variable = Variable {
    names: &["WAHA_PRINT_QR"],
    default: "True",
    about: "Prints every QR code of every session to standard output. Whoever sees one can link a phone. Never where \
            `WAHA_LOG_FORMAT` is `JSON`: a collector that reads standard output could not read them.",
    secret: false,
};

/// How sessions are linked to phones.
#[derive(Debug, Clone)]
pub struct PairingConfig {
    /// Whether QR codes are printed, where people read.
    pub print_qr: bool,
}

impl PairingConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            print_qr: environment.boolean(&PRINT_QR)?,
        })
    }
}
