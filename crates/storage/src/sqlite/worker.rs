//! The one owner of a database file: opens it when it is needed, hands it what others ask for, and closes it.
//!
//! While a file is open it has a thread of its own, which does all that waits when it looks as one group ([`super::group`]);
//! a caller is two switches of threads away from its answer, and none lie between the statements of a group. After a
//! failure the file is opened afresh.
//!
//! There is one connection for each file, so a read waits for the commit before it. Deliberately absent: a second
//! connection for reads. It would double the threads and descriptors, and reads here are single documents and pages.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::Fault;
use super::file::DatabaseFile;
use super::folder::FolderLock;
use super::group::{Call, Failed, Reply, Tables, serve};
use super::pool::Pool;

/// The most calls that share one transaction.
const GROUP_CALLS_MAX: usize = 256;

/// How long a write that may wait for others does: a little longer than the 25 ms after which the protocol library flushes
/// what a message has changed, because that is the write that most often comes.
const GATHERED_FOR: Duration = Duration::from_millis(30);

/// How long a busy file keeps its place in the pool while others wait for one.
const TURN_MAX: Duration = Duration::from_millis(200);

/// When a file closes by itself.
#[derive(Clone)]
pub(super) struct Idling {
    /// Where it has its place while open.
    pub(super) pool: Arc<Pool>,
    /// How long it stays open with nothing to do.
    pub(super) timeout: Duration,
}

/// Owns one file until it is told to stop or nobody can call it any more.
pub(super) struct Worker {
    file: DatabaseFile,
    calls: mpsc::Receiver<Call>,
    stop: CancellationToken,
    idling: Option<Idling>,
    /// Kept while the file is closed.
    tables: Tables,
    /// The folder stays ours until the last file in it is closed.
    _lock: Arc<FolderLock>,
}

impl Worker {
    /// A worker that has not opened its file yet.
    pub(super) fn new(
        file: DatabaseFile,
        calls: mpsc::Receiver<Call>,
        stop: CancellationToken,
        idling: Option<Idling>,
        lock: Arc<FolderLock>,
    ) -> Self {
        Self {
            file,
            calls,
            stop,
            idling,
            tables: Tables::default(),
            _lock: lock,
        }
    }

    /// Works until the end; what was asked before the stop is still done.
    pub(super) async fn run(mut self) {
        let mut group = Vec::new();
        while self.receive(&mut group).await {
            let place = match &self.idling {
                Some(idling) => Some(idling.pool.enter().await),
                None => None,
            };
            let (job, jobs) = oneshot::channel::<(Self, Vec<Call>)>();
            let (mut done, returned) = oneshot::channel();
            let runtime = Handle::current();
            let thread = thread::Builder::new().name("storage".to_owned()).spawn(move || {
                let Ok((mut worker, mut group)) = jobs.blocking_recv() else {
                    return;
                };
                let is_done = runtime.block_on(async {
                    tokio::select! {
                        biased;
                        // The runtime ends, and everything that asks with it, whether or not somebody still holds the store.
                        () = done.closed() => false,
                        () = worker.work(&mut group) => true,
                    }
                });
                if is_done {
                    // Fails only when the runtime ends.
                    let _ = done.send((worker, group));
                }
            });
            if let Err(error) = thread {
                self.refuse(&mut group, &error.into());
                continue;
            }
            let _ = job.send((self, group));
            let Ok(back) = returned.await else {
                // Its thread panicked, which says so itself. Later calls find nobody.
                return;
            };
            (self, group) = back;
            drop(place);
        }
    }

    /// Waits for calls, and takes all that wait; `false` at the end.
    async fn receive(&mut self, group: &mut Vec<Call>) -> bool {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.calls.is_closed() => self.calls.close(),
                received = self.calls.recv_many(group, GROUP_CALLS_MAX) => return received > 0,
            }
        }
    }

    /// Lets a group that may wait do so until somebody comes who may not.
    async fn gather(&mut self, group: &mut Vec<Call>) {
        let until = Instant::now() + GATHERED_FOR;
        while group.len() < GROUP_CALLS_MAX && group.iter().all(|call| call.may_wait) {
            tokio::select! {
                biased;
                is_more = self.receive(group) => if !is_more { return },
                () = sleep_until(until) => return,
            }
        }
    }

    /// Opens the file and works on it until it should close; everybody in the group has an answer then.
    async fn work(&mut self, group: &mut Vec<Call>) {
        while !group.is_empty() {
            match self.file.open() {
                Ok(connection) => self.work_on(connection, group).await,
                Err(fault) => self.refuse(group, &fault),
            }
        }
    }

    async fn work_on(&mut self, connection: Connection, group: &mut Vec<Call>) {
        let since = Instant::now();
        loop {
            self.gather(group).await;
            if let Err(Failed { fault, replies }) = serve(&connection, &mut self.tables, group) {
                // Before the answers, because what was not committed is undone by it.
                self.close(connection);
                for reply in replies {
                    answer(reply, &fault, &self.file);
                }
                return;
            }
            let idling = self.idling.clone();
            if idling.as_ref().is_some_and(|idling| should_give_way(idling, since)) {
                break;
            }
            tokio::select! {
                biased;
                is_more = self.receive(group) => if !is_more { break },
                () = idle(idling) => break,
            }
        }
        self.close(connection);
    }

    fn refuse(&self, group: &mut Vec<Call>, fault: &Fault) {
        for call in group.drain(..) {
            answer(call.reply, fault, &self.file);
        }
    }

    fn close(&self, connection: Connection) {
        if let Err((_, error)) = connection.close() {
            tracing::warn!(file = %self.file.path.display(), %error, "a storage file did not close well");
        }
    }
}

fn answer(reply: Reply, fault: &Fault, file: &DatabaseFile) {
    // Nobody may wait for it any more.
    let _ = reply.send(Err(fault.clone().into_error(&file.path)));
}

fn should_give_way(idling: &Idling, since: Instant) -> bool {
    idling.pool.is_wanted() && since.elapsed() >= TURN_MAX
}

/// Ends when a file without work should close.
async fn idle(idling: Option<Idling>) {
    match idling {
        Some(Idling { pool, timeout }) => tokio::select! {
            () = pool.asked_to_close() => {}
            () = sleep(timeout) => {}
        },
        None => std::future::pending().await,
    }
}
