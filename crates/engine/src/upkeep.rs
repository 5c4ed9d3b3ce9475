//! What a connection does beside the conversation: asks again for messages that were lost, and tidies its store.
//!
//! Both run among the connection's tasks and end with them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wacore::runtime::Runtime as _;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, JidExt as _, Node};
use wharf_core::clock::Clock;
use wharf_core::engine::Signal;
use whatsapp_rust::features::{RetryRequestError, RetryRequestOptions};

use crate::addresses::is_me;
use crate::backend::{Backend, LostInbound};
use crate::error::one_line;
use crate::runtime::Tasks;
use crate::waiting::Waiting;

/// How often the session's store is tidied. What it keeps, it keeps for days.
const SWEEP_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// How long after the start it is tidied first, so that it does not slow down the start.
const SWEEP_DELAY: Duration = Duration::from_secs(10 * 60);

/// How long asking for one message may take, so that one does not hold up the others.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts both.
pub(crate) fn start(tasks: &Tasks, waiting: Waiting, lost: mpsc::Receiver<LostInbound>) {
    tasks.spawn_detached(Box::pin(sweep(waiting.backend.clone(), waiting.clock.clone())));
    tasks.spawn_detached(Box::pin(ask_again(waiting, lost)));
}

async fn sweep(backend: Arc<Backend>, clock: Arc<dyn Clock>) {
    tokio::time::sleep(SWEEP_DELAY).await;
    loop {
        if let Err(error) = backend.sweep(clock.now()).await {
            tracing::warn!(error = %one_line(&error), "the session's store cannot be tidied");
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// Asks the sender, and the phone, to send a message again that was decrypted once and then lost with the process.
async fn ask_again(waiting: Waiting, mut lost: mpsc::Receiver<LostInbound>) {
    while let Some(message) = lost.recv().await {
        if message.given_up.is_some() {
            tracing::error!(id = message.id, "a message is lost; asking for it again did not help");
            waiting.given_up(&message).await;
            continue;
        }
        if ask(&waiting, &message).await
            && let Err(error) = waiting.backend.count_try(&message).await
        {
            tracing::error!(id = message.id, error = %one_line(&error), "a try to get a lost message cannot be noted");
        }
    }
}

/// Asks once. Answers whether that was a try: it reached WhatsApp, or never will.
async fn ask(waiting: &Waiting, message: &LostInbound) -> bool {
    let (client, now_s) = (&waiting.client, waiting.clock.now().as_second());
    let Some(stanza) = stanza(message, now_s, |jid| is_me(jid, client)) else {
        tracing::error!(id = message.id, "a message is lost; its address cannot be read");
        return true;
    };
    let stanza = stanza.as_node_ref();
    let asking = client.request_message_retry(&stanza, RetryRequestOptions::new());
    match tokio::time::timeout(ASK_TIMEOUT, Box::pin(asking)).await {
        Ok(Ok(_)) => {
            waiting.inbox.signal(Signal::AskedAgain { id: message.id.clone() });
            true
        }
        Ok(Err(error)) => {
            tracing::error!(id = message.id, error = %one_line(&error), "a lost message cannot be asked for again");
            !matches!(error, RetryRequestError::Client(_) | RetryRequestError::Internal(_))
        }
        Err(_) => {
            tracing::error!(id = message.id, "asking for a lost message again took too long");
            false
        }
    }
}

/// The head of the stanza that the message came in, as far as asking again needs it. The inverse of the library's
/// `parse_message_info`, which made chat and sender from it.
pub(crate) fn stanza(message: &LostInbound, now_s: i64, is_me: impl Fn(&Jid) -> bool) -> Option<Node> {
    let chat: Jid = message.chat.parse().ok()?;
    let sender: Jid = message.sender.parse().ok()?;
    let head = NodeBuilder::new("message")
        .attr("id", message.id.as_str())
        .attr("type", "text")
        .attr("t", now_s);
    let many = chat.is_group() || chat.is_broadcast_list() || chat.is_status_broadcast();
    let head = if many {
        head.attr("from", chat).attr("participant", sender)
    } else if is_me(&sender) {
        head.attr("from", sender).attr("recipient", chat)
    } else {
        head.attr("from", sender)
    };
    Some(head.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stanza_leads_back_to_the_same_chat_and_sender() {
        let (me, my_lid) = (Jid::pn("12025550101"), Jid::lid("100000000000001"));
        for (chat, sender) in [
            ("12025550102@s.whatsapp.net", "12025550102:3@s.whatsapp.net"),
            ("100000000000002@lid", "100000000000002@lid"),
            ("120363000000000001@g.us", "100000000000002:1@lid"),
            ("status@broadcast", "12025550102@s.whatsapp.net"),
            ("12025550102@s.whatsapp.net", "12025550101@s.whatsapp.net"),
        ] {
            let lost = LostInbound {
                chat: chat.to_owned(),
                sender: sender.to_owned(),
                id: "3EB0AA".to_owned(),
                given_up: None,
            };
            let own = |jid: &Jid| jid.user == me.user || jid.user == my_lid.user;
            let stanza = stanza(&lost, 1_800_000_000, own).unwrap();
            let info = wacore::messages::parse_message_info(&stanza.as_node_ref(), &me, Some(&my_lid)).unwrap();
            assert_eq!(info.source.chat.to_string(), chat);
            assert_eq!(info.source.sender.to_string(), sender);
            assert_eq!(info.id, "3EB0AA");
        }
    }
}
