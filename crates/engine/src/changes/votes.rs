//! Opens votes: what is chosen in a poll is encrypted with the poll's secret.
//!
//! The key is made of the poll's id and of who made the poll and who votes, in the address space that the voter's client
//! took (WhatsApp Web `WAWebAddonEncryption` tries both). Which one that was is not told, so all are tried.

use std::collections::HashSet;

use wacore::poll::{PollVoteCiphertext, compute_option_hash, decrypt_poll_vote_with_secret};
use wacore::types::events::InboundMessage;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::PollEncValue;
use wharf_core::message::Message;
use whatsapp_rust::Client;

use crate::addresses::{other_address, to_jid};
use crate::incoming::IncomingError;
use crate::message::{poll as poll_in, secret, unwrapped};

/// The names of the options that are chosen now; `None` where that cannot be read.
pub(super) async fn open(
    client: &Client,
    inbound: &InboundMessage,
    vote: &PollEncValue,
    poll: &Message,
) -> Result<Option<Vec<String>>, IncomingError> {
    let Ok(proto) = waproto::codec::message_decode(&poll.proto) else {
        return Ok(None);
    };
    let (Some(secret), Some(created)) = (secret(&proto), poll_in(unwrapped(&proto))) else {
        return Ok(None);
    };
    let creators = match (poll.id.from_me, &poll.id.participant) {
        (true, _) => own(client),
        (false, Some(author)) => person(client, &to_jid(author), poll.sender_alt.as_ref().map(to_jid)).await?,
        (false, None) => person(client, &to_jid(&poll.id.chat), poll.sender_alt.as_ref().map(to_jid)).await?,
    };
    let source = &inbound.info.source;
    let voters = match source.is_from_me {
        true => own(client),
        false => person(client, &source.sender, source.sender_alt.clone()).await?,
    };
    let ciphertext = PollVoteCiphertext {
        enc_payload: vote.enc_payload.as_deref().unwrap_or_default(),
        enc_iv: vote.enc_iv.as_deref().unwrap_or_default(),
    };
    let opened = creators.iter().find_map(|creator| {
        let opened =
            |voter: &String| decrypt_poll_vote_with_secret(ciphertext, secret, &poll.id.id, creator, voter).ok();
        voters.iter().find_map(opened)
    });
    Ok(opened.and_then(|hashes| names(created, &hashes)))
}

/// Our own addresses.
fn own(client: &Client) -> Vec<String> {
    let addresses = [client.pn(), client.lid()];
    addresses
        .into_iter()
        .flatten()
        .map(|jid| jid.to_non_ad_string())
        .collect()
}

/// A person's addresses, those that are told first.
async fn person(client: &Client, jid: &Jid, told: Option<Jid>) -> Result<Vec<String>, IncomingError> {
    let learnt = other_address(client, jid).await?;
    let mut addresses = vec![jid.to_non_ad_string()];
    for other in [told, learnt].into_iter().flatten() {
        let other = other.to_non_ad_string();
        if !addresses.contains(&other) {
            addresses.push(other);
        }
    }
    Ok(addresses)
}

/// The options by name, in the poll's order; `None` where one is chosen that the poll did not have when it was created.
fn names(poll: &wa::message::PollCreationMessage, chosen: &[Vec<u8>]) -> Option<Vec<String>> {
    let mut chosen: HashSet<&[u8]> = chosen.iter().map(Vec::as_slice).collect();
    let options = poll.options.iter().filter_map(|option| option.option_name.clone());
    let names = options
        .filter(|name| chosen.remove(compute_option_hash(name).as_slice()))
        .collect();
    chosen.is_empty().then_some(names)
}
