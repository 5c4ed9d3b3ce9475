//! Runs the protocol library's tasks so that they have an owner: one per connection, who can stop and await them all.
//!
//! The library spawns through its `Runtime` trait. Its own tokio runtime forgets what it spawned; this one does not, so
//! that a connection is over when it says so, and no task of it can touch the session's store afterwards.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};
use wacore::runtime::{AbortHandle, Runtime};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks of one connection. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    running: TaskTracker,
    over: CancellationToken,
    /// Where what they log belongs.
    span: Span,
}

impl Tasks {
    /// No tasks yet.
    pub(crate) fn new(span: Span) -> Self {
        Self {
            running: TaskTracker::new(),
            over: CancellationToken::new(),
            span,
        }
    }

    /// Drops every task at its next await, and waits until all are gone. Answers how many were left after `patience`.
    pub(crate) async fn stop(&self, patience: Duration) -> usize {
        self.over.cancel();
        self.running.close();
        match tokio::time::timeout(patience, self.running.wait()).await {
            Ok(()) => 0,
            Err(_) => self.running.len(),
        }
    }
}

#[async_trait]
impl Runtime for Tasks {
    fn spawn(&self, future: Task) -> AbortHandle {
        let future = future.instrument(self.span.clone());
        let task = self.running.spawn(self.over.clone().run_until_cancelled_owned(future));
        let abort = task.abort_handle();
        AbortHandle::new(move || abort.abort())
    }

    fn spawn_detached(&self, future: Task) {
        let future = future.instrument(self.span.clone());
        self.running.spawn(self.over.clone().run_until_cancelled_owned(future));
    }

    fn sleep(&self, duration: Duration) -> Task {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) -> Task {
        let span = self.span.clone();
        let task = self.running.spawn_blocking(move || span.in_scope(work));
        Box::pin(async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "blocking work of the protocol library failed");
            }
        })
    }

    fn yield_now(&self) -> Option<Task> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Says when it was dropped.
    struct Witness(Arc<AtomicBool>);

    impl Drop for Witness {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn stop_returns_after_every_task_is_gone() {
        let tasks = Tasks::new(Span::none());
        let dropped = Arc::new(AtomicBool::new(false));
        let witness = Witness(dropped.clone());
        tasks.spawn_detached(Box::pin(async move {
            std::future::pending::<()>().await;
            drop(witness);
        }));
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, 0);
        assert!(dropped.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn nothing_runs_after_stop() {
        let tasks = Tasks::new(Span::none());
        tasks.stop(Duration::from_secs(5)).await;
        let ran = Arc::new(AtomicBool::new(false));
        let flag = ran.clone();
        tasks
            .spawn(Box::pin(async move { flag.store(true, Ordering::SeqCst) }))
            .detach();
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, 0);
        assert!(!ran.load(Ordering::SeqCst));
    }
}
