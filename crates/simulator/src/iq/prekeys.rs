//! One-time and signed prekeys: upload, count, digest, rotation, and handing them out, each one-time key once.
//!
//! Formats as in wacore `iq/prekeys.rs` and `prekeys.rs`. A first message that spends a one-time key again is counted.

use std::collections::BTreeMap;

use wacore::prekeys::compute_key_bundle_digest;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use wacore_libsignal::protocol::PreKeySignalMessage;

use crate::keys::{Blob, be_number, id_bytes};
use crate::model::{Bundle, ConnId, DeviceRef, SignedPrekey, State};
use crate::pairing::check_signed_prekey;
use crate::stanza::{self, Malformed};

/// Below this many one-time keys the device is told to upload more (WhatsApp Web's MIN_PREKEY_COUNT is 5).
const LOW_WATER: usize = 5;
/// Most one-time keys that a device may have on the server.
const PREKEYS_MAX: usize = 10_000;
/// Spent keys remembered for each device.
const SPENT_MAX: usize = 10_000;
/// Users in one request for keys.
const FETCH_USERS_MAX: usize = 5_000;
/// The error for a device that is not registered (any more).
const UNREGISTERED: u16 = 406;

/// A device's keys for one new session.
pub(crate) struct HandedOut {
    /// Without one-time keys.
    pub(crate) bundle: Bundle,
    /// The one-time key, if there was one left.
    pub(crate) prekey: Option<(u32, Blob)>,
    /// The device's encoded `ADVSignedDeviceIdentity`; empty for a phone.
    pub(crate) signed_identity: Blob,
}

impl State {
    pub(super) fn on_prekey_count(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let count = self.device(who).map_or(0, |device| device.bundle.prekeys.len());
        self.answer(conn, node, vec![NodeBuilder::new("count").attr("value", count).build()])
    }

    /// The client compares this with what it has and uploads again when they differ.
    pub(super) fn on_digest(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        match self.device(who).and_then(|device| digest(&device.bundle)) {
            Some(digest) => self.answer(conn, node, vec![digest]),
            None => {
                self.reply(conn, stanza::iq_error(node, 404, "item-not-found"));
                Ok(())
            }
        }
    }

    pub(super) fn on_upload_prekeys(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let content = |tag| stanza::child(node, tag).and_then(stanza::required_bytes);
        let registration_id =
            be_number(content("registration")?).ok_or_else(|| Malformed::new("bad registration id"))?;
        if content("type")? != [5] {
            return Err(Malformed::new("unknown key type"));
        }
        let identity = content("identity")?;
        let signed_prekey = signed_prekey(stanza::child(node, "skey")?)?;
        check_signed_prekey(identity, &signed_prekey)?;
        let uploaded = one_time_keys(stanza::child(node, "list")?)?;
        let Some(device) = self.device_mut(who) else {
            return Ok(());
        };
        if device.bundle.identity.0 != identity {
            return Err(Malformed::new("prekeys of another identity"));
        }
        if device.bundle.prekeys.len() + uploaded.len() > PREKEYS_MAX {
            return Err(Malformed::new("too many prekeys"));
        }
        device.bundle.registration_id = registration_id;
        device.bundle.signed_prekey = signed_prekey;
        device.bundle.prekeys.extend(uploaded);
        device.bundle.low_told = false;
        self.touch();
        self.answer(conn, node, Vec::new())?;
        self.tell_phone_if_ready(who);
        Ok(())
    }

    pub(super) fn on_rotate(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let rotated = signed_prekey(stanza::child(stanza::child(node, "rotate")?, "skey")?)?;
        let Some(device) = self.device_mut(who) else {
            return Ok(());
        };
        check_signed_prekey(&device.bundle.identity.0, &rotated)?;
        device.bundle.signed_prekey = rotated;
        self.touch();
        self.answer(conn, node, Vec::new())
    }

    pub(super) fn on_fetch_prekeys(&mut self, conn: ConnId, node: &Node) -> Result<(), Malformed> {
        let users = stanza::children(stanza::child(node, "key")?);
        if users.is_empty() || users.len() > FETCH_USERS_MAX {
            return Err(Malformed::new("<key> for no or too many users"));
        }
        let mut answers = Vec::with_capacity(users.len());
        for user in users {
            let jid = stanza::required_jid(user, "jid")?;
            answers.push(self.hand_out(&jid));
        }
        self.answer(conn, node, vec![NodeBuilder::new("list").children(answers).build()])
    }

    fn hand_out(&mut self, jid: &Jid) -> Node {
        let user = NodeBuilder::new("user").attr("jid", jid);
        let handed_out = self.resolve_device(jid).and_then(|who| self.take_bundle(&who));
        let Some(HandedOut {
            bundle,
            prekey,
            signed_identity,
        }) = handed_out
        else {
            let error = NodeBuilder::new("error")
                .attr("code", u32::from(UNREGISTERED))
                .attr("text", "not-acceptable");
            return user.children([error.build()]).build();
        };
        let mut children = vec![
            stanza::with_bytes("registration", bundle.registration_id.to_be_bytes()),
            stanza::with_bytes("type", [5]),
            stanza::with_bytes("identity", bundle.identity.0),
        ];
        if let Some((id, public)) = prekey {
            children.push(key_node("key", id, public.0, None));
        }
        let SignedPrekey { id, public, signature } = bundle.signed_prekey;
        children.push(key_node("skey", id, public.0, Some(signature.0)));
        if !signed_identity.0.is_empty() {
            children.push(stanza::with_bytes("device-identity", signed_identity.0));
        }
        user.attr("t", self.now()).children(children).build()
    }

