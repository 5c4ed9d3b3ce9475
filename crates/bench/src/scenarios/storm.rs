//! How long it takes until all sessions work again after all of their sockets were cut at once.

use anyhow::Context;
use tokio::time::{Instant, interval, timeout};

use super::sessions::fleet;
use super::{ALL_WORK_WITHIN, LOOK, all_work};
use crate::api::Network;
use crate::bench::Bench;
use crate::cli::Sizes;
use crate::report::Figure;

const ALL_WORK_S_MAX: f64 = 60.0;

/// Cuts all sockets again and again.
pub(crate) async fn run(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    let fleet = fleet(bench, sizes).await?;
    let (stack, count) = (&fleet.stack, fleet.sessions);
    let (mut times, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        stack.server.rest().await?;
        let (begin, cpu) = (Instant::now(), stack.server.cpu_time()?);
        let before = stack.network.counters().await?.handshakes;
        stack.network.cut_all().await?;
        // The server may not have noticed yet, so what it says counts only when everybody has shaken hands again.
        all_are_back(&stack.network, count, before).await?;
        all_work(&stack.api, count).await?;
        times.push(begin.elapsed().as_secs_f64());
        stack.server.rest().await?;
        costs.push((stack.server.cpu_time()? - cpu).as_secs_f64());
    }
    let back = Figure::new(format!("cut sockets until {count} sessions work"), "s", times);
    bench.note(back.at_most(ALL_WORK_S_MAX));
    bench.note(Figure::new(
        format!("cut sockets until {count} sessions work, CPU"),
        "s",
        costs,
    ));
    bench.fleet = Some(fleet);
    Ok(())
}

async fn all_are_back(network: &Network, count: usize, handshakes: u64) -> anyhow::Result<()> {
    let back = async {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let counters = network.counters().await?;
            if counters.connections == count as u64 && counters.handshakes >= handshakes + count as u64 {
                return anyhow::Ok(());
            }
        }
    };
    timeout(ALL_WORK_WITHIN, back)
        .await
        .context("not all sessions came back")?
}
