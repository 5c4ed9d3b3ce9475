//! Where stanzas enter the network and where they leave it: dispatch, queues, pages of stored stanzas.
//!
//! Nothing leaves before the client is active; what was stored meanwhile goes out in pages that the client pulls
//! (whatsmeow `connectionevents.go`, Baileys `socket.ts` `offline_batch`), and `<ib><offline>` always closes them.

use tokio::sync::mpsc::error::TrySendError;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::faults::{FaultAction, FaultDirection, Faults};
use crate::login::conflict;
use crate::metrics::{Counters, stanza_key};
use crate::model::{ConnId, DeviceRef, Flow, Link, Out, Role, Space, State};
use crate::stanza::{self, Malformed};
use crate::views::Conflict;

/// Stored stanzas that go out before the client asks for more.
const PRIMER_STANZAS: usize = 5;
/// Largest page of stored stanzas that a client may ask for.
const OFFLINE_BATCH_MAX: u64 = 10_000;
/// Typing states held for a device that is away.
const HELD_MAX: usize = 16;

/// What became of a stanza on its way to a connection.
enum Sent {
    Yes,
    /// The connection's channel is full.
    NotYet,
    /// The connection is gone.
    Never,
}

impl State {
    /// Takes a stanza from a connection. Never fails: what is wrong is counted and answered. What was on its way when its
    /// connection ended is not looked at.
    pub(crate) fn handle(&mut self, conn: ConnId, node: &Node) {
        if !self.links.contains_key(&conn) {
            return;
        }
        self.counters.count("in", &stanza_key(node));
        let outcome = match (self.who(conn), node.tag.as_ref()) {
            (None, "iq") => self.on_pairing_iq(conn, node),
            // Baileys sends its telemetry id and, when a name is preset, a presence before it is logged in.
            (None, "ib" | "presence") => Ok(()),
            (None, "ack") => self.on_ack_before_login(conn, node),
            (None, tag) => Err(Malformed::new(format!("<{tag}> before login"))),
            (Some(who), "iq") => self.on_iq(conn, &who, node),
            (Some(who), "message") => self.on_message(conn, &who, node),
            (Some(who), "receipt") => self.on_receipt(conn, &who, node),
            (Some(who), "ack") => self.on_ack(&who, node),
            (Some(who), "ib") => self.on_ib(conn, &who, node),
            (Some(who), "presence") => self.on_presence(conn, &who, node),
            (Some(who), "chatstate") => self.on_chatstate(&who, node),
            (Some(_), tag) => {
                let what = format!("<{tag}>");
                self.unknown(conn, &what);
                Ok(())
            }
        };
        if let Err(malformed) = outcome {
            self.refuse(conn, node, &malformed);
        }
    }

    /// Counts a malformed stanza and answers it as the real server does: error 479 for messages, 400 for IQs
    /// (whatsapp-rust `node_io.rs` lists both).
    fn refuse(&mut self, conn: ConnId, node: &Node, malformed: &Malformed) {
        let device = self.who(conn).map(|who| who.to_string()).unwrap_or_default();
        let now = self.now();
        self.counters.malformed(now, &device, malformed.to_string());
        match node.tag.as_ref() {
            "iq" => self.reply(conn, stanza::iq_error(node, 400, "bad-request")),
            "message" | "receipt" => self.reply(conn, stanza::nack(node, now, 479)),
            _ => {}
        }
    }

    /// Counts a request that this network does not know.
    pub(crate) fn unknown(&mut self, conn: ConnId, what: &str) {
        let device = self.who(conn).map(|who| who.to_string()).unwrap_or_default();
        let now = self.now();
        self.counters.unknown(now, &device, what.to_owned());
    }

    /// Both addresses of a device, for faults that name it.
    pub(crate) fn addresses(&self, who: &DeviceRef) -> Vec<Jid> {
        [Space::Pn, Space::Lid]
            .iter()
            .filter_map(|space| self.jid_of(who, *space))
            .collect()
    }

