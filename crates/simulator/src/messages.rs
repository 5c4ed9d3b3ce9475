//! Messages between accounts: one copy per device, each queued until that device acknowledges it.
//!
//! Shapes as in wacore `send/dm.rs`, `send/peer.rs` (sending) and `messages.rs` `parse_message_info` (receiving). What
//! was addressed by phone number arrives by phone number, what was addressed by hidden id by hidden id. Contents stay
//! encrypted. Groups, broadcasts and newsletters are refused here; they have modules of their own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::adv;
use crate::model::{ConnId, DeviceRef, Space, State};
use crate::stanza::{self, Malformed};

/// Devices that one message can be for.
const FANOUT_MAX: usize = 5_000;
/// Largest ciphertext, in bytes.
const CIPHERTEXT_LEN_MAX: usize = 4 << 20;
/// The error for a message whose recipient does not exist.
const NO_RECIPIENT: u16 = 404;
/// The error for a message that this network cannot carry yet.
const NOT_IMPLEMENTED: u16 = 501;
/// The error for a message that cannot be queued.
const OVERLOADED: u16 = 503;
/// Kinds of message stanzas (wacore `send/classify.rs`).
const TYPES: [&str; 7] = ["text", "media", "reaction", "poll", "event", "medianotify", "pay"];
/// Children that concern sender and server only and are not passed on.
const NOT_RELAYED: [&str; 5] = ["participants", "tctoken", "cstoken", "reporting", "device-identity"];

/// One device's copy of a message.
struct Copy<'n> {
    to: DeviceRef,
    space: Space,
    enc: &'n Node,
}

impl Copy<'_> {
    /// Whether it starts a Signal session.
    fn is_first(&self) -> bool {
        stanza::text(self.enc, "type").as_deref() == Some("pkmsg")
    }
}

impl State {
    pub(crate) fn on_message(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let to = stanza::required_jid(node, "to")?;
        stanza::required(node, "id")?;
        let kind = stanza::required(node, "type")?;
        if !TYPES.contains(&kind.as_str()) {
            return Err(Malformed::new(format!("message of type {kind}")));
        }
        let now = self.now();
        let Some(space) = Space::of(&to) else {
            self.unknown(conn, &format!("message to @{}", to.server));
            self.reply(conn, stanza::nack(node, now, NOT_IMPLEMENTED));
            return Ok(());
        };
        let Some(recipient) = self.resolve(&to).map(|account| account.number.clone()) else {
            self.reply(conn, stanza::nack(node, now, NO_RECIPIENT));
            return Ok(());
        };
        let (copies, phash) = match node.get_optional_child("participants") {
            Some(participants) => self.fan_out(who, &recipient, &to, participants)?,
            None => (vec![self.single_copy(who, &to, space, node)?], None),
        };
        self.check_identity(who, node, &copies)?;
        if copies
            .iter()
            .any(|copy| self.device(&copy.to).is_some_and(|device| device.queue.is_full()))
        {
            self.reply(conn, stanza::nack(node, now, OVERLOADED));
            return Ok(());
        }
        self.make_peers(&who.number, &recipient);
        // Everything is queued before the sender hears that it was accepted: an acked message cannot be lost.
        for copy in &copies {
            let ciphertext = stanza::required_bytes(copy.enc)?;
            if copy.is_first() {
                self.check_prekey_use(&copy.to, ciphertext)?;
            }
        }
        for copy in copies {
            let delivery = self.delivery(who, node, &to, &copy);
            self.enqueue(&copy.to, delivery);
        }
        let mut ack = stanza::ack(node, now);
        if let Some(phash) = phash {
            ack.attrs.insert("phash", phash);
        }
        self.reply(conn, ack);
        Ok(())
    }

    /// Who starts a session with a companion must be able to tell whose companion it is (wacore `send/encrypt.rs`
    /// `needs_device_identity`).
    fn check_identity(&self, who: &DeviceRef, node: &Node, copies: &[Copy<'_>]) -> Result<(), Malformed> {
        if who.device == 0 || !copies.iter().any(Copy::is_first) {
            return Ok(());
        }
        let given = stanza::required_bytes(stanza::child(node, "device-identity")?)?;
        let phone = self.device(&DeviceRef::new(who.number.clone(), 0));
        let is_own = self.device(who).zip(phone).is_some_and(|(device, phone)| {
            adv::is_same_identity(given, &device.signed_identity.0, &phone.bundle.identity.0)
        });
        if is_own {
            Ok(())
        } else {
            Err(Malformed::new("<device-identity> that is not the sender's"))
        }
    }

    /// The copies in `<participants>`, and the right hash of devices if the sender's list is not the real one.
    fn fan_out<'n>(
        &self,
        who: &DeviceRef,
        recipient: &str,
        to: &Jid,
        participants: &'n Node,
    ) -> Result<(Vec<Copy<'n>>, Option<String>), Malformed> {
        let targets = stanza::children(participants);
        if targets.is_empty() || targets.len() > FANOUT_MAX {
            return Err(Malformed::new("message for no or too many devices"));
        }
        let mut copies = Vec::with_capacity(targets.len());
        let mut own_space = Space::of(to).unwrap_or(Space::Lid);
        for target in targets {
            if target.tag != "to" {
                return Err(Malformed::new(format!("<participants> with <{}>", target.tag)));
            }
            let jid = stanza::required_jid(target, "jid")?;
            let space = Space::of(&jid).ok_or_else(|| Malformed::new(format!("<to> with a bad jid: {jid}")))?;
            let enc = check_enc(stanza::child(target, "enc")?)?;
            let account = self
                .resolve(&jid)
                .ok_or_else(|| Malformed::new(format!("<to> with an unknown user: {jid}")))?;
            if account.number != recipient && account.number != who.number {
                return Err(Malformed::new(format!("<to> with a user that is not addressed: {jid}")));
            }
            if account.number == who.number {
                own_space = space;
            }
            // A device that is gone is no mistake of the sender: the hash in the ack tells it.
            if let Some(to) = self.resolve_device(&jid).filter(|to| to != who) {
                copies.push(Copy { to, space, enc });
            }
        }
        let mut real: Vec<DeviceRef> = self.devices_of(recipient);
        if recipient != who.number {
            real.extend(self.devices_of(&who.number));
        }
        real.retain(|device| device != who);
        let complete =
            real.len() == targets.len() && real.iter().all(|real| copies.iter().any(|copy| copy.to == *real));
        if complete {
            return Ok((copies, None));
        }
        let to_space = Space::of(to).unwrap_or(Space::Lid);
        let jids = real.iter().filter_map(|device| {
            self.jid_of(
                device,
                if device.number == recipient {
                    to_space
                } else {
                    own_space
                },
            )
        });
        Ok((copies, Some(phash(jids))))
    }

