//! What acknowledges what: an `<ack>` or a delivery receipt counts for the stanza that it names in every respect.
//!
//! Clients echo what they got (Baileys `stanza-ack.ts`, whatsapp-rust `client.rs` build_ack_node, whatsmeow `receipt.go`):
//! `from` comes back as `to`, `type`, `participant` and `recipient` come back as they are. What matches nothing that the
//! device was given is counted as unmatched, and the stanza goes on waiting. Two things are let pass:
//! - A `<message>` is acknowledged without its type by whatsmeow; whatsapp-rust and Baileys echo it.
//! - An acknowledgement is repeated where a stanza was doubled on the way.

use wacore_binary::Node;

use crate::model::{ConnId, DeviceRef, State};
use crate::queue::Acked;
use crate::stanza::{self, Malformed};

/// Classes of stanzas that are acknowledged.
const CLASSES: [&str; 4] = ["message", "receipt", "notification", "call"];

impl State {
    /// `<ack>`: the client has a receipt or notification, or gives up on a message.
    pub(crate) fn on_ack(&mut self, who: &DeviceRef, ack: &Node) -> Result<(), Malformed> {
        let (class, id) = named(ack)?;
        let from = stanza::jid(ack, "from")?;
        if from.is_some_and(|from| self.resolve_device(&from).as_ref() != Some(who)) {
            return Err(Malformed::new("<ack> from another device"));
        }
        self.acknowledged(who, &class, &id, ack, |given| is_echo(given, ack));
        Ok(())
    }

    /// `<ack>` of a device that is not linked yet.
    pub(crate) fn on_ack_before_login(&mut self, conn: ConnId, ack: &Node) -> Result<(), Malformed> {
        let (class, id) = named(ack)?;
        self.acknowledged_before_login(conn, &class, &id, ack, |given| is_echo(given, ack));
        Ok(())
    }

    /// An IQ that a device answers which is not linked yet.
    pub(crate) fn on_result_before_login(&mut self, conn: ConnId, id: &str, result: &Node) {
        self.acknowledged_before_login(conn, "iq", id, result, |_| true);
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
        let acked = device.queue.ack(tag, id, fits);
        self.count(acked, &who.to_string(), || describe(by, id));
    }

    fn acknowledged_before_login(
        &mut self,
        conn: ConnId,
        tag: &str,
        id: &str,
        by: &Node,
        fits: impl Fn(&Node) -> bool,
    ) {
        let Some(mut told) = self.registration_mut(conn).map(|it| std::mem::take(&mut it.told)) else {
            return;
        };
        self.close_overdue_before_login(&told, |given| {
            given.node.tag == tag && given.id == id && fits(given.node)
        });
        let acked = told.ack(tag, id, fits);
        if let Some(registration) = self.registration_mut(conn) {
            registration.told = told;
        }
        self.count(acked, "", || describe(by, id));
    }

    fn count(&mut self, acked: Acked, device: &str, what: impl FnOnce() -> String) {
        match acked {
            Acked::Now => self.touch(),
            Acked::Before => {}
            Acked::Never => {
                let now = self.now();
                self.counters.unmatched(now, device, what());
            }
        }
    }
}

/// Class and id of what an `<ack>` acknowledges.
fn named(ack: &Node) -> Result<(String, String), Malformed> {
    let class = stanza::required(ack, "class")?;
    let id = stanza::required(ack, "id")?;
    stanza::required_jid(ack, "to")?;
    match CLASSES.contains(&class.as_str()) {
        true => Ok((class, id)),
        false => Err(Malformed::new(format!("<ack> of class {class}"))),
    }
}

/// Whether a receipt of this type says that the device has a message. The others say what a person did, ask for the message
/// again, or come in addition (`hist_sync`).
pub(crate) fn says_delivered(kind: &str) -> bool {
    matches!(kind, "" | "inactive" | "sender" | "peer_msg")
}

fn is_echo(given: &Node, ack: &Node) -> bool {
    let (said, kind) = (stanza::text(ack, "type"), stanza::text(given, "type"));
    let is_untyped = given.tag == "message" && said.is_none();
    (is_untyped || said == kind) && goes_back(given, ack)
}

fn is_delivery(given: &Node, receipt: &Node) -> bool {
    let is_peer = given.attrs.get("category").is_some();
    let is_own = given.attrs.get("recipient").is_some();
    let fits = match stanza::text(receipt, "type").as_deref() {
        Some("peer_msg") => is_peer,
        Some("sender") => is_own && !is_peer,
        None | Some("inactive") => !is_own && !is_peer,
        Some(_) => false,
    };
    fits && goes_back(given, receipt)
}

/// Whether an answer goes to where the stanza came from, and is about the same people.
fn goes_back(given: &Node, answer: &Node) -> bool {
    let address = |node, key| stanza::jid(node, key).ok().flatten();
    let same = |theirs, ours| address(given, theirs) == address(answer, ours);
    same("from", "to") && same("participant", "participant") && same("recipient", "recipient")
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
        let with = |builder: NodeBuilder, (key, value): &(&'static str, &str)| builder.attr(key, *value);
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
    fn only_a_message_may_be_acknowledged_without_its_type() {
        let message = node("message", &[("from", BOB), ("type", "text")]);
        assert!(is_echo(&message, &node("ack", &[("to", BOB)])));
        assert!(!is_echo(&message, &node("ack", &[("to", BOB), ("type", "media")])));
        let notification = node("notification", &[("from", BOB), ("type", "encrypt")]);
        assert!(!is_echo(&notification, &node("ack", &[("to", BOB)])));
    }

    #[test]
    fn who_is_meant_must_be_said() {
        let own = node(
            "receipt",
            &[("from", BOB), ("participant", CAROL), ("recipient", CAROL)],
        );
        for (ack, expected) in [
            (vec![("participant", CAROL), ("recipient", CAROL)], true),
            (vec![("participant", CAROL)], false),
            (vec![("recipient", CAROL)], false),
        ] {
            let ack = [ack, vec![("to", BOB)]].concat();
            assert_eq!(is_echo(&own, &node("ack", &ack)), expected, "{ack:?}");
        }
    }

    #[test]
    fn a_receipt_counts_for_the_kind_of_message_that_it_is_about() {
        let theirs = node("message", &[("from", BOB)]);
        let own = node("message", &[("from", BOB), ("recipient", CAROL)]);
        let peer = node("message", &[("from", BOB), ("category", "peer")]);
        for (kind, counts_for) in [("inactive", &theirs), ("sender", &own), ("peer_msg", &peer)] {
            for message in [&theirs, &own, &peer] {
                let mut receipt = node("receipt", &[("to", BOB), ("type", kind)]);
                if message == &own {
                    receipt.attrs.insert("recipient", CAROL);
                }
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
