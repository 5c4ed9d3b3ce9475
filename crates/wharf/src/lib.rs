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
mod qr;
mod sandbox;
mod selftest;
pub mod serve;
mod shutdown;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use wharf_core::random::{Random, SystemRandom};

use crate::cli::{Cli, Command, SettingsArgs};

/// The exit code for a start that failed: a wrong setting, a taken port, a folder that cannot be written.
const EXIT_START_FAILED: u8 = 2;
/// The exit code of a health check that failed; container engines reserve 2.
const EXIT_NOT_WELL: u8 = 1;

/// How long threads that hang in the system may keep the process from ending.
const THREADS_END_WITHIN: Duration = Duration::from_millis(300);

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Fails only where a provider is installed already, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failure = match cli.command {
        Some(Command::Healthcheck(_)) => EXIT_NOT_WELL,
        _ => EXIT_START_FAILED,
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr().lock(), "wharf: {error:#}");
            ExitCode::from(failure)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let environment = |settings: &SettingsArgs| environment::read(settings.env_file.as_deref());
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => {
            let environment = environment(&args.settings)?;
            block_on(serve::run(args, environment, random))
        }
        Command::Sandbox(args) => {
            let environment = environment(&args.settings)?;
            block_on(sandbox::run(args, environment))
        }
        Command::Init { dir } => init::run(&dir, random.as_ref()),
        Command::Listen { port, hmac_key } => block_on(listen::run(port, hmac_key)),
        Command::Selftest => block_on(selftest::run()),
        Command::Openapi => {
            output::print(format_args!("{}", wharf_server::openapi().to_pretty_json()?));
            Ok(())
        }
        Command::Healthcheck(settings) => {
            let address = serve::address(&environment(&settings)?)?;
            block_on(healthcheck::run(address))
        }
    }
}

/// Runs to the end, and does not wait for threads that hang in the system (a name that cannot be resolved).
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    outcome
}
