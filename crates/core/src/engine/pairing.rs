//! Linking a session to a phone beside the QR code: by a code that is typed there, and with the account's passkey.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::EngineError;
use crate::ids::ChatId;

/// What can be done while a session waits for a phone.
#[async_trait]
pub trait Pairing: Send + Sync + 'static {
    /// A code of eight letters and digits that links the session once it is entered on the phone with this number, within
    /// three minutes. The one before is void.
    async fn request_code(&self, phone: &ChatId) -> Result<String, EngineError>;

    /// Answers [`PasskeyChallenge`]. An answer that WhatsApp refuses can be followed by another one.
    async fn answer_passkey(&self, assertion: PasskeyAssertion) -> Result<(), EngineError>;

    /// Says that a person compared the code with the one on the phone, and that they are the same.
    async fn confirm_passkey(&self) -> Result<(), EngineError>;
}

/// What an authenticator that holds the account's passkey is to sign: WebAuthn's `PublicKeyCredentialRequestOptions`, whose
/// byte strings are base64url without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct PasskeyChallenge {
    /// Random bytes.
    pub challenge: String,
    /// How long it can be answered, in milliseconds.
    pub timeout_ms: u64,
    /// In whose name it is asked.
    pub rp_id: String,
    /// The passkeys that will do.
    pub allow_credentials: Vec<PasskeyCredential>,
    /// Whether the authenticator has to see that it is the right person.
    pub user_verification: String,
    /// What else WhatsApp asks for.
    pub extensions: Option<Map<String, Value>>,
}

/// A passkey, by its public name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyCredential {
    /// Its id.
    pub id: String,
    /// `public-key`.
    pub kind: String,
    /// How its authenticator is reached, such as `internal` or `hybrid`.
    pub transports: Vec<String>,
}

/// What the authenticator answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyAssertion {
    /// The id of the passkey that signed.
    pub credential_id: Vec<u8>,
    /// What the browser put around the challenge.
    pub client_data_json: Vec<u8>,
    /// What the authenticator says of itself.
    pub authenticator_data: Vec<u8>,
    /// Over both.
    pub signature: Vec<u8>,
    /// Whose passkey it is.
    pub user_handle: Option<Vec<u8>>,
}
