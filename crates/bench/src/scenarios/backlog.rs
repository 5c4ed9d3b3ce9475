//! A receiver that was down all the time comes back: how long until it has everything that waited for it, and what another
//! receiver of the same server notices of that.
//!
//! The other one's sessions get texts at a pace, before and meanwhile; how long these take until their webhook is compared.
//! Five processes share the machine: the server, the network, the two receivers, and this one.

use std::cell::Cell;
use std::net::SocketAddr;

use tokio::net::TcpSocket;
use tokio::time::Instant;
use tokio::try_join;

use super::float;
use super::inbound::{EVENTS, arrived, greet};
use super::sessions::link;
use crate::bench::{Bench, Receiver, Stack};
use crate::cli::Sizes;
use crate::receiver::ANYWHERE;
use crate::report::Figure;

/// The longest that everything may take to arrive.
const DRAINED_WITHIN_SECONDS: f64 = 60.0;
/// How much longer the slowest texts of the other receiver may take meanwhile.
const SLOWED_MAX: f64 = 2.0;
/// Sessions whose receiver is up.
const SERVED: usize = 2;
/// Texts a second that they get.
const PACE_PER_SECOND: u32 = 200;
/// For how many seconds they get them before, in each round.
const SECONDS_BEFORE: usize = 4;
/// The share of texts that is compared by its slowest.
const SLOWEST: f64 = 0.99;

/// The sessions whose receiver is up, and who writes to them.
struct Served {
    receiver: Receiver,
    accounts: Vec<String>,
    senders: Vec<String>,
    /// Texts that were sent to them.
    sent: usize,
}

/// Measures the return of a receiver.
pub(crate) async fn run(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    // Nobody else gets the port, and whoever connects to it is refused.
    let place = TcpSocket::new_v4()?;
    place.set_reuseaddr(true)?;
    place.bind(ANYWHERE.parse()?)?;
    let address = place.local_addr()?;

    let stack = bench.stack().await?;
    let mut senders = Vec::new();
    for _ in 0..sizes.chats {
        senders.push(stack.network.new_phone().await?);
    }
    let webhook = format!("http://{address}/");
    let waiting = sessions(&stack, "waiting", sizes.receiving, &webhook, &senders).await?;
    let receiver = bench.receiver(ANYWHERE).await?;
    let accounts = sessions(&stack, "served", SERVED, &receiver.api.webhook(), &senders).await?;
    let mut served = Served {
        receiver,
        accounts,
        senders,
        sent: 0,
    };

    stack
        .network
        .traffic(&served.senders, &waiting, sizes.waiting, None)
        .await?;
    let backlog = served.senders.len() * waiting.len() * sizes.waiting;
    // The first texts of a chat take longer.
    served.second(&stack).await?;
    served.slowest_ms().await?;
    for _ in 0..SECONDS_BEFORE * sizes.rounds {
        served.second(&stack).await?;
    }
    let before_ms = served.slowest_ms().await?;

    let (back, seconds) = drain(bench, &stack, &mut served, place, address, backlog).await?;
    let meanwhile_ms = served.slowest_ms().await?;
    let what = |what: &str| format!("backlog of {backlog}{what}");
    bench.note(Figure::new(what(", until all of it arrived"), "s", [seconds]).at_most(DRAINED_WITHIN_SECONDS));
    bench.note(Figure::new(what(", arriving"), "1/s", [float(backlog) / seconds]));
    bench.note(Figure::new(what(", p99 of another receiver before"), "ms", [before_ms]));
    let meanwhile = Figure::new(what(", p99 of another receiver meanwhile"), "ms", [meanwhile_ms]);
    bench.note(meanwhile.at_most(SLOWED_MAX * before_ms));
    for receiver in [back, served.receiver] {
        receiver.program.stop().await?;
    }
    stack.stop().await
}

/// Links so many sessions that report to a webhook, each of which knows the senders; answers their numbers.
async fn sessions(
    stack: &Stack,
    name: &str,
    count: usize,
    webhook: &str,
    senders: &[String],
) -> anyhow::Result<Vec<String>> {
    let (mut names, mut accounts) = (Vec::new(), Vec::new());
    for index in 0..count {
        let (session, account) = (format!("{name}{index}"), stack.network.new_phone().await?);
        link(stack, &session, &account, Some((webhook, EVENTS))).await?;
        names.push(session);
        accounts.push(account);
    }
    greet(stack, &names, senders).await?;
    Ok(accounts)
}

/// The receiver comes back. Answers it, and how many seconds it took until it had everything.
async fn drain(
    bench: &Bench,
    stack: &Stack,
    served: &mut Served,
    place: TcpSocket,
    address: SocketAddr,
    backlog: usize,
) -> anyhow::Result<(Receiver, f64)> {
    drop(place);
    let back = bench.receiver(&address.to_string()).await?;
    let begin = Instant::now();
    let is_over = Cell::new(false);
    let others = async {
        while !is_over.get() {
            served.second(stack).await?;
        }
        anyhow::Ok(())
    };
    let draining = async {
        arrived(&back, backlog).await?;
        is_over.set(true);
        anyhow::Ok(begin.elapsed().as_secs_f64())
    };
    let (seconds, ()) = try_join!(draining, others)?;
    Ok((back, seconds))
}

impl Served {
    /// A second's texts.
    async fn second(&mut self, stack: &Stack) -> anyhow::Result<()> {
        let chats = self.senders.len() * self.accounts.len();
        let texts = usize::try_from(PACE_PER_SECOND)?.div_ceil(chats);
        let traffic = stack
            .network
            .traffic(&self.senders, &self.accounts, texts, Some(PACE_PER_SECOND));
        traffic.await?;
        self.sent += chats * texts;
        Ok(())
    }

    /// How long the slowest texts took since this was asked for last, once all of them are there.
    async fn slowest_ms(&self) -> anyhow::Result<f64> {
        arrived(&self.receiver, self.sent).await?;
        let latencies = self.receiver.api.latencies().await?;
        Ok(Figure::new("", "ms", latencies).quantile(SLOWEST))
    }
}
