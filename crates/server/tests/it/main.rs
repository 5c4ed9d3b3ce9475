//! The server over HTTP and real storage, with a connection that the test plays.
//!
//! Here is what the sandbox network cannot bring about: storage that fails, connections that end in a chosen way, receipts
//! that overtake their message. Everything else is tested end to end, with the real engine, in `crates/wharf/tests/it`.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod api;
mod authorization;
mod boot;
mod callers_files;
mod changes;
mod chatting;
mod commands;
mod crash;
mod deprecated;
mod events;
mod files_reach;
mod full_disk;
mod harness;
mod keyless;
mod keys;
mod link_previews;
mod media;
mod media_faults;
mod messages;
mod pairing;
mod poison;
mod proxies;
mod records;
mod refusals;
#[path = "../../../wharf/tests/it/support/samples.rs"]
mod samples;
#[path = "../../../wharf/tests/it/support/seeded.rs"]
mod seeded;
mod sends;
mod sessions;
mod settings;
mod stream;
mod supervision;
mod together;
mod waiting;
mod webhooks;
mod webhooks_down;
mod webhooks_reach;
mod webhooks_replay;
mod websocket;
