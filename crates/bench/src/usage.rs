//! What a process uses, as the system says: CPU time and memory.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Ticks per second in `/proc/<pid>/stat`; the kernel promises this value to programs on every common platform.
const TICKS_PER_SECOND: u64 = 100;
/// Where user and system time stand in `/proc/<pid>/stat`, counted from behind the program's name.
const USER_TICKS_FIELD: usize = 11;

/// Memory of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Everything that is resident, also pages of the program's file.
    pub(crate) resident_kib: u64,
    /// What the process has allocated itself.
    pub(crate) anonymous_kib: u64,
}

/// The CPU time that all threads of a process have used, also those that have ended. As fine as a tick, 10 ms.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = read(pid, "stat")?;
    // The name is in parentheses and may contain anything, also parentheses.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks = fields.split(' ').skip(USER_TICKS_FIELD).take(2);
    let ticks: u64 = ticks
        .map(|ticks| ticks.parse::<u64>())
        .sum::<Result<_, _>>()
        .context("no times in stat")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The memory of a process, counted page by page; the sums in `status` may be off by some hundred KiB.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let rollup = read(pid, "smaps_rollup")?;
    Ok(Memory {
        resident_kib: kib(&rollup, "Rss:")?,
        anonymous_kib: kib(&rollup, "Anonymous:")?,
    })
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}: the process has ended"))
}

fn kib(rollup: &str, key: &str) -> anyhow::Result<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(key));
    let value = line.with_context(|| format!("there is no {key} in smaps_rollup"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}
