//! Linking a new companion: the phone's offer, and the companion's signature.
//!
//! The order is the real server's (wacore `pair.rs`, whatsmeow `pair.go`): pair-device with refs, pair-success with the
//! phone's signature, pair-device-sign with the companion's, then error 515 and a login. What comes before the phone's
//! offer is in [`registration`], where no QR code is scanned in [`link_code`], and where that is not enough in [`passkey`].

mod link_code;
mod passkey;
mod registration;

pub(crate) use link_code::Hello;
pub(crate) use passkey::PasskeyRequest;
use registration::REF_LEN;
pub(crate) use registration::{Code, REFS_MAX, check_signed_prekey};

use rand::Rng as _;
use tokio::sync::oneshot;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::adv;
use crate::error::SandboxError;
use crate::keys::{Blob, Keys};
use crate::model::{ConnId, DEVICE_ID_MAX, Device, DeviceRef, Offer, Role, Space, State};
use crate::queue::Queue;
use crate::stanza::{self, Malformed};
use crate::views::DeviceView;

/// Most companions of one account: a bound of the sandbox's own, which leaves room for tests that link many.
const COMPANIONS_MAX: usize = 64;
const KEY_LEN: usize = 32;

/// A device that a phone is about to link.
pub(crate) struct Claim {
    /// Its connection.
    pub(crate) conn: ConnId,
    /// Its identity key.
    pub(crate) identity: [u8; KEY_LEN],
    /// What only it and the phone know, by which it trusts the phone's signature.
    pub(crate) secret: Vec<u8>,
}

impl State {
    /// The phone links a device: it signs its identity, and the device is told. The answer comes when the device has
    /// signed too.
    pub(crate) fn offer(
        &mut self,
        number: &str,
        phone: &Keys,
        claim: &Claim,
    ) -> Result<oneshot::Receiver<Result<DeviceView, String>>, SandboxError> {
        let now = self.now();
        let mut rng = self.env.random.rng();
        // Offers whose companions have not signed yet: none may invalidate another.
        let pending: Vec<(u16, u32)> = self.pending_offers(number).collect();
        let account = self
            .account_mut(number)
            .ok_or_else(|| SandboxError::not_found("phone", number))?;
        if account.devices.len() + pending.len() > COMPANIONS_MAX {
            return Err(SandboxError::Refused(
                "this account has as many linked devices as it may have".to_owned(),
            ));
        }
        let device = free_device_id(account.next_device, |id| {
            account.devices.contains_key(&id) || pending.iter().any(|(pending, _)| *pending == id)
        });
        account.next_device = device % DEVICE_ID_MAX + 1;
        account.next_key_index += 1;
        let key_index = account.next_key_index;
        let raw_id = account.adv_raw_id;
        let valid = account
            .devices
            .values()
            .map(|device| device.key_index)
            .chain(pending.iter().map(|(_, key_index)| *key_index))
            .chain([key_index])
            .collect();
        let who = DeviceRef::new(number, device);
        let broken = |_| SandboxError::Refused("the phone's identity key cannot sign".to_owned());
        let companion = adv::Companion {
            identity: &claim.identity,
            secret: &claim.secret,
            raw_id,
            key_index,
        };
        let grant = adv::grant(phone, &companion, now, &mut rng).map_err(broken)?;
        let key_index_list = adv::key_index_list(phone, raw_id, key_index, valid, now, &mut rng).map_err(broken)?;
        let success = self.pair_success(&who, grant.container);
        let (done, outcome) = oneshot::channel();
        let offer = Offer {
            iq_id: stanza::text(&success, "id").unwrap_or_default(),
            who,
            key_index,
            details: grant.details,
            account_key: phone.public_bytes().to_vec(),
            account_signature: grant.account_signature,
            key_index_list,
            done,
        };
        if let Some(registration) = self.registration_mut(claim.conn) {
            registration.offer = Some(offer);
        }
        self.reply(claim.conn, success);
        Ok(outcome)
    }

    /// Device and key index of each companion that was offered a place in an account and has not signed yet.
    fn pending_offers(&self, number: &str) -> impl Iterator<Item = (u16, u32)> {
        let offers = self.links.values().filter_map(|link| match &link.role {
            Role::Registering(registration) => registration.offer.as_ref(),
            Role::New | Role::Device(_) => None,
        });
        let own = offers.filter(move |offer| offer.who.number == number);
        own.map(|offer| (offer.who.device, offer.key_index))
    }

