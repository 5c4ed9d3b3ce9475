//! Fetches the files of messages: a job for each, kept in the server's store until its file is in the media storage or given up.
//!
//! The event of such a message waits for the file, for a while: it is in the job until it is told, and is told once, whenever
//! the process dies. Others may want it told sooner ([`SessionJobs::tell_now`]), because what they tell of comes after it. Never
//! decides what a message is or who gets its event.

mod fetching;
mod record;
mod telling;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_core::clock::Clock;
use wharf_core::ids::SessionName;
use wharf_core::message::Message;
use wharf_core::random::Random;
use wharf_core::store::{Batch, Expect, Query, Store, StoreError};

use super::library::Library;
use super::metrics::MediaMetrics;
use super::rendering::Rendering;
use super::temp::TempFolder;
use crate::config::FetchingConfig;
use crate::events::EventLog;
use crate::sessions::View;
use record::{JOBS, Record, State, id_of, of_session};

/// The most jobs of one session: of what comes beyond them the event says that its file is not fetched.
const JOBS_PER_SESSION_MAX: usize = 10_000;

/// What every job works with.
pub(crate) struct Tools {
    /// The server's own, where jobs are.
    pub(crate) store: Arc<dyn Store>,
    /// Where the events go that waited.
    pub(crate) events: Arc<EventLog>,
    /// How they are written.
    pub(crate) rendering: Rendering,
    /// Where the files go.
    pub(crate) library: Arc<Library>,
    /// Where they are until then.
    pub(crate) temp: Arc<TempFolder>,
    /// The time of day.
    pub(crate) clock: Arc<dyn Clock>,
    /// For jitter.
    pub(crate) random: Arc<dyn Random>,
    /// How files are fetched.
    pub(crate) config: FetchingConfig,
    /// Which files are.
    pub(crate) filter: Filter,
    /// What is counted.
    pub(crate) metrics: Arc<MediaMetrics>,
}

/// Which files are fetched.
pub(crate) struct Filter {
    /// Whether any is.
    pub(crate) download: bool,
    /// How their types begin; empty for all.
    pub(crate) mimetypes: Vec<String>,
}

/// The jobs of all sessions.
pub(crate) struct MediaJobs {
    tools: Arc<Tools>,
    at_once: Arc<Semaphore>,
    sessions: Mutex<HashMap<SessionName, Arc<SessionJobs>>>,
    stop: CancellationToken,
}

/// The jobs of one session.
pub(crate) struct SessionJobs {
    session: SessionName,
    tools: Arc<Tools>,
    view: watch::Receiver<View>,
    /// Files of all sessions that may still be fetched at the same time.
    at_once: Arc<Semaphore>,
    /// The same, of this session.
    own_at_once: Semaphore,
    /// By the messages' stanzas.
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    /// One event at a time, so that none is told twice at once.
    telling: tokio::sync::Mutex<()>,
    /// How many events were told that had waited.
    told: watch::Sender<u64>,
    tasks: TaskTracker,
    over: CancellationToken,
}

/// A job that is being worked on.
struct Job {
    /// Whether the event of its message waits for it.
    is_held: AtomicBool,
    /// Ends the work.
    over: CancellationToken,
}

impl Job {
    fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }
}

/// What is to be done about the file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing: there is none, or it is not to be fetched.
    Nothing,
    /// Nothing, and the event says why.
    Refused(String),
    /// A job.
    Job,
}

/// A job that is to begin when it is written.
#[must_use = "a job does nothing until it is started"]
pub(crate) struct NewJob(Record);

impl NewJob {
    /// Whether the event of its message waits for it.
    pub(crate) fn holds(&self) -> bool {
        self.0.state.held_until.is_some()
    }
}

