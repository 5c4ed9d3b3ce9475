//! The one owner of a database file: opens it when it is needed, hands it what others ask for, and closes it.
//!
//! While a file is open it has a thread of its own, which does all that waits when it looks as one group ([`super::group`]);
//! a caller is two switches of threads away from its answer, and none lie between the statements of a group.
//!
//! After a failure the file is opened afresh. A failure that may be about one call alone is not made everybody's: the calls
//! of its group are tried one by one. A panic costs the calls at hand and not the file.
//!
//! There is one connection for each file, so a read waits for the commit before it. Deliberately absent: a second
//! connection for reads. It would double the threads and descriptors, and reads here are single documents and pages.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::{Fault, LocalError};
use super::file::DatabaseFile;
use super::folder::FolderLock;
use super::group::{Call, Failed, Tables, serve};
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
                // The runtime ends.
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
            match serve_or_catch(&connection, &mut self.tables, group) {
                Served::Done => {}
                Served::Failed(failed) => {
                    // Before the answers, because what was not committed is undone by it.
                    self.undo(connection);
                    self.answer_failed(failed);
                    return;
                }
                Served::Panicked => {
                    self.undo(connection);
                    self.refuse(group, &Fault::internal(LocalError::Panicked));
                    return;
                }
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

    /// Answers a group that failed; where it may be one call's fault, by trying each alone.
    fn answer_failed(&mut self, Failed { fault, mut calls }: Failed) {
        if !matches!(fault, Fault::Internal(_)) || calls.len() == 1 {
            return self.refuse(&mut calls, &fault);
        }
        for call in calls {
            let mut alone = vec![call];
            let connection = match self.file.open() {
                Ok(connection) => connection,
                Err(fault) => {
                    self.refuse(&mut alone, &fault);
                    continue;
                }
            };
            match serve_or_catch(&connection, &mut self.tables, &mut alone) {
                Served::Done => self.close(connection),
                Served::Failed(Failed { fault, mut calls }) => {
                    self.undo(connection);
                    self.refuse(&mut calls, &fault);
                }
                Served::Panicked => self.undo(connection),
            }
        }
    }

    fn refuse(&self, group: &mut Vec<Call>, fault: &Fault) {
        for call in group.drain(..) {
            // Nobody may wait for it any more.
            let _ = call.reply.send(Err(fault.clone().into_error(&self.file.path)));
        }
    }

    /// Closes the file without a commit.
    fn undo(&mut self, connection: Connection) {
        // What is undone may include tables.
        self.tables = Tables::default();
        self.close(connection);
    }

    fn close(&self, connection: Connection) {
        if let Err((_, error)) = connection.close() {
            tracing::warn!(file = %self.file.path.display(), %error, "a storage file did not close well");
        }
    }
}

/// How serving a group ended.
enum Served {
    Done,
    Failed(Failed),
    /// Whoever had their turn hears that the file was closed; the others are still in the group, in no order.
    Panicked,
}

fn serve_or_catch(connection: &Connection, tables: &mut Tables, group: &mut Vec<Call>) -> Served {
    // Nothing of what is shared is used as it is after a panic: the connection is closed, and `tables` forgotten.
    match catch_unwind(AssertUnwindSafe(|| serve(connection, tables, group))) {
        Ok(Ok(())) => Served::Done,
        Ok(Err(failed)) => Served::Failed(failed),
        Err(_) => Served::Panicked,
    }
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
