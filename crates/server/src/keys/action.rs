//! What a session key may do with its session, by WAHA's names.

use serde::{Deserialize, Serialize};

/// One thing that a session key may be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// See what the session has: itself, its messages, chats, contacts, groups, events.
    Read,
    /// Send messages, and change what WhatsApp has of it: chats, contacts, groups, labels, channels, the profile.
    Send,
    /// Start, stop, restart, link and log out.
    Control,
    /// Change its configuration.
    Setting,
    /// Manage its apps.
    App,
    /// Delete it.
    Delete,
}

impl Action {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Read,
        Self::Send,
        Self::Control,
        Self::Setting,
        Self::App,
        Self::Delete,
    ];

    /// Its name in WAHA's API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Control => "control",
            Self::Setting => "setting",
            Self::App => "app",
            Self::Delete => "delete",
        }
    }
}

/// Which actions a session key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Actions {
    /// [`Action::Read`].
    pub(crate) read: bool,
    /// [`Action::Send`].
    pub(crate) send: bool,
    /// [`Action::Control`].
    pub(crate) control: bool,
    /// [`Action::Setting`].
    pub(crate) setting: bool,
    /// [`Action::App`].
    pub(crate) app: bool,
    /// [`Action::Delete`].
    pub(crate) delete: bool,
}

impl Actions {
    /// What a key may do whose actions were not chosen; WAHA's defaults.
    pub(crate) const DEFAULT: Self = Self {
        read: true,
        send: true,
        control: true,
        setting: true,
        app: true,
        delete: false,
    };

    /// None: what is left is the session's files.
    pub(crate) const NONE: Self = Self {
        read: false,
        send: false,
        control: false,
        setting: false,
        app: false,
        delete: false,
    };

    /// Whether this action is among them.
    pub(crate) const fn has(self, action: Action) -> bool {
        match action {
            Action::Read => self.read,
            Action::Send => self.send,
            Action::Control => self.control,
            Action::Setting => self.setting,
            Action::App => self.app,
            Action::Delete => self.delete,
        }
    }
}
