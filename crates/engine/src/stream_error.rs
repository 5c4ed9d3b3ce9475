//! What a `<stream:error>` means where the protocol library leaves the connection open.
//!
//! WhatsApp ends the stream after each of them, sooner or later. Until then the library would go on as if nothing had
//! happened, and a session that says it works would be deaf. Those that are final (unlinked, replaced) and the restart
//! after pairing are the library's to report (whatsapp-rust `node_io.rs` handle_stream_error).

use wacore_binary::NodeRef;
use wharf_core::engine::Signal;

/// Codes that the library acts on.
const LEFT_TO_LIBRARY: [&str; 4] = ["401", "409", "515", "516"];
/// Codes with which WhatsApp asks to come back later.
const LATER: [&str; 2] = ["429", "503"];

/// The signal for a stanza, where it is such an error.
pub(crate) fn signal(node: &NodeRef<'_>) -> Option<Signal> {
    if node.tag != "stream:error" || node.get_optional_child("conflict").is_some() {
        return None;
    }
    let code = node.attrs().optional_string("code").unwrap_or_default();
    if LEFT_TO_LIBRARY.contains(&code.as_ref()) {
        return None;
    }
    let reason = match code.as_ref() {
        "" => "WhatsApp ended the stream with an error".to_owned(),
        code => format!("WhatsApp ended the stream with error {code}"),
    };
    Some(match LATER.contains(&code.as_ref()) {
        true => Signal::TurnedAway { reason },
        false => Signal::Disconnected { reason },
    })
}

#[cfg(test)]
mod tests {
    use wacore_binary::builder::NodeBuilder;

    use super::*;

    #[test]
    fn what_the_library_passes_over_ends_the_connection() {
        let error = |code: &str| NodeBuilder::new("stream:error").attr("code", code).build();
        for (code, turned_away) in [("429", true), ("503", true), ("500", false), ("428", false)] {
            let signal = signal(&error(code).as_node_ref());
            assert_eq!(matches!(signal, Some(Signal::TurnedAway { .. })), turned_away, "{code}");
            assert_eq!(
                matches!(signal, Some(Signal::Disconnected { .. })),
                !turned_away,
                "{code}"
            );
        }
        let ack = NodeBuilder::new("ack").build();
        let wrapped = NodeBuilder::new("stream:error").children([ack]).build();
        assert!(matches!(
            signal(&wrapped.as_node_ref()),
            Some(Signal::Disconnected { .. })
        ));
    }

    #[test]
    fn what_the_library_acts_on_is_left_to_it() {
        for code in LEFT_TO_LIBRARY {
            let error = NodeBuilder::new("stream:error").attr("code", code).build();
            assert!(signal(&error.as_node_ref()).is_none(), "{code}");
        }
        let conflict = NodeBuilder::new("conflict").attr("type", "replaced").build();
        let error = NodeBuilder::new("stream:error").children([conflict]).build();
        assert!(signal(&error.as_node_ref()).is_none());
        assert!(signal(&NodeBuilder::new("message").build().as_node_ref()).is_none());
    }
}
