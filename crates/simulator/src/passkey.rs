//! An account's passkey: the key pair that an authenticator holds for WhatsApp, what it signs, and how that is checked.
//!
//! Plain WebAuthn (W3C, Level 2, §7.2). The sandbox plays the browser at web.whatsapp.com and its authenticator too, because
//! nobody else has the key. Relying party, verification and time as WhatsApp was seen to ask for them (whatsmeow issue 1185).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use rand::Rng as _;
use rand::rngs::StdRng;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::SandboxError;
use crate::keys::Blob;

/// How long a challenge can be answered, in milliseconds.
pub(crate) const CHALLENGE_VALID_MS: u64 = 600_000;
/// Who asks.
const RELYING_PARTY: &str = "whatsapp.com";
/// The only page that may ask in its name here.
const ORIGIN: &str = "https://web.whatsapp.com";
/// The name of the signing ceremony in what is signed.
const CEREMONY: &str = "webauthn.get";
/// Random bytes of a credential's id.
const CREDENTIAL_ID_LEN: usize = 16;
/// Random bytes of a user's handle.
const USER_HANDLE_LEN: usize = 16;
/// Authenticator data: the relying party's hash, flags, and a counter that passkeys leave at zero.
const AUTHENTICATOR_DATA_LEN: usize = HASH_LEN + 1 + 4;
const HASH_LEN: usize = 32;
/// The flags for a person who is present and was verified.
const PRESENT_AND_VERIFIED: u8 = 0b101;

/// A passkey, with its private key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Passkey {
    credential_id: Blob,
    user_handle: Blob,
    /// PKCS #8.
    key: Blob,
}

/// What a browser passes on from its authenticator.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Assertion {
    id: String,
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: AssertionResponse,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssertionResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    authenticator_data: String,
    signature: String,
}

/// What the authenticator signs beside its own data.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
}

impl Assertion {
    /// Reads the JSON of a browser.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(json).map_err(|_| "the assertion is not readable")
    }
}

impl Passkey {
    /// A new passkey.
    pub(crate) fn generate(rng: &mut StdRng) -> Result<Self, SandboxError> {
        let mut credential_id = vec![0; CREDENTIAL_ID_LEN];
        rng.fill_bytes(&mut credential_id);
        let mut user_handle = vec![0; USER_HANDLE_LEN];
        rng.fill_bytes(&mut user_handle);
        // Its key comes from the machine's own random source, because the library takes no other.
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        let key = key.map_err(|_| SandboxError::Refused("no passkey could be made".to_owned()))?;
        Ok(Self {
            credential_id: credential_id.into(),
            user_handle: user_handle.into(),
            key: key.as_ref().into(),
        })
    }

    /// What a browser is asked with: a `PublicKeyCredentialRequestOptions` in JSON.
    pub(crate) fn request_options(&self, challenge: &[u8]) -> String {
        let credential = json!({
            "id": BASE64_URL.encode(&self.credential_id.0),
            "type": "public-key",
            "transports": ["internal", "hybrid"],
        });
        let options = json!({
            "challenge": BASE64_URL.encode(challenge),
            "timeout": CHALLENGE_VALID_MS,
            "rpId": RELYING_PARTY,
            "allowCredentials": [credential],
            "userVerification": "required",
        });
        options.to_string()
    }

    /// Answers such a question as a browser at web.whatsapp.com does once its user agrees.
    pub(crate) fn sign(&self, options: &Value) -> Result<Value, SandboxError> {
        let invalid = |what: &str| SandboxError::Invalid(what.to_owned());
        let challenge = options["challenge"]
            .as_str()
            .ok_or_else(|| invalid("there is no challenge"))?;
        if options["rpId"] != RELYING_PARTY {
            return Err(invalid("rpId is not WhatsApp's"));
        }
        let id = BASE64_URL.encode(&self.credential_id.0);
        let allowed = options["allowCredentials"].as_array();
        if !allowed.is_some_and(|allowed| allowed.iter().any(|one| one["id"] == id)) {
            return Err(invalid("this phone's passkey is none of those that are asked for"));
        }
        let client_data = json!({"type": CEREMONY, "challenge": challenge, "origin": ORIGIN, "crossOrigin": false});
        let client_data = client_data.to_string();
        let mut authenticator_data = Sha256::digest(RELYING_PARTY).to_vec();
        authenticator_data.push(PRESENT_AND_VERIFIED);
        authenticator_data.extend([0; 4]);
        let signed = signed_bytes(&authenticator_data, client_data.as_bytes());
        let broken = |_| SandboxError::Refused("the passkey cannot sign".to_owned());
        let signature = self.key_pair()?.sign(&SystemRandom::new(), &signed).map_err(broken)?;
        Ok(json!({
            "id": id,
            "rawId": id,
            "type": "public-key",
            "response": {
                "clientDataJSON": BASE64_URL.encode(client_data),
                "authenticatorData": BASE64_URL.encode(authenticator_data),
                "signature": BASE64_URL.encode(signature),
                "userHandle": BASE64_URL.encode(&self.user_handle.0),
            },
        }))
    }

