//! Encrypts keys at rest, because WAHA's API shows a key again whenever it is asked for.
//!
//! ChaCha20-Poly1305 (RFC 8439) under a key that HKDF (RFC 5869) makes of the master key, with a random nonce in front and the id
//! of the document as associated data, so that nobody who writes to the database can put one key in the place of another.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use wharf_core::random::Random;

use crate::config::MasterKey;

/// What the derived key is for; another purpose gets another key.
const PURPOSE: &[u8] = b"wharf api keys v1";

/// Encrypts and decrypts under the master key.
pub(super) struct Sealer {
    key: LessSafeKey,
}

impl Sealer {
    /// `None` never happens with the lengths that are used here.
    pub(super) fn new(master: &MasterKey) -> Option<Self> {
        let secret = Salt::new(HKDF_SHA256, &[]).extract(master.secret().as_bytes());
        let derived = secret.expand(&[PURPOSE], &CHACHA20_POLY1305).ok()?;
        Some(Self {
            key: LessSafeKey::new(UnboundKey::from(derived)),
        })
    }

    /// Nonce, text and tag.
    pub(super) fn seal(&self, id: &str, text: &str, random: &dyn Random) -> Option<Vec<u8>> {
        let nonce = random.bytes::<NONCE_LEN>();
        let mut sealed = text.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id), &mut sealed)
            .ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    /// The text, unless it was sealed for another id or under another master key, or was changed since.
    pub(super) fn open(&self, id: &str, sealed: &[u8]) -> Option<String> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let text = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(id), &mut sealed)
            .ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::random::SystemRandom;

    fn sealer(master: &str) -> Sealer {
        Sealer::new(&MasterKey::new(master)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_under_the_same_key_and_id_only() {
        let sealer_a = sealer("a master key of thirty-two chars");
        let sealed = sealer_a.seal("key_id_1", "key_secret", &SystemRandom).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(sealer_a.open("key_id_1", &sealed).as_deref(), Some("key_secret"));
        assert_eq!(sealer_a.open("key_id_2", &sealed), None);
        assert_eq!(
            sealer("another master key of 32 chars..").open("key_id_1", &sealed),
            None
        );
    }

    #[test]
    fn every_changed_byte_is_noticed_and_two_of_one_text_differ() {
        let sealer = sealer("a master key of thirty-two chars");
        let sealed = sealer.seal("id", "key", &SystemRandom).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open("id", &changed), None, "byte {at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(sealer.open("id", &sealed[..length]), None, "{length} bytes");
        }
        assert_ne!(sealed, sealer.seal("id", "key", &SystemRandom).unwrap());
    }
}
