//! From a completed handshake to a logged-in device, and out again.
//!
//! The payload of the handshake says who connects: a device that was paired, recognised by its static key, or a new
//! one that wants to be (whatsmeow `handshake.go`, `connectionevents.go`).

use buffa::Message as _;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp::ClientPayload;

use crate::metrics::stanza_key;
use crate::model::{ConnId, DeviceRef, Flow, Out, Role, Space, State};
use crate::noise::Pattern;
use crate::stanza::{self, Malformed};

/// The failure reason for a device that is not (or no longer) linked.
const LOGGED_OUT: u16 = 401;
/// The failure reason for a payload that cannot be understood.
const BAD_PAYLOAD: u16 = 400;

impl State {
    /// Decides what a new connection is, by its client payload.
    pub(crate) fn on_payload(&mut self, conn: ConnId, pattern: Pattern, client_static: Vec<u8>, payload: &[u8]) {
        self.counters.handshake(pattern);
        let Ok(payload) = ClientPayload::decode_from_slice(payload) else {
            let now = self.now();
            self.counters.malformed(now, "", "client payload".to_owned());
            return self.dismiss(conn, failure(BAD_PAYLOAD));
        };
        if let Some(username) = payload.username {
            let device = payload.device.unwrap_or(0);
            return match self.recognise(username, device, &client_static) {
                Some(who) => self.log_in(conn, &who),
                None => self.dismiss(conn, failure(LOGGED_OUT)),
            };
        }
        if let Err(malformed) = self.on_registration(conn, client_static, &payload) {
            let now = self.now();
            self.counters.malformed(now, "", malformed.to_string());
            self.dismiss(conn, failure(BAD_PAYLOAD));
        }
    }

    /// The companion that logs in, if it is linked and proves it with its key. Phones have no connection.
    fn recognise(&self, username: u64, device: u32, client_static: &[u8]) -> Option<DeviceRef> {
        let who = DeviceRef::new(
            username.to_string(),
            u16::try_from(device).ok().filter(|device| *device > 0)?,
        );
        (self.device(&who)?.noise_public.0 == client_static).then_some(who)
    }

    fn log_in(&mut self, conn: ConnId, who: &DeviceRef) {
        let Some(lid) = self.jid_of(who, Space::Lid) else {
            return;
        };
        self.attach(conn, who, Flow::Waiting);
        let success = NodeBuilder::new("success")
            .attr("t", self.now())
            .attr("lid", lid)
            .attr("location", "sandbox")
            .attr("props", 0)
            .build();
        self.reply(conn, success);
    }

    /// `passive`: an active client gets what was stored for it.
    pub(crate) fn on_passive(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let active = match stanza::first_child_tag(node) {
            "active" => true,
            "passive" => false,
            tag => return Err(Malformed::new(format!("passive with <{tag}>"))),
        };
        self.reply(conn, stanza::iq_result(node, Vec::new()));
        if active {
            self.start_drain(conn, who);
            self.tell_phone_if_ready(who);
        }
        Ok(())
    }

    /// A fresh companion can receive its first messages once its keys are here: its phone sends them then.
    pub(crate) fn tell_phone_if_ready(&mut self, who: &DeviceRef) {
        let ready = self
            .device(who)
            .is_some_and(|device| device.awaits_phone && !device.bundle.prekeys.is_empty());
        let phone = DeviceRef::new(who.number.clone(), 0);
        let link = self
            .device(&phone)
            .and_then(|phone| phone.conn)
            .and_then(|conn| self.links.get(&conn));
        if let Some(link) = link.filter(|_| ready) {
            let _ = link.out.try_send(Out::Ready(who.device)); // A phone that is behind is told at the next login.
        }
    }

    /// Called every second for every connection: pairing codes run out.
    pub(crate) fn on_tick(&mut self, conn: ConnId) {
        let now_ms = self.env.clock.now_ms();
        let expired = self.links.get(&conn).is_some_and(|link| match &link.role {
            Role::Registering(registration) => registration.offer.is_none() && now_ms > registration.expires_at_ms,
            Role::New | Role::Device(_) => false,
        });
        if expired {
            self.disconnect(conn);
        }
    }

    /// `md` `remove-companion-device`: a companion logs itself out.
    pub(crate) fn on_remove_companion(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let removal = stanza::child(node, "remove-companion-device")?;
        let target = stanza::required_jid(removal, "jid")?;
        stanza::required(removal, "reason")?;
        match self.resolve_device(&target) {
            Some(target) if target == *who => {
                self.reply(conn, stanza::iq_result(node, Vec::new()));
                self.remove_device(who);
            }
            // Only the phone may remove others (whatsmeow `Logout` names its own device).
            _ => self.reply(conn, stanza::iq_error(node, 403, "forbidden")),
        }
        Ok(())
    }

    /// Unlinks a companion: it is told and disconnected, everybody who knows the account hears of it.
    pub(crate) fn remove_device(&mut self, who: &DeviceRef) {
        let Some(key_index) = self.device(who).map(|device| device.key_index) else {
            return;
        };
        if let Some(conn) = self.device(who).and_then(|device| device.conn) {
            let conflict = NodeBuilder::new("conflict").attr("type", "device_removed").build();
            let error = NodeBuilder::new("stream:error")
                .attr("code", u32::from(LOGGED_OUT))
                .children([conflict]);
            self.dismiss(conn, error.build());
        }
        if let Some(account) = self.account_mut(&who.number) {
            account.devices.remove(&who.device);
        }
        self.notify_devices(who, key_index, "remove");
        self.touch();
    }

    /// Ends a device's connection as the control interface asks.
    pub(crate) fn kill(&mut self, conn: ConnId, code: Option<u16>) {
        match code {
            Some(code) => {
                let error = NodeBuilder::new("stream:error").attr("code", u32::from(code)).build();
                tracing::debug!(conn, stanza = stanza_key(&error), code, "killed");
                self.dismiss(conn, error);
            }
            None => self.disconnect(conn),
        }
    }
}

fn failure(reason: u16) -> Node {
    NodeBuilder::new("failure")
        .attr("reason", u32::from(reason))
        .attr("location", "sandbox")
        .build()
}
