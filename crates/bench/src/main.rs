//! Measures a built Wharf from outside: what it takes to start, to hold sessions, to send, and to come back.
//!
//! Uses only the public HTTP interfaces of the server and of the sandbox network, each a process of its own, and what the
//! system says about these processes. Never links anything of Wharf's. As `wharf-bench receiver` it is a receiver of
//! webhooks, which is a process of its own too ([`receiver`]).

mod api;
mod bench;
mod cli;
mod machine;
mod process;
mod receiver;
mod report;
mod scenarios;
mod usage;

use std::fs;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;

use crate::bench::Bench;
use crate::cli::{Cli, Scenario};
use crate::machine::Machine;
use crate::report::Report;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let is_receiver = arguments.next().is_some_and(|mode| mode == receiver::MODE);
    // Fails only where a provider is installed already; the client asks for one although it speaks plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| match is_receiver {
            true => runtime.block_on(receiver::run(&arguments.next().unwrap_or_default())),
            false => runtime.block_on(run(Cli::parse())),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "wharf-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios that were asked for, prints the table and writes the report.
async fn run(cli: Cli) -> anyhow::Result<()> {
    let sessions = &cli.sizes.sessions;
    let is_rising = sessions.iter().all(|&count| count > 0) && sessions.is_sorted_by(|less, more| less < more);
    ensure!(
        is_rising && !sessions.is_empty(),
        "--sessions must rise, from 1 or more"
    );
    fs::create_dir_all(&cli.out).with_context(|| format!("cannot make the folder {}", cli.out.display()))?;
    let machine = Machine::read();
    let scenarios = match cli.scenarios.as_slice() {
        [] => Scenario::ALL.to_vec(),
        asked => asked.to_vec(),
    };
    let mut bench = Bench::new(&cli)?;
    let mut outcome = Ok(());
    for scenario in scenarios {
        outcome = scenarios::run(scenario, &mut bench, &cli.sizes).await;
        if outcome.is_err() {
            break;
        }
    }
    // Also after a failure: what was measured before it is still true.
    let (figures, ended) = bench.finish().await;
    let report = Report::new(cli.build.clone(), machine, figures);
    let file = cli.out.join("report.json");
    fs::write(&file, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{report}\nwritten to {}", file.display())?;
    outcome.and(ended)?;
    let missed = report.missed();
    ensure!(!cli.strict || missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}
