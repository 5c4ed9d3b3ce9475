//! A client from PyPI that was written for WAHA, unmodified, drives a server: `tests/python/waha_client.py`.

use std::path::Path;

use serde_json::Value;
use wharf_simulator::{InboxEntry, InboxKind};

use crate::support::process::{Process, command};
use crate::support::samples::Samples;
use crate::support::{ALICE, BOB, KEY, TestWharf};

#[tokio::test]
async fn the_python_client_of_waha_drives_sessions_and_sends() {
    let (wharf, samples) = (TestWharf::start().await, Samples::make().await);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/waha_client.py");
    let mut client = command(&wharf_testing::python(), samples.folder());
    let url = wharf.url("");
    client.arg(script.canonicalize().unwrap());
    client.args([&url, KEY, &format!("{BOB}@c.us")]).arg(samples.folder());
    let mut client = Process::start(client);

    client.line_with("scan ").await;
    wharf.scan("python", ALICE).await;
    let done = client.line_with("done ").await;
    let sent: Value = serde_json::from_str(done.split_once(' ').unwrap().1).unwrap();
    for (kind, id) in sent.as_object().unwrap() {
        let own_id = id.as_str().unwrap().rsplit('_').next().unwrap();
        let is_it = |it: &InboxEntry| it.kind == InboxKind::Message && it.id.as_deref() == Some(own_id);
        wharf.phone_shows(BOB, &format!("the {kind}"), is_it).await;
    }
    let is_reaction = |it: &InboxEntry| it.kind == InboxKind::Reaction && it.text.as_deref() == Some("👍");
    wharf.phone_shows(BOB, "the reaction", is_reaction).await;
    client.line_with("gone").await;
    wharf.finish().await;
}
