//! What the system knows of this process, under the names that every Prometheus client uses. Read from `/proc` at each scrape;
//! what a system without it does not tell is left out.

use std::fs;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks of `/proc/self/stat` in a second: `USER_HZ`, which is 100 on every processor that we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where user and system time stand in `/proc/self/stat`, counted behind the name of the program (proc(5): fields 14 and 15).
const USER_TIME_AT: usize = 11;

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started_at: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut write = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let started_at = self.started_at.as_millisecond() as f64 / 1_000.0;
        write(
            "process_start_time_seconds",
            "When the server was started, in seconds since 1970.",
            &ConstGauge::new(started_at),
        )?;
        if let Some(seconds) = cpu_seconds() {
            write(
                "process_cpu_seconds",
                "User and system time.",
                &ConstCounter::new(seconds),
            )?;
        }
        if let Some(bytes) = status_bytes("VmRSS:") {
            write(
                "process_resident_memory_bytes",
                "Memory in use.",
                &ConstGauge::new(bytes),
            )?;
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            let open = u64::try_from(descriptors.count()).unwrap_or_default().saturating_sub(1);
            write(
                "process_open_fds",
                "Files and sockets that are open.",
                &ConstGauge::new(open),
            )?;
        }
        if let Some(most) = open_files_max() {
            write(
                "process_max_fds",
                "Files and sockets that may be open.",
                &ConstGauge::new(most),
            )?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses and may have anything in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let times = fields.split_whitespace().skip(USER_TIME_AT).take(2);
    let ticks: Vec<u64> = times.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
}

fn status_bytes(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1_024)
}

fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
