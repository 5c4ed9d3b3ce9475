//! Proves at start that the protocol library verifies WhatsApp's certificate chain in this very build.
//!
//! The check can be switched off at compile time, and Cargo unifies features across the whole build: a crate that asks
//! for it anywhere would disable it here without a word. Absent from sandbox builds, which have it switched off.

use buffa::{Message as _, MessageField};
use rand::SeedableRng;
use rand::rngs::StdRng;
use wacore::handshake::{HandshakeError, HandshakeUtils};
use wacore_libsignal::protocol::{CurveError, KeyPair};
use waproto::whatsapp::CertChain;
use waproto::whatsapp::cert_chain::{NoiseCertificate, noise_certificate::Details};

/// The serial number of the intermediate certificate; the root's is 0 (wacore-noise `verify_server_cert`).
const INTERMEDIATE_SERIAL: u32 = 1;
/// The end of the certificates' life, in seconds since 1970: as far as it goes.
const NOT_AFTER_S: u64 = u32::MAX as u64;
/// What the library says of an intermediate certificate that the root has not signed.
const EXPECTED: &str = "intermediate signature failed";

/// Why this build must not connect to WhatsApp.
#[derive(Debug, thiserror::Error)]
pub enum CertificateCheckError {
    /// A chain of somebody else's was accepted.
    #[error("the certificate chain of the server is not verified in this build")]
    NotEnforced,
    /// The chain was refused, but for another reason than its root.
    #[error("a foreign certificate chain was refused for an unexpected reason")]
    Unexpected(#[source] HandshakeError),
    /// The test chain could not be made.
    #[error("the test certificate chain cannot be made")]
    Chain(#[from] CurveError),
}

/// Presents a certificate chain that is perfect except that its root is not WhatsApp's, and demands that it is refused.
pub fn certificate_check() -> Result<(), CertificateCheckError> {
    // The keys guard nothing, so they may be the same every time.
    let mut rng = StdRng::seed_from_u64(0);
    let root = KeyPair::generate(&mut rng);
    let (chain, server_key) = chain(&root, &mut rng)?;
    match HandshakeUtils::verify_server_cert(&chain, &server_key) {
        Ok(_) => Err(CertificateCheckError::NotEnforced),
        Err(HandshakeError::CertVerification(reason)) if reason.starts_with(EXPECTED) => Ok(()),
        Err(other) => Err(CertificateCheckError::Unexpected(other)),
    }
}

/// A chain under `root`, and the server's static key that it vouches for.
fn chain(root: &KeyPair, rng: &mut StdRng) -> Result<(Vec<u8>, [u8; 32]), CurveError> {
    let intermediate = KeyPair::generate(rng);
    let server = KeyPair::generate(rng);
    let chain = CertChain {
        intermediate: MessageField::some(certificate(INTERMEDIATE_SERIAL, 0, &intermediate, root, rng)?),
        leaf: MessageField::some(certificate(
            INTERMEDIATE_SERIAL + 1,
            INTERMEDIATE_SERIAL,
            &server,
            &intermediate,
            rng,
        )?),
    };
    let mut server_key = [0; 32];
    server_key.copy_from_slice(server.public_key.public_key_bytes());
    Ok((chain.encode_to_vec(), server_key))
}

fn certificate(
    serial: u32,
    issuer_serial: u32,
    subject: &KeyPair,
    issuer: &KeyPair,
    rng: &mut StdRng,
) -> Result<NoiseCertificate, CurveError> {
    let details = Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(subject.public_key.public_key_bytes().to_vec()),
        not_before: Some(0),
        not_after: Some(NOT_AFTER_S),
    }
    .encode_to_vec();
    let signature = issuer.private_key.calculate_signature(&details, rng)?.to_vec();
    Ok(NoiseCertificate {
        details: Some(details),
        signature: Some(signature),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_chain_is_refused_for_its_root() {
        certificate_check().unwrap();
    }

    /// The check means something only if nothing but the root is wrong with the chain: the leaf must be right too.
    #[test]
    fn the_chain_below_the_root_is_right() {
        let mut rng = StdRng::seed_from_u64(0);
        let root = KeyPair::generate(&mut rng);
        let (bytes, server_key) = chain(&root, &mut rng).unwrap();
        let chain = waproto::codec::cert_chain_decode(&bytes).unwrap();
        let (intermediate, leaf) = (
            chain.intermediate.into_option().unwrap(),
            chain.leaf.into_option().unwrap(),
        );
        let details = |certificate: &NoiseCertificate| {
            waproto::codec::noise_certificate_details_decode(certificate.details.as_deref().unwrap()).unwrap()
        };
        let key = details(&intermediate).key.unwrap();
        let issuer = wacore_libsignal::protocol::PublicKey::from_djb_public_key_bytes(&key).unwrap();
        assert!(root.public_key.verify_signature(
            intermediate.details.as_deref().unwrap(),
            intermediate.signature.as_deref().unwrap()
        ));
        assert!(issuer.verify_signature(leaf.details.as_deref().unwrap(), leaf.signature.as_deref().unwrap()));
        assert_eq!(details(&leaf).key.as_deref(), Some(server_key.as_slice()));
        assert_eq!(details(&leaf).issuer_serial, details(&intermediate).serial);
    }
}
