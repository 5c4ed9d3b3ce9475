//! The network from a client's side: handshakes, login, queues, keys, refusals. Real stanzas over an in-memory socket.

#![expect(clippy::unwrap_used, reason = "what does not work out in a helper fails the test")]

mod client;
mod ends;
mod keys;
mod linking;
mod login;
mod messages;
mod phones;
mod scanning;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Client, Device, PATIENCE, at, attr, code_in, content, server};
use futures::FutureExt as _;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use wharf_simulator::{
    ALICE, BOB, CAROL, Clock, ECHO, Env, Fault, Handshakes, InboxEntry, InboxKind, KillMode, LinkView, ReceiptKind,
    Sandbox, SandboxError, Seed, SystemRandom, TypingState, Unacked,
};

/// A clock that stands still until a test moves it.
struct HeldClock(AtomicU64);

impl HeldClock {
    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for HeldClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn sandbox() -> Sandbox {
    Sandbox::new(Env::system(), Seed::Fresh)
}

/// A network whose time is in the test's hands.
fn held() -> (Arc<HeldClock>, Sandbox) {
    let clock = Arc::new(HeldClock(AtomicU64::new(1_800_000_000_000)));
    let env = Env {
        clock: clock.clone(),
        random: Arc::new(SystemRandom),
    };
    (clock, Sandbox::new(env, Seed::Fresh))
}

async fn paired(sandbox: &Sandbox) -> (Device, Client) {
    let mut device = Client::pair(sandbox, ALICE).await.unwrap();
    let client = Client::ready(sandbox, &mut device).await;
    (device, client)
}

async fn until_offline(sandbox: &Sandbox) {
    let mut changed = sandbox.changed();
    while sandbox
        .phone(ALICE)
        .unwrap()
        .devices
        .iter()
        .any(|device| device.connected)
    {
        changed.changed().await.unwrap();
    }
}

fn enc(kind: &'static str, bytes: &[u8]) -> Node {
    NodeBuilder::new("enc")
        .attr("v", "2")
        .attr("type", kind)
        .bytes(bytes)
        .build()
}

/// A message whose copies nobody can decrypt; the relay must not care.
fn message(id: &str, to: &Jid, devices: &[Jid]) -> Node {
    let copies = devices.iter().map(|jid| {
        NodeBuilder::new("to")
            .attr("jid", jid)
            .children([enc("msg", b"sealed")])
            .build()
    });
    NodeBuilder::new("message")
        .attr("id", id)
        .attr("to", to)
        .attr("type", "text")
        .children([NodeBuilder::new("participants")
            .children(copies.collect::<Vec<_>>())
            .build()])
        .build()
}
