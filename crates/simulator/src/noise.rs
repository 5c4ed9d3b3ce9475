//! The server's side of the Noise handshake: XX, IK, and XXfallback when a resumption cannot be accepted.
//!
//! Pure: bytes in, bytes out. Patterns and message contents as in wacore-noise `handshake.rs`, whose initiator this
//! answers; whatsmeow and Baileys only ever start XX.

use buffa::MessageField;
use rand::rngs::StdRng;
use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK};
use wacore_noise::{HandshakeError, NoiseCipher, NoiseHandshake};
use waproto::whatsapp::HandshakeMessage;
use waproto::whatsapp::handshake_message::{ClientHello, ServerHello};

use crate::keys::Keys;

const KEY_LEN: usize = 32;

/// Why a handshake ended without a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoiseError {
    /// The bytes are not the handshake message that was due.
    #[error("not a valid handshake message: {0}")]
    Message(&'static str),
    /// A key did not fit or a tag was wrong.
    #[error("handshake failed")]
    Crypto(#[from] HandshakeError),
}

/// Which pattern a session was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    Xx,
    XxFallback,
    Ik,
}

/// A completed handshake.
pub(crate) struct Session {
    pub(crate) pattern: Pattern,
    /// Encrypts frames to the client.
    pub(crate) write: NoiseCipher,
    /// Decrypts frames from the client.
    pub(crate) read: NoiseCipher,
    /// The client's static key, by which a device is recognised.
    pub(crate) client_static: Vec<u8>,
    /// The encoded `ClientPayload`.
    pub(crate) payload: Vec<u8>,
}

/// What follows the client's first message.
pub(crate) enum Step {
    /// Send the reply, then wait for the client's finish.
    Finish { reply: Vec<u8>, pending: Pending },
    /// Send the reply; the session stands.
    Done { reply: Vec<u8>, session: Session },
}

/// A handshake that waits for the client's finish.
pub(crate) struct Pending {
    noise: NoiseHandshake,
    ephemeral: Keys,
    pattern: Pattern,
}

/// The server's long-lived part in every handshake.
pub(crate) struct Responder {
    pub(crate) static_keys: Keys,
    pub(crate) chain: Vec<u8>,
}

impl Responder {
    /// Answers the client's hello.
    pub(crate) fn on_hello(&self, message: &[u8], prologue: &[u8], rng: &mut StdRng) -> Result<Step, NoiseError> {
        let hello = waproto::codec::handshake_message_decode(message)
            .ok()
            .and_then(|message| message.client_hello.into_option())
            .ok_or(NoiseError::Message("no client hello"))?;
        let theirs = hello
            .ephemeral
            .clone()
            .filter(|key| key.len() == KEY_LEN)
            .ok_or(NoiseError::Message("no ephemeral key"))?;
        let ephemeral = Keys::generate(rng);
        if hello.r#static.is_none() {
            return self.full(Pattern::Xx, &theirs, ephemeral, prologue);
        }
        match self.resume(&hello, &theirs, &ephemeral, prologue) {
            Ok(step) => Ok(step),
            // The client used a static key that is not ours any more: go on as XX with the same client ephemeral.
            Err(_) => self.full(Pattern::XxFallback, &theirs, ephemeral, prologue),
        }
    }

    fn full(&self, pattern: Pattern, theirs: &[u8], ours: Keys, prologue: &[u8]) -> Result<Step, NoiseError> {
        let name = if pattern == Pattern::Xx {
            NOISE_PATTERN_XX
        } else {
            NOISE_PATTERN_XXFALLBACK
        };
        let mut noise = NoiseHandshake::new(name, prologue)?;
        noise.authenticate(theirs);
        noise.authenticate(ours.public_bytes());
        noise.mix_shared_secret(ours.private().serialize(), theirs)?;
        let encrypted_static = noise.encrypt(self.static_keys.public_bytes())?;
        noise.mix_shared_secret(self.static_keys.private().serialize(), theirs)?;
        let encrypted_chain = noise.encrypt(&self.chain)?;
        let reply = server_hello(&ours, Some(encrypted_static), encrypted_chain);
        Ok(Step::Finish {
            reply,
            pending: Pending {
                noise,
                ephemeral: ours,
                pattern,
            },
        })
    }

    fn resume(&self, hello: &ClientHello, theirs: &[u8], ours: &Keys, prologue: &[u8]) -> Result<Step, NoiseError> {
        let encrypted_static = hello.r#static.as_ref().ok_or(NoiseError::Message("no static key"))?;
        let encrypted_payload = hello.payload.as_ref().ok_or(NoiseError::Message("no payload"))?;
        let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, prologue)?;
        noise.authenticate(self.static_keys.public_bytes());
        noise.authenticate(theirs);
        noise.mix_shared_secret(self.static_keys.private().serialize(), theirs)?;
        let client_static = noise.decrypt(encrypted_static)?;
        noise.mix_shared_secret(self.static_keys.private().serialize(), &client_static)?;
        let payload = noise.decrypt(encrypted_payload)?;
        noise.authenticate(ours.public_bytes());
        noise.mix_shared_secret(ours.private().serialize(), theirs)?;
        noise.mix_shared_secret(ours.private().serialize(), &client_static)?;
        let encrypted_chain = noise.encrypt(&self.chain)?;
        // No static key in the hello tells the client that the resumption was accepted.
        let reply = server_hello(ours, None, encrypted_chain);
        Ok(Step::Done {
            reply,
            session: session(noise, Pattern::Ik, client_static, payload)?,
        })
    }
}

impl Pending {
    /// Takes the client's finish.
    pub(crate) fn finish(mut self, message: &[u8]) -> Result<Session, NoiseError> {
        let finish = waproto::codec::handshake_message_decode(message)
            .ok()
            .and_then(|message| message.client_finish.into_option())
            .ok_or(NoiseError::Message("no client finish"))?;
        let encrypted_static = finish.r#static.ok_or(NoiseError::Message("no static key"))?;
        let encrypted_payload = finish.payload.ok_or(NoiseError::Message("no payload"))?;
        let client_static = self.noise.decrypt(&encrypted_static)?;
        self.noise
            .mix_shared_secret(self.ephemeral.private().serialize(), &client_static)?;
        let payload = self.noise.decrypt(&encrypted_payload)?;
        session(self.noise, self.pattern, client_static, payload)
    }
}

fn session(
    noise: NoiseHandshake,
    pattern: Pattern,
    client_static: Vec<u8>,
    payload: Vec<u8>,
) -> Result<Session, NoiseError> {
    // `finish` names the keys from the initiator's side.
    let (read, write) = noise.finish()?;
    Ok(Session {
        pattern,
        write,
        read,
        client_static,
        payload,
    })
}

fn server_hello(ephemeral: &Keys, encrypted_static: Option<Vec<u8>>, encrypted_chain: Vec<u8>) -> Vec<u8> {
    let hello = ServerHello {
        ephemeral: Some(ephemeral.public_bytes().to_vec()),
        r#static: encrypted_static,
        payload: Some(encrypted_chain),
        ..Default::default()
    };
    waproto::codec::handshake_message_to_vec(&HandshakeMessage {
        server_hello: MessageField::some(hello),
        ..Default::default()
    })
}
