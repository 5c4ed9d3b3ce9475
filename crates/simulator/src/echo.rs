//! Echo: a phone that reads what it gets, types for a moment, and says it back.
//!
//! One message at a time and in order; when more wait it does not linger.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::error::SandboxError;
use crate::network::Network;
use crate::phone::{Incoming, Phone};
use crate::views::{NewContent, NewMessage, ReceiptKind, TypingState};

/// How long a message stays unread.
const READ_AFTER: Duration = Duration::from_millis(60);
/// How long the answer is typed.
const TYPE_FOR: Duration = Duration::from_millis(180);

/// The script behind an answering phone.
pub(crate) struct Echo {
    network: Network,
    phone: Arc<Phone>,
    incoming: mpsc::Receiver<Incoming>,
}

impl Echo {
    /// Messages that may wait for their answer.
    pub(crate) const BACKLOG_MAX: usize = 1_000;

    pub(crate) fn new(network: Network, phone: Arc<Phone>, incoming: mpsc::Receiver<Incoming>) -> Self {
        Self {
            network,
            phone,
            incoming,
        }
    }

    pub(crate) async fn run(mut self) {
        while let Some(message) = self.incoming.recv().await {
            if let Err(error) = self.answer(&message).await {
                tracing::warn!(%error, "echo could not answer");
            }
        }
    }

    async fn answer(&self, message: &Incoming) -> Result<(), SandboxError> {
        let Incoming { chat, id, text } = message;
        self.linger(READ_AFTER).await;
        self.phone.receipt(&self.network, chat, id, ReceiptKind::Read)?;
        self.phone.typing(&self.network, chat, TypingState::Composing)?;
        self.linger(TYPE_FOR).await;
        self.phone.typing(&self.network, chat, TypingState::Paused)?;
        let answer = NewMessage {
            reply_to: Some(id.clone()),
            ..NewContent::Text(format!("Echo: {text}"), None).into()
        };
        self.phone.send(&self.network, chat, &answer, None)?;
        Ok(())
    }

    async fn linger(&self, pause: Duration) {
        if self.incoming.is_empty() {
            sleep(pause).await;
        }
    }
}
