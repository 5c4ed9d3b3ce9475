//! A device that wants to be linked: its keys, the refs for its QR code, and the phone that takes it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use buffa::{Enumeration as _, Message as _};
use rand::Rng as _;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp::client_payload::DevicePairingRegistrationData;
use waproto::whatsapp::{ClientPayload, DeviceProps};

use super::{Claim, KEY_LEN};
use crate::error::SandboxError;
use crate::keys::{be_number, verify};
use crate::model::{Bundle, ConnId, Registration, Role, SignedPrekey, State};
use crate::phone::history::HistoryDepth;
use crate::queue::Queue;
use crate::stanza::{self, Malformed};

/// Refs of one registration; the client shows the first for 60 s and each other one for 20 s.
pub(crate) const REFS_MAX: usize = 6;
/// How long all refs last together, with some grace, in milliseconds.
const REFS_VALID_MS: u64 = (60 + 5 * 20 + 10) * 1000;
/// Random bytes in a ref.
pub(super) const REF_LEN: usize = 60;
/// Longest QR code that is looked at, in bytes.
const CODE_LEN_MAX: usize = 2000;
/// The only key type there is: Curve25519.
const KEY_TYPE: &[u8] = &[5];

/// The text of a QR code, taken apart.
pub(crate) struct Code {
    reference: String,
    noise: [u8; KEY_LEN],
    identity: [u8; KEY_LEN],
    secret: Vec<u8>,
}

impl Code {
    /// Reads `ref,noise,identity,secret,platform`, with or without the web address before it.
    pub(crate) fn parse(text: &str) -> Result<Self, SandboxError> {
        let text = text.trim();
        if text.len() > CODE_LEN_MAX {
            return Err(SandboxError::Invalid("the QR code is too long".to_owned()));
        }
        let bad = |_| SandboxError::Invalid("this is not a QR code for linking a device".to_owned());
        let (reference, noise, identity) = wacore::pair::PairUtils::parse_qr_code(text).map_err(bad)?;
        // The library's reader leaves the fourth field, the secret, out.
        let secret = text
            .split(',')
            .nth(3)
            .and_then(|field| BASE64_STANDARD.decode(field).ok());
        let secret = secret
            .filter(|secret| secret.len() == KEY_LEN)
            .ok_or_else(|| SandboxError::Invalid("the QR code has no valid secret".to_owned()))?;
        Ok(Self {
            reference,
            noise,
            identity,
            secret,
        })
    }
}

impl State {
    /// A device without an account connects: it gets refs to show.
    pub(crate) fn on_registration(
        &mut self,
        conn: ConnId,
        noise_public: Vec<u8>,
        payload: &ClientPayload,
    ) -> Result<(), Malformed> {
        let data = payload
            .device_pairing_data
            .as_option()
            .ok_or_else(|| Malformed::new("client payload without username and pairing data"))?;
        let bundle = registration_bundle(data)?;
        let props = DeviceProps::decode_from_slice(data.device_props.as_deref().unwrap_or_default())
            .map_err(|_| Malformed::new("device props"))?;
        let mut rng = self.env.random.rng();
        let refs: Vec<String> = std::iter::repeat_with(|| {
            let mut random = [0; REF_LEN];
            rng.fill_bytes(&mut random);
            format!("2@{}", BASE64_STANDARD.encode(random))
        })
        .take(self.refs_given)
        .collect();
        self.refs.extend(refs.iter().map(|code| (code.clone(), conn)));
        let shown = refs.iter().map(|code| stanza::with_bytes("ref", code.as_bytes()));
        let pair_device = NodeBuilder::new("pair-device")
            .children(shown.collect::<Vec<_>>())
            .build();
        let request = self.md_request("pair-device", pair_device);
        let registration = Registration {
            noise_public,
            bundle,
            history: HistoryDepth::asked_in(&props),
            platform: props
                .os
                .filter(|os| !os.is_empty())
                .unwrap_or_else(|| "unknown".to_owned()),
            push_name: payload.push_name.clone().filter(|name| !name.is_empty()),
            device_type: props.platform_type.map_or(0, |kind| kind.to_i32()),
            expires_at_ms: self.env.clock.now_ms() + REFS_VALID_MS,
            refs,
            hello: None,
            passkey: None,
            offer: None,
            told: Queue::default(),
        };
        if self.is_registering(&registration.noise_public) {
            self.counters.replaced();
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.role = Role::Registering(Box::new(registration));
        }
        self.tell_unlinked(conn, request);
        Ok(())
    }