    fn pair_success(&mut self, who: &DeviceRef, container: Vec<u8>) -> Node {
        let jids = self.addresses(who);
        let mut device = NodeBuilder::new("device");
        for (key, jid) in ["jid", "lid"].into_iter().zip(jids) {
            device = device.attr(key, jid);
        }
        let pair_success = NodeBuilder::new("pair-success")
            .children([
                stanza::with_bytes("device-identity", container),
                device.build(),
                NodeBuilder::new("platform").attr("name", "android").build(),
                stanza::with_bytes("client-props", adv::pairing_props()),
            ])
            .build();
        self.md_request("pair-success", pair_success)
    }

    fn md_request(&mut self, kind: &str, child: Node) -> Node {
        let id = format!("{kind}-{}", self.random_id());
        NodeBuilder::new("iq")
            .attr("from", stanza::server_jid())
            .attr("type", "set")
            .attr("id", id)
            .attr("xmlns", "md")
            .attr("t", self.now())
            .children([child])
            .build()
    }

    /// A short random id for stanzas of the server.
    pub(crate) fn random_id(&self) -> String {
        format!("{:016X}", self.env.random.rng().next_u64())
    }

    /// IQs of a device that is not logged in: its part of the pairing, and signs of life.
    pub(crate) fn on_pairing_iq(&mut self, conn: ConnId, node: &Node) -> Result<(), Malformed> {
        let id = stanza::required(node, "id")?;
        let kind = stanza::required(node, "type")?;
        let registration = self.registration_mut(conn);
        let registration = registration.ok_or_else(|| Malformed::new("iq before login"))?;
        let offer = registration.offer.take_if(|offer| offer.iq_id == id);
        let xmlns = stanza::text(node, "xmlns").unwrap_or_default();
        match (kind.as_str(), offer, xmlns.as_str()) {
            ("result", Some(offer), _) => self.on_pair_device_sign(conn, node, offer),
            ("error", Some(offer), _) => {
                let _ = offer.done.send(Err("the device refused the pairing".to_owned()));
                Ok(())
            }
            // The client confirms the refs.
            ("result", None, _) => {
                self.on_result_before_login(conn, &id, node);
                Ok(())
            }
            ("get", None, "w:p") => {
                self.reply(conn, stanza::iq_result(node, Vec::new()));
                Ok(())
            }
            (kind @ ("get" | "set"), None, "md") => match (kind, stanza::first_child_tag(node)) {
                ("set", "link_code_companion_reg") => self.on_link_code(conn, node),
                (kind, tag) => self.on_passkey_iq(conn, node, kind, tag),
            },
            _ => {
                self.unknown_before_login(conn, node);
                Ok(())
            }
        }
    }

    fn unknown_before_login(&mut self, conn: ConnId, node: &Node) {
        let xmlns = stanza::text(node, "xmlns").unwrap_or_default();
        let what = format!("iq {xmlns} <{}> before login", stanza::first_child_tag(node));
        self.unknown(conn, &what);
        self.reply(conn, stanza::iq_error(node, 501, "feature-not-implemented"));
    }

    /// Something the server tells a device that is not linked yet.
    fn notify_unlinked(&mut self, conn: ConnId, kind: &'static str, children: Vec<Node>) {
        let notification = NodeBuilder::new("notification")
            .attr("from", stanza::server_jid())
            .attr("type", kind)
            .attr("id", self.random_id())
            .attr("t", self.now())
            .children(children);
        self.tell_unlinked(conn, notification.build());
    }

    /// Sends what a device has to acknowledge although it is not linked yet. It comes on this connection or never.
    fn tell_unlinked(&mut self, conn: ConnId, stanza: Node) {
        let now = self.now();
        if let Some(registration) = self.registration_mut(conn)
            && registration.told.push(stanza.clone()).is_ok()
        {
            registration.told.delivered(now);
        }
        self.reply(conn, stanza);
    }

    /// A device may show what it shows for at least this long.
    fn extend(&mut self, conn: ConnId, valid_ms: u64) {
        let until = self.env.clock.now_ms() + valid_ms;
        if let Some(registration) = self.registration_mut(conn) {
            registration.expires_at_ms = registration.expires_at_ms.max(until);
        }
    }

