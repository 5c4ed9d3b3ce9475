//! WhatsApp's own part of a message id, as a part of Wharf's.
//!
//! The sender's client makes it up, and WhatsApp passes on whatever it is. Wharf's ids join it with others and stand in
//! URLs, so not every text can be a part of them; a message whose id cannot must still not be lost. It gets a stand-in.
//! Every place that takes an id from a stanza takes it through here, so that receipts and quotes still find the message.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use wharf_core::ids::MessageRef;

/// How many characters of an odd id its stand-in keeps, for people to recognise.
const KEPT_CHARS_MAX: usize = 32;
/// How much of the digest stands behind them, in bytes.
const DIGEST_BYTES: usize = 16;

/// The id as it is kept: as it is where it can be a part of Wharf's ids, else a stand-in.
///
/// The stand-in is the first ASCII letters and digits of the id, a dot, and 32 hexadecimal digits of its SHA-256: the same
/// at every redelivery, and never that of another message. WhatsApp does not know it, so such a message cannot be
/// marked as read or quoted; it can be received, found and named.
pub(crate) fn kept(wire: &str) -> Cow<'_, str> {
    if matches!(wire.parse(), Ok(MessageRef::Bare(_))) {
        return Cow::Borrowed(wire);
    }
    let mut kept: String = wire
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(KEPT_CHARS_MAX)
        .collect();
    kept.push('.');
    kept.push_str(&hex::encode(&Sha256::digest(wire)[..DIGEST_BYTES]));
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_whatsapps_clients_make_stays_as_it_is() {
        for id in ["3EB0AA", "AC-DE:1.2=/+", &"A".repeat(128)] {
            assert_eq!(kept(id), id);
        }
    }

    #[test]
    fn odd_ids_get_stand_ins_that_are_ids() {
        let long = "A".repeat(129);
        for (wire, start) in [
            ("", "."),
            ("A_B", "AB."),
            ("true_12025550102@c.us_A", "true12025550102cusA."),
            ("A\0 \u{e9}%", "A."),
            (long.as_str(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA."),
        ] {
            let kept_id = kept(wire);
            let digest = kept_id.strip_prefix(start).unwrap_or_default();
            assert_eq!(digest.len(), 2 * DIGEST_BYTES, "{wire:?} became {kept_id}");
            assert!(
                matches!(kept_id.parse(), Ok(MessageRef::Bare(_))),
                "{wire:?} became {kept_id}"
            );
            assert_eq!(kept(wire), kept_id, "the same again");
            assert_eq!(kept(&kept_id), kept_id, "a stand-in is an id");
        }
        assert_ne!(kept("A_B"), kept("AB_"));
    }
}
