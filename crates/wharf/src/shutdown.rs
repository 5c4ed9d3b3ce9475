//! When to stop: Ctrl-C or SIGTERM. A second one ends the process at once.

use std::process::exit;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

/// What a shell shows for a process that a signal ended: 128 and the number of SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Listens for signals; stopping it brings no default back, so it is kept until the process ends.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts listening. A process that cannot could not be stopped, so it does not start.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Does what is left to do, unless a second signal comes: then the process ends at once.
    pub(crate) async fn or_exit<T>(mut self, work: impl Future<Output = T>) -> T {
        let mut impatient = JoinSet::new();
        impatient.spawn(async move {
            self.next().await;
            exit(EXIT_INTERRUPTED);
        });
        work.await
    }
}
