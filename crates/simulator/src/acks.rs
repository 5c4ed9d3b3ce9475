//! What acknowledges what: an `<ack>` or a delivery receipt counts for the stanza that it names in every respect.
//!
//! Clients echo what they got (Baileys `stanza-ack.ts`, whatsapp-rust `client.rs` build_ack_node, whatsmeow `receipt.go`):
//! `from` comes back as `to`, `participant` and `recipient` as they are, the type of a receipt or notification too. What
//! matches nothing that the device was given is counted as unmatched, and the stanza goes on waiting. Leniency, each for
//! something that real clients do:
//! - An acknowledgement may be repeated: Baileys acknowledges a message that it asked for again, and once more when it
//!   comes again.
//! - A `<message>` may be acknowledged without its type (whatsmeow).
//! - The `type` of `<notification type="encrypt"><identity/>` may be left out, as WhatsApp Web does.
//! - A `participant` that is the sender of the stanza may be left out (whatsapp-rust).
//! - A `recipient` may be left out: receipts have room for one only when they are about a message of one's own.

use wacore_binary::{Jid, Node};

use crate::model::{DeviceRef, State};
use crate::queue::Acked;
use crate::stanza::{self, Malformed};

/// Classes of stanzas that are acknowledged.
const CLASSES: [&str; 4] = ["message", "receipt", "notification", "call"];

impl State {
    /// `<ack>`: the client has a receipt or notification, or gives up on a message.
    pub(crate) fn on_ack(&mut self, who: &DeviceRef, ack: &Node) -> Result<(), Malformed> {
        let class = stanza::required(ack, "class")?;
        let id = stanza::required(ack, "id")?;
        stanza::required_jid(ack, "to")?;
        if !CLASSES.contains(&class.as_str()) {
            return Err(Malformed::new(format!("<ack> of class {class}")));
        }
        let from = stanza::jid(ack, "from")?;
        if from.is_some_and(|from| self.resolve_device(&from).as_ref() != Some(who)) {
            return Err(Malformed::new("<ack> from another device"));
        }
        self.acknowledged(who, &class, &id, ack, |given| is_echo(given, ack));
        Ok(())
    }

    /// A `<receipt>` for messages: the device has them, if it says so.
    pub(crate) fn on_delivery(&mut self, who: &DeviceRef, ids: &[String], receipt: &Node) {
        for id in ids {
            self.acknowledged(who, "message", id, receipt, |given| is_delivery(given, receipt));
        }
    }

    fn acknowledged(&mut self, who: &DeviceRef, tag: &str, id: &str, by: &Node, fits: impl Fn(&Node) -> bool) {
        self.close_overdue(who, |given| given.node.tag == tag && given.id == id && fits(given.node));
        let Some(device) = self.device_mut(who) else { return };
        match device.queue.ack(tag, id, fits) {
            Acked::Now => self.touch(),
            Acked::Before => {}
            Acked::Never => {
                let now = self.now();
                self.counters.unmatched(now, &who.to_string(), describe(by, id));
            }
        }
    }
}

/// Whether a receipt of this type says that the device has a message. The others say what a person did, ask for the message
/// again, or come in addition (`hist_sync`).
pub(crate) fn says_delivered(kind: &str) -> bool {
    matches!(kind, "" | "inactive" | "sender" | "peer_msg")
}

fn is_echo(given: &Node, ack: &Node) -> bool {
    let kind = |node| stanza::text(node, "type");
    let has_kind = match kind(ack) {
        None if given.tag == "message" || is_identity_change(given) => true,
        said => said == kind(given),
    };
    has_kind && goes_back(given, ack)
}

fn is_delivery(given: &Node, receipt: &Node) -> bool {
    let kind = stanza::text(receipt, "type").unwrap_or_default();
    let is_peer = given.attrs.get("category").is_some();
    let is_own = given.attrs.get("recipient").is_some();
    let fits = match kind.as_str() {
        "peer_msg" => is_peer,
        "sender" => is_own && !is_peer,
        "" | "inactive" => !is_own && !is_peer,
        _ => false,
    };
    fits && goes_back(given, receipt)
}