    /// Answers on the same connection. A client that does not read its answers is disconnected; a phone that is behind
    /// does without this one.
    pub(crate) fn reply(&mut self, conn: ConnId, node: Node) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let is_client = link.is_client();
        let sent = transmit(link, &mut self.faults, &mut self.counters, &self.env, &[], node);
        if matches!(sent, Sent::NotYet) && is_client {
            self.disconnect(conn);
        }
    }

    /// Queues a stanza for a device; it goes out now if the device can take it.
    pub(crate) fn enqueue(&mut self, to: &DeviceRef, node: Node) {
        let Some(device) = self.device_mut(to) else { return };
        if device.queue.push(node).is_err() {
            let now = self.now();
            self.counters
                .malformed(now, &to.to_string(), "queue overflow".to_owned());
            return;
        }
        self.touch();
        self.pump(to);
    }

    /// Sends something that is worthless later; it is dropped when the device cannot take it now.
    pub(crate) fn transient(&mut self, to: &DeviceRef, node: Node) {
        let addresses = self.addresses(to);
        let Some(conn) = self.device(to).and_then(|device| device.conn) else {
            return;
        };
        if let Some(link) = self.links.get_mut(&conn).filter(|link| link.flow == Flow::Open) {
            transmit(link, &mut self.faults, &mut self.counters, &self.env, &addresses, node);
        }
    }

    /// Like [`State::transient`], but a device that is away gets it when it comes back before `stale_at`.
    pub(crate) fn hold(&mut self, to: &DeviceRef, node: Node, stale_at: u64) {
        let open = self
            .device(to)
            .and_then(|device| device.conn)
            .and_then(|conn| self.links.get(&conn))
            .is_some_and(|link| link.flow == Flow::Open);
        if open {
            return self.transient(to, node);
        }
        if let Some(device) = self.device_mut(to) {
            device.held.push_back((stale_at, node));
            if device.held.len() > HELD_MAX {
                device.held.pop_front();
            }
        }
    }

    /// Sends as much of a device's queue as its connection can take.
    pub(crate) fn pump(&mut self, to: &DeviceRef) {
        let addresses = self.addresses(to);
        let now = self.now();
        loop {
            let Some(device) = self
                .saved
                .accounts
                .get_mut(&to.number)
                .and_then(|a| a.devices.get_mut(&to.device))
            else {
                return;
            };
            let Some(link) = device.conn.and_then(|conn| self.links.get_mut(&conn)) else {
                return;
            };
            let next = device.queue.next().cloned();
            let (node, stored) = match (link.flow, next) {
                (Flow::Waiting, _) | (Flow::Open, None) => return,
                (Flow::Open, Some(node)) => (node, false),
                (Flow::Draining { left: 0, total, .. }, _) | (Flow::Draining { total, .. }, None) => {
                    let end = ib(NodeBuilder::new("offline").attr("count", total).build());
                    // A client waits for it, so it comes as soon as there is room.
                    match transmit(link, &mut self.faults, &mut self.counters, &self.env, &addresses, end) {
                        Sent::Yes => link.flow = Flow::Open,
                        Sent::NotYet => {
                            link.lagging = true;
                            return;
                        }
                        Sent::Never => return,
                    }
                    let held = std::mem::take(&mut device.held);
                    for (_, node) in held.into_iter().filter(|(stale_at, _)| *stale_at > now) {
                        transmit(link, &mut self.faults, &mut self.counters, &self.env, &addresses, node);
                    }
                    continue;
                }
                (Flow::Draining { budget: 0, .. }, _) => return,
                (Flow::Draining { .. }, Some(mut node)) => {
                    node.attrs.insert("offline", "0");
                    (node, true)
                }
            };
            match transmit(link, &mut self.faults, &mut self.counters, &self.env, &addresses, node) {
                Sent::Yes => device.queue.delivered(now),
                Sent::NotYet => {
                    link.lagging = true;
                    return;
                }
                Sent::Never => return,
            }
            if let (true, Flow::Draining { left, budget, .. }) = (stored, &mut link.flow) {
                *left -= 1;
                *budget -= 1;
            }
        }
    }

    /// The client is active: announce what was stored and send the first few.
    pub(crate) fn start_drain(&mut self, conn: ConnId, who: &DeviceRef) {
        let Some(device) = self.device(who) else { return };
        let total = device.queue.waiting_len();
        let preview = preview(total, &device.queue.waiting_by_tag());
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.flow == Flow::Waiting) else {
            return;
        };
        link.flow = Flow::Draining {
            total,
            left: total,
            budget: PRIMER_STANZAS,
        };
        if total > 0 {
            self.reply(conn, ib(preview));
        }
        self.pump(who);
    }

    /// `<ib>`: the client pulls a page of stored stanzas, or reports its telemetry session.
    fn on_ib(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        for child in stanza::children(node) {
            match child.tag.as_ref() {
                "offline_batch" => {
                    let count = stanza::number(child, "count")?
                        .ok_or_else(|| Malformed::new("<offline_batch> without count"))?
                        .min(OFFLINE_BATCH_MAX) as usize;
                    if let Some(Link {
                        flow: Flow::Draining { budget, .. },
                        ..
                    }) = self.links.get_mut(&conn)
                    {
                        *budget += count;
                    }
                    self.pump(who);
                }
                "unified_session" => {
                    stanza::required(child, "id")?;
                }
                tag => {
                    let what = format!("<ib><{tag}>");
                    self.unknown(conn, &what);
                }
            }
        }
        Ok(())
    }

    /// Makes a connection a device's only one; the one before is told that it was replaced.
    pub(crate) fn attach(&mut self, conn: ConnId, who: &DeviceRef, flow: Flow) {
        if let Some(before) = self.device(who).and_then(|device| device.conn) {
            // Of a stalled one it is not seen when its client closes it.
            if self.links.get(&before).is_some_and(|link| !link.stalled) {
                self.counters.replaced();
            }
            self.dismiss(before, conflict(Conflict::Replaced));
        }
        if let Some(device) = self.device_mut(who) {
            device.conn = Some(conn);
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.role = Role::Device(who.clone());
            link.flow = flow;
        }
        self.touch();
        self.pump(who);
    }

    /// Ends a connection: its unacknowledged stanzas are due again.
    pub(crate) fn disconnect(&mut self, conn: ConnId) {
        self.end(conn, Out::Close);
    }

    /// Ends a connection as a network does that fails.
    pub(crate) fn cut(&mut self, conn: ConnId) {
        self.end(conn, Out::Cut);
    }

    fn end(&mut self, conn: ConnId, last: Out) {
        let Some(link) = self.links.remove(&conn) else { return };
        let _ = link.out.try_send(last); // A full channel ends too: its sender is dropped here.
        match link.role {
            Role::New => {}
            Role::Registering(registration) => {
                for code in &registration.refs {
                    self.refs.remove(code);
                }
                self.close_overdue_before_login(&registration.told, |_| true);
            }
            Role::Device(who) => {
                if self.device(&who).is_some_and(|device| device.conn == Some(conn)) {
                    self.close_overdue(&who, |_| true);
                    let is_cut_off = self
                        .device(&who)
                        .is_some_and(|device| device.queue.open().next().is_some());
                    self.counters.closed(is_cut_off);
                    if let Some(device) = self.device_mut(&who) {
                        device.conn = None;
                        device.queue.reconnect();
                    }
                }
                for watchers in self.watchers.values_mut() {
                    watchers.retain(|(watcher, _)| *watcher != who);
                }
                if link.available {
                    self.went_away(&who);
                }
                self.touch();
            }
        }
    }

    /// Sends a last stanza and ends the connection.
    pub(crate) fn dismiss(&mut self, conn: ConnId, last: Node) {
        self.reply(conn, last);
        self.disconnect(conn);
    }

    pub(crate) fn stall(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.stalled = true;
            let _ = link.out.try_send(Out::Stall); // A full channel is as silent.
        }
    }
}

