//! Key pairs and byte strings as they are stored: base64 in JSON, never printed.
//!
//! Only the sandbox's own keys live here; a real account's keys must never reach this crate.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand::rngs::StdRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wacore_libsignal::protocol::{CurveError, KeyPair, PrivateKey, PublicKey};

/// Bytes that are base64 in JSON.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// A Curve25519 key pair.
#[derive(Clone)]
pub(crate) struct Keys(KeyPair);

impl Keys {
    pub(crate) fn generate(rng: &mut StdRng) -> Self {
        Self(KeyPair::generate(rng))
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn private(&self) -> &PrivateKey {
        &self.0.private_key
    }

    /// The 32 bytes that go over the wire, without Signal's type byte.
    pub(crate) fn public_bytes(&self) -> &[u8] {
        self.0.public_key.public_key_bytes()
    }

    /// An XEdDSA signature of `parts`, one after the other.
    pub(crate) fn sign(&self, parts: &[&[u8]], rng: &mut StdRng) -> Result<Vec<u8>, CurveError> {
        Ok(self
            .0
            .private_key
            .calculate_signature_for_multipart_message(parts, rng)?
            .to_vec())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Blob::from(self.0.private_key.serialize().as_slice()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Blob::deserialize(deserializer)?;
        let private = PrivateKey::deserialize(&bytes.0).map_err(serde::de::Error::custom)?;
        let public = private.public_key().map_err(serde::de::Error::custom)?;
        Ok(Self(KeyPair::new(public, private)))
    }
}

/// Checks an XEdDSA signature by a 32-byte public key.
pub(crate) fn verify(public: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    PublicKey::from_djb_public_key_bytes(public)
        .is_ok_and(|key| key.verify_signature_for_multipart_message(parts, signature))
}

/// The number in a big-endian byte string of up to four bytes, as key and registration ids are sent.
pub(crate) fn be_number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 4 {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// A key id in its three wire bytes.
pub(crate) fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes()[1..].to_vec()
}
