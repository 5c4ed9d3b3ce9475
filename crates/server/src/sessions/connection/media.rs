//! Fetching files through a connection, and messages with their files. Ends with it at once, unlike what is being sent: a file
//! can be fetched again.

use std::path::Path;

use wharf_core::engine::{EngineError, MediaError};
use wharf_core::events::MessagePayload;
use wharf_core::message::Message;
use wharf_core::store::StoreError;

use super::Connection;
use crate::sessions::messages::MessageQuery;

impl Connection {
    /// Messages of a chat as answers have them. With `download`, those files are fetched first that are not there.
    pub(crate) async fn chat_messages(
        &self,
        query: &MessageQuery,
        download: bool,
    ) -> Result<Vec<MessagePayload>, StoreError> {
        let found = query.find(self.inbox.store()).await?;
        let messages: Vec<Message> = found.into_iter().map(|stored| stored.message).collect();
        self.inbox.with_files(self, &messages, download).await
    }

    /// Fetches the file of a message into `to`; answers its size in bytes.
    pub(crate) async fn download(&self, message: &Message, to: &Path, bytes_max: u64) -> Result<u64, MediaError> {
        self.while_it_lasts(self.engine.download(message, to, bytes_max)).await
    }

    /// Asks the phone for a file that WhatsApp has lost, and waits for it: the message that says where it is now.
    pub(crate) async fn request_reupload(&self, message: &Message) -> Result<Message, MediaError> {
        self.while_it_lasts(self.engine.request_reupload(message)).await
    }

    /// Cuts off what fetches files; for before the engine disconnects.
    pub(in crate::sessions) fn end_fetching(&self) {
        self.ending.cancel();
    }

    async fn while_it_lasts<T>(&self, work: impl Future<Output = Result<T, MediaError>>) -> Result<T, MediaError> {
        let fetched = self.tasks.track_future(self.ending.run_until_cancelled(work)).await;
        fetched.unwrap_or_else(|| Err(EngineError::Offline.into()))
    }
}
