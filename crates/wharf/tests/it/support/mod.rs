//! What the tests stand on: a server on a sandbox network of its own, a checked client, a webhook receiver.

pub(crate) mod baileys;
pub(crate) mod contract;
pub(crate) mod mortal;
pub(crate) mod open_metrics;
pub(crate) mod process;
// The engine's own tests use it too.
#[path = "../../../../engine/src/proxy/testing.rs"]
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod remote;
pub(crate) mod rigged;
pub(crate) mod samples;
pub(crate) mod seeded;
mod time;
pub(crate) mod wharf;

pub(crate) use receiver::Receiver;
pub(crate) use wharf::TestWharf;

use std::future::Future;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// The fixed numbers of the sandbox's phones.
pub(crate) const ALICE: &str = "12025550101";
pub(crate) const BOB: &str = "12025550102";
pub(crate) const CAROL: &str = "12025550103";
pub(crate) const ECHO: &str = "12025550104";
/// A fictional number that no phone of the sandbox has.
pub(crate) const NOBODY: &str = "12025550199";
/// The key of every test server.
pub(crate) const KEY: &str = "key-of-the-integration-tests";

/// Nothing that a test waits for takes longer, unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What tells whether a file is the same, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Waits for something that must happen; a test that waits in vain says for what.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