    /// A device's keys for one new session. The one-time key in it is gone from the server.
    pub(crate) fn take_bundle(&mut self, who: &DeviceRef) -> Option<HandedOut> {
        let device = self.device_mut(who)?;
        // Keys that nobody uploaded yet: the device cannot be written to.
        if device.bundle.prekeys.is_empty() && device.awaits_phone {
            return None;
        }
        let prekey = device.bundle.prekeys.pop_first();
        let bundle = Bundle {
            registration_id: device.bundle.registration_id,
            identity: device.bundle.identity.clone(),
            signed_prekey: device.bundle.signed_prekey.clone(),
            ..Bundle::default()
        };
        let handed_out = HandedOut {
            bundle,
            prekey,
            signed_identity: device.signed_identity.clone(),
        };
        let left = device.bundle.prekeys.len();
        let tell = left < LOW_WATER && !device.bundle.low_told && device.id != 0;
        device.bundle.low_told |= tell;
        self.touch();
        if tell {
            let notification = NodeBuilder::new("notification")
                .attr("from", stanza::server_jid())
                .attr("type", "encrypt")
                .attr("id", self.random_id())
                .attr("t", self.now())
                .children([NodeBuilder::new("count").attr("value", left).build()])
                .build();
            self.enqueue(who, notification);
        }
        Some(handed_out)
    }

    /// Looks at the readable head of a first message: its one-time key must not have started another session.
    pub(crate) fn check_prekey_use(&mut self, to: &DeviceRef, ciphertext: &[u8]) -> Result<(), Malformed> {
        let message = PreKeySignalMessage::try_from(ciphertext)
            .map_err(|_| Malformed::new("<enc type=\"pkmsg\"> that is not a first message"))?;
        let Some(id) = message.pre_key_id() else { return Ok(()) };
        let base_key = Blob::from(message.base_key().public_key_bytes());
        let Some(device) = self.device_mut(to) else {
            return Ok(());
        };
        let spent = &mut device.bundle.spent;
        let reused = spent.get(&id.into()).is_some_and(|before| *before != base_key);
        if spent.len() >= SPENT_MAX {
            spent.pop_first();
        }
        spent.insert(id.into(), base_key);
        if reused {
            self.counters.prekey_reused();
        }
        Ok(())
    }
}

fn digest(bundle: &Bundle) -> Option<Node> {
    if bundle.prekeys.is_empty() {
        return None;
    }
    let SignedPrekey { id, public, signature } = &bundle.signed_prekey;
    let publics: Vec<&[u8]> = bundle.prekeys.values().map(|key| key.0.as_slice()).collect();
    let hash = compute_key_bundle_digest(&bundle.identity.0, &public.0, &signature.0, &publics);
    let ids = bundle.prekeys.keys().map(|id| stanza::with_bytes("id", id_bytes(*id)));
    let children = [
        stanza::with_bytes("registration", bundle.registration_id.to_be_bytes()),
        stanza::with_bytes("type", [5]),
        stanza::with_bytes("identity", bundle.identity.0.clone()),
        key_node("skey", *id, public.0.clone(), Some(signature.0.clone())),
        NodeBuilder::new("list").children(ids.collect::<Vec<_>>()).build(),
        stanza::with_bytes("hash", hash),
    ];
    Some(NodeBuilder::new("digest").children(children).build())
}

fn key_node(tag: &'static str, id: u32, public: Vec<u8>, signature: Option<Vec<u8>>) -> Node {
    let mut children = vec![
        stanza::with_bytes("id", id_bytes(id)),
        stanza::with_bytes("value", public),
    ];
    children.extend(signature.map(|signature| stanza::with_bytes("signature", signature)));
    NodeBuilder::new(tag).children(children).build()
}

fn signed_prekey(node: &Node) -> Result<SignedPrekey, Malformed> {
    let content = |tag| stanza::child(node, tag).and_then(stanza::required_bytes);
    let id = be_number(content("id")?).ok_or_else(|| Malformed::new("bad signed prekey id"))?;
    Ok(SignedPrekey {
        id,
        public: content("value")?.into(),
        signature: content("signature")?.into(),
    })
}

fn one_time_keys(list: &Node) -> Result<BTreeMap<u32, Blob>, Malformed> {
    let mut keys = BTreeMap::new();
    for key in stanza::children(list) {
        let id = stanza::child(key, "id").and_then(stanza::required_bytes)?;
        let id = be_number(id).ok_or_else(|| Malformed::new("bad prekey id"))?;
        let public = stanza::child(key, "value").and_then(stanza::required_bytes)?;
        if public.len() != 32 || keys.insert(id, public.into()).is_some() {
            return Err(Malformed::new("bad or repeated prekey"));
        }
    }
    Ok(keys)
}
