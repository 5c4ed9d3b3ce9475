//! A program under measurement, as a process of its own: started, found by the address that it prints, and stopped.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::usage::{self, Memory};

/// A program that has not said where it listens by then will not.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// A program that was asked to stop has ended by then.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// The names of the program's settings begin like this; none is inherited.
const SETTINGS: &[&str] = &["WAHA_", "WHATSAPP_", "WHARF_", "PORT", "DEBUG"];
/// How often CPU time is looked at to see whether a process rests.
const REST_LOOK: Duration = Duration::from_millis(250);
/// So many looks in a row must find it at rest.
const REST_LOOKS: usize = 2;
/// A process that uses no more than this between two looks is at rest; one tick may always fall into it.
const REST_CPU_MAX: Duration = Duration::from_millis(10);
/// A process that works for longer than this does not come to rest.
const RESTS_WITHIN: Duration = Duration::from_secs(60);

/// A program that runs.
pub(crate) struct Program {
    child: Child,
    pid: u32,
    /// Reads on what it prints (each QR code, for one), because a full pipe would hold it up.
    _reader: JoinSet<()>,
    /// Where it listens: `host:port`.
    pub(crate) address: String,
}

impl Program {
    /// Starts it in `folder`, where its log is kept too, and waits for the line in which it says where it listens.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let log = folder.join("log.txt");
        let log_file = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars() {
            if SETTINGS.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .current_dir(folder)
            .args(arguments)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().context("the program has ended already")?;
        let stdout = child.stdout.take().context("the program has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = timeout(STARTS_WITHIN, address(&mut lines)).await;
        let address = address.ok().flatten();
        let address = address.with_context(|| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            format!("{} {arguments:?} does not start: {log}", program.display())
        })?;
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            child,
            pid,
            _reader: reader,
            address,
        })
    }

    /// The CPU time that it has used.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        usage::cpu_time(self.pid)
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        usage::memory(self.pid)
    }

    /// Waits until it has done what it has to do, and does nothing more.
    pub(crate) async fn rest(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let (mut looks, mut before) = (0, self.cpu_time()?);
        while looks < REST_LOOKS {
            tokio::time::sleep(REST_LOOK).await;
            let now = self.cpu_time()?;
            looks = if now - before <= REST_CPU_MAX { looks + 1 } else { 0 };
            before = now;
            if begin.elapsed() > RESTS_WITHIN {
                bail!("the program does not come to rest");
            }
        }
        Ok(())
    }

    /// Asks it to stop, as an operator does, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // The shell's own, because a small system has no program of this name.
        let kill = format!("kill -TERM {}", self.pid);
        Command::new("sh").args(["-c", &kill]).status().await?;
        timeout(STOPS_WITHIN, self.child.wait())
            .await
            .context("the program does not stop")??;
        Ok(())
    }
}

/// The address in the first line like `wharf 0.1.0 on http://127.0.0.1:4000/`.
async fn address(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once("http://") {
            return rest.split(['/', ' ']).next().map(str::to_owned);
        }
    }
    None
}
