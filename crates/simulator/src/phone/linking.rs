//! How a phone links a device: at once after a scan, after a code that its owner typed, or after the account's passkey signed.
//!
//! The keys that this takes are made and kept here; the network sees them wrapped only. The other half is in wacore's
//! `pair_code.rs` and `shortcake.rs`, and in Baileys' `messages-recv.ts`.

use std::sync::Arc;
use std::time::Duration;

use buffa::Message as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio::time::sleep;
use wacore::crypto::hkdf_sha256_into;
use wacore::pair_code::PairCodeUtils;
use wacore_libsignal::crypto::aes_256_gcm_decrypt;
use wacore_libsignal::protocol::PublicKey;
use waproto::whatsapp::{PairingRequest, PrimaryEphemeralIdentity};

use super::{Desk, Phone};
use crate::error::SandboxError;
use crate::keys::Keys;
use crate::model::ConnId;
use crate::network::Network;
use crate::pairing::Claim;
use crate::views::DeviceView;

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 32;
const IV_LEN: usize = 12;
/// Letters and digits of a link code, and which they are: those that nobody mixes up.
const CODE_LEN: usize = 8;
const CODE_ALPHABET: &[u8; 32] = b"123456789ABCDEFGHJKLMNPQRSTVWXYZ";
/// Bytes that the code for comparison shows.
const COMPARED_LEN: usize = 5;

/// How long a phone takes for an answer over the connection that a real one has. Clients count on it: they take note of what
/// they sent only once the server has acknowledged it (whatsapp-rust `passkey/flow.rs`, a known limit in
/// `docs/compatibility.md`).
const ANSWER_DELAY: Duration = Duration::from_millis(250);

/// What became of a device that a phone links.
pub(crate) enum Linking {
    /// It was offered a place, and answers here.
    Offered(oneshot::Receiver<Result<DeviceView, String>>),
    /// It has to show that the account's passkey agrees.
    AsksForPasskey,
}

/// A device that links with a passkey has come further.
#[derive(Debug)]
pub(crate) enum Step {
    /// The passkey has signed, and this is the device's part of the key exchange.
    Hello(CompanionHello),
    /// What the device had committed itself to.
    Nonce([u8; KEY_LEN]),
    /// What the device wants to be linked as, encrypted.
    Request {
        /// With the tag.
        payload: Vec<u8>,
        /// The initialisation vector.
        iv: Vec<u8>,
    },
}

/// A device's part of the key exchange.
#[derive(Debug)]
pub(crate) struct CompanionHello {
    /// All of it as it was encoded, which is what the device committed itself to.
    pub(crate) identity: Vec<u8>,
    pub(crate) ephemeral: [u8; KEY_LEN],
    pub(crate) device_type: i32,
    pub(crate) reference: String,
    pub(crate) commitment: [u8; KEY_LEN],
}

/// A key exchange with a device that links with the account's passkey.
pub(super) struct Exchange {
    conn: ConnId,
    hello: CompanionHello,
    ephemeral: Keys,
    nonce: [u8; KEY_LEN],
    /// What the owner compares, once it is known.
    code: Option<String>,
}

/// One attempt to link with a code.
pub(crate) struct CodeAttempt {
    ephemeral: Keys,
    companion_ephemeral: [u8; KEY_LEN],
    /// The phone's key, wrapped with the code.
    pub(crate) wrapped_ephemeral: [u8; 80],
}

/// A link code as it is typed: dashes and blanks do not count, nor does the case.
pub(crate) fn link_code(typed: &str) -> Result<String, SandboxError> {
    let code: String = typed.chars().filter(|it| !matches!(it, '-' | ' ')).collect();
    let code = code.to_ascii_uppercase();
    match code.len() == CODE_LEN && code.bytes().all(|it| CODE_ALPHABET.contains(&it)) {
        true => Ok(code),
        false => Err(SandboxError::Invalid(format!(
            "a code has {CODE_LEN} letters and digits, as in ABCD-EFGH"
        ))),
    }
}

