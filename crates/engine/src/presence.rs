//! Being online or offline, as the engine port names it.
//!
//! The protocol library shows a session as online by itself whenever it connects and whenever the account's name changes,
//! and has no switch for that; whoever wants otherwise says so afterwards.

use async_trait::async_trait;
use wharf_core::engine::{EngineError, Presence};

use crate::chatting::{NOTICE_TIMEOUT, within};
use crate::connection::Connection;

#[async_trait]
impl Presence for Connection {
    async fn set_online(&self, online: bool) -> Result<(), EngineError> {
        self.ready()?;
        let presence = self.client.presence();
        match online {
            true => within(NOTICE_TIMEOUT, presence.set_available()).await,
            false => within(NOTICE_TIMEOUT, presence.set_unavailable()).await,
        }
    }
}
