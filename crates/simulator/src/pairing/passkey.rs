//! Linking with an account's passkey ("shortcake"): the server's part.
//!
//! After the scan or the link code the server asks the device for a WebAuthn assertion by the account's passkey; only then
//! may the device and the phone agree on keys, which the server passes on (wacore `shortcake.rs`, whatsapp-rust
//! `passkey/flow.rs`, whatsmeow `pair-passkey.go`): passkey_prologue, crsc_continuation, companion_nonce,
//! encrypted_pairing_request. Which error code the real server answers a wrong assertion with is not known.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use buffa::{Enumeration as _, Message as _};
use rand::Rng as _;
use wacore_binary::Node;
use waproto::whatsapp::{CompanionEphemeralIdentity, EncryptedPairingRequest, ProloguePayload};

use super::{KEY_LEN, REF_LEN};
use crate::model::{ConnId, DeviceRef, Out, State};
use crate::passkey::{Assertion, CHALLENGE_VALID_MS};
use crate::phone::linking::{CompanionHello, Step};
use crate::stanza::{self, Malformed};

/// Random bytes of a challenge.
const CHALLENGE_LEN: usize = 32;
/// What the device may still need when its time to answer the challenge is over, in milliseconds.
const GRACE_MS: u64 = 60_000;

/// A passkey that a device was asked for.
pub(crate) struct PasskeyRequest {
    /// Whose.
    number: String,
    challenge: Vec<u8>,
    /// Given to the device for this attempt.
    reference: Option<String>,
    stage: Stage,
}

/// What the device sends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Assertion,
    Nonce,
    Request,
    Nothing,
}

impl State {
    /// A phone wants to link a device, but its account has a passkey: the device is asked for it.
    pub(crate) fn ask_for_passkey(&mut self, conn: ConnId, number: &str) {
        let mut challenge = vec![0; CHALLENGE_LEN];
        self.env.random.rng().fill_bytes(&mut challenge);
        let options = self.account(number).and_then(|account| account.passkey.as_ref());
        let Some(options) = options.map(|passkey| passkey.request_options(&challenge)) else {
            return;
        };
        if let Some(registration) = self.registration_mut(conn) {
            registration.passkey = Some(PasskeyRequest {
                number: number.to_owned(),
                challenge,
                reference: None,
                stage: Stage::Assertion,
            });
        }
        self.extend(conn, CHALLENGE_VALID_MS + GRACE_MS);
        let options = stanza::with_bytes("passkey_request_options", options.into_bytes());
        self.notify_unlinked(conn, "passkey_prologue_request", vec![options]);
        self.touch();
    }

    /// IQs of a device that was asked for a passkey.
    pub(super) fn on_passkey_iq(&mut self, conn: ConnId, node: &Node, kind: &str, tag: &str) -> Result<(), Malformed> {
        let stage = self.passkey_request(conn).map(|request| request.stage);
        match (kind, tag, stage) {
            ("get", "ref", Some(Stage::Assertion)) => self.on_ref(conn, node),
            ("get", "passkey_request_options", Some(Stage::Assertion)) => self.on_options(conn, node),
            ("set", "passkey_prologue", Some(Stage::Assertion)) => return self.on_prologue(conn, node),
            ("set", "companion_nonce", Some(Stage::Nonce)) => return self.on_nonce(conn, node),
            ("set", "encrypted_pairing_request", Some(Stage::Request)) => return self.on_request(conn, node),
            ("get", "ref" | "passkey_request_options", _)
            | ("set", "passkey_prologue" | "companion_nonce" | "encrypted_pairing_request", _) => {
                return Err(Malformed::new(format!("<{tag}> out of turn")));
            }
            _ => self.unknown_before_login(conn, node),
        }
        Ok(())
    }

    fn passkey_request(&self, conn: ConnId) -> Option<&PasskeyRequest> {
        self.registration(conn)?.passkey.as_ref()
    }

    fn on_ref(&mut self, conn: ConnId, node: &Node) {
        let mut random = [0; REF_LEN];
        self.env.random.rng().fill_bytes(&mut random);
        let reference = format!("2@{}", BASE64_STANDARD.encode(random));
        self.reply(
            conn,
            stanza::iq_result(node, vec![stanza::with_bytes("ref", reference.as_bytes())]),
        );
        if let Some(request) = self.registration_mut(conn).and_then(|it| it.passkey.as_mut()) {
            request.reference = Some(reference);
        }
    }

    fn on_options(&mut self, conn: ConnId, node: &Node) {
        let options = self.passkey_request(conn).and_then(|request| {
            let passkey = self.account(&request.number)?.passkey.as_ref()?;
            Some(passkey.request_options(&request.challenge))
        });
        let options = stanza::with_bytes("passkey_request_options", options.unwrap_or_default().into_bytes());
        self.reply(conn, stanza::iq_result(node, vec![options]));
    }