impl Step {
    /// Whether the device hears from the phone next.
    fn is_answered(&self) -> bool {
        matches!(self, Self::Hello(_) | Self::Request { .. })
    }
}

impl CodeAttempt {
    /// Unwraps the device's key with what was typed, and wraps one of the phone's. Takes a while on purpose: codes are short.
    pub(crate) fn new(code: &str, wrapped: &[u8], rng: &mut StdRng) -> Result<Self, SandboxError> {
        let ephemeral = Keys::generate(rng);
        let odd = |_| SandboxError::Refused("the device's key has a wrong length".to_owned());
        let companion_ephemeral = PairCodeUtils::decrypt_primary_ephemeral_pub(wrapped, code).map_err(odd)?;
        let public = ephemeral.public_bytes().try_into();
        let public = public.map_err(|_| SandboxError::Refused("the phone's key has a wrong length".to_owned()))?;
        Ok(Self {
            wrapped_ephemeral: PairCodeUtils::encrypt_ephemeral_pub(&public, code),
            companion_ephemeral,
            ephemeral,
        })
    }

    /// The secret of the device's answer, if the device has the same code and means this phone.
    fn open(&self, phone: &Keys, companion: &[u8; KEY_LEN], bundle: &[u8]) -> Option<[u8; KEY_LEN]> {
        let (salt, rest) = bundle.split_at_checked(SALT_LEN)?;
        let (iv, sealed) = rest.split_at_checked(IV_LEN)?;
        let shared = agree(&self.ephemeral, &self.companion_ephemeral)?;
        let key = derive(&shared, Some(salt), b"link_code_pairing_key_bundle_encryption_key")?;
        let mut opened = Vec::new();
        aes_256_gcm_decrypt(&key, iv.try_into().ok()?, b"", sealed, &mut opened).ok()?;
        let random = opened.strip_prefix(companion)?.strip_prefix(phone.public_bytes())?;
        let identities = agree(phone, companion)?;
        derive(&[&shared, &identities, random].concat(), None, b"adv_secret")
    }
}

impl Phone {
    /// Links a device, or has it ask for the account's passkey first.
    pub(crate) fn link(&self, network: &Network, claim: &Claim) -> Result<Linking, SandboxError> {
        let memory = self.memory();
        let mut state = network.lock();
        if state
            .account(&self.number)
            .is_some_and(|account| account.passkey.is_some())
        {
            state.ask_for_passkey(claim.conn, &self.number);
            return Ok(Linking::AsksForPasskey);
        }
        let outcome = state.offer(&self.number, memory.signal.identity(), claim)?;
        Ok(Linking::Offered(outcome))
    }

    /// Says hello to the device whose code was typed. Its answer goes to [`Self::link_by_code`].
    pub(crate) fn say_hello(
        &self,
        network: &Network,
        conn: ConnId,
        attempt: &CodeAttempt,
    ) -> Result<oneshot::Receiver<Vec<u8>>, SandboxError> {
        let memory = self.memory();
        let identity = memory.signal.identity().public_bytes();
        network.lock().primary_hello(conn, &attempt.wrapped_ephemeral, identity)
    }

    /// Links the device that answered, if what was typed is what it shows.
    pub(crate) fn link_by_code(
        &self,
        network: &Network,
        (conn, identity): (ConnId, [u8; KEY_LEN]),
        attempt: &CodeAttempt,
        bundle: &[u8],
    ) -> Result<Linking, SandboxError> {
        let secret = attempt.open(self.memory().signal.identity(), &identity, bundle);
        let secret = secret.ok_or_else(|| SandboxError::Refused("the code is wrong".to_owned()))?;
        let claim = Claim {
            conn,
            identity,
            secret: secret.to_vec(),
        };
        self.link(network, &claim)
    }

