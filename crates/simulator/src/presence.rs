//! Who is online and who is typing: told to those who asked, lost when nobody listens.
//!
//! Neither is acknowledged. A typing state for a device that is away is kept for as long as it can be true
//! (whatsmeow `presence.go`, wacore `iq/chatstate.rs`).

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::model::{ConnId, Device, DeviceRef, Space, State};
use crate::stanza::{self, Malformed};

/// How long a typing state is worth delivering, in seconds.
const CHATSTATE_TTL_S: u64 = 30;
/// Devices that watch one account.
const WATCHERS_MAX: usize = 1_000;
/// Longest push name, in bytes.
const NAME_LEN_MAX: usize = 200;

impl State {
    pub(crate) fn on_presence(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        match stanza::text(node, "type").as_deref() {
            Some("subscribe") => self.on_subscribe(who, &stanza::required_jid(node, "to")?),
            Some("unsubscribe") => {
                let to = stanza::required_jid(node, "to")?;
                if let Some(number) = self.resolve(&to).map(|account| account.number.clone()) {
                    self.watchers
                        .entry(number)
                        .or_default()
                        .retain(|(watcher, _)| watcher != who);
                }
            }
            // A presence without a type only changes the name.
            None => self.on_name(who, node)?,
            Some("available") => {
                self.on_name(who, node)?;
                self.set_available(conn, who, true);
            }
            Some("unavailable") => {
                self.on_name(who, node)?;
                self.set_available(conn, who, false);
            }
            Some(kind) => return Err(Malformed::new(format!("presence of type {kind}"))),
        }
        Ok(())
    }

    fn on_name(&mut self, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let Some(name) = stanza::text(node, "name").filter(|name| !name.is_empty()) else {
            return Ok(());
        };
        if name.len() > NAME_LEN_MAX {
            return Err(Malformed::new("push name too long"));
        }
        if let Some(device) = self
            .device_mut(who)
            .filter(|device| device.push_name.as_deref() != Some(&name))
        {
            device.push_name = Some(name);
            self.touch();
        }
        Ok(())
    }

    fn set_available(&mut self, conn: ConnId, who: &DeviceRef, available: bool) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if std::mem::replace(&mut link.available, available) == available {
            return;
        }
        if available {
            self.announce(&who.number, true);
        } else {
            self.went_away(who);
        }
    }

    /// A device is not online any more; the account is not either, unless another one of its devices is.
    pub(crate) fn went_away(&mut self, who: &DeviceRef) {
        if self.is_online(&who.number) {
            return;
        }
        let now = self.now();
        if let Some(account) = self.account_mut(&who.number) {
            account.last_seen = Some(now);
        }
        self.announce(&who.number, false);
    }

    fn is_online(&self, number: &str) -> bool {
        self.account(number)
            .is_some_and(|account| account.devices.values().any(|device| self.shows_online(device)))
    }

    /// Whether a device shows its account as online.
    pub(crate) fn shows_online(&self, device: &Device) -> bool {
        let link = device.conn.and_then(|conn| self.links.get(&conn));
        link.is_some_and(|link| link.available)
    }

    fn announce(&mut self, number: &str, online: bool) {
        let watchers = self.watchers.get(number).cloned().unwrap_or_default();
        for (watcher, space) in watchers {
            if let Some(node) = self.presence_node(number, space, online) {
                self.transient(&watcher, node);
            }
        }
    }

    fn presence_node(&self, number: &str, space: Space, online: bool) -> Option<Node> {
        let account = self.account(number)?;
        let builder = NodeBuilder::new("presence").attr("from", account.user_jid(space));
        Some(match (online, account.last_seen) {
            (true, _) => builder.attr("type", "available").build(),
            (false, Some(last)) => builder.attr("type", "unavailable").attr("last", last).build(),
            (false, None) => builder.attr("type", "unavailable").attr("last", "deny").build(),
        })
    }

    fn on_subscribe(&mut self, who: &DeviceRef, to: &Jid) {
        let Some((number, space)) = self
            .resolve(to)
            .map(|account| account.number.clone())
            .zip(Space::of(to))
        else {
            return; // Nobody is told whether a number exists.
        };
        let watchers = self.watchers.entry(number.clone()).or_default();
        watchers.retain(|(watcher, _)| watcher != who);
        if watchers.len() < WATCHERS_MAX {
            watchers.push((who.clone(), space));
        }
        let online = self.is_online(&number);
        if let Some(node) = self.presence_node(&number, space, online) {
            self.transient(who, node);
        }
    }

    pub(crate) fn on_chatstate(&mut self, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let to = stanza::required_jid(node, "to")?;
        let state = stanza::children(node)
            .first()
            .ok_or_else(|| Malformed::new("<chatstate> without a state"))?;
        if !matches!(state.tag.as_ref(), "composing" | "paused" | "recording") {
            return Err(Malformed::new(format!("<chatstate> with <{}>", state.tag)));
        }
        let Some(space) = Space::of(&to) else {
            return Err(Malformed::new(format!("<chatstate> to @{}", to.server)));
        };
        let number = self.resolve(&to).map(|account| account.number.clone());
        let from = self.account(&who.number).map(|account| account.user_jid(space));
        let (Some(number), Some(from)) = (number, from) else {
            return Ok(());
        };
        let stale_at = self.now() + CHATSTATE_TTL_S;
        for device in self.devices_of(&number) {
            let relayed = NodeBuilder::new("chatstate")
                .attr("from", from.clone())
                .children([state.clone()])
                .build();
            self.hold(&device, relayed, stale_at);
        }
        Ok(())
    }
}