    /// `passkey_prologue`: the assertion, and the device's part of the key exchange, to which it commits itself.
    fn on_prologue(&mut self, conn: ConnId, node: &Node) -> Result<(), Malformed> {
        let prologue = stanza::child(node, "passkey_prologue")?;
        let part = |tag: &'static str| stanza::required_bytes(stanza::child(prologue, tag)?);
        let (credential, assertion) = (part("credential_id")?, part("webauthn_assertion")?);
        // A proof that the phone has linked this device before may come along; it only spares people the comparison.
        let hello = companion_hello(part("prologue_payload")?)?;
        let (Some(registration), Some(request)) = (self.registration(conn), self.passkey_request(conn)) else {
            return Err(Malformed::new("<passkey_prologue> out of turn"));
        };
        if hello.device_type != registration.device_type {
            return Err(Malformed::new(
                "prologue of another device type than the registration's",
            ));
        }
        if request.reference.as_ref() != Some(&hello.reference) {
            return Err(Malformed::new("prologue with another ref than the one that was given"));
        }
        let passkey = self
            .account(&request.number)
            .and_then(|account| account.passkey.as_ref());
        let verdict = match (passkey, Assertion::parse(assertion)) {
            (Some(passkey), Ok(assertion)) => passkey.verify(&request.challenge, credential, &assertion),
            (Some(_), Err(why)) => Err(why),
            (None, _) => Err("the account has no passkey any more"),
        };
        if let Err(why) = verdict {
            // What a person did wrong is no mistake of the client's, so nothing is counted.
            tracing::debug!(conn, why, "a passkey is refused");
            self.reply(conn, stanza::iq_error(node, 403, "forbidden"));
            return Ok(());
        }
        self.reply(conn, stanza::iq_result(node, Vec::new()));
        self.advance(conn, Stage::Nonce, Step::Hello(hello));
        Ok(())
    }

    fn on_nonce(&mut self, conn: ConnId, node: &Node) -> Result<(), Malformed> {
        let nonce = stanza::required_bytes(stanza::child(node, "companion_nonce")?)?;
        let nonce = nonce
            .try_into()
            .map_err(|_| Malformed::new("<companion_nonce> of a wrong length"))?;
        self.reply(conn, stanza::iq_result(node, Vec::new()));
        self.advance(conn, Stage::Request, Step::Nonce(nonce));
        Ok(())
    }

    fn on_request(&mut self, conn: ConnId, node: &Node) -> Result<(), Malformed> {
        let request = stanza::required_bytes(stanza::child(node, "encrypted_pairing_request")?)?;
        let request = EncryptedPairingRequest::decode_from_slice(request)
            .map_err(|_| Malformed::new("encrypted_pairing_request is not readable"))?;
        let (Some(payload), Some(iv)) = (request.encrypted_payload, request.iv) else {
            return Err(Malformed::new("encrypted_pairing_request without payload or iv"));
        };
        self.reply(conn, stanza::iq_result(node, Vec::new()));
        self.advance(conn, Stage::Nothing, Step::Request { payload, iv });
        Ok(())
    }

    /// Passes what the device sent on to the phone.
    fn advance(&mut self, conn: ConnId, next: Stage, step: Step) {
        let Some(request) = self.registration_mut(conn).and_then(|it| it.passkey.as_mut()) else {
            return;
        };
        request.stage = next;
        let phone = DeviceRef::new(request.number.clone(), 0);
        let link = self
            .device(&phone)
            .and_then(|phone| phone.conn)
            .and_then(|conn| self.links.get(&conn));
        if let Some(link) = link {
            let _ = link.out.try_send(Out::Linking(conn, step)); // A phone that is behind lets the attempt expire.
        }
    }

    /// The phone's part of the key exchange, on its way to the device.
    pub(crate) fn continue_linking(&mut self, conn: ConnId, primary_ephemeral_identity: Vec<u8>) {
        let identity = stanza::with_bytes("primary_ephemeral_identity", primary_ephemeral_identity);
        self.notify_unlinked(conn, "crsc_continuation", vec![identity]);
    }

    /// The phone does not link the device, because of a mistake of the device's.
    pub(crate) fn refuse_linking(&mut self, conn: ConnId, why: &str) {
        let now = self.now();
        self.counters.malformed(now, "", why.to_owned());
        self.disconnect(conn);
    }
}

fn companion_hello(payload: &[u8]) -> Result<CompanionHello, Malformed> {
    let unreadable = |_| Malformed::new("prologue_payload is not readable");
    let payload = ProloguePayload::decode_from_slice(payload).map_err(unreadable)?;
    let identity = payload.companion_ephemeral_identity.unwrap_or_default();
    let decoded = CompanionEphemeralIdentity::decode_from_slice(&identity).map_err(unreadable)?;
    let key = |bytes: Option<Vec<u8>>| <[u8; KEY_LEN]>::try_from(bytes.unwrap_or_default()).ok();
    let commitment = payload
        .commitment
        .into_option()
        .and_then(|commitment| key(commitment.hash));
    match (key(decoded.public_key), decoded.device_type, decoded.r#ref, commitment) {
        (Some(ephemeral), Some(device_type), Some(reference), Some(commitment)) => Ok(CompanionHello {
            identity,
            ephemeral,
            device_type: device_type.to_i32(),
            reference,
            commitment,
        }),
        _ => Err(Malformed::new(
            "prologue_payload lacks a field or has one of a wrong length",
        )),
    }
}
