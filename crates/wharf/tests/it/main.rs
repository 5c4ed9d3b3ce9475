//! The integration suite: the real server, the real protocol, a sandbox network for each test.
//!
//! One file for each tag of the API, and one for each promise that crosses them.

#![expect(clippy::unwrap_used, reason = "a test fails where a helper of it fails")]

mod auth;
mod baileys;
mod catalog;
mod changing;
mod chatting;
mod chatting_operations;
mod cli;
mod commands;
mod durability;
mod endurance;
mod environment;
mod event_log;
mod events;
mod failpoints;
mod folders;
mod full_disk;
mod kill;
mod large_media;
mod media;
mod media_hosts;
mod metrics;
mod observability;
mod openapi;
mod outbox;
mod pairing;
mod payloads;
mod production;
mod proxy;
mod readme;
mod receivers;
mod receiving;
mod recorded;
mod recovered;
mod sandbox_page;
mod sending;
mod sends;
mod sessions;
mod storages;
mod supervision;
mod support;
mod tidy;
mod waha_client;
mod waiting;
mod websocket;
