//! The one task that uses a database file: runs what others ask for, in their order, and commits in groups.
//!
//! Everything that waits when it looks is one transaction with one sync to the disk; answers leave after the commit. A
//! batch whose expectation fails leaves nothing behind and disturbs no other batch of its group; any other failure fails
//! the whole group, and the file is opened afresh. Reads keep their place in the line, so a caller that gave up waiting
//! for a write cannot read what was there before it.
//!
//! There is one connection for each file, so a read waits for the commit before it. Deliberately absent: a second
//! connection for reads. It would double the threads and descriptors, and reads here are single documents and pages.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteQueryResult};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wharf_core::store::{Collection, Document, StoreError};

use super::error::Fault;
use super::file::DatabaseFile;
use super::folder::FolderLock;
use super::pool::Pool;
use super::statement::{Statement, Step, decode, make_table};

/// The most calls that share one transaction.
const GROUP_CALLS_MAX: usize = 256;

/// How long a busy file keeps its place in the pool while others wait for one.
const TURN_MAX: Duration = Duration::from_millis(200);

/// What is asked of a file.
pub(super) enum Task {
    /// Nothing but to open it.
    Open,
    /// The documents that these statements find.
    Read(&'static Collection, Vec<Statement>),
    /// The number that this statement finds.
    Count(&'static Collection, Statement),
    /// These changes, all or none.
    Write(Vec<Step>),
}

/// What comes back; each task fills what it is about.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Of [`Task::Read`].
    pub(super) documents: Vec<Document>,
    /// Of [`Task::Count`].
    pub(super) count: u64,
}

/// A task and who waits for it.
pub(super) struct Call {
    /// What to do.
    pub(super) task: Task,
    /// Where the answer goes; nobody may be there any more.
    pub(super) reply: oneshot::Sender<Result<Answer, StoreError>>,
}

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
    open: Option<Open>,
    /// The collections whose tables are known to be complete.
    complete: HashSet<&'static Collection>,
    /// The folder stays ours until the last file in it is closed.
    _lock: Arc<FolderLock>,
}

struct Open {
    connection: SqliteConnection,
    is_writing: bool,
    since: Instant,
    _place: Option<OwnedSemaphorePermit>,
}

