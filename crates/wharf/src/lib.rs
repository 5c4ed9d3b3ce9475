//! The command line, the settings, and the wiring of the crates into one process.
//!
//! Errors end here: whatever keeps the program from starting is one line on standard error and exit code 2.

mod cli;
mod environment;
mod healthcheck;
mod init;
mod listen;
mod logging;
mod output;
mod sandbox;
mod selftest;
pub mod serve;
mod shutdown;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use wharf_core::random::{Random, SystemRandom};

use crate::cli::{Cli, Command};

/// The exit code for a start that failed: a wrong setting, a taken port, a folder that cannot be written.
const EXIT_START_FAILED: u8 = 2;

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Fails only where a provider is installed already, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr().lock(), "wharf: {error:#}");
            ExitCode::from(EXIT_START_FAILED)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let environment = || environment::read(cli.env_file.as_deref());
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => runtime()?.block_on(serve::run(args, environment()?, random)),
        Command::Sandbox(args) => runtime()?.block_on(sandbox::run(args, environment()?, random)),
        Command::Init { dir } => init::run(&dir, random.as_ref()),
        Command::Listen { port, hmac_key } => runtime()?.block_on(listen::run(port, hmac_key)),
        Command::Selftest => runtime()?.block_on(selftest::run()),
        Command::Openapi => {
            output::print(format_args!("{}", wharf_server::openapi().to_pretty_json()?));
            Ok(())
        }
        Command::Healthcheck => runtime()?.block_on(healthcheck::run(serve::port(&environment()?)?)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
