//! What pairing costs, and what connected sessions hold while nothing happens.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, interval, sleep};

use super::{float, millis};
use crate::bench::{Bench, Fleet, Stack};
use crate::cli::Sizes;
use crate::report::Figure;

/// Memory per session, where there are most of them.
const IDLE_SESSION_KIB_MAX: f64 = 512.0;
/// How often a session is asked whether it works.
const LOOK: Duration = Duration::from_millis(20);
/// Reads of the memory at each number of sessions, and the time between them.
const READS: usize = 5;
const READ_EVERY: Duration = Duration::from_millis(200);

/// Links more and more sessions; leaves them to the scenarios that follow.
pub(crate) async fn run(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    let stack = bench.stack().await?;
    let idle = Duration::from_secs(sizes.idle_seconds);
    stack.server.rest().await?;
    let empty = read_memory(&stack).await?;
    let empty_kib = median(&empty);
    bench.note(mib("memory with no session", empty));
    let mut fleet = Fleet { stack, sessions: 0 };
    let most = sizes.sessions.iter().copied().max();
    for &wanted in &sizes.sessions {
        link_up_to(bench, &mut fleet, wanted).await?;
        let server = &fleet.stack.server;
        let (begin, cpu) = (Instant::now(), server.cpu_time()?);
        sleep(idle).await;
        let share = (server.cpu_time()? - cpu).as_secs_f64() / begin.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let memory = read_memory(&fleet.stack).await?;
        let each = memory.iter().map(|kib| (kib - empty_kib) / float(wanted));
        let mut each = Figure::new(format!("memory of each of {wanted} idle sessions"), "KiB", each);
        if Some(wanted) == most {
            each = each.at_most(IDLE_SESSION_KIB_MAX);
        }
        bench.note(mib(&format!("memory with {wanted} idle sessions"), memory));
        bench.note(each);
        bench.note(Figure::new(
            format!("CPU with {wanted} idle sessions"),
            "%",
            [share * 100.0],
        ));
    }
    bench.fleet = Some(fleet);
    Ok(())
}

/// The sessions of an earlier scenario, or new ones.
pub(super) async fn fleet(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<Fleet> {
    if let Some(fleet) = bench.fleet.take() {
        return Ok(fleet);
    }
    let mut fleet = Fleet {
        stack: bench.stack().await?,
        sessions: 0,
    };
    let most = sizes.sessions.iter().copied().max();
    link_up_to(bench, &mut fleet, most.context("no number of sessions")?).await?;
    Ok(fleet)
}

async fn link_up_to(bench: &mut Bench, fleet: &mut Fleet, wanted: usize) -> anyhow::Result<()> {
    let have = fleet.sessions;
    let stack = &fleet.stack;
    let cpu = stack.server.cpu_time()?;
    let mut times = Vec::new();
    for index in have..wanted {
        let phone = stack.network.new_phone().await?;
        let begin = Instant::now();
        link(stack, &format!("s{index}"), &phone, None).await?;
        times.push(millis(begin.elapsed()));
    }
    // Keys and history go on after a session works; they are part of the price.
    stack.server.rest().await?;
    let cpu = stack.server.cpu_time()? - cpu;
    fleet.sessions = wanted;
    let which = format!("sessions {} to {wanted}", have + 1);
    bench.note(Figure::new(format!("pairing, {which}"), "ms", times));
    bench.note(Figure::new(
        format!("pairing, {which}, CPU of each"),
        "ms",
        [millis(cpu) / float(wanted - have)],
    ));
    Ok(())
}

/// Makes a session, links it to the phone, and waits until it is `WORKING`.
pub(super) async fn link(
    stack: &Stack,
    session: &str,
    phone: &str,
    webhook: Option<(&str, &[&str])>,
) -> anyhow::Result<()> {
    stack.api.create(session, webhook).await?;
    let code = stack.api.qr(session).await?;
    stack.network.scan(phone, &code).await?;
    let mut looks = interval(LOOK);
    while stack.api.status(session).await? != "WORKING" {
        looks.tick().await;
    }
    Ok(())
}

/// The server's memory in KiB, read several times.
async fn read_memory(stack: &Stack) -> anyhow::Result<Vec<f64>> {
    let mut reads = Vec::new();
    let mut turns = interval(READ_EVERY);
    for _ in 0..READS {
        turns.tick().await;
        reads.push(float(stack.server.memory()?.resident_kib));
    }
    reads.sort_by(f64::total_cmp);
    Ok(reads)
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(super) fn mib(what: &str, kib: impl IntoIterator<Item = f64>) -> Figure {
    Figure::new(what, "MiB", kib.into_iter().map(|kib| kib / 1024.0))
}
