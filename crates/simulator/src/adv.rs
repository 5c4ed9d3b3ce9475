//! Signatures that bind a companion to its account ("ADV"), as the phone makes them and the server checks them.
//!
//! Pure. Prefixes and order of the signed parts as in wacore `pair.rs` and `adv.rs` (whatsmeow `pair.go`).

use buffa::Message as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::rngs::StdRng;
use sha2::Sha256;
use wacore_libsignal::protocol::CurveError;
use waproto::whatsapp::{
    ADVDeviceIdentity, ADVKeyIndexList, ADVSignedDeviceIdentity, ADVSignedDeviceIdentityHMAC, ADVSignedKeyIndexList,
    ClientPairingProps,
};

use crate::keys::{Keys, verify};

const ACCOUNT_PREFIX: &[u8] = &[6, 0];
const DEVICE_PREFIX: &[u8] = &[6, 1];
const KEY_INDEX_PREFIX: &[u8] = &[6, 2];

/// What the phone gives a new companion.
pub(crate) struct Grant {
    /// The encoded `ADVDeviceIdentity`.
    pub(crate) details: Vec<u8>,
    pub(crate) account_signature: Vec<u8>,
    /// The encoded `ADVSignedDeviceIdentityHMAC` that travels in `<pair-success>`.
    pub(crate) container: Vec<u8>,
}

/// Which companion a grant is for.
pub(crate) struct Companion<'c> {
    pub(crate) identity: &'c [u8],
    /// The secret that only its pairing code carries.
    pub(crate) secret: &'c [u8],
    pub(crate) raw_id: u32,
    pub(crate) key_index: u32,
}

/// Signs a companion's identity with the phone's identity key.
pub(crate) fn grant(phone: &Keys, companion: &Companion<'_>, now: u64, rng: &mut StdRng) -> Result<Grant, CurveError> {
    let details = ADVDeviceIdentity {
        raw_id: Some(companion.raw_id),
        timestamp: Some(now),
        key_index: Some(companion.key_index),
        ..Default::default()
    }
    .encode_to_vec();
    let account_signature = phone.sign(&[ACCOUNT_PREFIX, &details, companion.identity], rng)?;
    let signed = ADVSignedDeviceIdentity {
        details: Some(details.clone()),
        account_signature_key: Some(phone.public_bytes().to_vec()),
        account_signature: Some(account_signature.clone()),
        device_signature: None,
    }
    .encode_to_vec();
    let container = ADVSignedDeviceIdentityHMAC {
        hmac: Some(authenticate(companion.secret, &signed)),
        details: Some(signed),
        ..Default::default()
    }
    .encode_to_vec();
    Ok(Grant {
        details,
        account_signature,
        container,
    })
}

