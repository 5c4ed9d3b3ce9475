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
use whatsapp_rust::Client;
use whatsapp_rust::features::{RetryRequestError, RetryRequestOptions};

use crate::addresses::{LookupError, is_me, other_address};
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
    let stanza = match stanza(client, message, now_s).await {
        Ok(Some(stanza)) => stanza,
        Ok(None) => {
            tracing::error!(id = message.id, "a message is lost; its address cannot be read");
            return true;
        }
        Err(error) => {
            tracing::error!(id = message.id, error = %one_line(&error), "a lost message cannot be asked for again");
            return false;
        }
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

/// The head of the stanza that the message came in, as far as asking again needs it; `None` where its address cannot be
/// read. With both addresses of people where they are known, as WhatsApp sends it: the library finds the phone's answer by
/// the phone number (`whatsapp-rust` pdo.rs, the cache key).
pub(crate) async fn stanza(client: &Client, message: &LostInbound, now_s: i64) -> Result<Option<Node>, LookupError> {
    let (Ok(chat), Ok(sender)) = (message.chat.parse::<Jid>(), message.sender.parse::<Jid>()) else {
        return Ok(None);
    };
    let address = Address {
        chat_alt: other_address(client, &chat).await?,
        sender_alt: other_address(client, &sender).await?,
        from_me: is_me(&sender, client),
        chat,
        sender,
    };
    Ok(Some(head(address, &message.id, now_s)))
}

/// What a stanza's head says of where it comes from.
struct Address {
    chat: Jid,
    /// The chat's other address, in a chat with one person.
    chat_alt: Option<Jid>,
    sender: Jid,
    sender_alt: Option<Jid>,
    from_me: bool,
}

/// The inverse of the library's `parse_message_info`, which made chat and sender from it.
fn head(address: Address, id: &str, now_s: i64) -> Node {
    let Address {
        chat,
        chat_alt,
        sender,
        sender_alt,
        from_me,
    } = address;
    let is_lid = sender.server.is_lid_family();
    let head = NodeBuilder::new("message")
        .attr("id", id)
        .attr("type", "text")
        .attr("t", now_s);
    let many = chat.is_group() || chat.is_broadcast_list() || chat.is_status_broadcast();
    if many {
        let alt = if is_lid { "participant_pn" } else { "participant_lid" };
        let mode = if is_lid { "lid" } else { "pn" };
        let head = head.attr("from", chat).attr("participant", sender);
        with(head.attr("addressing_mode", mode), alt, sender_alt).build()
    } else if from_me {
        let is_lid = chat.server.is_lid_family();
        let head = head.attr("from", sender).attr("recipient", chat);
        with(head, "peer_recipient_pn", chat_alt.filter(|_| is_lid)).build()
    } else {
        let alt = if is_lid { "sender_pn" } else { "sender_lid" };
        with(head.attr("from", sender), alt, sender_alt).build()
    }
}

fn with(head: NodeBuilder, name: &'static str, jid: Option<Jid>) -> NodeBuilder {
    match jid {
        Some(jid) => head.attr(name, jid),
        None => head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stanza_leads_back_to_the_same_chat_and_sender_and_to_their_phone_numbers() {
        let (me, my_lid) = (Jid::pn("12025550101"), Jid::lid("100000000000001"));
        let phone = |jid: &Jid| match jid.user.as_str() {
            "100000000000001" => Some(me.clone()),
            "100000000000002" => Some(Jid::pn("12025550102")),
            _ => None,
        };
        let bob = "12025550102@s.whatsapp.net";
        for (chat, sender, sender_pn, recipient_pn) in [
            (bob, "12025550102:3@s.whatsapp.net", None, None),
            ("100000000000002@lid", "100000000000002@lid", Some(bob), None),
            ("120363000000000001@g.us", "100000000000002:1@lid", Some(bob), None),
            ("120363000000000001@g.us", "100000000000003:1@lid", None, None),
            ("status@broadcast", bob, None, None),
            ("status@broadcast", "100000000000002@lid", Some(bob), None),
            (bob, "12025550101@s.whatsapp.net", Some("100000000000001@lid"), None),
            (
                "100000000000002@lid",
                "100000000000001@lid",
                Some("12025550101@s.whatsapp.net"),
                Some(bob),
            ),
        ] {
            let (at, by): (Jid, Jid) = (chat.parse().unwrap(), sender.parse().unwrap());
            let address = Address {
                chat_alt: phone(&at),
                sender_alt: phone(&by),
                from_me: by.user == me.user || by.user == my_lid.user,
                chat: at,
                sender: by,
            };
            let stanza = head(address, "3EB0AA", 1_800_000_000);
            let info = wacore::messages::parse_message_info(&stanza.as_node_ref(), &me, Some(&my_lid)).unwrap();
            let text = |jid: &Option<Jid>| jid.as_ref().map(ToString::to_string);
            assert_eq!(info.source.chat.to_string(), chat);
            assert_eq!(info.source.sender.to_string(), sender);
            assert_eq!(text(&info.source.sender_alt).as_deref(), sender_pn, "{chat} {sender}");
            assert_eq!(
                text(&info.peer_recipient_pn).as_deref(),
                recipient_pn,
                "{chat} {sender}"
            );
            assert_eq!(info.id, "3EB0AA");
        }
    }
}
