//! Texts per second, and what each costs: from the API call to the last of its acks.
//!
//! Steady state: the recipient's device and our own phone are known, and their Signal sessions exist, because the recipient
//! has written back.

use anyhow::ensure;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::sessions::link;
use super::{float, millis};
use crate::bench::{Bench, Stack};
use crate::cli::Sizes;
use crate::report::Figure;

/// CPU time of one send with its acks.
const SEND_CPU_MS_MAX: f64 = 1.5;
/// Calls under way at the same time.
const CONCURRENCY: [usize; 2] = [1, 8];
/// What a webhook is told of: all that a send makes.
const EVENTS: &[&str] = &["message.any", "message.ack"];
/// Texts before the first that counts.
const WARM_UP: usize = 20;

/// Sends from one session to one phone, without and with a webhook.
pub(crate) async fn run(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    let stack = bench.stack().await?;
    let webhook = stack.network.webhook();
    for (session, webhook, label) in [
        ("plain", None, ""),
        ("told", Some((webhook.as_str(), EVENTS)), ", with a webhook"),
    ] {
        let (own, recipient) = (stack.network.new_phone().await?, stack.network.new_phone().await?);
        link(&stack, session, &own, webhook).await?;
        send(&stack, session, &recipient, WARM_UP, 1).await?;
        // Until the recipient has written back, every text carries the beginning of a Signal session once more.
        stack.network.send_text(&recipient, &own, "Yes?").await?;
        stack.server.rest().await?;
        send(&stack, session, &recipient, WARM_UP, 1).await?;
        for at_once in CONCURRENCY {
            measure(bench, &stack, sizes, (session, &recipient, at_once), label).await?;
        }
    }
    stack.stop().await
}

async fn measure(
    bench: &mut Bench,
    stack: &Stack,
    sizes: &Sizes,
    (session, recipient, at_once): (&str, &str, usize),
    label: &str,
) -> anyhow::Result<()> {
    let (mut rates, mut costs, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        stack.server.rest().await?;
        let (_, shown) = stack.network.texts(recipient, 0).await?;
        let (begin, cpu) = (Instant::now(), stack.server.cpu_time()?);
        latencies.extend(send(stack, session, recipient, sizes.sends, at_once).await?);
        rates.push(float(sizes.sends) / begin.elapsed().as_secs_f64());
        stack.server.rest().await?;
        costs.push(millis(stack.server.cpu_time()? - cpu) / float(sizes.sends));
        let (arrived, _) = stack.network.texts(recipient, shown).await?;
        ensure!(arrived == sizes.sends, "{arrived} of {} texts arrived", sizes.sends);
    }
    bench.note(Figure::new(format!("sends, {at_once} at once{label}"), "1/s", rates));
    bench.note(Figure::new(
        format!("send, {at_once} at once{label}, until the answer"),
        "ms",
        latencies,
    ));
    let mut cost = Figure::new(format!("send, {at_once} at once{label}, CPU of each"), "ms", costs);
    if label.is_empty() {
        cost = cost.at_most(SEND_CPU_MS_MAX);
    }
    bench.note(cost);
    Ok(())
}

/// Sends so many texts, and answers how long each call took, in milliseconds.
async fn send(stack: &Stack, session: &str, to: &str, count: usize, at_once: usize) -> anyhow::Result<Vec<f64>> {
    stream::iter(0..count)
        .map(|index| async move {
            let begin = Instant::now();
            let text = format!("This is text {index}, about as long as people write.");
            stack.api.send_text(session, to, &text).await?;
            anyhow::Ok(millis(begin.elapsed()))
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await
}