/// An informational stanza of the server.
pub(crate) fn ib(child: Node) -> Node {
    NodeBuilder::new("ib")
        .attr("from", stanza::server_jid())
        .children([child])
        .build()
}

fn preview(total: usize, by_tag: &std::collections::BTreeMap<String, usize>) -> Node {
    let mut builder = NodeBuilder::new("offline_preview").attr("count", total);
    for (attribute, tag) in [
        ("message", "message"),
        ("receipt", "receipt"),
        ("notification", "notification"),
        ("call", "call"),
    ] {
        builder = builder.attr(attribute, by_tag.get(tag).copied().unwrap_or(0));
    }
    builder.attr("status", 0).attr("appdata", 0).build()
}

fn transmit(
    link: &mut Link,
    faults: &mut Faults,
    counters: &mut Counters,
    env: &crate::clock::Env,
    to: &[Jid],
    node: Node,
) -> Sent {
    if link.stalled {
        return Sent::Yes;
    }
    // Faults are for clients; phones are part of the network.
    let action = if link.is_client() && faults.any() {
        faults.judge(FaultDirection::Out, &node, to, &mut env.random.rng())
    } else {
        None
    };
    counters.count("out", &stanza_key(&node));
    let out = match action {
        None
        | Some(
            FaultAction::Nack { .. }
            | FaultAction::IqError { .. }
            | FaultAction::Failure { .. }
            | FaultAction::Status { .. }
            | FaultAction::Truncate
            | FaultAction::Corrupt,
        ) => Out::Node(node),
        Some(FaultAction::Drop) => return Sent::Yes,
        Some(FaultAction::Garble) => Out::Node(stanza::garbled(node)),
        Some(FaultAction::Delay { ms }) => Out::Later(ms, node),
        Some(FaultAction::Duplicate) => {
            let _ = link.out.try_send(Out::Node(node.clone())); // The doubled one may be lost; the other counts.
            Out::Node(node)
        }
        Some(FaultAction::Stall) => {
            link.stalled = true;
            Out::Stall
        }
    };
    match link.out.try_send(out) {
        Ok(()) => Sent::Yes,
        Err(TrySendError::Full(_)) => Sent::NotYet,
        Err(TrySendError::Closed(_)) => Sent::Never,
    }
}

#[cfg(test)]
mod tests;