fn authenticate(secret: &[u8], data: &[u8]) -> Vec<u8> {
    #[expect(clippy::unwrap_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// Checks what the companion signed: the same details and account signature, and its own signature over both keys.
pub(crate) fn countersigned(
    signed_identity: &[u8],
    details: &[u8],
    account_signature: &[u8],
    account_key: &[u8],
    identity: &[u8],
) -> bool {
    let Ok(signed) = waproto::codec::adv_signed_device_identity_decode(signed_identity) else {
        return false;
    };
    let key_agrees = match signed.account_signature_key.as_deref() {
        None | Some([]) => true,
        Some(key) => key == account_key,
    };
    key_agrees
        && signed.details.as_deref() == Some(details)
        && signed.account_signature.as_deref() == Some(account_signature)
        && signed
            .device_signature
            .is_some_and(|signature| verify(identity, &[DEVICE_PREFIX, details, identity, account_key], &signature))
}

/// Whether a message carries the identity that its companion signed when it was linked. Clients may add the account's key
/// (Baileys `validate-connection.ts` `encodeSignedDeviceIdentity`), so the bytes may differ.
pub(crate) fn is_same_identity(given: &[u8], signed: &[u8], account_key: &[u8]) -> bool {
    let decode = |bytes| waproto::codec::adv_signed_device_identity_decode(bytes).ok();
    let (Some(given), Some(signed)) = (decode(given), decode(signed)) else {
        return false;
    };
    let key_agrees = match given.account_signature_key.as_deref() {
        None | Some([]) => true,
        Some(key) => key == account_key,
    };
    key_agrees
        && given.details == signed.details
        && given.account_signature == signed.account_signature
        && given.device_signature == signed.device_signature
}

/// Signs the list of companions that are genuine.
pub(crate) fn key_index_list(
    phone: &Keys,
    raw_id: u32,
    current_index: u32,
    valid_indexes: Vec<u32>,
    now: u64,
    rng: &mut StdRng,
) -> Result<Vec<u8>, CurveError> {
    let details = ADVKeyIndexList {
        raw_id: Some(raw_id),
        timestamp: Some(now),
        current_index: Some(current_index),
        valid_indexes,
        ..Default::default()
    }
    .encode_to_vec();
    let account_signature = phone.sign(&[KEY_INDEX_PREFIX, &details], rng)?;
    Ok(ADVSignedKeyIndexList {
        details: Some(details),
        account_signature: Some(account_signature),
        account_signature_key: Some(phone.public_bytes().to_vec()),
    }
    .encode_to_vec())
}

/// What the account tells a new companion about itself: its chats are addressed by hidden ids.
pub(crate) fn pairing_props() -> Vec<u8> {
    ClientPairingProps {
        is_chat_db_lid_migrated: Some(true),
        ..Default::default()
    }
    .encode_to_vec()
}

/// The container that [`grant`] made, read back.
#[cfg(test)]
pub(crate) fn signed_identity(container: &[u8]) -> ADVSignedDeviceIdentity {
    let container = waproto::codec::adv_signed_device_identity_hmac_decode(container).unwrap();
    waproto::codec::adv_signed_device_identity_decode(&container.details.unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use wacore::pair::{DeviceState, PairUtils};

    use super::*;

    fn paired() -> (Keys, Keys, [u8; 32], Grant, StdRng) {
        let mut rng = StdRng::seed_from_u64(1);
        let (phone, companion, secret) = (Keys::generate(&mut rng), Keys::generate(&mut rng), [7; 32]);
        let wanted = Companion {
            identity: companion.public_bytes(),
            secret: &secret,
            raw_id: 9,
            key_index: 3,
        };
        let granted = grant(&phone, &wanted, 1_800_000_000, &mut rng).unwrap();
        (phone, companion, secret, granted, rng)
    }

    #[test]
    fn the_client_library_accepts_a_grant_and_its_countersignature_is_accepted() {
        let (phone, companion, secret, granted, _) = paired();
        let state = DeviceState {
            identity_key: companion.pair().clone(),
            noise_key: companion.pair().clone(),
            adv_secret_key: secret,
        };
        let (signed, key_index) = PairUtils::do_pair_crypto(&state, &granted.container).unwrap();
        assert_eq!(key_index, 3);
        let check = |identity: &[u8]| {
            countersigned(
                &signed,
                &granted.details,
                &granted.account_signature,
                phone.public_bytes(),
                identity,
            )
        };
        assert!(check(companion.public_bytes()));
        assert!(!check(phone.public_bytes()));
    }

    #[test]
    fn a_grant_for_another_code_is_refused_by_the_client_library() {
        let (_, companion, _, granted, _) = paired();
        let state = DeviceState {
            identity_key: companion.pair().clone(),
            noise_key: companion.pair().clone(),
            adv_secret_key: [8; 32],
        };
        assert_eq!(
            PairUtils::do_pair_crypto(&state, &granted.container).unwrap_err().text,
            "hmac-mismatch"
        );
    }

    #[test]
    fn an_identity_without_the_companions_signature_is_refused() {
        let (phone, companion, _, granted, _) = paired();
        let unsigned = signed_identity(&granted.container).encode_to_vec();
        assert!(!countersigned(
            &unsigned,
            &granted.details,
            &granted.account_signature,
            phone.public_bytes(),
            companion.public_bytes()
        ));
    }

    #[test]
    fn the_key_index_list_is_readable_by_the_client_library() {
        let (phone, .., mut rng) = paired();
        let list = key_index_list(&phone, 9, 3, vec![0, 3], 1_800_000_000, &mut rng).unwrap();
        let read = wacore::adv::decode_key_index_list(&list).unwrap();
        assert_eq!(
            (read.raw_id, read.current_index, read.valid_indexes),
            (9, 3, vec![0, 3])
        );
    }
}
