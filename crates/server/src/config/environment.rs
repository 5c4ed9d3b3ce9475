//! Reading single variables: names, defaults, and the error that says what is wrong.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The environment variables that the configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

/// One environment variable, declared where it is read.
#[derive(Debug)]
pub struct Variable {
    /// Its names; the first one that is set wins.
    pub names: &'static [&'static str],
    /// What it is when not set; empty where that means "nothing".
    pub default: &'static str,
    /// What it does, as one or two sentences.
    pub about: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// A variable has a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    /// Which variable.
    pub variable: String,
    /// What is wrong with it, and what it may be. Never has the value of a secret.
    pub problem: String,
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl Environment {
    /// The names of all variables, also those that are not ours.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The name under which a variable is set, and its value; empty ones count as not set.
    pub(super) fn set(&self, variable: &Variable) -> Option<(&'static str, &str)> {
        variable.names.iter().find_map(|name| {
            let value = self.0.get(*name)?.trim();
            (!value.is_empty()).then_some((*name, value))
        })
    }

    /// The value of a variable, or its default.
    pub(super) fn text<'a>(&'a self, variable: &Variable) -> &'a str
    where
        'static: 'a,
    {
        self.set(variable).map_or(variable.default, |(_, value)| value)
    }

    /// A variable as WAHA writes booleans.
    pub(super) fn boolean(&self, variable: &Variable) -> Result<bool, ConfigError> {
        let value = self.text(variable);
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.wrong(variable, "must be True or False")),
        }
    }

    /// A variable that is parsed; `expected` finishes the sentence "must be ...".
    pub(super) fn parse<T: FromStr>(&self, variable: &Variable, expected: &str) -> Result<T, ConfigError> {
        self.text(variable)
            .parse()
            .map_err(|_| self.wrong(variable, format!("must be {expected}")))
    }

    /// The error for a variable; shows the value unless it is a secret.
    pub(super) fn wrong(&self, variable: &Variable, problem: impl Into<String>) -> ConfigError {
        let (name, value) = self.set(variable).unwrap_or((variable.names[0], variable.default));
        let problem = problem.into();
        ConfigError {
            variable: name.to_owned(),
            problem: if variable.secret {
                problem
            } else {
                format!("{problem}, but it is '{value}'")
            },
        }
    }
}
