//! Runs the calls that wait for a file as one group: one transaction with one sync to the disk, and answers after it.
//!
//! A batch whose expectation fails leaves nothing behind and disturbs no other batch of its group; any other failure fails
//! the whole group, whose calls are handed back to [`super::worker`]. Reads keep their place in the line, so a caller that gave up waiting for a write cannot read what was
//! there before it.

use rusqlite::{Connection, params_from_iter};
use tokio::sync::oneshot;
use wharf_core::store::{Collection, Document, StoreError};

use super::error::Fault;
use super::statement::{Statement, Step, decode, make_table};

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
    /// What no code here does on purpose.
    #[cfg(test)]
    Panic,
}

/// What comes back; each task fills what it is about.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Of [`Task::Read`].
    pub(super) documents: Vec<Document>,
    /// Of [`Task::Count`].
    pub(super) count: u64,
}

/// Where an answer goes; nobody may be there any more.
pub(super) type Reply = oneshot::Sender<Result<Answer, StoreError>>;

/// A task and who waits for it.
pub(super) struct Call {
    /// What to do.
    pub(super) task: Task,
    /// Whether it may wait for others to share a commit with.
    pub(super) may_wait: bool,
    /// Who waits.
    pub(super) reply: Reply,
}

/// The collections whose tables are known to be complete.
#[derive(Default)]
pub(super) struct Tables(Vec<&'static Collection>);

/// A group that failed: nobody in it has an answer, and what was not committed is to be undone.
pub(super) struct Failed {
    /// Why.
    pub(super) fault: Fault,
    /// Who was in it, in their order.
    pub(super) calls: Vec<Call>,
}

/// Calls whose answers leave after the commit.
type Held = Vec<(Call, Result<Answer, StoreError>)>;

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

/// Serves the calls in their order. After a failure `calls` has those whose turn had not come.
pub(super) fn serve(connection: &Connection, tables: &mut Tables, calls: &mut Vec<Call>) -> Result<(), Failed> {
    let mut group = Group {
        connection,
        tables,
        is_writing: false,
    };
    let mut held = Held::new();
    let mut fault = None;
    calls.reverse();
    while let Some(call) = calls.pop() {
        let result = match group.perform(&call.task) {
            Ok(answer) => Ok(answer),
            Err(Failure::Conflict { collection, id }) => Err(StoreError::Conflict { collection, id }),
            Err(Failure::Fault(error)) => {
                fault = Some(error);
                Ok(Answer::default())
            }
        };
        held.push((call, result));
        if fault.is_some() {
            break;
        }
        if !group.is_writing {
            answer(&mut held);
        }
    }
    calls.reverse();
    match fault.map_or_else(|| group.commit(), Err) {
        Ok(()) => {
            answer(&mut held);
            Ok(())
        }
        Err(fault) => {
            let calls = held.into_iter().map(|(call, _)| call).collect();
            Err(Failed { fault, calls })
        }
    }
}

fn answer(held: &mut Held) {
    for (call, result) in held.drain(..) {
        // Nobody may wait for it any more.
        let _ = call.reply.send(result);
    }
}

struct Group<'a> {
    connection: &'a Connection,
    tables: &'a mut Tables,
    /// Whether there is a transaction; with the first write there is.
    is_writing: bool,
}

impl Group<'_> {
    fn perform(&mut self, task: &Task) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        match task {
            Task::Open => {}
            #[cfg(test)]
            Task::Panic => panic!("as the test wants"),
            Task::Read(collection, statements) => {
                self.complete(collection)?;
                for statement in statements {
                    self.prepared(statement, |prepared| {
                        let mut rows = prepared.query(params_from_iter(&statement.arguments))?;
                        while let Some(row) = rows.next()? {
                            answer.documents.push(decode(collection, row)?);
                        }
                        Ok(())
                    })?;
                }
            }
            Task::Count(collection, statement) => {
                self.complete(collection)?;
                let count: i64 = self.prepared(statement, |prepared| {
                    prepared.query_row(params_from_iter(&statement.arguments), |row| row.get(0))
                })?;
                answer.count = count.unsigned_abs();
            }
            Task::Write(steps) => self.write(steps)?,
        }
        Ok(answer)
    }

    fn write(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            self.complete(step.collection)?;
        }
        self.begin()?;
        // A single change that fails its expectation changes nothing; of several, those before it are to be undone.
        let may_undo = steps.len() > 1 && steps.iter().any(|step| step.expecting.is_some());
        if may_undo {
            self.execute("SAVEPOINT batch")?;
        }
        for Step {
            collection,
            statement,
            expecting,
        } in steps
        {
            let changed = self.prepared(statement, |prepared| {
                prepared.execute(params_from_iter(&statement.arguments))
            })?;
            if let Some(id) = expecting
                && changed == 0
            {
                if may_undo {
                    self.execute("ROLLBACK TO batch")?;
                    self.execute("RELEASE batch")?;
                }
                return Err(Failure::Conflict {
                    collection: collection.name,
                    id: id.clone(),
                });
            }
        }
        if may_undo {
            self.execute("RELEASE batch")?;
        }
        Ok(())
    }

    /// Makes the table, columns and indexes that a collection lacks, in the transaction of the group.
    fn complete(&mut self, collection: &'static Collection) -> Result<(), Fault> {
        // Each collection is one static, so this compares two addresses and not all its names.
        if self.tables.0.iter().any(|known| std::ptr::eq(*known, collection)) {
            return Ok(());
        }
        let mut columns = self.connection.prepare("SELECT name FROM pragma_table_info(?)")?;
        let present = columns.query_map([collection.name], |row| row.get(0))?;
        let present: Vec<String> = present.collect::<Result<_, _>>()?;
        for statement in make_table(collection, &present) {
            self.begin()?;
            self.connection.execute(&statement, ())?;
        }
        self.tables.0.push(collection);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Fault> {
        if !self.is_writing {
            self.execute("BEGIN IMMEDIATE")?;
            self.is_writing = true;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if self.is_writing {
            self.execute("COMMIT")?;
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<(), Fault> {
        self.connection.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    fn prepared<T>(
        &self,
        statement: &Statement,
        run: impl FnOnce(&mut rusqlite::Statement<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        let done = match statement.is_usual {
            true => run(&mut *self.connection.prepare_cached(&statement.sql)?),
            false => run(&mut self.connection.prepare(&statement.sql)?),
        };
        Ok(done?)
    }
}
