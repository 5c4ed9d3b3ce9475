//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

/// Measures a built Wharf from outside.
#[derive(Debug, Parser)]
#[command(name = "wharf-bench")]
pub(crate) struct Cli {
    /// What to measure; everything unless told
    #[arg(value_enum)]
    pub(crate) scenarios: Vec<Scenario>,
    /// The program with the sandbox
    #[arg(long, value_name = "FILE")]
    pub(crate) sandbox: PathBuf,
    /// The program without the sandbox, for the scenario `start`; without it that measures the one with the sandbox
    #[arg(long, value_name = "FILE")]
    pub(crate) production: Option<PathBuf>,
    /// The folder for the report and, while it runs, for the server's data; must be on the disk that is to be measured
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Which commit was built, for the report
    #[arg(long, default_value = "unknown")]
    pub(crate) build: String,
    /// Fail where an aim is missed
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) sizes: Sizes,
}

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// From starting the process to its first answer, and its memory at rest
    Start,
    /// Texts per second, and CPU time for each
    Sends,
    /// Received texts per second until their webhooks, and CPU time for each
    Inbound,
    /// From a receiver's return to the last of the texts that waited for it, and what another receiver notices
    Backlog,
    /// What pairing costs, and what idle sessions hold
    Sessions,
    /// From starting the server to all sessions WORKING
    Restart,
    /// From cutting all sockets to all sessions WORKING
    Storm,
}

impl Scenario {
    /// All, in the order in which they build on each other.
    pub(crate) const ALL: [Self; 7] = [
        Self::Start,
        Self::Sends,
        Self::Inbound,
        Self::Backlog,
        Self::Sessions,
        Self::Restart,
        Self::Storm,
    ];
}

/// How much of everything.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sizes {
    /// Connected sessions at which memory is read, rising
    #[arg(long, value_delimiter = ',', default_value = "1,50,500")]
    pub(crate) sessions: Vec<usize>,
    /// Texts in each round
    #[arg(long, default_value_t = 300)]
    pub(crate) sends: usize,
    /// Sessions that receive, in the scenarios `inbound` and `backlog`
    #[arg(long, default_value_t = 20)]
    pub(crate) receiving: usize,
    /// Chats of each of them
    #[arg(long, default_value_t = 20)]
    pub(crate) chats: usize,
    /// Texts in each of these chats, in each round
    #[arg(long, default_value_t = 25)]
    pub(crate) texts: usize,
    /// Texts in each of these chats that wait for the receiver, in the scenario `backlog`
    #[arg(long, default_value_t = 50)]
    pub(crate) waiting: usize,
    /// Starts of the program
    #[arg(long, default_value_t = 10)]
    pub(crate) starts: usize,
    /// Rounds of sends, of what comes in, of restarts and storms
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// How long sessions are left alone before their memory is read, in seconds. Files that nobody uses are closed by then.
    #[arg(long, default_value_t = 45)]
    pub(crate) idle_seconds: u64,
}
