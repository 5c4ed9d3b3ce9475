//! What the figures were taken on: without that they say nothing.

use std::fs;

use serde::Serialize;

/// The machine, as the system describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many of its threads we may use.
    pub(crate) cores: usize,
    /// Memory, in MiB.
    pub(crate) memory_mib: u64,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Load averages over 1, 5 and 15 minutes, before the first scenario: what else the machine did.
    pub(crate) load_before: String,
}

impl Machine {
    /// Reads it; what the system does not tell is "unknown".
    pub(crate) fn read() -> Self {
        Self {
            processor: value_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: value_of("/proc/meminfo", "MemTotal").map_or(0, |total| kib(&total) / 1024),
            kernel: whole("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            load_before: load(),
        }
    }
}

/// The load averages now.
pub(crate) fn load() -> String {
    let averages = whole("/proc/loadavg").unwrap_or_else(unknown);
    averages.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn whole(file: &str) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

/// The value of the first line `key: value`.
fn value_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The number in a value like `1024 kB`.
fn kib(value: &str) -> u64 {
    let digits = value.split(' ').next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}
