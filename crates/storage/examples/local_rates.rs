//! Measures the local files on this machine: durable writes per second, and what many sessions cost.
//!
//! `cargo run -p wharf-storage --example local_rates`. Says what it measured; judges nothing.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use wharf_core::ids::SessionName;
use wharf_core::store::{Batch, Collection, Document, Field, Storage, Store, StoreError};
use wharf_storage::{LocalConfig, LocalStorage};

/// A message and its event, about as large as real ones.
const BODY_BYTES: usize = 1_500;

/// How long each rate is measured.
const MEASURE_TIME: Duration = Duration::from_secs(3);

/// How many sessions are opened.
const SESSIONS: usize = 1_000;

static MESSAGES: Collection = Collection {
    name: "messages",
    fields: &[Field::text("chat"), Field::time("at")],
};

static EVENTS: Collection = Collection {
    name: "events",
    fields: &[Field::integer("number")],
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let storage = LocalStorage::open(LocalConfig::new(folder.path(), "rates")).await?;
    let store = storage.session(&"rates".parse()?).await?;
    for writers in [1, 10, 50, 200] {
        measure(&store, writers).await?;
    }

    let before = usage();
    let started = Instant::now();
    let names: Vec<SessionName> = (0..SESSIONS)
        .map(|number| format!("s{number}").parse())
        .collect::<Result<_, _>>()?;
    let sessions = try_join_all(names.iter().map(|name| storage.session(name))).await?;
    let took = started.elapsed();
    writeln!(
        io::stdout(),
        "{SESSIONS} new sessions made in {took:.1?}, {} files open",
        storage.open_sessions()
    )?;
    let started = Instant::now();
    try_join_all(sessions.iter().map(|store| store.write(batch(0, 0)))).await?;
    writeln!(io::stdout(), "first write of each in {:.1?}", started.elapsed())?;
    writeln!(io::stdout(), "before: {before}\nafter:  {}", usage())?;
    storage.close().await;
    writeln!(io::stdout(), "closed: {}", usage())?;
    Ok(())
}

async fn measure(store: &Arc<dyn Store>, writers: usize) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let written = join_all((0..writers).map(|writer| async move {
        let mut times = Vec::new();
        while started.elapsed() < MEASURE_TIME {
            let one = Instant::now();
            store.write(batch(writer, times.len())).await?;
            times.push(one.elapsed());
        }
        Ok::<_, StoreError>(times)
    }))
    .await;
    let took = started.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for of_one in written {
        times.extend(of_one?);
    }
    times.sort_unstable();
    let (rate, p50, p99) = (
        times.len() as f64 / took,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
    );
    writeln!(
        io::stdout(),
        "{writers:3} writers: {rate:7.0} batches/s, p50 {p50:.2?}, p99 {p99:.2?}"
    )?;
    Ok(())
}

fn batch(writer: usize, number: usize) -> Batch {
    let id = format!("{writer:03} {number:08}");
    let message = Document::new(id.as_str(), vec![1; BODY_BYTES]).with("chat", "15555550101@s.whatsapp.net");
    let event = Document::new(id, vec![2; BODY_BYTES]).with("number", i64::try_from(number).unwrap_or(i64::MAX));
    Batch::new().put(&MESSAGES, message).put(&EVENTS, event)
}

/// Memory, threads and descriptors of this process, where the system tells them.
fn usage() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("?")
            .trim()
            .to_owned()
    };
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    format!(
        "memory {}, threads {}, descriptors {descriptors}",
        line("VmRSS:"),
        line("Threads:")
    )
}