    /// The device that shows a QR code.
    pub(crate) fn claim(&self, code: &Code) -> Result<Claim, SandboxError> {
        let expired = || SandboxError::Conflict("the QR code has expired or was used; show a new one".to_owned());
        let conn = *self.refs.get(&code.reference).ok_or_else(expired)?;
        let registration = self.unclaimed(conn).ok_or_else(expired)?;
        if registration.noise_public != code.noise || registration.bundle.identity.0 != code.identity {
            return Err(SandboxError::Invalid(
                "the QR code's keys are not those of the device".to_owned(),
            ));
        }
        Ok(Claim {
            conn,
            identity: code.identity,
            secret: code.secret.clone(),
        })
    }

    /// What a connection wants to be linked as, if it is not linked and no phone has taken it yet.
    pub(crate) fn unclaimed(&self, conn: ConnId) -> Option<&Registration> {
        self.registration(conn)
            .filter(|registration| registration.offer.is_none() && registration.passkey.is_none())
    }

    /// What a connection wants to be linked as, if it is not linked yet.
    pub(crate) fn registration(&self, conn: ConnId) -> Option<&Registration> {
        match &self.links.get(&conn)?.role {
            Role::Registering(registration) => Some(registration),
            Role::New | Role::Device(_) => None,
        }
    }

    /// Whether a device with this key shows a code already, on a connection that is not stalled: of such a one it is not
    /// seen when its client closes it.
    fn is_registering(&self, noise_public: &[u8]) -> bool {
        self.links.values().any(|link| match &link.role {
            Role::Registering(registration) => !link.stalled && registration.noise_public == noise_public,
            Role::New | Role::Device(_) => false,
        })
    }

    pub(crate) fn registration_mut(&mut self, conn: ConnId) -> Option<&mut Registration> {
        match &mut self.links.get_mut(&conn)?.role {
            Role::Registering(registration) => Some(registration),
            Role::New | Role::Device(_) => None,
        }
    }
}

fn registration_bundle(data: &DevicePairingRegistrationData) -> Result<Bundle, Malformed> {
    let field = |value: &Option<Vec<u8>>, name: &str| {
        value
            .clone()
            .ok_or_else(|| Malformed::new(format!("pairing data without {name}")))
    };
    if data.e_keytype.as_deref() != Some(KEY_TYPE) {
        return Err(Malformed::new("pairing data with an unknown key type"));
    }
    let registration_id = be_number(&field(&data.e_regid, "registration id")?);
    let signed_prekey_id = be_number(&field(&data.e_skey_id, "signed prekey id")?);
    let identity = field(&data.e_ident, "identity")?;
    let public = field(&data.e_skey_val, "signed prekey")?;
    let signature = field(&data.e_skey_sig, "signed prekey signature")?;
    let (Some(registration_id), Some(id)) = (registration_id, signed_prekey_id) else {
        return Err(Malformed::new("pairing data with bad ids"));
    };
    let signed_prekey = SignedPrekey {
        id,
        public: public.into(),
        signature: signature.into(),
    };
    check_signed_prekey(&identity, &signed_prekey)?;
    Ok(Bundle {
        registration_id,
        identity: identity.into(),
        signed_prekey,
        ..Bundle::default()
    })
}

/// A signed prekey must be signed by the identity, over its serialised form with the type byte.
pub(crate) fn check_signed_prekey(identity: &[u8], key: &SignedPrekey) -> Result<(), Malformed> {
    if identity.len() != KEY_LEN || key.public.0.len() != KEY_LEN {
        return Err(Malformed::new("key of a wrong length"));
    }
    if !verify(identity, &[KEY_TYPE, &key.public.0], &key.signature.0) {
        return Err(Malformed::new("signed prekey with a wrong signature"));
    }
    Ok(())
}
