//! Which of WAHA's engines the answers follow.

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&DEFAULT_ENGINE];

const DEFAULT_ENGINE: Variable = Variable {
    names: &["WHATSAPP_DEFAULT_ENGINE"],
    default: "WEBJS",
    about: "The WAHA engine whose answers to give: `WEBJS`, `WPP` (answers as `WEBJS`), `NOWEB` or `GOWS`. The engine itself \
            is always Wharf's own.",
    secret: false,
};

/// The WAHA engine whose answers are given where they differ between engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As whatsapp-web.js.
    Webjs,
    /// As WPPConnect, whose answers are those of [`Self::Webjs`].
    Wpp,
    /// As Baileys.
    Noweb,
    /// As whatsmeow.
    Gows,
}

impl Dialect {
    /// WAHA's name of the engine.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webjs => "WEBJS",
            Self::Wpp => "WPP",
            Self::Noweb => "NOWEB",
            Self::Gows => "GOWS",
        }
    }
}

/// Which WAHA engine's answers to give.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// For every session.
    pub dialect: Dialect,
}

impl EngineConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let name = environment.text(&DEFAULT_ENGINE).to_ascii_uppercase();
        let dialect = [Dialect::Webjs, Dialect::Wpp, Dialect::Noweb, Dialect::Gows]
            .into_iter()
            .find(|dialect| dialect.as_str() == name)
            .ok_or_else(|| environment.wrong(&DEFAULT_ENGINE, "must be WEBJS, WPP, NOWEB or GOWS"))?;
        Ok(Self { dialect })
    }
}
