//! The page that documents the API.

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&ENABLED];

const ENABLED: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_ENABLED"],
    default: "True",
    about: "Serves the API's documentation at `/` and its OpenAPI document at `/-json`.",
    secret: false,
};

/// The API's documentation page.
#[derive(Debug, Clone)]
pub struct SwaggerConfig {
    /// Whether it is served.
    pub enabled: bool,
}

impl SwaggerConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            enabled: environment.boolean(&ENABLED)?,
        })
    }
}
