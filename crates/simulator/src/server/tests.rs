//! The control interface over real HTTP, against a started server on free ports.

mod access;
mod client;
mod hooks;
mod linking;
mod media;
mod messages;
mod network;
mod persistence;
mod phones;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::views::Seed;
use client::Client;

/// The seed's fixed numbers.
const ALICE: &str = "12025550101";
const BOB: &str = "12025550102";
const CAROL: &str = "12025550103";
/// A number of the fictional range that the seed does not use.
const NOBODY: &str = "19995550199";

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn config() -> SandboxServerConfig {
    SandboxServerConfig {
        listen: ANY_PORT,
        tls_listen: ANY_PORT,
        ..SandboxServerConfig::new(Env::system())
    }
}

/// A server with the fresh seed and a client for its plain listener.
async fn start() -> (SandboxServer, Client) {
    start_with(config(), None).await
}

async fn start_with(config: SandboxServerConfig, qr_source: Option<Arc<dyn QrSource>>) -> (SandboxServer, Client) {
    let sandbox = load_or_new(Env::system(), Seed::Fresh, config.snapshot.as_deref()).unwrap();
    let server = SandboxServer::start(config, sandbox, qr_source).await.unwrap();
    let client = Client::new(server.local_addr());
    (server, client)
}

fn keeping(path: &Path) -> SandboxServerConfig {
    SandboxServerConfig {
        snapshot: Some(path.to_owned()),
        ..config()
    }
}