    fn on_pair_device_sign(&mut self, conn: ConnId, node: &Node, offer: Offer) -> Result<(), Malformed> {
        let identity_node =
            stanza::child(node, "pair-device-sign").and_then(|sign| stanza::child(sign, "device-identity"))?;
        let signed_identity = stanza::required_bytes(identity_node)?;
        let key_index = stanza::number(identity_node, "key-index")?;
        let Some(Role::Registering(registration)) = self.links.get_mut(&conn).map(|link| &mut link.role) else {
            return Ok(());
        };
        let identity = &registration.bundle.identity.0;
        if key_index != Some(offer.key_index.into())
            || !adv::countersigned(
                signed_identity,
                &offer.details,
                &offer.account_signature,
                &offer.account_key,
                identity,
            )
        {
            let _ = offer.done.send(Err("the device's signature is wrong".to_owned()));
            return Err(Malformed::new("pair-device-sign with a wrong signature"));
        }
        let device = Device {
            id: offer.who.device,
            key_index: offer.key_index,
            noise_public: Blob(std::mem::take(&mut registration.noise_public)),
            bundle: std::mem::take(&mut registration.bundle),
            signed_identity: signed_identity.into(),
            platform: std::mem::take(&mut registration.platform),
            push_name: registration.push_name.take(),
            linked_at: self.env.unix_seconds(),
            awaits_phone: true,
            history: registration.history,
            history_given: 0,
            queue: Queue::default(),
            conn: None,
            held: Default::default(),
        };
        let told = std::mem::take(&mut registration.told);
        self.close_before_login(&told);
        let now = self.now();
        if let Some(account) = self.account_mut(&offer.who.number) {
            // The list of a later offer has this one's index too; this one's list lacks the later index.
            if account.devices.values().all(|other| other.key_index < offer.key_index) {
                account.key_index_list = Blob(offer.key_index_list);
                account.key_index_at = now;
            }
            let view = account.device_view(&device);
            account.devices.insert(device.id, device);
            let _ = offer.done.send(Ok(view)); // Whoever scanned may have stopped waiting.
        }
        self.notify_devices(&offer.who, offer.key_index, "add");
        self.touch();
        let restart = NodeBuilder::new("stream:error").attr("code", 515).build();
        self.dismiss(conn, restart);
        Ok(())
    }

    /// Tells everybody who knows an account that one of its companions came or went.
    pub(crate) fn notify_devices(&mut self, who: &DeviceRef, key_index: u32, change: &'static str) {
        let Some(account) = self.account(&who.number) else {
            return;
        };
        let (pn, lid) = (
            account.device_jid(Space::Pn, who.device),
            account.device_jid(Space::Lid, who.device),
        );
        let (user_pn, user_lid) = (account.user_jid(Space::Pn), account.user_jid(Space::Lid));
        let mut list = NodeBuilder::new("key-index-list").attr("ts", self.now());
        if change == "add" {
            list = list.bytes(account.key_index_list.0.clone());
        }
        let device = NodeBuilder::new("device").attr("jid", pn).attr("lid", lid);
        let operation = NodeBuilder::new(change)
            .children([device.attr("key-index", key_index).build(), list.build()])
            .build();
        let mut told: Vec<DeviceRef> = self
            .devices_of(&who.number)
            .into_iter()
            .filter(|own| own != who)
            .collect();
        told.extend(account.peers.iter().flat_map(|peer| self.devices_of(peer)));
        for to in told {
            let notification = NodeBuilder::new("notification")
                .attr("from", user_pn.clone())
                .attr("lid", user_lid.clone())
                .attr("type", "devices")
                .attr("id", self.random_id())
                .attr("t", self.now())
                .children([operation.clone()])
                .build();
            self.enqueue(&to, notification);
        }
    }
}

fn free_device_id(start: u16, taken: impl Fn(u16) -> bool) -> u16 {
    let candidates = (start.max(1)..=DEVICE_ID_MAX).chain(1..=DEVICE_ID_MAX);
    // There are more ids than companions may be, so one is free.
    candidates.into_iter().find(|id| !taken(*id)).unwrap_or(DEVICE_ID_MAX)
}
