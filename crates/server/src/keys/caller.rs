//! Who is calling, as far as what they may do goes.
//!
//! Never made by a handler: the extractor in `api/auth.rs` makes one from the key of a request, after the check that the
//! operation is open to it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wharf_core::ids::SessionName;

use super::{Action, Grant, Key};

/// A caller who was let in.
#[derive(Clone)]
pub(crate) struct Caller(Who);

#[derive(Clone)]
enum Who {
    /// No key was needed, and no right one was sent.
    Anyone,
    /// The key of the configuration was sent.
    Operator,
    /// One of the stored keys was sent.
    Key(Arc<Key>),
}

impl Caller {
    /// A caller for whom no key was needed.
    pub(crate) const ANYONE: Self = Self(Who::Anyone);
    /// A caller with the key of the configuration.
    pub(crate) const OPERATOR: Self = Self(Who::Operator);

    /// A caller with a stored key.
    pub(crate) fn with(key: Arc<Key>) -> Self {
        Self(Who::Key(key))
    }

    /// Whether a right key was sent, not merely none needed.
    pub(crate) fn by_key(&self) -> bool {
        !matches!(self.0, Who::Anyone)
    }

    /// The only session that the caller may see; `None` for an administrator, who sees all.
    pub(crate) fn session(&self) -> Option<&SessionName> {
        match self.grant() {
            Grant::Admin => None,
            Grant::Session { name, .. } => Some(name),
        }
    }

    /// Whether the caller may do everything.
    pub(crate) fn is_admin(&self) -> bool {
        self.session().is_none()
    }

    /// Whether the caller may do this with a session that is theirs.
    pub(crate) fn may(&self, action: Action) -> bool {
        match self.grant() {
            Grant::Admin => true,
            Grant::Session { actions, .. } => actions.unwrap_or(super::Actions::DEFAULT).has(action),
        }
    }

    /// Tells the caller's key from every other one, also after a restart. Not a secret. Empty for the key of the
    /// configuration and for callers without one.
    pub(crate) fn id(&self) -> &str {
        match &self.0 {
            Who::Anyone | Who::Operator => "",
            Who::Key(key) => &key.id,
        }
    }

    /// Fires when the caller's key is deleted, switched off or changed in any way: what goes on for long, such as a
    /// websocket, ends then, and whoever still may opens it anew.
    pub(crate) fn revoked(&self) -> CancellationToken {
        match &self.0 {
            Who::Anyone | Who::Operator => CancellationToken::new(),
            Who::Key(key) => key.changed.clone(),
        }
    }

    fn grant(&self) -> &Grant {
        match &self.0 {
            Who::Anyone | Who::Operator => &Grant::Admin,
            Who::Key(key) => &key.grant,
        }
    }
}
