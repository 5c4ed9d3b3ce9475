//! From a completed handshake to a logged-in device, and out again.
//!
//! The payload of the handshake says who connects: a device that was paired, recognised by its static key, or a new
//! one that wants to be (whatsmeow `handshake.go`, `connectionevents.go`).

use buffa::Message as _;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp::ClientPayload;

use crate::faults::{FaultAction, FaultDirection};
use crate::model::{ConnId, DeviceRef, Flow, Out, Role, Space, State};
use crate::noise::Pattern;
use crate::stanza::{self, Malformed};
use crate::views::{Conflict, KillMode};

/// The failure reason for a device that is not (or no longer) linked.
const LOGGED_OUT: u16 = 401;
/// The failure reason for a payload that cannot be understood.
const BAD_PAYLOAD: u16 = 400;

impl State {
    /// Decides what a new connection is, by its client payload.
    pub(crate) fn on_payload(&mut self, conn: ConnId, pattern: Pattern, client_static: Vec<u8>, payload: &[u8]) {
        self.counters.handshake(pattern);
        if self.outage {
            return self.cut(conn);
        }
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
        if let Some(refusal) = self.refusal(who) {
            return self.dismiss(conn, refusal);
        }
        let now = self.now();
        self.counters.login(now);
        self.attach(conn, who, Flow::Waiting);
        let success = NodeBuilder::new("success")
            .attr("t", self.now())
            .attr("lid", lid)
            .attr("location", "sandbox")
            .attr("props", 0)
            .build();
        self.reply(conn, success);
    }

    /// The `<failure>` that a fault answers this login with.
    fn refusal(&mut self, who: &DeviceRef) -> Option<Node> {
        let addresses = self.addresses(who);
        let login = NodeBuilder::new("login").build();
        let mut rng = self.env.random.rng();
        match self.faults.judge(FaultDirection::Login, &login, &addresses, &mut rng)? {
            FaultAction::Failure { reason, code, expire } => Some(refused(reason, code, expire)),
            _ => None,
        }
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
            let mut error = conflict(Conflict::DeviceRemoved);
            error.attrs.insert("code", LOGGED_OUT.to_string());
            self.dismiss(conn, error);
        }
        if let Some(account) = self.account_mut(&who.number) {
            account.devices.remove(&who.device);
        }
        self.notify_devices(who, key_index, "remove");
        self.touch();
    }

    /// Ends a connection as the control interface asks.
    pub(crate) fn kill(&mut self, conn: ConnId, mode: KillMode) {
        tracing::debug!(conn, ?mode, "killed");
        let last = match mode {
            KillMode::Close => return self.disconnect(conn),
            KillMode::Cut => return self.cut(conn),
            KillMode::StreamError { code } => NodeBuilder::new("stream:error").attr("code", u32::from(code)).build(),
            KillMode::Conflict { kind } => conflict(kind),
            KillMode::Failure { reason } => failure(reason),
        };
        self.dismiss(conn, last);
    }

    /// The connections of clients.
    pub(crate) fn clients(&self) -> Vec<ConnId> {
        let clients = self.links.iter().filter(|(_, link)| link.is_client());
        clients.map(|(conn, _)| *conn).collect()
    }
}

fn failure(reason: u16) -> Node {
    refused(reason, None, None)
}

/// As WhatsApp refuses a login; `code` and `expire` come with a temporary ban (whatsmeow `connectionevents.go`).
fn refused(reason: u16, code: Option<u16>, expire: Option<u32>) -> Node {
    let mut failure = NodeBuilder::new("failure")
        .attr("reason", u32::from(reason))
        .attr("location", "sandbox");
    if let Some(code) = code {
        failure = failure.attr("code", u32::from(code));
    }
    if let Some(expire) = expire {
        failure = failure.attr("expire", expire);
    }
    failure.build()
}

pub(crate) fn conflict(kind: Conflict) -> Node {
    let kind = match kind {
        Conflict::Replaced => "replaced",
        Conflict::DeviceRemoved => "device_removed",
    };
    let conflict = NodeBuilder::new("conflict").attr("type", kind).build();
    NodeBuilder::new("stream:error").children([conflict]).build()
}
