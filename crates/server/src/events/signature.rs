//! The signatures of webhook bodies: WAHA's, and that of Standard Webhooks, both with the webhook's `hmac.key`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};

/// What `X-Webhook-Hmac-Algorithm` says.
pub(super) const ALGORITHM: &str = "sha512";

/// A key, made ready to sign with.
#[derive(Clone)]
pub(super) struct Signer {
    waha: Hmac<Sha512>,
    standard: Hmac<Sha256>,
}

impl Signer {
    /// Signs with this key.
    pub(super) fn new(key: &str) -> Self {
        let (Ok(waha), Ok(standard)) = (
            Hmac::new_from_slice(key.as_bytes()),
            Hmac::new_from_slice(key.as_bytes()),
        ) else {
            unreachable!("HMAC takes keys of any length")
        };
        Self { waha, standard }
    }

    /// WAHA's signature of a body: HMAC with SHA-512 over the exact bytes that are sent, in hexadecimal.
    pub(super) fn waha(&self, body: &[u8]) -> String {
        let mut mac = self.waha.clone();
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    /// The signature of Standard Webhooks, version 1: HMAC with SHA-256 over id, timestamp and body, in Base64.
    pub(super) fn standard(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut mac = self.standard.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A key as receivers with a library of Standard Webhooks want it.
pub(crate) fn standard_secret(key: &str) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_wahas_documentation_is_signed_as_there() {
        let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
        let expected = "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8\
                        097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89";
        assert_eq!(Signer::new("my-secret-key").waha(body), expected);
    }

    #[test]
    fn the_example_of_standard_webhooks_is_signed_as_there() {
        let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        // The example's key is not text; ours are, so its bytes go in by hand.
        let key = STANDARD.decode(secret).unwrap();
        let signer = Signer {
            waha: Hmac::new_from_slice(&key).unwrap(),
            standard: Hmac::new_from_slice(&key).unwrap(),
        };
        let signature = signer.standard("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(standard_secret("my-secret-key"), "whsec_bXktc2VjcmV0LWtleQ==");
    }
}