    /// A device that links with the account's passkey has come further.
    pub(super) fn link_further(self: &Arc<Self>, network: &Network, conn: ConnId, step: Step) {
        let (phone, net) = (Arc::clone(self), network.clone());
        let answer = async move {
            if step.is_answered() {
                sleep(ANSWER_DELAY).await;
            }
            phone.desk(&net).link_further(conn, step);
        };
        let ended = network.ended();
        network.tasks().spawn(ended.run_until_cancelled_owned(answer));
    }

    /// What the owner compares with what a device shows that links with the passkey.
    pub(crate) fn compared_code(&self, is_open: impl Fn(ConnId) -> bool) -> Option<String> {
        let memory = self.memory();
        let exchange = memory.exchange.as_ref().filter(|exchange| is_open(exchange.conn))?;
        exchange.code.clone()
    }
}

impl Desk<'_> {
    fn link_further(&mut self, conn: ConnId, step: Step) {
        let outcome = match step {
            Step::Hello(hello) => self.greet(conn, hello),
            Step::Nonce(nonce) => self.compare(conn, &nonce),
            Step::Request { payload, iv } => self.take_request(conn, &payload, &iv),
        };
        if let Err(why) = outcome {
            self.memory.exchange = None;
            self.network.lock().refuse_linking(conn, why);
        }
    }

    fn greet(&mut self, conn: ConnId, hello: CompanionHello) -> Result<(), &'static str> {
        let ephemeral = Keys::generate(&mut self.rng);
        let mut nonce = [0; KEY_LEN];
        self.rng.fill_bytes(&mut nonce);
        let identity = PrimaryEphemeralIdentity {
            public_key: Some(ephemeral.public_bytes().to_vec()),
            nonce: Some(nonce.to_vec()),
        };
        self.memory.exchange = Some(Exchange {
            conn,
            hello,
            ephemeral,
            nonce,
            code: None,
        });
        self.network.lock().continue_linking(conn, identity.encode_to_vec());
        Ok(())
    }

    /// The device must have chosen its part before it saw the phone's; then both show the same code.
    fn compare(&mut self, conn: ConnId, companion_nonce: &[u8; KEY_LEN]) -> Result<(), &'static str> {
        let exchange = self.memory.exchange.as_mut().filter(|exchange| exchange.conn == conn);
        let exchange = exchange.ok_or("a nonce without a prologue")?;
        let commitment = Sha256::new()
            .chain_update(&exchange.hello.identity)
            .chain_update(companion_nonce);
        if commitment.finalize()[..] != exchange.hello.commitment {
            return Err("a nonce that is not the one that was committed to");
        }
        let digest = Sha256::new()
            .chain_update(companion_nonce)
            .chain_update(exchange.ephemeral.public_bytes())
            .finalize();
        let mut shown = [0; COMPARED_LEN];
        for (byte, (ours, theirs)) in shown.iter_mut().zip(exchange.nonce.iter().zip(digest)) {
            *byte = ours ^ theirs;
        }
        exchange.code = Some(grouped(shown));
        // Somebody looks at the phone: it has something to show.
        self.network.tick();
        Ok(())
    }

    fn take_request(&mut self, conn: ConnId, payload: &[u8], iv: &[u8]) -> Result<(), &'static str> {
        let exchange = self.memory.exchange.take_if(|exchange| exchange.conn == conn);
        let exchange = exchange.ok_or("a pairing request without a prologue")?;
        let request = exchange
            .open(payload, iv)
            .ok_or("a pairing request that cannot be decrypted")?;
        let mut state = self.network.lock();
        let registration = state
            .registration(conn)
            .ok_or("a pairing request of a device that has gone")?;
        let identity = <[u8; KEY_LEN]>::try_from(registration.bundle.identity.0.as_slice());
        let identity = identity.map_err(|_| "an identity of a wrong length")?;
        if request.companion_public_key.as_deref() != Some(registration.noise_public.as_slice())
            || request.companion_identity_key.as_deref() != Some(identity.as_slice())
        {
            return Err("a pairing request for another device");
        }
        let secret = request.adv_secret.filter(|secret| secret.len() == KEY_LEN);
        let claim = Claim {
            conn,
            identity,
            secret: secret.ok_or("a pairing request without a secret")?,
        };
        let outcome = state.offer(self.number, self.memory.signal.identity(), &claim);
        // Nobody waits for the device's signature.
        outcome.map(drop).map_err(|_| "the account takes no more devices")
    }
}

