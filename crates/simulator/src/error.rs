//! Why the sandbox refused a command of its control interface.
//!
//! Protocol errors towards clients are stanzas, not values of this type.

/// Why a command failed. Variants are what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The number, device, chat or message does not exist; ask for one that does.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// How it was named.
        id: String,
    },
    /// The request itself is wrong; correct it.
    #[error("{0}")]
    Invalid(String),
    /// It exists already, or changed meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// The request is fine, the sandbox is not in a state to do it.
    #[error("{0}")]
    Refused(String),
    /// The snapshot cannot be read; restore another one or start afresh.
    #[error("the snapshot is not readable: {0}")]
    Snapshot(String),
}

impl SandboxError {
    pub(crate) fn not_found(what: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { what, id: id.into() }
    }
}
