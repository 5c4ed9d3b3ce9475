//! What the network counted: stanzas, handshakes, and everything a strict server objects to.
//!
//! Lists are bounded; the counts beside them are not.

use std::collections::BTreeMap;

use serde::Serialize;
use wacore_binary::Node;

use crate::model::{DeviceRef, Role, State};
use crate::noise::Pattern;
use crate::queue::{Delivered, Queue};
use crate::stanza;

/// A snapshot of the network's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// How often each kind of stanza passed: `in:message`, `out:receipt`, `in:iq:encrypt`, …
    pub stanzas: BTreeMap<String, u64>,
    /// The newest requests that the network does not know.
    pub unknown: Vec<Strictness>,
    /// How many there were in all.
    pub unknown_count: u64,
    /// The newest stanzas with wrong attributes or children.
    pub malformed: Vec<Strictness>,
    /// How many there were in all.
    pub malformed_count: u64,
    /// The newest deliveries that a device did not acknowledge in time, and refs that it did not confirm before it was linked:
    /// those that still wait come last.
    pub unacked: Vec<Unacked>,
    /// How many there were in all, whether they still wait, were acknowledged late or ended with their connection.
    pub unacked_count: u64,
    /// The newest acknowledgements that fit nothing that the device was given.
    pub unmatched: Vec<Strictness>,
    /// How many there were in all.
    pub unmatched_count: u64,
    /// Completed handshakes by Noise pattern.
    pub handshakes: Handshakes,
    /// Connections that are open now.
    pub connections: u64,
    /// First messages that used a one-time key a second time; always a client's bug.
    pub prekeys_reused: u64,
    /// Messages that came to a phone which had shown one of the same sender, chat and id; they are not shown again.
    pub repeated: u64,
    /// Connections of linked devices that ended before everything that they delivered was acknowledged.
    pub cut_off: u64,
    /// Logins of a device that was connected already, linked or still to be linked.
    pub replaced: u64,
    /// Logins of linked devices.
    pub logins: u64,
    /// The most of them in one second.
    pub logins_per_second_max: u64,
    /// Connections that were refused because of an outage.
    pub outage_dials: u64,
    /// Files that clients uploaded.
    pub uploads: u64,
    /// The bytes of them, as they came in.
    pub upload_bytes: u64,
    /// Files that were fetched from the media hosts, whole or in part.
    pub downloads: u64,
}

/// Something a strict server objects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Strictness {
    /// When, seconds since the Unix epoch.
    pub at: u64,
    /// Which device sent it; empty before login.
    pub device: String,
    /// What it was.
    pub what: String,
}

/// A delivery without its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unacked {
    /// Which device got it; empty before login.
    pub device: String,
    /// The stanza's tag.
    pub stanza: String,
    /// The stanza's id.
    pub id: String,
    /// When it was delivered, seconds since the Unix epoch.
    pub delivered_at: u64,
    /// Whether it still waits; otherwise it was acknowledged late or its connection ended.
    pub open: bool,
}

/// Completed handshakes by Noise pattern.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Handshakes {
    /// Full handshakes.
    pub xx: u64,
    /// Resumptions that were refused and went on as full handshakes.
    pub xxfallback: u64,
    /// Resumptions.
    pub ik: u64,
}

/// Entries kept of each kind of objection.
const LIST_LEN_MAX: usize = 100;
/// How long a connected device may take to acknowledge a stanza, in seconds.
const UNACKED_AFTER_S: u64 = 10;
/// Longest description of an objection, in characters.
const WHAT_LEN_MAX: usize = 300;

/// The network's running counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters(Metrics, Second);

/// The logins of one second.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    at: u64,
    logins: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, direction: &str, key: &str) {
        *self.0.stanzas.entry(format!("{direction}:{key}")).or_default() += 1;
    }

    pub(crate) fn unknown(&mut self, at: u64, device: &str, what: String) {
        tracing::debug!(device, what, "unknown request");
        self.0.unknown_count += 1;
        remember(&mut self.0.unknown, objection(at, device, &what));
    }

    pub(crate) fn malformed(&mut self, at: u64, device: &str, what: String) {
        tracing::debug!(device, what, "malformed stanza");
        self.0.malformed_count += 1;
        remember(&mut self.0.malformed, objection(at, device, &what));
    }

    pub(crate) fn unmatched(&mut self, at: u64, device: &str, what: String) {
        tracing::debug!(device, what, "unmatched acknowledgement");
        self.0.unmatched_count += 1;
        remember(&mut self.0.unmatched, objection(at, device, &what));
    }

    pub(crate) fn handshake(&mut self, pattern: Pattern) {
        match pattern {
            Pattern::Xx => self.0.handshakes.xx += 1,
            Pattern::XxFallback => self.0.handshakes.xxfallback += 1,
            Pattern::Ik => self.0.handshakes.ik += 1,
        }
    }

    pub(crate) fn prekey_reused(&mut self) {
        self.0.prekeys_reused += 1;
    }

    /// A phone got a message under an id that it had shown.
    pub(crate) fn repeated(&mut self) {
        self.0.repeated += 1;
    }

    /// A device's connection ended.
    pub(crate) fn closed(&mut self, is_cut_off: bool) {
        self.0.cut_off += u64::from(is_cut_off);
    }

    pub(crate) fn replaced(&mut self) {
        self.0.replaced += 1;
    }

    pub(crate) fn login(&mut self, at: u64) {
        if self.1.at != at {
            self.1 = Second { at, logins: 0 };
        }
        self.1.logins += 1;
        self.0.logins += 1;
        self.0.logins_per_second_max = self.0.logins_per_second_max.max(self.1.logins);
    }

    pub(crate) fn outage_dial(&mut self) {
        self.0.outage_dials += 1;
    }

    pub(crate) fn uploaded(&mut self, bytes: u64) {
        self.0.uploads += 1;
        self.0.upload_bytes += bytes;
    }

    pub(crate) fn downloaded(&mut self) {
        self.0.downloads += 1;
    }

    fn overdue(&mut self, unacked: impl IntoIterator<Item = Unacked>) {
        for unacked in unacked {
            self.0.unacked_count += 1;
            remember(&mut self.0.unacked, unacked);
        }
    }
}