    /// Checks an answer; the error says what is wrong with it.
    pub(crate) fn verify(&self, challenge: &[u8], credential: &[u8], answer: &Assertion) -> Result<(), &'static str> {
        let decode = |text: &str| BASE64_URL.decode(text).map_err(|_| "a field is no base64url");
        if credential != self.credential_id.0 || decode(&answer.raw_id)? != credential || answer.id != answer.raw_id {
            return Err("the credential is another one");
        }
        if answer.kind != "public-key" {
            return Err("the credential is of another type");
        }
        let client_data_json = decode(&answer.response.client_data)?;
        let client_data: ClientData =
            serde_json::from_slice(&client_data_json).map_err(|_| "clientDataJSON is not readable")?;
        if client_data.kind != CEREMONY || client_data.origin != ORIGIN {
            return Err("it was signed for another page or purpose");
        }
        if decode(&client_data.challenge)? != challenge {
            return Err("it answers another challenge");
        }
        let authenticator_data = decode(&answer.response.authenticator_data)?;
        if authenticator_data.len() < AUTHENTICATOR_DATA_LEN
            || authenticator_data[..HASH_LEN] != *Sha256::digest(RELYING_PARTY)
            || authenticator_data[HASH_LEN] & PRESENT_AND_VERIFIED != PRESENT_AND_VERIFIED
        {
            return Err("the authenticator did not verify its user for WhatsApp");
        }
        let key_pair = self.key_pair().map_err(|_| "the passkey is broken")?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key_pair.public_key().as_ref());
        let signed = signed_bytes(&authenticator_data, &client_data_json);
        let verdict = public.verify(&signed, &decode(&answer.response.signature)?);
        verdict.map_err(|_| "the signature is wrong")
    }

    fn key_pair(&self) -> Result<EcdsaKeyPair, SandboxError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.key.0, &SystemRandom::new());
        key.map_err(|_| SandboxError::Refused("the passkey is broken".to_owned()))
    }
}

fn signed_bytes(authenticator_data: &[u8], client_data_json: &[u8]) -> Vec<u8> {
    [authenticator_data, Sha256::digest(client_data_json).as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const CHALLENGE: &[u8] = b"sixteen bytes...";

    fn passkey(seed: u64) -> Passkey {
        Passkey::generate(&mut StdRng::seed_from_u64(seed)).unwrap()
    }

    fn verdict(passkey: &Passkey, answer: &Value) -> Result<(), &'static str> {
        let answer = Assertion::parse(answer.to_string().as_bytes())?;
        passkey.verify(CHALLENGE, &passkey.credential_id.0, &answer)
    }

    #[test]
    fn what_the_passkey_signs_is_accepted_and_nothing_else() {
        let passkey = passkey(1);
        let options: Value = serde_json::from_str(&passkey.request_options(CHALLENGE)).unwrap();
        let answer = passkey.sign(&options).unwrap();
        assert_eq!(verdict(&passkey, &answer), Ok(()));

        let spoil = |field: &str, value: Value| {
            let mut spoilt = answer.clone();
            spoilt["response"][field] = value;
            verdict(&passkey, &spoilt)
        };
        let other_page = json!({"type": CEREMONY, "challenge": options["challenge"], "origin": "https://example.com"});
        let other_page = BASE64_URL.encode(other_page.to_string());
        assert_eq!(
            spoil("clientDataJSON", other_page.into()),
            Err("it was signed for another page or purpose")
        );
        assert_eq!(
            spoil("signature", answer["response"]["userHandle"].clone()),
            Err("the signature is wrong")
        );
        let unverified = [Sha256::digest(RELYING_PARTY).as_slice(), &[1, 0, 0, 0, 0]].concat();
        assert_eq!(
            spoil("authenticatorData", BASE64_URL.encode(unverified).into()),
            Err("the authenticator did not verify its user for WhatsApp")
        );
        let stale: Value = serde_json::from_str(&passkey.request_options(b"another")).unwrap();
        let stale = passkey.sign(&stale).unwrap();
        assert_eq!(verdict(&passkey, &stale), Err("it answers another challenge"));
    }

    #[test]
    fn another_phones_passkey_neither_signs_nor_is_accepted() {
        let (asked, other) = (passkey(1), passkey(2));
        let options: Value = serde_json::from_str(&asked.request_options(CHALLENGE)).unwrap();
        assert!(matches!(other.sign(&options), Err(SandboxError::Invalid(_))));
        let own: Value = serde_json::from_str(&other.request_options(CHALLENGE)).unwrap();
        let answer = other.sign(&own).unwrap();
        assert_eq!(verdict(&asked, &answer), Err("the credential is another one"));
    }
}