impl Exchange {
    fn open(&self, payload: &[u8], iv: &[u8]) -> Option<PairingRequest> {
        let shared = agree(&self.ephemeral, &self.hello.ephemeral)?;
        let (device_type, reference) = (self.hello.device_type, &self.hello.reference);
        let salt = format!("Companion Pairing {device_type} with ref {reference}");
        let key = derive(&shared, Some(salt.as_bytes()), b"Pairing Information Encryption Key")?;
        let mut opened = Vec::new();
        aes_256_gcm_decrypt(&key, iv.try_into().ok()?, b"", payload, &mut opened).ok()?;
        PairingRequest::decode_from_slice(&opened).ok()
    }
}

fn agree(ours: &Keys, theirs: &[u8; KEY_LEN]) -> Option<[u8; KEY_LEN]> {
    let theirs = PublicKey::from_djb_public_key_bytes(theirs).ok()?;
    ours.private().calculate_agreement(&theirs).ok()
}

fn derive(secret: &[u8], salt: Option<&[u8]>, purpose: &[u8]) -> Option<[u8; KEY_LEN]> {
    let mut key = [0; KEY_LEN];
    hkdf_sha256_into(secret, salt, purpose, &mut key).ok()?;
    Some(key)
}

/// Five bytes as eight letters and digits, in two groups.
fn grouped(bytes: [u8; COMPARED_LEN]) -> String {
    let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let letter = |group: u64| char::from(CODE_ALPHABET[(number >> (group * 5) & 31) as usize]);
    let letters = (0..CODE_LEN as u64).rev().map(letter);
    let mut code: String = letters.collect();
    code.insert(CODE_LEN / 2, '-');
    code
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        assert_eq!(link_code(" abcd-efgh ").unwrap(), "ABCDEFGH");
        for odd in ["", "ABCDEFG", "ABCD-EFG0", "ABCD-EFGÄ"] {
            assert!(matches!(link_code(odd), Err(SandboxError::Invalid(_))), "{odd}");
        }
    }

    #[test]
    fn the_client_library_and_the_phone_agree_on_a_secret_only_with_the_same_code() {
        let mut rng = StdRng::seed_from_u64(1);
        let (phone, companion, ephemeral) = (
            Keys::generate(&mut rng),
            Keys::generate(&mut rng),
            Keys::generate(&mut rng),
        );
        let wrapped = PairCodeUtils::encrypt_ephemeral_pub(ephemeral.public_bytes().try_into().unwrap(), "ABCDEFGH");
        let identity: [u8; KEY_LEN] = companion.public_bytes().try_into().unwrap();
        let mut outcome = |typed: &str| {
            let attempt = CodeAttempt::new(typed, &wrapped, &mut rng).unwrap();
            let theirs = PairCodeUtils::decrypt_primary_ephemeral_pub(&attempt.wrapped_ephemeral, "ABCDEFGH").unwrap();
            let (bundle, secret) = PairCodeUtils::prepare_key_bundle(
                ephemeral.pair(),
                &theirs,
                phone.public_bytes().try_into().unwrap(),
                companion.pair(),
            )
            .unwrap();
            attempt.open(&phone, &identity, &bundle).map(|opened| opened == secret)
        };
        assert_eq!(outcome("ABCDEFGH"), Some(true));
        assert_eq!(outcome("ABCDEFGJ"), None);
    }
}
