//! How long it takes from starting the server until all of its sessions work again.

use tokio::time::Instant;

use super::sessions::{fleet, mib};
use super::{all_work, float, millis};
use crate::bench::Bench;
use crate::cli::Sizes;
use crate::process::Program;
use crate::report::Figure;

const ALL_WORK_S_MAX: f64 = 30.0;

/// Stops and starts the server again and again.
pub(crate) async fn run(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    let mut fleet = fleet(bench, sizes).await?;
    let count = fleet.sessions;
    let (mut stops, mut starts, mut costs, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        let mut begin = Instant::now();
        let stop = async |server: Program| {
            server.stop().await?;
            stops.push(begin.elapsed().as_secs_f64());
            begin = Instant::now();
            Ok(())
        };
        fleet.stack = fleet.stack.restart(stop).await?;
        all_work(&fleet.stack.api, count).await?;
        starts.push(begin.elapsed().as_secs_f64());
        memory.push(fleet.stack.server.memory()?.resident_kib);
        fleet.stack.server.rest().await?;
        costs.push(millis(fleet.stack.server.cpu_time()?) / 1e3);
    }
    bench.note(Figure::new(format!("stop with {count} sessions"), "s", stops));
    let start = Figure::new(format!("start until {count} sessions work"), "s", starts);
    bench.note(start.at_most(ALL_WORK_S_MAX));
    bench.note(Figure::new(
        format!("start until {count} sessions work, CPU"),
        "s",
        costs,
    ));
    bench.note(mib(
        &format!("memory with {count} sessions just started"),
        memory.into_iter().map(float),
    ));
    bench.fleet = Some(fleet);
    Ok(())
}
