//! Texts that come in: how many a second reach a webhook, how long each takes, and what each costs.
//!
//! Steady state: every chat has had a text in both directions, so all Signal sessions exist. The network, the server and the
//! receiver are three processes on one machine, so what the others use the server does not have. Fails where a text is
//! lost.

use std::time::Duration;

use anyhow::ensure;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::sessions::link;
use super::{float, millis};
use crate::bench::{Bench, Receiver, Stack};
use crate::cli::Sizes;
use crate::receiver::ANYWHERE;
use crate::report::Figure;

/// Texts that reach the webhook in a second.
const RATE_MIN: f64 = 1_000.0;
/// Texts a second where it is measured how long each takes: less than the server can do.
const PACE_PER_SECOND: u32 = 200;
/// So much less is sent there, because it takes its time.
const PACED_SHARE: usize = 5;
/// The one event that the webhook is told of.
pub(super) const EVENTS: &[&str] = &["message"];
/// Calls under way at the same time while the chats are made.
const SENDS_AT_ONCE: usize = 8;
/// How often the receiver is asked how much came.
const LOOK: Duration = Duration::from_millis(20);
/// What has not come after so long without anything new is lost.
const NOTHING_NEW_MAX: Duration = Duration::from_secs(30);

/// Who sends to whom, and where it should arrive.
struct Load {
    stack: Stack,
    receiver: Receiver,
    senders: Vec<String>,
    accounts: Vec<String>,
    /// Texts that were sent.
    sent: usize,
}

/// What one round took.
struct Round {
    seconds: f64,
    latencies_ms: Vec<f64>,
    /// CPU time for each text, in milliseconds: of the server, the network and the receiver.
    cpu_ms: [f64; 3],
}

/// The processes in the order of [`Round::cpu_ms`].
const PROCESSES: [&str; 3] = ["server", "network", "receiver"];

/// Measures as fast as it goes, and at a pace.
pub(crate) async fn run(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    let mut load = set_up(bench, sizes).await?;
    for (pace, texts, label) in [
        (None, sizes.texts, "as fast as it goes".to_owned()),
        (
            Some(PACE_PER_SECOND),
            sizes.texts.div_ceil(PACED_SHARE),
            format!("{PACE_PER_SECOND} a second"),
        ),
    ] {
        let mut rounds = Vec::new();
        for _ in 0..sizes.rounds {
            rounds.push(round(&mut load, texts, pace).await?);
        }
        let texts = float(load.senders.len() * load.accounts.len() * texts);
        let what = |what: &str| format!("inbound, {label}{what}");
        if pace.is_none() {
            let rates = rounds.iter().map(|round| texts / round.seconds);
            bench.note(Figure::new(what(""), "1/s", rates).at_least(RATE_MIN));
        }
        let latencies = rounds.iter().flat_map(|round| round.latencies_ms.iter().copied());
        bench.note(Figure::new(what(", until the webhook"), "ms", latencies));
        let slow = rounds.iter().map(|round| {
            let latencies = round.latencies_ms.iter().copied();
            Figure::new("", "ms", latencies).quantile(0.99)
        });
        bench.note(Figure::new(what(", until the webhook, p99"), "ms", slow));
        for (place, process) in PROCESSES.iter().enumerate() {
            let costs = rounds.iter().map(|round| round.cpu_ms[place]);
            bench.note(Figure::new(
                what(&format!(", CPU of the {process} for each")),
                "ms",
                costs,
            ));
        }
    }
    load.receiver.program.stop().await?;
    load.stack.stop().await
}

async fn set_up(bench: &Bench, sizes: &Sizes) -> anyhow::Result<Load> {
    let (stack, receiver) = (bench.stack().await?, bench.receiver(ANYWHERE).await?);
    let webhook = receiver.api.webhook();
    let (mut senders, mut accounts) = (Vec::new(), Vec::new());
    for _ in 0..sizes.chats {
        senders.push(stack.network.new_phone().await?);
    }
    for index in 0..sizes.receiving {
        let account = stack.network.new_phone().await?;
        link(&stack, &format!("s{index}"), &account, Some((&webhook, EVENTS))).await?;
        accounts.push(account);
    }
    let sessions: Vec<_> = (0..sizes.receiving).map(|index| format!("s{index}")).collect();
    greet(&stack, &sessions, &senders).await?;
    let mut load = Load {
        stack,
        receiver,
        senders,
        accounts,
        sent: 0,
    };
    round(&mut load, 1, None).await?;
    Ok(load)
}

/// Every session writes to everybody who will write to it, so that both have a Signal session.
pub(super) async fn greet(stack: &Stack, sessions: &[String], senders: &[String]) -> anyhow::Result<()> {
    let chats = sessions
        .iter()
        .flat_map(|session| senders.iter().map(move |sender| (session, sender)));
    stream::iter(chats)
        .map(|(session, sender)| stack.api.send_text(session, sender, "Hello"))
        .buffer_unordered(SENDS_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// Sends so many texts in each chat and waits until all have arrived.
async fn round(load: &mut Load, texts: usize, pace: Option<u32>) -> anyhow::Result<Round> {
    let Load {
        stack,
        receiver,
        senders,
        accounts,
        ..
    } = &*load;
    stack.server.rest().await?;
    let cpu = cpu_times(stack, receiver)?;
    let begin = Instant::now();
    stack.network.traffic(senders, accounts, texts, pace).await?;
    let count = senders.len() * accounts.len() * texts;
    arrived(receiver, load.sent + count).await?;
    let seconds = begin.elapsed().as_secs_f64();
    stack.server.rest().await?;
    let after = cpu_times(stack, receiver)?;
    let latencies_ms = receiver.api.latencies().await?;
    let cpu_ms = std::array::from_fn(|place| millis(after[place] - cpu[place]) / float(count));
    load.sent += count;
    Ok(Round {
        seconds,
        latencies_ms,
        cpu_ms,
    })
}

fn cpu_times(stack: &Stack, receiver: &Receiver) -> anyhow::Result<[Duration; 3]> {
    let programs = [&stack.server, &stack.network_program, &receiver.program];
    let [server, network, receiver] = programs.map(|program| program.cpu_time());
    Ok([server?, network?, receiver?])
}

/// Waits until a receiver has so many texts.
pub(super) async fn arrived(receiver: &Receiver, wanted: usize) -> anyhow::Result<()> {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let counts = receiver.api.counts().await?;
        // Nothing fails here, so nothing has a reason to come twice.
        ensure!(counts.again == 0, "{} events came twice", counts.again);
        ensure!(counts.events <= wanted, "{} of {wanted} events came", counts.events);
        if counts.events == wanted {
            return Ok(());
        }
        if counts.events > before {
            (before, since) = (counts.events, Instant::now());
        }
        ensure!(
            since.elapsed() < NOTHING_NEW_MAX,
            "only {} of {wanted} texts reached the webhook",
            counts.events
        );
        sleep(LOOK).await;
    }
}
