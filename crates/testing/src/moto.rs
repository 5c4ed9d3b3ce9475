//! S3 by `moto`, a second implementation that shares nothing with the first; it checks no signatures.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running `moto` server.
pub struct Moto {
    process: Child,
    url: String,
}

impl Moto {
    /// Starts one on a free port, and waits until it answers.
    pub fn start() -> Self {
        let python = crate::python();
        let mut process = Command::new(&python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; ./dev test installs it", python.display()));
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, url) = line.split_once("Running on ")?;
            Some(url.trim().to_owned())
        });
        // What it says later fills no pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            url: url.expect("moto says where it listens"),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