fn objection(at: u64, device: &str, what: &str) -> Strictness {
    Strictness {
        at,
        device: device.to_owned(),
        what: what.chars().take(WHAT_LEN_MAX).collect(),
    }
}

fn remember<T>(list: &mut Vec<T>, newest: T) {
    if list.len() >= LIST_LEN_MAX {
        list.remove(0);
    }
    list.push(newest);
}

fn unacked(device: &str, delivered: Delivered<'_>, open: bool) -> Unacked {
    Unacked {
        device: device.to_owned(),
        stanza: delivered.node.tag.to_string(),
        id: delivered.id.to_owned(),
        delivered_at: delivered.at,
        open,
    }
}

/// What was delivered before `due`, waits, and is about to wait no more.
fn unacked_before(due: u64, device: &str, queue: &Queue, closing: impl Fn(Delivered<'_>) -> bool) -> Vec<Unacked> {
    let overdue = queue.open().filter(|delivered| delivered.at < due);
    let closing = overdue.filter(|delivered| closing(*delivered));
    closing.map(|delivered| unacked(device, delivered, false)).collect()
}

/// The name a stanza is counted under.
pub(crate) fn stanza_key(node: &Node) -> String {
    let detail = match node.tag.as_ref() {
        "iq" => stanza::text(node, "xmlns"),
        "notification" => stanza::text(node, "type"),
        _ => None,
    };
    match detail {
        Some(detail) => format!("{}:{detail}", node.tag),
        None => node.tag.to_string(),
    }
}

impl State {
    /// The counters, with what is open and overdue now.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut counters = self.counters.clone();
        let due = self.due();
        let overdue = self.open().filter(|(_, delivered)| delivered.at < due);
        counters.overdue(overdue.map(|(device, delivered)| unacked(&device, delivered, true)));
        counters.0.connections = self.links.values().filter(|link| link.is_client()).count() as u64;
        counters.0
    }

    /// Deliveries of connected devices that wait for their acknowledgement, however short: the first ones.
    pub(crate) fn unacknowledged(&self) -> Vec<Unacked> {
        let open = self.open().map(|(who, delivered)| unacked(&who, delivered, true));
        open.take(LIST_LEN_MAX).collect()
    }

    /// Counts a device's overdue deliveries among those that are about to stop waiting, so that they are not forgotten.
    pub(crate) fn close_overdue(&mut self, who: &DeviceRef, closing: impl Fn(Delivered<'_>) -> bool) {
        let Some(device) = self.device(who) else { return };
        let overdue = unacked_before(self.due(), &who.to_string(), &device.queue, closing);
        self.counters.overdue(overdue);
    }

    /// The same of what a device was told that is not linked yet.
    pub(crate) fn close_overdue_before_login(&mut self, told: &Queue, closing: impl Fn(Delivered<'_>) -> bool) {
        let overdue = unacked_before(self.due(), "", told, closing);
        self.counters.overdue(overdue);
    }

    /// Counts what a device has not acknowledged when it is linked: it comes on no other connection. Its refs it has confirmed
    /// by then; acks of notifications may still be on their way, as Baileys' are.
    pub(crate) fn close_before_login(&mut self, told: &Queue) {
        let unconfirmed = unacked_before(u64::MAX, "", told, |given| given.node.tag == "iq");
        self.counters.overdue(unconfirmed);
        self.close_overdue_before_login(told, |given| given.node.tag != "iq");
    }

    /// What was delivered before this time should have been acknowledged.
    fn due(&self) -> u64 {
        self.now().saturating_sub(UNACKED_AFTER_S)
    }

    /// What waits on connections that can answer: a stalled one hears nothing, not even that its client is gone.
    fn open(&self) -> impl Iterator<Item = (String, Delivered<'_>)> {
        let answers = |conn| self.links.get(&conn).is_some_and(|link| !link.stalled);
        let devices = self.saved.accounts.values().flat_map(move |account| {
            let connected = account
                .devices
                .values()
                .filter(move |device| device.conn.is_some_and(answers));
            connected.map(|device| (&account.number, device))
        });
        let linked = devices.flat_map(|(number, device)| {
            let open = device.queue.open();
            open.map(|delivered| (DeviceRef::new(number.clone(), device.id).to_string(), delivered))
        });
        let registrations = self.links.values().filter_map(|link| match &link.role {
            Role::Registering(registration) => Some(registration),
            Role::New | Role::Device(_) => None,
        });
        let told = registrations.flat_map(|registration| registration.told.open());
        linked.chain(told.map(|delivered| (String::new(), delivered)))
    }
}
