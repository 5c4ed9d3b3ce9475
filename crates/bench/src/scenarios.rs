//! The scenarios, one file each.

mod backlog;
mod inbound;
mod restart;
mod sends;
mod sessions;
mod start;
mod storm;

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, interval};

use crate::api::Server;
use crate::bench::Bench;
use crate::cli::{Scenario, Sizes};

/// How often the server is asked how many sessions work: often enough for the figure, too seldom to weigh on it.
const LOOK: Duration = Duration::from_millis(200);
/// Sessions that do not all work by then never will.
const ALL_WORK_WITHIN: Duration = Duration::from_secs(300);

/// Runs one scenario.
pub(crate) async fn run(scenario: Scenario, bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    match scenario {
        Scenario::Start => start::run(bench, sizes).await,
        Scenario::Sends => sends::run(bench, sizes).await,
        Scenario::Inbound => inbound::run(bench, sizes).await,
        Scenario::Backlog => backlog::run(bench, sizes).await,
        Scenario::Sessions => sessions::run(bench, sizes).await,
        Scenario::Restart => restart::run(bench, sizes).await,
        Scenario::Storm => storm::run(bench, sizes).await,
    }
}

/// Waits until so many sessions are `WORKING`.
async fn all_work(api: &Server, wanted: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        let working = api.working().await?;
        if working == wanted {
            return Ok(());
        }
        if begin.elapsed() > ALL_WORK_WITHIN {
            bail!("only {working} of {wanted} sessions are WORKING");
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts and KiB are far below 2^52")]
fn float(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::NAN, |count| count as f64)
}