/// Why one task was not done.
enum Failure {
    Conflict { collection: &'static str, id: String },
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

type Held = Vec<(oneshot::Sender<Result<Answer, StoreError>>, Result<Answer, StoreError>)>;

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
            open: None,
            complete: HashSet::new(),
            _lock: lock,
        }
    }

    /// Works until the end; what was asked before the stop is still done.
    pub(super) async fn run(mut self) {
        let mut group = Vec::new();
        loop {
            let may_close = self.open.is_some() && self.idling.is_some();
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.calls.is_closed() => self.calls.close(),
                received = self.calls.recv_many(&mut group, GROUP_CALLS_MAX) => match received {
                    0 => break,
                    _ => self.serve(group.drain(..)).await,
                },
                () = idle(self.idling.clone()), if may_close => self.close().await,
            }
            if self.should_give_way() {
                self.close().await;
            }
        }
        self.close().await;
    }

    async fn serve(&mut self, group: impl ExactSizeIterator<Item = Call>) {
        let is_alone = group.len() == 1;
        let mut held = Held::new();
        for Call { task, reply } in group {
            match Box::pin(self.perform(task, is_alone)).await {
                Ok(answer) => held.push((reply, Ok(answer))),
                Err(Failure::Conflict { collection, id }) => {
                    held.push((reply, Err(StoreError::Conflict { collection, id })));
                }
                Err(Failure::Fault(fault)) => {
                    held.push((reply, Ok(Answer::default())));
                    self.fail(&mut held, fault).await;
                }
            }
            if !self.open.as_ref().is_some_and(|open| open.is_writing) {
                answer(&mut held);
            }
        }
        if let Err(fault) = self.commit().await {
            self.fail(&mut held, fault).await;
        }
        answer(&mut held);
    }

    /// Answers everybody of the group with the same failure and lets go of the file, which undoes what was not committed.
    async fn fail(&mut self, held: &mut Held, fault: Fault) {
        self.close().await;
        for (reply, _) in held.drain(..) {
            // Nobody may wait for it any more.
            let _ = reply.send(Err(fault.clone().into_error(&self.file.path)));
        }
    }

    async fn perform(&mut self, task: Task, is_alone: bool) -> Result<Answer, Failure> {
        match task {
            Task::Open => {
                self.connection().await?;
                Ok(Answer::default())
            }
            Task::Read(collection, statements) => {
                self.complete(collection).await?;
                let mut documents = Vec::new();
                for statement in statements {
                    for row in self.fetch(statement).await? {
                        documents.push(decode(collection, &row)?);
                    }
                }
                Ok(Answer { documents, count: 0 })
            }
            Task::Count(collection, statement) => {
                self.complete(collection).await?;
                let rows = self.fetch(statement).await?;
                let count: i64 = rows.first().map_or(Ok(0), |row| sqlx::Row::try_get(row, 0))?;
                Ok(Answer {
                    documents: Vec::new(),
                    count: count.unsigned_abs(),
                })
            }
            Task::Write(steps) => self.write(steps, is_alone).await.map(|()| Answer::default()),
        }
    }

    async fn write(&mut self, steps: Vec<Step>, is_alone: bool) -> Result<(), Failure> {
        for step in &steps {
            self.complete(step.collection).await?;
        }
        // A single change is a transaction by itself. Most groups are one, and each trip to SQLite's thread costs more
        // CPU time than the change.
        if !(is_alone && steps.len() == 1) {
            self.begin().await?;
        }
        // What fails must leave nothing behind: a single change that fails its expectation does not, a batch that has the
        // transaction to itself rolls it back, and only one that shares it needs a point to return to.
        let may_undo = steps.len() > 1 && steps.iter().any(|step| step.expecting.is_some());
        let shares = may_undo && !is_alone;
        if shares {
            self.execute("SAVEPOINT batch").await?;
        }
        for step in steps {
            let done = self.execute_statement(step.statement).await?;
            if let Some(id) = step.expecting
                && done.rows_affected() == 0
            {
                if shares {
                    self.execute("ROLLBACK TO batch").await?;
                    self.execute("RELEASE batch").await?;
                } else if may_undo {
                    self.roll_back().await?;
                }
                let collection = step.collection.name;
                return Err(Failure::Conflict { collection, id });
            }
        }
        if shares {
            self.execute("RELEASE batch").await?;
        }
        Ok(())
    }

    /// Makes the table, columns and indexes that a collection lacks, in the transaction of the group.
    async fn complete(&mut self, collection: &'static Collection) -> Result<(), Fault> {
        self.connection().await?;
        if self.complete.contains(collection) {
            return Ok(());
        }
        let columns = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)").bind(collection.name);
        let present: Vec<String> = columns.fetch_all(self.connection().await?).await?;
        let statements = make_table(collection, &present);
        if !statements.is_empty() {
            self.begin().await?;
            for statement in statements {
                self.connection().await?.execute(AssertSqlSafe(statement)).await?;
            }
        }
        self.complete.insert(collection);
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), Fault> {
        self.connection().await?;
        if !self.open.as_ref().is_some_and(|open| open.is_writing) {
            self.execute("BEGIN IMMEDIATE").await?;
            self.mark_writing(true);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        if self.open.as_ref().is_some_and(|open| open.is_writing) {
            self.execute("COMMIT").await?;
            self.mark_writing(false);
        }
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), Fault> {
        self.execute("ROLLBACK").await?;
        self.mark_writing(false);
        // What is undone may include tables.
        self.complete.clear();
        Ok(())
    }

    fn mark_writing(&mut self, is_writing: bool) {
        if let Some(open) = &mut self.open {
            open.is_writing = is_writing;
        }
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), Fault> {
        sqlx::query(sql).execute(self.connection().await?).await?;
        Ok(())
    }

    async fn execute_statement(&mut self, statement: Statement) -> Result<SqliteQueryResult, Fault> {
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), statement.arguments);
        let query = query.persistent(statement.is_usual);
        Ok(query.execute(self.connection().await?).await?)
    }

    async fn fetch(&mut self, statement: Statement) -> Result<Vec<sqlx::sqlite::SqliteRow>, Fault> {
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), statement.arguments);
        let query = query.persistent(statement.is_usual);
        Ok(query.fetch_all(self.connection().await?).await?)
    }

    /// The connection; opens the file first if it is closed.
    async fn connection(&mut self) -> Result<&mut SqliteConnection, Fault> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let place = match &self.idling {
                    Some(idling) => Some(idling.pool.enter().await),
                    None => None,
                };
                Open {
                    connection: Box::pin(self.file.open()).await?,
                    is_writing: false,
                    since: Instant::now(),
                    _place: place,
                }
            }
        };
        Ok(&mut self.open.insert(open).connection)
    }

    async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            if open.is_writing {
                // What is undone may include tables.
                self.complete.clear();
            }
            if let Err(error) = open.connection.close().await {
                tracing::warn!(file = %self.file.path.display(), %error, "a storage file did not close well");
            }
        }
    }

    fn should_give_way(&self) -> bool {
        match (&self.open, &self.idling) {
            (Some(open), Some(idling)) => idling.pool.is_wanted() && open.since.elapsed() >= TURN_MAX,
            _ => false,
        }
    }
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

fn answer(held: &mut Held) {
    for (reply, result) in held.drain(..) {
        // Nobody may wait for it any more.
        let _ = reply.send(result);
    }
}
