//! A phone's end of the Signal protocol: its keys, and a session with every device it talks to.
//!
//! Sessions are never saved: a ratchet that is loaded from an older state would use counters twice. A phone that comes
//! back starts new ones. The library's futures never wait here, because the stores are in memory.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use serde::{Deserialize, Serialize};
use wacore_libsignal::protocol::{
    CiphertextMessage, DeviceId, Direction, GenericSignedPreKey as _, IdentityChange, IdentityKey, IdentityKeyPair,
    IdentityKeyStore, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage, PreKeyStore, ProtocolAddress,
    PublicKey, SessionRecord, SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord,
    SignedPreKeyStore, Timestamp, UsePQRatchet, message_decrypt, message_encrypt, process_prekey_bundle,
};

use crate::keys::{Blob, Keys};
use crate::model::{Bundle, DeviceRef, SignedPrekey};

/// One-time keys that a phone makes at a time.
const PREKEYS_BATCH: u32 = 50;
/// Highest registration id (14 bits).
const REGISTRATION_ID_MAX: u32 = 16_380;

type Result<T> = std::result::Result<T, SignalProtocolError>;

/// Keys and sessions of one phone.
#[derive(Serialize, Deserialize)]
pub(crate) struct Signal {
    identity: Identity,
    signed_prekey: SignedPrekeys,
    prekeys: Prekeys,
    next_prekey: u32,
    #[serde(skip)]
    sessions: Sessions,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    keys: Keys,
    registration_id: u32,
    /// The identity of every device that was talked to.
    known: BTreeMap<String, Blob>,
}

#[derive(Serialize, Deserialize)]
struct SignedPrekeys {
    id: u32,
    keys: Keys,
    signature: Blob,
    made_at_ms: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Prekeys(BTreeMap<u32, Keys>);

#[derive(Default)]
struct Sessions(HashMap<String, SessionRecord>);

/// An encrypted message for one device.
pub(crate) struct Sealed {
    /// `pkmsg` or `msg`.
    pub(crate) kind: &'static str,
    pub(crate) ciphertext: Vec<u8>,
}

impl Signal {
    pub(crate) fn generate(now_ms: u64, rng: &mut StdRng) -> Result<Self> {
        let identity = Keys::generate(rng);
        let keys = Keys::generate(rng);
        let signature = identity.sign(&[&[5], keys.public_bytes()], rng)?;
        Ok(Self {
            identity: Identity {
                keys: identity,
                registration_id: rng.random_range(1..=REGISTRATION_ID_MAX),
                known: BTreeMap::new(),
            },
            signed_prekey: SignedPrekeys {
                id: 1,
                keys,
                signature: signature.into(),
                made_at_ms: now_ms,
            },
            prekeys: Prekeys::default(),
            next_prekey: rng.next_u32() % 0x00FF_0000 + 1,
            sessions: Sessions::default(),
        })
    }

    pub(crate) fn identity(&self) -> &Keys {
        &self.identity.keys
    }

    pub(crate) fn registration_id(&self) -> u32 {
        self.identity.registration_id
    }

    /// What the server is told of a new phone.
    pub(crate) fn bundle(&mut self, rng: &mut StdRng) -> Bundle {
        Bundle {
            registration_id: self.identity.registration_id,
            identity: self.identity.keys.public_bytes().into(),
            signed_prekey: self.signed_prekey(),
            prekeys: self.more_prekeys(rng),
            ..Bundle::default()
        }
    }

    pub(crate) fn signed_prekey(&self) -> SignedPrekey {
        SignedPrekey {
            id: self.signed_prekey.id,
            public: self.signed_prekey.keys.public_bytes().into(),
            signature: self.signed_prekey.signature.clone(),
        }
    }

    /// New one-time keys for the server.
    pub(crate) fn more_prekeys(&mut self, rng: &mut StdRng) -> BTreeMap<u32, Blob> {
        (0..PREKEYS_BATCH).map(|_| self.new_prekey(rng)).collect()
    }

    /// One one-time key that is handed to a device directly.
    pub(crate) fn new_prekey(&mut self, rng: &mut StdRng) -> (u32, Blob) {
        let keys = Keys::generate(rng);
        let id = self.next_prekey;
        self.next_prekey = self.next_prekey % 0x00FF_FFFE + 1;
        let public = Blob::from(keys.public_bytes());
        self.prekeys.0.insert(id, keys);
        (id, public)
    }

    pub(crate) fn has_session(&self, with: &DeviceRef) -> bool {
        self.sessions.0.contains_key(address(with).as_str())
    }

    /// Forgets a device: the next message to it starts afresh.
    pub(crate) fn forget(&mut self, device: &DeviceRef) {
        self.sessions.0.remove(address(device).as_str());
    }

