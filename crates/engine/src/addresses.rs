//! Between WhatsApp's addresses (JIDs) and Wharf's chat ids, and from linked identities to phone numbers.
//!
//! WhatsApp knows a person under two addresses: the phone number and the linked identity (LID) that hides it. WAHA names
//! chats by phone number, so that address is used wherever it is known.

use wacore_binary::{Jid, Server};
use wharf_core::BoxError;
use wharf_core::ids::{ChatId, ChatKind};
use wharf_core::session::Me;
use whatsapp_rust::Client;

use crate::error::one_line;

/// WhatsApp's address of a chat.
pub(crate) fn to_jid(chat: &ChatId) -> Jid {
    let server = match chat.kind() {
        ChatKind::Phone => Server::Pn,
        ChatKind::Lid => Server::Lid,
        ChatKind::Group => Server::Group,
        ChatKind::Newsletter => Server::Newsletter,
        ChatKind::Broadcast => Server::Broadcast,
    };
    Jid::new(chat.user(), server)
}

/// The chat behind an address of WhatsApp's, without its device; `None` for address spaces that are not chats of ours
/// (bots, other messengers, call links), and for addresses that nobody can have, which senders may make up.
pub(crate) fn to_chat(jid: &Jid) -> Option<ChatId> {
    let kind = match jid.server {
        Server::Pn | Server::Hosted | Server::Legacy => ChatKind::Phone,
        Server::Lid | Server::HostedLid => ChatKind::Lid,
        Server::Group => ChatKind::Group,
        Server::Newsletter => ChatKind::Newsletter,
        Server::Broadcast => ChatKind::Broadcast,
        Server::Messenger | Server::Interop | Server::Bot | Server::Call => return None,
    };
    ChatId::checked(kind, jid.user_base())
}

/// A chat id from a JID in text form, as messages carry it.
pub(crate) fn parse_chat(text: &str) -> Option<ChatId> {
    text.parse::<Jid>().ok().as_ref().and_then(to_chat)
}

/// Who the client is linked as, if it is.
pub(crate) fn me(client: &Client) -> Option<Me> {
    linked_as(&client.pn()?, client.lid().as_ref(), client.push_name())
}

/// An account by its addresses.
pub(crate) fn linked_as(pn: &Jid, lid: Option<&Jid>, push_name: String) -> Option<Me> {
    Some(Me {
        id: to_chat(pn)?,
        lid: lid.and_then(to_chat),
        jid: Some(pn.to_string()),
        push_name,
    })
}

/// Whether an address is one of our own, whatever the device.
pub(crate) fn is_me(jid: &Jid, client: &Client) -> bool {
    let same = |own: Option<Jid>| own.is_some_and(|own| own.user == jid.user && own.server == jid.server);
    same(client.pn()) || same(client.lid())
}

/// A person's other address, where both were learnt: the linked identity for a phone number, and the reverse.
pub(crate) async fn other_address(client: &Client, jid: &Jid) -> Result<Option<Jid>, LookupError> {
    let entry = client.get_lid_pn_entry(&jid.to_non_ad()).await;
    let entry = entry.map_err(|error| LookupError(error.into()))?;
    Ok(entry.map(|entry| match jid.server.is_lid_family() {
        true => Jid::pn(&*entry.phone_number),
        false => Jid::lid(&*entry.lid),
    }))
}

/// Where a person is reached by phone number, if that is known: told by the stanza (`alt`), else learnt before.
async fn phone(client: &Client, jid: &Jid, alt: Option<&Jid>) -> Result<Option<ChatId>, LookupError> {
    if !jid.server.is_lid_family() {
        return Ok(to_chat(jid));
    }
    if let Some(alt) = alt.filter(|alt| alt.server.is_pn_family()) {
        return Ok(to_chat(alt));
    }
    Ok(other_address(client, jid).await?.as_ref().and_then(to_chat))
}

/// Whether a person has another address cannot be told, because the store failed.
#[derive(Debug, thiserror::Error)]
#[error("the other address of a person cannot be read")]
pub(crate) struct LookupError(#[source] BoxError);

/// The chat by phone number where that is known, else as WhatsApp named it.
pub(crate) async fn known_chat(client: &Client, jid: &Jid, alt: Option<&Jid>) -> Result<Option<ChatId>, LookupError> {
    Ok(phone(client, jid, alt).await?.or_else(|| to_chat(jid)))
}

/// A person whom a message names, as whom others know them: ourselves by our account, whichever address it names.
pub(crate) async fn known_person(client: &Client, jid: &Jid) -> Result<Option<ChatId>, LookupError> {
    match me(client).filter(|_| is_me(jid, client)) {
        Some(me) => Ok(Some(me.id)),
        None => known_chat(client, jid, None).await,
    }
}

/// Like [`known_chat`], for what is not kept: a store that fails only costs the nicer address, so that is logged.
pub(crate) async fn chat(client: &Client, jid: &Jid, alt: Option<&Jid>) -> Option<ChatId> {
    known_chat(client, jid, alt).await.unwrap_or_else(|error| {
        tracing::warn!(error = %one_line(&error), "a chat is named as whatsapp names it");
        to_chat(jid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_keep_their_address_space_and_lose_their_device() {
        for (jid, chat) in [
            ("12025550101@s.whatsapp.net", Some("12025550101@c.us")),
            ("12025550101:3@s.whatsapp.net", Some("12025550101@c.us")),
            ("12025550101@hosted", Some("12025550101@c.us")),
            ("100000000000001:3@lid", Some("100000000000001@lid")),
            ("120363000000000001@g.us", Some("120363000000000001@g.us")),
            ("12025550101-1600000000@g.us", Some("12025550101-1600000000@g.us")),
            ("120363000000000002@newsletter", Some("120363000000000002@newsletter")),
            ("status@broadcast", Some("status@broadcast")),
            ("867051314767696@bot", None),
            ("s.whatsapp.net", None),
            ("abc@s.whatsapp.net", None),
            ("1234567890123456@s.whatsapp.net", None),
            ("1_2@lid", None),
            ("../../etc@g.us", None),
            ("a@b@c.us", None),
        ] {
            let found = parse_chat(jid).map(|chat| chat.to_string());
            assert_eq!(found.as_deref(), chat, "{jid}");
        }
    }

    #[test]
    fn a_chat_goes_to_whatsapp_and_back() {
        for text in [
            "12025550101@c.us",
            "100000000000001@lid",
            "120363000000000001@g.us",
            "120363000000000002@newsletter",
            "status@broadcast",
        ] {
            let chat: ChatId = text.parse().unwrap();
            assert_eq!(to_chat(&to_jid(&chat)), Some(chat), "{text}");
        }
    }
}
