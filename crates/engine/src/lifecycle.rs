//! The life of a connection, as the engine port names it.

use std::time::Duration;

use async_trait::async_trait;
use wharf_core::engine::Lifecycle;
use wharf_core::session::Me;

use crate::addresses::me;
use crate::connection::Connection;

/// How long WhatsApp may take to unlink the device. It is not waited for longer, because the credentials are deleted
/// either way.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

#[async_trait]
impl Lifecycle for Connection {
    fn me(&self) -> Option<Me> {
        me(&self.client)
    }

    fn is_connected(&self) -> bool {
        self.client.is_connected() && self.client.is_logged_in()
    }

    async fn logout(&self) {
        self.ending.ask_to_unlink();
        if self.is_connected()
            && tokio::time::timeout(LOGOUT_TIMEOUT, self.client.logout())
                .await
                .is_err()
        {
            tracing::warn!("whatsapp did not confirm in time that the device is unlinked");
        }
        self.end().await;
    }

    async fn disconnect(&self) {
        self.end().await;
    }
}