    /// Starts a session with a device from its keys; replaces the one there is.
    pub(crate) fn start_session(
        &mut self,
        with: &DeviceRef,
        bundle: &Bundle,
        prekey: Option<(u32, Blob)>,
        rng: &mut StdRng,
    ) -> Result<()> {
        let prekey = match prekey {
            Some((id, public)) => Some((PreKeyId::from(id), PublicKey::from_djb_public_key_bytes(&public.0)?)),
            None => None,
        };
        let theirs = PreKeyBundle::new(
            bundle.registration_id,
            DeviceId::new(0),
            prekey,
            SignedPreKeyId::from(bundle.signed_prekey.id),
            PublicKey::from_djb_public_key_bytes(&bundle.signed_prekey.public.0)?,
            bundle.signed_prekey.signature.0.clone(),
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&bundle.identity.0)?),
        )?;
        let address = address(with);
        let (sessions, identity) = (&mut self.sessions, &mut self.identity);
        at_once(process_prekey_bundle(
            &address,
            sessions,
            identity,
            &theirs,
            rng,
            UsePQRatchet::No,
        ))
        .map(|_| ())
    }

    pub(crate) fn encrypt(&mut self, to: &DeviceRef, plaintext: &[u8]) -> Result<Sealed> {
        let address = address(to);
        let sealed = at_once(message_encrypt(
            plaintext,
            &address,
            &mut self.sessions,
            &mut self.identity,
        ))?;
        match sealed {
            CiphertextMessage::SignalMessage(message) => Ok(Sealed {
                kind: "msg",
                ciphertext: message.serialized().to_vec(),
            }),
            CiphertextMessage::PreKeySignalMessage(message) => Ok(Sealed {
                kind: "pkmsg",
                ciphertext: message.serialized().to_vec(),
            }),
            CiphertextMessage::SenderKeyMessage(_) | CiphertextMessage::PlaintextContent(_) => Err(
                SignalProtocolError::InvalidState("encrypt", "a session made no session message".to_owned()),
            ),
        }
    }

    /// Decrypts a message. The one-time key that it used is gone afterwards.
    pub(crate) fn decrypt(
        &mut self,
        from: &DeviceRef,
        kind: &str,
        ciphertext: &[u8],
        rng: &mut StdRng,
    ) -> Result<Vec<u8>> {
        let message = if kind == "pkmsg" {
            CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(ciphertext)?)
        } else {
            CiphertextMessage::SignalMessage(SignalMessage::try_from(ciphertext)?)
        };
        let address = address(from);
        let opened = at_once(message_decrypt(
            &message,
            &address,
            &mut self.sessions,
            &mut self.identity,
            &mut self.prekeys,
            &self.signed_prekey,
            rng,
            UsePQRatchet::No,
        ))?;
        if let Some(id) = opened.consumed_prekey_id {
            self.prekeys.0.remove(&id.into());
        }
        Ok(opened.plaintext)
    }
}

/// Sessions belong to devices, whichever of its two addresses a device was reached by.
fn address(device: &DeviceRef) -> ProtocolAddress {
    ProtocolAddress::new(&device.to_string(), DeviceId::new(0))
}

fn at_once<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let suspended = || SignalProtocolError::InvalidState("at_once", "an in-memory store made a future wait".to_owned());
    work.now_or_never().ok_or_else(suspended)?
}

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.get(address.as_str()).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> Result<bool> {
        Ok(self.0.contains_key(address.as_str()))
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> Result<()> {
        self.0.insert(address.as_str().to_owned(), record);
        Ok(())
    }
}

#[async_trait]
impl IdentityKeyStore for Identity {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        let pair = self.keys.pair();
        Ok(IdentityKeyPair::new(
            IdentityKey::new(pair.public_key),
            pair.private_key.clone(),
        ))
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(&mut self, address: &ProtocolAddress, identity: &IdentityKey) -> Result<IdentityChange> {
        let key = Blob::from(identity.serialize().as_slice());
        match self.known.insert(address.as_str().to_owned(), key.clone()) {
            Some(before) if before != key => Ok(IdentityChange::ReplacedExisting),
            _ => Ok(IdentityChange::NewOrUnchanged),
        }
    }

    /// A phone trusts what the network shows it, as WhatsApp does; the person is only told of a change.
    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> Result<bool> {
        Ok(true)
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        self.known
            .get(address.as_str())
            .map(|key| IdentityKey::decode(&key.0))
            .transpose()
    }
}

#[async_trait]
impl PreKeyStore for Prekeys {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        let keys = self.0.get(&id.into()).ok_or(SignalProtocolError::InvalidPreKeyId)?;
        Ok(PreKeyRecord::new(id, keys.pair()))
    }

    async fn save_pre_key(&mut self, _: PreKeyId, _: &PreKeyRecord) -> Result<()> {
        Err(SignalProtocolError::InvalidState(
            "save_pre_key",
            "a phone makes its own prekeys".to_owned(),
        ))
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> Result<()> {
        self.0.remove(&id.into());
        Ok(())
    }
}

#[async_trait]
impl SignedPreKeyStore for SignedPrekeys {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        if u32::from(id) != self.id {
            return Err(SignalProtocolError::InvalidSignedPreKeyId);
        }
        let made_at = Timestamp::from_epoch_millis(self.made_at_ms);
        Ok(SignedPreKeyRecord::new(
            id,
            made_at,
            self.keys.pair(),
            &self.signature.0,
        ))
    }

    async fn save_signed_pre_key(&mut self, _: SignedPreKeyId, _: &SignedPreKeyRecord) -> Result<()> {
        Err(SignalProtocolError::InvalidState(
            "save_signed_pre_key",
            "a phone makes its own prekeys".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests;
