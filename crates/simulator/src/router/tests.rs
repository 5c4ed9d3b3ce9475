//! What a full channel may hold up but not lose.

use crate::clock::Env;
use crate::network::Network;
use crate::seed::{self, ALICE};
use crate::views::Seed;

use super::*;

#[test]
fn the_end_of_the_drain_waits_for_room() {
    let env = Env::system();
    let (saved, _) = seed::plant(&env, Seed::Fresh);
    let network = Network::new(State::new(env, saved));
    let (conn, mut out) = network.connect(1);
    let who = DeviceRef::new(ALICE, 0);
    network.lock().attach(conn, &who, Flow::Waiting);
    let stored = NodeBuilder::new("message").attr("id", "A").build();
    network.lock().enqueue(&who, stored);
    network.lock().start_drain(conn, &who);

    let mut seen = Vec::new();
    while let Ok(Out::Node(node)) = out.try_recv() {
        let child = stanza::first_child_tag(&node);
        seen.push(if child.is_empty() {
            node.tag.to_string()
        } else {
            child.to_owned()
        });
        network.drained(conn);
    }
    assert_eq!(seen, ["offline_preview", "message", "offline"]);
    assert_eq!(network.lock().links[&conn].flow, Flow::Open);
}

#[test]
fn a_stanza_that_was_on_its_way_when_its_connection_ended_is_nobodys_fault() {
    let env = Env::system();
    let (saved, _) = seed::plant(&env, Seed::Fresh);
    let network = Network::new(State::new(env, saved));
    let (conn, _out) = network.connect(1);
    let ping = NodeBuilder::new("iq").attr("id", "A").attr("type", "get").build();
    network.lock().disconnect(conn);
    network.lock().handle(conn, &ping);
    assert_eq!(network.lock().metrics().malformed_count, 0);

    let (conn, _out) = network.connect(1);
    network.lock().handle(conn, &ping);
    assert_eq!(network.lock().metrics().malformed_count, 1, "it is not logged in");
}
