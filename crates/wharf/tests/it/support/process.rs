//! The real program as a process of its own: started, read line by line, stopped or killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::KEY;

/// Nothing that the program does at start or stop takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is asked to stop has ended by then; container engines kill it after ten seconds.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// The program with the sandbox, as built for this test run.
pub(crate) fn sandbox_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_wharf"))
}

/// What cargo sets for its tests, and a person's shell does not have. With it a build inside a test is another build.
const SET_BY_CARGO: &[&str] = &["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_CRATE_", "CARGO_BIN_"];
/// The names of the program's settings begin like this.
const SETTINGS: &[&str] = &["WAHA_", "WHATSAPP_", "WHARF_", "PORT"];

/// A command that inherits no setting of ours, in a folder of its own.
pub(crate) fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars() {
        if SET_BY_CARGO
            .iter()
            .chain(SETTINGS)
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The program in a sandbox of its own, on free ports.
pub(crate) fn serve_with_sandbox(folder: &Path) -> Command {
    let mut command = command(&sandbox_binary(), folder);
    command.args(["serve", "--port", "0", "--sandbox"]);
    command.args(["--sandbox-listen", "127.0.0.1:0", "--sandbox-tls-listen", "127.0.0.1:0"]);
    command
}

/// A sandbox network alone, on free ports.
pub(crate) fn sandbox_alone(folder: &Path) -> Command {
    let mut command = command(&sandbox_binary(), folder);
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"]);
    command
}

/// The program on a sandbox that runs elsewhere, on a free port.
pub(crate) fn serve_on(sandbox: &str, folder: &Path) -> Command {
    let mut command = command(&sandbox_binary(), folder);
    command.args(["serve", "--port", "0"]).env("WAHA_API_KEY", KEY);
    command.env("WHARF_SANDBOX_URL", format!("ws://{sandbox}/ws/chat"));
    command
}

/// The address in a line like `wharf 0.1.0 on http://127.0.0.1:4000/`.
pub(crate) fn address(line: &str) -> String {
    let rest = &line[line.find("http://").expect("no address")..];
    rest.split(['/', ' ']).nth(2).unwrap().to_owned()
}

/// What a program that ended had to say.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Ended {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("the program should have ended")
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program that runs until it is told to stop.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_logging_to(Stdio::inherit(), command)
    }

    /// Starts it with its log going elsewhere.
    pub(crate) fn start_logging_to(log: impl Into<Stdio>, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// The first line of its output that contains `text`, from here on.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        let search = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.seen.push(line.clone());
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        let found = timeout(PATIENCE, search).await;
        found
            .ok()
            .flatten()
            .unwrap_or_else(|| panic!("no line with {text:?} in {:#?}", self.seen))
    }

    /// The lines of its output before the one that contains `text`.
    pub(crate) async fn lines_until(&mut self, text: &str) -> Vec<String> {
        let before = self.seen.len();
        self.line_with(text).await;
        self.seen[before..self.seen.len() - 1].to_vec()
    }

    /// Its id at the system.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("the program has ended already")
    }

    /// Kills it at once, as a crash does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, as an operator does, and answers its exit code and the rest of its output.
    pub(crate) async fn terminate(self) -> (Option<i32>, String) {
        self.signal("TERM").await
    }

    /// Sends a signal that must stop it within the time that a container engine gives.
    pub(crate) async fn signal(mut self, signal: &str) -> (Option<i32>, String) {
        // The shell's own, because a small system has no program of this name.
        let kill = format!("kill -{signal} {}", self.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
        let status = timeout(STOPS_WITHIN, self.child.wait())
            .await
            .expect("the program should have stopped")
            .unwrap();
        let mut rest = String::new();
        self.lines.into_inner().read_to_string(&mut rest).await.unwrap();
        (status.code(), rest)
    }
}
