//! Linking by a code that is typed on the phone, and with the account's passkey, as the engine port names them.
//!
//! Both may outlast the QR codes, at whose end the protocol library disconnects for good (whatsapp-rust `pair.rs`); so they
//! hold that end off, see [`Linking::hold`].

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};
use wacore_binary::SERVER_JID;
use wacore_binary::builder::NodeBuilder;
use wharf_core::engine::{Closed, EngineError, Pairing, PasskeyAssertion, PasskeyChallenge, PasskeyCredential};
use wharf_core::ids::ChatId;
use whatsapp_rust::Client;
use whatsapp_rust::pair_code::{PairCodeError, PairCodeOptions, PairCodeRejection, PairError};
use whatsapp_rust::passkey::{Assertion, PasskeyError, build_webauthn_assertion_json};

use crate::connection::Connection;
use crate::error::failed;

/// How long a passkey's challenge can be answered where WhatsApp does not say, in milliseconds; what it was seen to say.
const CHALLENGE_TIMEOUT_MS: u64 = 600_000;
/// The longest that is waited for a passkey, whatever WhatsApp says.
const PASSKEY_WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a link code can be entered, and the phone may need after that (wacore `pair_code.rs`: 180 s and 60 s).
const CODE_WAIT: Duration = Duration::from_secs(180 + 60);
/// How long the library shows the first ref of a connection, and each other one (whatsapp-rust `pair.rs`).
const FIRST_REF: Duration = Duration::from_secs(60);
const NEXT_REF: Duration = Duration::from_secs(20);

/// How far a device has come that is not linked by a QR code.
#[derive(Debug, Default)]
pub(crate) struct Linking {
    /// Whether QR codes are of no use any more, though the library goes on making them.
    held: AtomicBool,
    /// Whether the account's passkey was asked for.
    passkey: AtomicBool,
    /// Whether a person has said that the codes are the same.
    confirmed: AtomicBool,
}

impl Linking {
    /// Whether a QR code is to be passed over.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// The account's passkey is asked for. Called before anything else happens, so that no QR code slips through.
    pub(crate) fn passkey_required(&self) {
        self.passkey.store(true, Ordering::Release);
        self.held.store(true, Ordering::Release);
    }

    /// Why a connection ended, where the library says so: the end of the QR codes is also the end of [`Self::hold`].
    pub(crate) fn closed_by(&self, told: Closed) -> Closed {
        match told {
            Closed::QrCodesExpired if self.passkey.load(Ordering::Acquire) => Closed::PasskeyExpired,
            told => told,
        }
    }

    /// Keeps the connection for this long, whatever becomes of its QR codes; it ends then if it is not linked.
    ///
    /// The library has no way to be told so. But a new list of refs ends its round through the one before, and the server is
    /// not asked whether a list came from it: this one has an empty ref for every step of the wait.
    async fn hold(&self, client: &Arc<Client>, wait: Duration) {
        self.held.store(true, Ordering::Release);
        let steps = wait.saturating_sub(FIRST_REF).as_secs().div_ceil(NEXT_REF.as_secs());
        let refs = (0..=steps).map(|_| NodeBuilder::new("ref").bytes(Vec::new()).build());
        let pair_device = NodeBuilder::new("pair-device").children(refs.collect::<Vec<_>>());
        // Without an id, so that nobody is told that it came.
        let request = NodeBuilder::new("iq")
            .attr("from", SERVER_JID)
            .children([pair_device.build()])
            .build();
        whatsapp_rust::pair::handle_iq(client, &request.as_node_ref()).await;
    }

    /// The QR codes have run out, but not a link code that was asked for.
    pub(crate) async fn outlast_qr_codes(&self, client: &Arc<Client>) {
        self.hold(client, CODE_WAIT).await;
    }

    /// The account's passkey was asked for, with these options.
    pub(crate) async fn ask_for_passkey(
        &self,
        client: &Arc<Client>,
        options: &str,
    ) -> serde_json::Result<PasskeyChallenge> {
        let challenge = challenge(options)?;
        // The code did its part, and the library would write it off in the middle of what comes now.
        client.cancel_pair_code().await;
        let wait = Duration::from_millis(challenge.timeout_ms).min(PASSKEY_WAIT_MAX);
        self.hold(client, wait).await;
        Ok(challenge)
    }
}

