//! The sandbox's own Noise certificate chain: root, intermediate, and a leaf for the static key.
//!
//! The root is the sandbox's, so a client that checks the chain against WhatsApp's root refuses it, as it should.

use buffa::{Message as _, MessageField};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use wacore_libsignal::protocol::CurveError;
use waproto::whatsapp::CertChain;
use waproto::whatsapp::cert_chain::{NoiseCertificate, noise_certificate::Details};

use crate::keys::Keys;

/// How long a certificate is valid, in seconds.
const VALIDITY_S: u64 = 10 * 365 * 24 * 3600;
/// How far certificates reach back, for clients whose clock is late, in seconds.
const BACKDATED_S: u64 = 24 * 3600;
/// The intermediate's serial number; the root's is 0 (wacore-noise `verify_server_cert`).
const INTERMEDIATE_SERIAL: u32 = 1;

/// The keys and the chain that the server proves itself with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Certificates {
    root: Keys,
    intermediate: Keys,
    noise: Keys,
    leaf_serial: u32,
    issued_at: u64,
}

impl Certificates {
    pub(crate) fn generate(rng: &mut StdRng, now: u64) -> Self {
        Self {
            root: Keys::generate(rng),
            intermediate: Keys::generate(rng),
            noise: Keys::generate(rng),
            leaf_serial: INTERMEDIATE_SERIAL + 1,
            issued_at: now,
        }
    }

    /// The server's static Noise key.
    pub(crate) fn noise(&self) -> &Keys {
        &self.noise
    }

    /// Replaces the static key: clients that resume with the old one are sent back to a full handshake.
    pub(crate) fn rotate(&mut self, rng: &mut StdRng, now: u64) {
        self.noise = Keys::generate(rng);
        self.leaf_serial += 1;
        self.issued_at = now;
    }

    /// The encoded chain that the handshake carries.
    pub(crate) fn chain(&self, rng: &mut StdRng) -> Result<Vec<u8>, CurveError> {
        let intermediate = self.details(INTERMEDIATE_SERIAL, 0, self.intermediate.public_bytes());
        let leaf = self.details(self.leaf_serial, INTERMEDIATE_SERIAL, self.noise.public_bytes());
        let chain = CertChain {
            intermediate: MessageField::some(certificate(intermediate, &self.root, rng)?),
            leaf: MessageField::some(certificate(leaf, &self.intermediate, rng)?),
        };
        Ok(chain.encode_to_vec())
    }

    fn details(&self, serial: u32, issuer_serial: u32, key: &[u8]) -> Vec<u8> {
        Details {
            serial: Some(serial),
            issuer_serial: Some(issuer_serial),
            key: Some(key.to_vec()),
            not_before: Some(self.issued_at.saturating_sub(BACKDATED_S)),
            not_after: Some(self.issued_at + VALIDITY_S),
        }
        .encode_to_vec()
    }
}

fn certificate(details: Vec<u8>, issuer: &Keys, rng: &mut StdRng) -> Result<NoiseCertificate, CurveError> {
    let signature = issuer.sign(&[&details], rng)?;
    Ok(NoiseCertificate {
        details: Some(details),
        signature: Some(signature),
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use waproto::codec::{cert_chain_decode, noise_certificate_details_decode};

    use super::*;
    use crate::keys::verify;

    #[test]
    fn every_certificate_is_signed_by_the_one_above_it() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut certificates = Certificates::generate(&mut rng, 1_800_000_000);
        certificates.rotate(&mut rng, 1_800_000_100);

        let chain = cert_chain_decode(&certificates.chain(&mut rng).unwrap()).unwrap();
        let (leaf, intermediate) = (
            chain.leaf.into_option().unwrap(),
            chain.intermediate.into_option().unwrap(),
        );
        let leaf_details = leaf.details.unwrap();
        let intermediate_details = intermediate.details.unwrap();

        assert!(verify(
            certificates.root.public_bytes(),
            &[&intermediate_details],
            &intermediate.signature.unwrap()
        ));
        let above = noise_certificate_details_decode(&intermediate_details).unwrap();
        assert!(verify(&above.key.unwrap(), &[&leaf_details], &leaf.signature.unwrap()));
        let below = noise_certificate_details_decode(&leaf_details).unwrap();
        assert_eq!(below.issuer_serial, above.serial);
        assert_eq!(below.key.unwrap(), certificates.noise().public_bytes());
    }
}
