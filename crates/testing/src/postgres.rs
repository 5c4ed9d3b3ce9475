//! PostgreSQL from the system's packages, with a database of its own in a temporary folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::free_port;

/// Where Debian has the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Who runs it where root runs the tests, which it refuses: the first of these that there is.
const USERS: &[&str] = &["postgres", "nobody"];
/// What it says once it answers.
const READY: &str = "database system is ready to accept connections";

/// A running PostgreSQL.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Postgres {
    /// The password of its user, `postgres`.
    pub const PASSWORD: &str = "postgres-secret-canary";

    /// Makes a database and starts PostgreSQL on a free port.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut postgres = Self {
            programs: programs(),
            folder,
            port: free_port(),
            process: None,
        };
        let password = postgres.folder.path().join("password");
        fs::write(&password, Self::PASSWORD).expect("the folder can be written to");
        if let Some((user, group)) = user() {
            for path in [postgres.folder.path(), &password] {
                std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root may give files away");
            }
        }
        let made = postgres
            .command("initdb")
            .args([
                "--username=postgres",
                "--auth=scram-sha-256",
                "--no-sync",
                "--locale=C",
                "--encoding=UTF8",
            ])
            .arg(format!("--pwfile={}", password.display()))
            .arg(postgres.data())
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.start_again();
        postgres
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{}/postgres?sslmode=disable",
            Self::PASSWORD,
            self.port
        )
    }

    /// Ends it as a crash would. What is committed is kept.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that has ended already is fine.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it where it was, and waits until it answers.
    pub fn start_again(&mut self) {
        let mut process = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
            ])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres can be run");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains(READY));
        // What it says later fills no pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        self.process = Some(process);
        assert!(is_ready, "postgres did not start");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if let Some((user, group)) = user() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the newest version's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir(VERSIONS).unwrap_or_else(|error| panic!("{VERSIONS}: {error}; ./dev test installs it"));
    let folders = versions.map(|version| version.expect("it can be read").path().join("bin"));
    let newest = folders.filter(|folder| folder.join("initdb").exists()).max();
    newest.expect("the package postgresql is installed")
}

/// Whose process it will be, where it cannot be ours.
fn user() -> Option<(u32, u32)> {
    let is_root = fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0);
    if !is_root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("there are users");
    let ids = |name: &&str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    USERS.iter().find_map(ids)
}
