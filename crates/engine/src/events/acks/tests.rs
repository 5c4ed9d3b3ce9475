//! What receipts mean, and that what the phone reads is read here, on a sandbox network.

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use super::*;

#[cfg(feature = "sandbox")]
mod group;
#[cfg(feature = "sandbox")]
mod phone;

#[test]
fn only_states_that_a_sender_sees_count() {
    for (wire, expected) in [
        ("", Some(Ack::Device)),
        ("delivery", Some(Ack::Device)),
        ("read", Some(Ack::Read)),
        ("read-self", Some(Ack::Read)),
        ("played", Some(Ack::Played)),
        ("played-self", Some(Ack::Played)),
        ("inactive", None),
        ("sender", None),
        ("peer_msg", None),
        ("retry", None),
        ("hist_sync", None),
        ("server-error", None),
        ("unheard-of", None),
    ] {
        assert_eq!(meaning(&ReceiptType::parse(wire)), expected, "{wire}");
    }
}

fn own(kind: &str) -> Node {
    let item = |id: &str| NodeBuilder::new("item").attr("id", id.to_owned()).build();
    let list = NodeBuilder::new("list").children([item("3EB0AA"), item("A_B")]).build();
    NodeBuilder::new("receipt")
        .attr("from", "100000000000001@lid".to_owned())
        .attr("recipient", "100000000000002@lid".to_owned())
        .attr("peer_recipient_pn", "12025550102@s.whatsapp.net".to_owned())
        .attr("type", kind.to_owned())
        .attr("id", "3EB0BB".to_owned())
        .attr("t", "1800000000".to_owned())
        .children([list])
        .build()
}

#[test]
fn what_our_other_devices_read_is_in_the_chat_that_they_name() {
    for (kind, ack) in [
        ("read", Ack::Read),
        ("read-self", Ack::Read),
        ("played", Ack::Played),
        ("played-self", Ack::Played),
    ] {
        let node = own(kind);
        assert!(names_recipient(&node.as_node_ref()));
        let expected = OwnReceipt {
            from: Jid::lid("100000000000001"),
            chat: Jid::lid("100000000000002"),
            chat_alt: Some(Jid::pn("12025550102")),
            ids: kept(&["3EB0AA".to_owned(), "A_B".to_owned(), "3EB0BB".to_owned()]),
            ack,
            at_s: Some(1_800_000_000),
        };
        assert_eq!(OwnReceipt::read(&node.as_node_ref()), Some(expected), "{kind}");
    }
}

#[test]
fn what_our_other_devices_only_have_says_nothing() {
    for kind in ["", "sender", "inactive", "retry", "peer_msg"] {
        assert_eq!(OwnReceipt::read(&own(kind).as_node_ref()), None, "{kind}");
    }
}
