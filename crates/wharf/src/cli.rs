//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The sandbox's page, control API and WhatsApp endpoint.
const SANDBOX_LISTEN_DEFAULT: &str = "127.0.0.1:3900";
/// The sandbox's endpoint over TLS.
const SANDBOX_TLS_LISTEN_DEFAULT: &str = "127.0.0.1:3901";

/// WhatsApp HTTP API server.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server (the default)
    Serve(ServeArgs),
    /// Run a sandbox network alone, for servers with WHARF_SANDBOX_URL=ws://host:port/ws/chat
    Sandbox(SandboxArgs),
    /// Write a .env file with a fresh API key and passwords
    Init {
        /// Where to
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Receive webhooks, print them, and check their signatures
    Listen {
        /// Where to listen, on 127.0.0.1
        #[arg(long)]
        port: u16,
        /// The key that the webhooks are signed with
        #[arg(long, env = "WHATSAPP_HOOK_HMAC_KEY", hide_env_values = true)]
        hmac_key: Option<String>,
    },
    /// Check that this build can do what it must, and that it verifies WhatsApp's certificates
    Selftest,
    /// Print the OpenAPI document
    Openapi,
    /// Ask a running server on this machine whether it is well; for containers
    Healthcheck(SettingsArgs),
}

/// Where settings come from.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// Read settings from this file instead of ./.env; variables that are set win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// Listen on this address; 127.0.0.1 unless told
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<IpAddr>,
    /// Listen on this port; 3000 unless told
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
    /// Run a sandbox network beside the server: try everything with no phone
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Where the sandbox listens
    #[arg(long, value_name = "ADDR", default_value = SANDBOX_LISTEN_DEFAULT)]
    pub(crate) sandbox_listen: SocketAddr,
    /// Where the sandbox listens for TLS
    #[arg(long, value_name = "ADDR", default_value = SANDBOX_TLS_LISTEN_DEFAULT)]
    pub(crate) sandbox_tls_listen: SocketAddr,
    /// A host name, besides this machine's own, that the sandbox's page and control API answer to; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) sandbox_allow_host: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = SANDBOX_LISTEN_DEFAULT)]
    pub(crate) listen: SocketAddr,
    /// Where to listen for TLS
    #[arg(long, value_name = "ADDR", default_value = SANDBOX_TLS_LISTEN_DEFAULT)]
    pub(crate) tls_listen: SocketAddr,
    /// A host name, besides this machine's own, that the page and the control API answer to; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Keep the network's state in this file, also across restarts
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
}