/// Whether an answer goes to where the stanza came from, and is about the same people.
fn goes_back(given: &Node, answer: &Node) -> bool {
    let from = address(given, "from");
    let participant = (address(given, "participant"), address(answer, "participant"));
    let same_participant = participant.0 == participant.1 || (participant.1.is_none() && participant.0 == from);
    let recipient = (address(given, "recipient"), address(answer, "recipient"));
    from.is_some()
        && from == address(answer, "to")
        && same_participant
        && (recipient.1.is_none() || recipient.0 == recipient.1)
}

fn address(node: &Node, key: &str) -> Option<Jid> {
    stanza::jid(node, key).ok().flatten()
}

fn is_identity_change(given: &Node) -> bool {
    given.tag == "notification"
        && stanza::text(given, "type").as_deref() == Some("encrypt")
        && given.get_optional_child("identity").is_some()
}

fn describe(by: &Node, id: &str) -> String {
    let mut what = format!("<{}> for {id}", by.tag);
    for key in ["class", "type", "to", "participant", "recipient"] {
        if let Some(value) = stanza::text(by, key) {
            what = format!("{what} {key}={value}");
        }
    }
    what
}

#[cfg(test)]
mod tests {
    use wacore_binary::builder::NodeBuilder;

    use super::*;

    fn node(tag: &'static str, attributes: &[(&'static str, &str)]) -> Node {
        let builder = NodeBuilder::new(tag).attr("id", "A");
        let with = |builder: NodeBuilder, (key, value): &(&'static str, &str)| builder.attr(*key, *value);
        attributes.iter().fold(builder, with).build()
    }

    const BOB: &str = "12025550102:3@s.whatsapp.net";
    const BOBS_PHONE: &str = "12025550102@s.whatsapp.net";
    const CAROL: &str = "12025550103@s.whatsapp.net";

    #[test]
    fn an_ack_echoes_the_stanza() {
        let receipt = node("receipt", &[("from", BOB), ("type", "read")]);
        for (ack, expected) in [
            (vec![("to", BOB), ("type", "read")], true),
            (vec![("to", BOB)], false),
            (vec![("to", BOB), ("type", "retry")], false),
            (vec![("to", BOBS_PHONE), ("type", "read")], false),
            (vec![("to", BOB), ("type", "read"), ("participant", CAROL)], false),
            (vec![("to", BOB), ("type", "read"), ("recipient", CAROL)], false),
            (vec![("type", "read")], false),
        ] {
            assert_eq!(is_echo(&receipt, &node("ack", &ack)), expected, "{ack:?}");
        }
    }

    #[test]
    fn clients_leave_out_what_they_may() {
        let message = node("message", &[("from", BOB), ("type", "text")]);
        assert!(is_echo(&message, &node("ack", &[("to", BOB)])));
        assert!(!is_echo(&message, &node("ack", &[("to", BOB), ("type", "media")])));
        let group = node("message", &[("from", BOB), ("participant", CAROL)]);
        assert!(
            !is_echo(&group, &node("ack", &[("to", BOB)])),
            "which participant is not said"
        );
        let own = node("receipt", &[("from", BOB), ("participant", BOB)]);
        assert!(is_echo(&own, &node("ack", &[("to", BOB)])));
        let mut identity = node("notification", &[("from", BOB), ("type", "encrypt")]);
        assert!(!is_echo(&identity, &node("ack", &[("to", BOB)])));
        identity.content = Some(wacore_binary::NodeContent::Nodes(vec![stanza::empty("identity")]));
        assert!(is_echo(&identity, &node("ack", &[("to", BOB)])));
    }

    #[test]
    fn a_receipt_counts_for_the_kind_of_message_that_it_is_about() {
        let theirs = node("message", &[("from", BOB)]);
        let own = node("message", &[("from", BOB), ("recipient", CAROL)]);
        let peer = node("message", &[("from", BOB), ("category", "peer")]);
        for (kind, counts_for) in [("inactive", &theirs), ("sender", &own), ("peer_msg", &peer)] {
            for message in [&theirs, &own, &peer] {
                let receipt = node("receipt", &[("to", BOB), ("type", kind)]);
                assert_eq!(is_delivery(message, &receipt), message == counts_for, "{kind}");
            }
        }
        assert!(is_delivery(&theirs, &node("receipt", &[("to", BOB)])));
        for kind in ["read", "played", "read-self", "retry", "hist_sync"] {
            assert!(!says_delivered(kind), "{kind}");
            assert!(
                !is_delivery(&theirs, &node("receipt", &[("to", BOB), ("type", kind)])),
                "{kind}"
            );
        }
    }
}