    /// A message with a bare `<enc>` is for exactly one device: a retry, or a message between an account's own devices.
    fn single_copy<'n>(&self, who: &DeviceRef, to: &Jid, space: Space, node: &'n Node) -> Result<Copy<'n>, Malformed> {
        let enc = check_enc(stanza::child(node, "enc")?)?;
        let device = self
            .resolve_device(to)
            .ok_or_else(|| Malformed::new(format!("message for a device that does not exist: {to}")))?;
        let category = stanza::text(node, "category");
        if category.as_deref().is_some_and(|category| category != "peer") {
            return Err(Malformed::new(format!(
                "message of category {}",
                category.unwrap_or_default()
            )));
        }
        if category.is_some() && device.number != who.number {
            return Err(Malformed::new("peer message to another account"));
        }
        if device == *who {
            return Err(Malformed::new("message to the sending device itself"));
        }
        Ok(Copy { to: device, space, enc })
    }

    /// The stanza that a device gets.
    fn delivery(&self, who: &DeviceRef, sent: &Node, to: &Jid, copy: &Copy<'_>) -> Node {
        let mut builder = NodeBuilder::new("message").attr("t", self.now());
        for key in ["id", "type", "edit", "category"] {
            if let Some(value) = sent.attrs.get(key) {
                builder = builder.attr(key, value.clone());
            }
        }
        let is_own = copy.to.number == who.number;
        if let Some(sender) = self.account(&who.number) {
            builder = builder
                .attr("from", sender.device_jid(copy.space, who.device))
                .attr("notify", sender.name.as_str());
            // Own devices know both of their addresses, and would take the other one for the chat's (Baileys
            // `decode-wa-message.ts` pairs `sender_pn` with the chat).
            builder = match copy.space {
                _ if is_own => builder,
                Space::Lid => builder.attr("sender_pn", sender.user_jid(Space::Pn)),
                Space::Pn => builder.attr("sender_lid", sender.user_jid(Space::Lid)),
            };
        }
        if is_own && sent.attrs.get("category").is_none() {
            // An own device sees which chat it is. A resend is addressed to the device and names the chat itself.
            let chat = sent
                .attrs
                .get("recipient")
                .and_then(|value| value.to_jid())
                .unwrap_or_else(|| to.to_non_ad());
            if let (Some(chat_space), Some(peer)) = (Space::of(&chat), self.resolve(&chat)) {
                let other = peer.user_jid(chat_space.other());
                builder = builder.attr("recipient", chat);
                builder = match chat_space {
                    Space::Lid => builder.attr("peer_recipient_pn", other),
                    Space::Pn => builder.attr("peer_recipient_lid", other),
                };
            }
        }
        let is_first = copy.is_first();
        let mut children = vec![copy.enc.clone()];
        for child in stanza::children(sent) {
            let identity = is_first && child.tag == "device-identity";
            if identity || (child.tag != "enc" && !NOT_RELAYED.contains(&child.tag.as_ref())) {
                children.push(child.clone());
            }
        }
        builder.children(children).build()
    }
}

fn check_enc(enc: &Node) -> Result<&Node, Malformed> {
    let (version, kind) = (stanza::required(enc, "v")?, stanza::required(enc, "type")?);
    if version != "2" || !matches!(kind.as_str(), "pkmsg" | "msg") {
        return Err(Malformed::new(format!("<enc> of version {version}, type {kind}")));
    }
    if stanza::required_bytes(enc)?.len() > CIPHERTEXT_LEN_MAX {
        return Err(Malformed::new("<enc> too large"));
    }
    Ok(enc)
}

/// The hash of a set of devices that both ends compute (wacore `messages.rs` `participant_list_hash`).
fn phash(jids: impl Iterator<Item = Jid>) -> String {
    let mut names: Vec<String> = jids.map(|jid| jid.to_phash_form_string()).collect();
    names.sort_unstable();
    let hash = Sha256::digest(names.concat());
    format!("2:{}", BASE64_STANDARD_NO_PAD.encode(&hash[..6]))
}

#[cfg(test)]
mod tests {
    use wacore::messages::MessageUtils;

    use super::*;

    #[test]
    fn the_hash_of_devices_is_the_client_librarys() {
        let jids = vec![
            Jid::lid_device("300000000000002", 0),
            Jid::pn_device("12025550101", 7),
            Jid::pn("12025550102"),
        ];
        let theirs = MessageUtils::participant_list_hash(&jids).unwrap();
        assert_eq!(phash(jids.into_iter()), theirs);
    }
}