impl MediaJobs {
    /// No jobs yet.
    pub(crate) fn new(tools: Tools) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(tools.config.jobs)),
            tools: Arc::new(tools),
            sessions: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Makes a session known, with how it is.
    pub(crate) fn add(&self, session: &SessionName, view: watch::Receiver<View>) {
        let jobs = Arc::new(SessionJobs {
            session: session.clone(),
            tools: Arc::clone(&self.tools),
            view,
            at_once: Arc::clone(&self.at_once),
            own_at_once: Semaphore::new(self.tools.config.jobs_per_session),
            jobs: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            told: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            over: self.stop.child_token(),
        });
        self.sessions().insert(session.clone(), jobs);
    }

    /// The jobs of a session that is known.
    pub(crate) fn of(&self, session: &SessionName) -> Option<Arc<SessionJobs>> {
        self.sessions().get(session).cloned()
    }

    /// Goes on with what an earlier process has left of the sessions that are known. What is left of others stays: a session
    /// may be unknown because this version cannot read it.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.tools.store.find(&JOBS, Query::all().after(after)).await?;
            for document in page.documents {
                let session = document.id.split('|').next().and_then(|name| name.parse().ok());
                match (session.and_then(|name| self.of(&name)), Record::read(&document)) {
                    (Some(jobs), Ok(record)) => jobs.start(NewJob(record)),
                    (None, Ok(_)) => {
                        tracing::warn!(
                            job = document.id,
                            "a stored job is of no session that is known, it is left out"
                        );
                    }
                    (_, Err(error)) => {
                        tracing::error!(job = document.id, %error, "a stored job cannot be read, it is left out");
                    }
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Ends the jobs of a session and removes them, because it is not linked any more, and its next account must not be asked for
    /// the files of this one. What waits is told of.
    pub(crate) async fn give_up(&self, session: &SessionName) -> Result<(), StoreError> {
        match self.of(session) {
            Some(jobs) => jobs.give_up_all().await,
            None => Ok(()),
        }
    }

    /// Ends the jobs of a session and removes them, because it is being deleted.
    pub(crate) async fn forget(&self, session: &SessionName) -> Result<(), StoreError> {
        if let Some(jobs) = self.of(session) {
            jobs.end().await;
        }
        let batch = Batch::new().delete_where(&JOBS, of_session(session));
        self.tools.store.write(batch).await?;
        self.sessions().remove(session);
        Ok(())
    }

    /// Ends everything; what is not done is on disk.
    pub(crate) async fn shut_down(&self) {
        self.stop.cancel();
        let all: Vec<_> = self.sessions().drain().map(|(_, jobs)| jobs).collect();
        for jobs in all {
            jobs.end().await;
        }
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &MediaMetrics {
        &self.tools.metrics
    }

    /// The guarded value is plain data, valid even if a holder panicked.
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionName, Arc<SessionJobs>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionJobs {
    /// How messages are written.
    pub(crate) fn rendering(&self) -> &Rendering {
        &self.tools.rendering
    }

    /// What is to be done about the file of a message.
    pub(crate) fn wanted(&self, message: &Message) -> Wanted {
        let Some(media) = &message.media else {
            return Wanted::Nothing;
        };
        // What it says of its size decides nothing: what arrives is counted.
        if !self.tools.filter.takes(media.mimetype.as_deref()) {
            return Wanted::Nothing;
        }
        match self.jobs().len() >= JOBS_PER_SESSION_MAX {
            true => Wanted::Refused(format!("{JOBS_PER_SESSION_MAX} files wait to be fetched already")),
            false => Wanted::Job,
        }
    }

    /// A job for a message, whose event waits for it if `holds`.
    pub(crate) fn new_job(&self, message: &Message, holds: bool) -> NewJob {
        let (now, hold) = (self.tools.clock.now(), self.tools.config.hold);
        let held_until = (holds && hold.is_positive()).then(|| now.saturating_add(hold).unwrap_or(now));
        NewJob(Record {
            message: message.clone(),
            state: State { held_until },
        })
    }

    /// Adds the write that keeps a job. Only one that cannot be read may be replaced.
    pub(crate) fn put(&self, batch: Batch, job: &NewJob, expect: Expect) -> Result<Batch, StoreError> {
        Ok(batch.put_if(&JOBS, job.0.document(&self.session)?, expect))
    }

    /// Begins with a job that is on disk, or may be; fine where that was done.
    pub(crate) fn start(self: &Arc<Self>, job: NewJob) {
        let Record { message, state } = job.0;
        let stanza = message.stanza;
        let job = Arc::new(Job {
            is_held: AtomicBool::new(state.held_until.is_some()),
            over: self.over.child_token(),
        });
        match self.jobs().entry(stanza.clone()) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(Arc::clone(&job)),
        };
        let own = Arc::clone(self);
        self.tasks.spawn(async move {
            job.over.run_until_cancelled(own.work(&job, &stanza, state)).await;
            // What waits for its event asks for it until the end.
            if !own.over.is_cancelled() {
                own.jobs().remove(&stanza);
            }
        });
    }

    /// Whether the message of this stanza has a job on disk that can be read, which goes on then.
    pub(crate) async fn has(self: &Arc<Self>, stanza: &str) -> Result<bool, StoreError> {
        let document = self.tools.store.get(&JOBS, &id_of(&self.session, stanza)).await?;
        let record = document.as_ref().and_then(|document| Record::read(document).ok());
        let is_there = record.is_some();
        if let Some(record) = record {
            self.start(NewJob(record));
        }
        Ok(is_there)
    }

    /// Whether the event of the message of this stanza waits for its file.
    pub(crate) fn is_held(&self, stanza: &str) -> bool {
        let jobs = self.jobs();
        jobs.get(stanza).is_some_and(|job| job.is_held())
    }

    /// Changes when an event was told that had waited.
    pub(crate) fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    async fn end(&self) {
        self.over.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// As in [`MediaJobs::sessions`].
    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filter {
    fn takes(&self, mimetype: Option<&str>) -> bool {
        let mimetype = mimetype.unwrap_or_default();
        let begins = |prefix: &String| mimetype.starts_with(prefix.as_str());
        self.download && (self.mimetypes.is_empty() || self.mimetypes.iter().any(begins))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_fetched_that_begins_like_one_of_the_list() {
        let filter = |download, mimetypes: &[&str]| Filter {
            download,
            mimetypes: mimetypes.iter().map(ToString::to_string).collect(),
        };
        for (filter, mimetype, takes) in [
            (filter(true, &[]), Some("image/jpeg"), true),
            (filter(true, &[]), None, true),
            (
                filter(true, &["audio", "image/png"]),
                Some("audio/ogg; codecs=opus"),
                true,
            ),
            (filter(true, &["audio", "image/png"]), Some("image/jpeg"), false),
            (filter(true, &["audio"]), None, false),
            (filter(false, &["audio"]), Some("audio/ogg"), false),
        ] {
            assert_eq!(filter.takes(mimetype), takes, "{mimetype:?}");
        }
    }
}
