//! Shows a session as online when it connects and when it does something, and as offline some time later.
//!
//! Belongs to a connection; the supervisor calls it when something happened and when it is due. What is shown is told to
//! whoever watches the session.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use wharf_core::engine::Engine;

use super::settings::OnlineRules;
use super::state::View;

/// The longest that telling WhatsApp may take, because commands wait meanwhile.
const TELL_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait before the account is shown as offline again where that failed.
const OFFLINE_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// How long after a change of the account's name the engine may take to show it as online all by itself.
const RENAMING_TAKES: Duration = Duration::from_secs(2);

/// What bears on whether the account is shown as online.
#[derive(Debug, Clone, Copy)]
pub(super) enum Occasion {
    /// The engine has connected, and has shown the account as online by itself.
    Connected,
    /// The account got another name; the engine is about to show it as online by itself.
    Renamed,
    /// The session does something.
    Acted,
    /// It has done nothing for long enough.
    Rested,
}

/// What a connection shows of the account.
pub(super) struct PresenceKeeper {
    rules: OnlineRules,
    online: bool,
    offline_at: Option<Instant>,
}

impl PresenceKeeper {
    /// Nothing is shown yet.
    pub(super) fn new(rules: OnlineRules) -> Self {
        Self {
            rules,
            online: false,
            offline_at: None,
        }
    }

    /// When [`Occasion::Rested`] comes.
    pub(super) fn offline_at(&self) -> Option<Instant> {
        self.offline_at
    }

    /// Shows what is fit after something happened.
    pub(super) async fn after(&mut self, occasion: Occasion, engine: &dyn Engine, view: &watch::Sender<View>) {
        let soon = Instant::now() + RENAMING_TAKES;
        let later = self.rules.lasts.map(|lasts| Instant::now() + lasts);
        match (occasion, later) {
            (Occasion::Connected, Some(later)) if self.rules.at_start => {
                self.online = true;
                self.offline_at = Some(later);
                view.send_modify(|view| view.online = Some(true));
            }
            (Occasion::Acted, Some(later)) => {
                self.offline_at = Some(later);
                if !self.online {
                    self.online = told(engine, true, view).await;
                }
            }
            (Occasion::Acted, None) => {}
            (Occasion::Renamed, _) => self.offline_at = self.offline_at.or(Some(soon)),
            (Occasion::Connected | Occasion::Rested, _) => {
                self.online = false;
                // Until it worked: as long as the account is shown as online, its phone gets no notifications.
                self.offline_at = match told(engine, false, view).await {
                    true => None,
                    false => Some(Instant::now() + OFFLINE_AGAIN_AFTER),
                };
            }
        }
    }
}

/// Tells WhatsApp, and whoever watches the session where that worked, and whether it did.
async fn told(engine: &dyn Engine, online: bool, view: &watch::Sender<View>) -> bool {
    match timeout(TELL_WITHIN, engine.set_online(online)).await {
        Ok(Ok(())) => {
            view.send_modify(|view| view.online = Some(online));
            true
        }
        Ok(Err(error)) => {
            tracing::debug!(online, %error, "the presence could not be told");
            false
        }
        Err(_) => {
            tracing::debug!(online, "telling the presence took too long");
            false
        }
    }
}