#[async_trait]
impl Pairing for Connection {
    async fn request_code(&self, phone: &ChatId) -> Result<String, EngineError> {
        if !self.client.is_connected() {
            return Err(EngineError::Offline);
        }
        self.client.cancel_pair_code().await;
        let options = PairCodeOptions {
            phone_number: phone.user().to_owned(),
            ..PairCodeOptions::default()
        };
        Box::pin(self.client.pair_with_code(options)).await.map_err(refused)
    }

    async fn answer_passkey(&self, assertion: PasskeyAssertion) -> Result<(), EngineError> {
        let assertion_json = build_webauthn_assertion_json(
            &assertion.credential_id,
            &assertion.client_data_json,
            &assertion.authenticator_data,
            &assertion.signature,
            assertion.user_handle.as_deref(),
        );
        let assertion = Assertion {
            assertion_json,
            credential_id: assertion.credential_id,
        };
        self.passkey_step(self.client.send_passkey_response(assertion)).await
    }

    async fn confirm_passkey(&self) -> Result<(), EngineError> {
        if self.linking.confirmed.swap(true, Ordering::AcqRel) {
            // Said twice, and the library would take the second time for a mistake.
            return Ok(());
        }
        let confirmed = self.passkey_step(self.client.send_passkey_confirmation()).await;
        if let Err(EngineError::Refused { reason }) = &confirmed {
            // There is nothing left that could be confirmed again.
            let reason = reason.clone();
            self.ending.give_up(Closed::PasskeyFailed { reason });
        }
        confirmed
    }
}

impl Connection {
    async fn passkey_step(&self, step: impl Future<Output = Result<(), PasskeyError>>) -> Result<(), EngineError> {
        if !self.client.is_connected() {
            return Err(EngineError::Offline);
        }
        // The library tells why in words only.
        Box::pin(step).await.map_err(|error| EngineError::Refused {
            reason: error.to_string(),
        })
    }
}

fn refused(error: PairError) -> EngineError {
    let refused = |reason: &str| EngineError::Refused {
        reason: reason.to_owned(),
    };
    match (error.rejection(), &error) {
        (Some(PairCodeRejection::RateOverlimit), _) => EngineError::Throttled {
            retry_after: error.backoff(),
        },
        (Some(PairCodeRejection::BadRequest), _) => refused(
            "400 bad-request; the number is wrong, or codes were requested for it too often: wait a while, or link with the \
             QR code",
        ),
        (Some(PairCodeRejection::FeatureNotAvailable), _) => {
            refused("452 feature-not-available; this account cannot be linked with a code: link it with the QR code")
        }
        (_, PairError::PairCode(PairCodeError::Cancelled | PairCodeError::CodeAlreadyOutstanding { .. })) => {
            refused("another code was requested at the same time")
        }
        (
            _,
            PairError::PairCode(
                PairCodeError::PhoneNumberRequired
                | PairCodeError::PhoneNumberTooShort
                | PairCodeError::PhoneNumberNotInternational,
            ),
        ) => EngineError::Invalid(error.to_string()),
        _ => failed(error),
    }
}

/// WebAuthn's `PublicKeyCredentialRequestOptions` in JSON, with its own defaults.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestOptions {
    challenge: String,
    timeout: Option<u64>,
    rp_id: Option<String>,
    #[serde(default)]
    allow_credentials: Vec<Descriptor>,
    user_verification: Option<String>,
    extensions: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Descriptor {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    transports: Vec<String>,
}

fn challenge(options: &str) -> serde_json::Result<PasskeyChallenge> {
    let options: RequestOptions = serde_json::from_str(options)?;
    let credentials = options.allow_credentials.into_iter().map(|one| PasskeyCredential {
        id: one.id,
        kind: one.kind,
        transports: one.transports,
    });
    Ok(PasskeyChallenge {
        challenge: options.challenge,
        timeout_ms: options.timeout.unwrap_or(CHALLENGE_TIMEOUT_MS),
        rp_id: options.rp_id.unwrap_or_else(|| "web.whatsapp.com".to_owned()),
        allow_credentials: credentials.collect(),
        user_verification: options.user_verification.unwrap_or_else(|| "preferred".to_owned()),
        extensions: options.extensions,
    })
}
