//! The signature of webhook bodies: HMAC with SHA-512 over the exact bytes that are sent, in hexadecimal.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;

/// What `X-Webhook-Hmac-Algorithm` says.
pub(super) const ALGORITHM: &str = "sha512";

/// The signature of a body.
pub(super) fn sign(key: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha512>::new_from_slice(key.as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_wahas_documentation_is_signed_as_there() {
        let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
        let expected = "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8\
                        097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89";
        assert_eq!(super::sign("my-secret-key", body), expected);
    }
}
