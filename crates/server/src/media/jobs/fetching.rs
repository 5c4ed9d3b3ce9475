//! One job: fetches a file, and tries again until it is stored or hopeless.
//!
//! What is not the file's fault costs no try: a session that is not connected, hosts or a phone out of reach, a disk or a media
//! storage that takes nothing.

use std::collections::HashMap;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::SemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio::{join, select};
use wharf_core::engine::{EngineError, MediaError};
use wharf_core::ids::MessageId;
use wharf_core::media::MediaStorageError;
use wharf_core::message::Message;
use wharf_core::session::SessionStatus;
use wharf_core::store::StoreError;

use super::record::{JOBS, Record, State, id_of};
use super::telling::{Outcome, PANICKED};
use super::{Job, SessionJobs, Wanted};
use crate::media::metrics::Counted;
use crate::sessions::Connection;

/// The longest that one download may take: a file of 2 GiB at 1.2 MB/s.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How often the phone is asked to upload a file again.
const REUPLOADS_MAX: u32 = 2;
/// The wait after the first failure; it doubles with each.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const DELAY_MAX: Duration = Duration::from_secs(10 * 60);
/// The longest wait where nothing but this machine, or how often WhatsApp is asked, keeps the next try from being any better.
const HERE_DELAY_MAX: Duration = Duration::from_secs(60);
/// The longest wait until the media storage is asked again whether it takes a file that is there.
const STORAGE_DELAY_MAX: Duration = Duration::from_secs(5);
/// The longest that a request waits for files that it asked for.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// What to do after a try that came to nothing.
enum Failure {
    /// Try again, as often as is allowed: what there is may be no good.
    Counted(String),
    /// Try again, after so long at most: whoever has the file does not give it now, or nothing here takes it.
    Uncounted(String, Duration),
    /// Try again as soon as there is a connection.
    Offline(String),
    /// Ask the phone for the file.
    Gone,
    /// Nothing.
    Final(String),
    /// Nothing, and there is nobody to be told.
    Unwanted,
}

/// Where the phone has put a file that WhatsApp had lost.
#[derive(Default)]
struct Moved {
    message: Option<Message>,
    /// How often.
    times: u32,
}

impl SessionJobs {
    /// Does the job of the message of this stanza: fetches the file, tells of the message, in time or with the file, and removes
    /// the job. The message itself stays in the store until it is its turn: jobs can be many, and wait for long.
    pub(super) async fn work(&self, job: &Job, stanza: &str, state: State) {
        let metrics = &self.tools.metrics;
        let _waiting = Counted::new(&metrics.waiting);
        let mut fetching = pin!(self.fetch(job, stanza));
        let mut outcome = None;
        if let Some(until) = state.held_until {
            let held = Counted::new(&metrics.held);
            select! {
                biased;
                fetched = &mut fetching => outcome = Some(fetched),
                () = self.tools.clock.sleep_until(until) => {
                    let telling = async {
                        Box::pin(self.tell_surely(job, stanza, &Outcome::Unfinished)).await;
                        drop(held);
                    };
                    // Both, however long the log takes nothing: the end of the connection waits until what goes through it is
                    // cut off, and that has to be polled.
                    outcome = Some(join!(fetching.as_mut(), telling).0);
                }
            }
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => fetching.await,
        };
        if let Outcome::GivenUp(why) = &outcome {
            metrics.given_up.inc();
            tracing::warn!(session = %self.session, stanza, why, "the file of a message is given up");
        }
        Box::pin(self.tell_surely(job, stanza, &outcome)).await;
    }

    /// Fetches the file of a message, however often that takes.
    async fn fetch(&self, job: &Job, stanza: &str) -> Outcome {
        let (mut tries, mut failures, mut moved) = (0, 0, Moved::default());
        let mut failing_since = None;
        loop {
            let connection = self.working().await;
            // On the heap, because it is large and most jobs only wait.
            let attempt = AssertUnwindSafe(self.attempt(&connection, job, stanza, &mut moved)).catch_unwind();
            let outcome = Box::pin(attempt).await;
            // Whatever waits here must not keep a connection that has ended.
            drop(connection);
            let Err(failure) = outcome.unwrap_or_else(|_| Err(Failure::Counted(PANICKED.to_owned()))) else {
                return Outcome::Fetched;
            };
            self.tools.metrics.failed_tries.inc();
            failures += 1;
            let (why, delay_max) = match failure {
                // What is waited for is a connection; the moment is for one that is just ending.
                Failure::Offline(_) => {
                    sleep(self.delay(failures, FIRST_DELAY)).await;
                    continue;
                }
                Failure::Final(why) => return Outcome::GivenUp(why),
                Failure::Gone => return Outcome::GivenUp(MediaError::Gone.to_string()),
                Failure::Unwanted => return Outcome::Unfinished,
                Failure::Uncounted(why, delay_max) => (why, delay_max),
                Failure::Counted(why) => {
                    tries += 1;
                    if tries >= self.tools.config.tries {
                        return Outcome::GivenUp(why);
                    }
                    (why, DELAY_MAX)
                }
            };
            // Not since it is wanted: what nobody could try for long is tried all the same.
            let (now, retry) = (self.tools.clock.now(), self.tools.config.retry);
            if now.duration_since(*failing_since.get_or_insert(now)) >= retry {
                return Outcome::GivenUp(format!("after {} hours of trying: {why}", retry.as_hours()));
            }
            tracing::debug!(session = %self.session, stanza, failures, why, "a file could not be fetched");
            sleep(self.delay(failures, delay_max)).await;
        }
    }

    /// Tries once. A file that WhatsApp has lost is fetched from where the phone puts it.
    async fn attempt(
        &self,
        connection: &Connection,
        job: &Job,
        stanza: &str,
        moved: &mut Moved,
    ) -> Result<(), Failure> {
        loop {
            let places = self.places().await?;
            let tried = match &moved.message {
                Some(message) => self.try_once(connection, message).await,
                None => self.try_once(connection, &self.message(job, stanza).await?).await,
            };
            // A phone takes its time, and others have theirs.
            drop(places);
            match tried {
                Err(Failure::Gone) if moved.times < REUPLOADS_MAX => {
                    let message = self.message(job, stanza).await?;
                    let message = connection.request_reupload(&message).await.map_err(Failure::of)?;
                    // One that does not answer may be off, and is asked again later.
                    (moved.message, moved.times) = (Some(message), moved.times + 1);
                }
                outcome => return outcome,
            }
        }
    }

    /// The message of a job.
    async fn message(&self, job: &Job, stanza: &str) -> Result<Message, Failure> {
        let id = id_of(&self.session, stanza);
        let here = |error: StoreError| Failure::Uncounted(error.to_string(), HERE_DELAY_MAX);
        match self.tools.store.get(&JOBS, &id).await.map_err(here)? {
            Some(document) => Ok(Record::read(&document).map_err(Failure::counted)?.message),
            // Nobody has heard of the write yet, and it may still be made.
            None if job.is_held() => Err(Failure::Uncounted("it is not written yet".to_owned(), HERE_DELAY_MAX)),
            None => Err(Failure::Unwanted),
        }
    }

    /// The session's connection, as soon as it works.
    async fn working(&self) -> Connection {
        let mut view = self.view.clone();
        loop {
            let connection = {
                let view = view.borrow_and_update();
                let is_working = view.status == SessionStatus::Working;
                view.connection.clone().filter(|_| is_working)
            };
            match connection {
                Some(connection) => return connection,
                // Without another one the session is gone, and its jobs are being ended.
                None if view.changed().await.is_err() => std::future::pending().await,
                None => {}
            }
        }
    }

    /// Waits for the turn to fetch a file.
    async fn places(&self) -> Result<[SemaphorePermit<'_>; 2], Failure> {
        // Nobody closes these.
        let own = self.own_at_once.acquire().await.map_err(Failure::counted)?;
        Ok([own, self.at_once.acquire().await.map_err(Failure::counted)?])
    }

    /// Fetches a file and stores it.
    async fn try_once(&self, connection: &Connection, message: &Message) -> Result<(), Failure> {
        let metrics = &self.tools.metrics;
        let _running = Counted::new(&metrics.running);
        let path = self.tools.temp.path().map_err(MediaError::Disk).map_err(Failure::of)?;
        let download = connection.download(message, &path, self.tools.config.bytes_max);
        let bytes = match timeout(DOWNLOAD_WITHIN, download).await {
            Ok(bytes) => bytes.map_err(Failure::of)?,
            Err(error) => return Err(Failure::counted(error)),
        };
        self.store(message, &path).await?;
        metrics.fetched.inc();
        metrics.bytes.inc_by(bytes);
        Ok(())
    }

    /// Stores a file that is there, however long the storage takes nothing: it would only have to be fetched again, and others
    /// wait for the same storage.
    async fn store(&self, message: &Message, path: &Path) -> Result<(), Failure> {
        let media = message.media.as_ref();
        let mimetype = media.and_then(|media| media.mimetype.as_deref());
        let filename = media.and_then(|media| media.filename.as_deref());
        for failures in 1.. {
            let saved = self
                .tools
                .library
                .save(&self.session, &message.id, mimetype, filename, path);
            match saved.await {
                Ok(_) => return Ok(()),
                Err(error @ (MediaStorageError::Unavailable(_) | MediaStorageError::Refused(_))) => {
                    self.warn_of_storage(&message.id, &error);
                    sleep(self.delay(failures, STORAGE_DELAY_MAX)).await;
                }
                Err(error) => return Err(Failure::counted(error)),
            }
        }
        Ok(())
    }

    fn warn_of_storage(&self, id: &MessageId, error: &(dyn Error + 'static)) {
        tracing::warn!(session = %self.session, %id, error, "a file waits for the media storage");
    }

    async fn try_one_of<'a>(
        &self,
        connection: &Connection,
        message: &'a Message,
    ) -> (&'a Message, Result<(), Failure>) {
        let outcome = match self.places().await {
            Ok(_places) => Box::pin(self.try_once(connection, message)).await,
            Err(failure) => Err(failure),
        };
        (message, outcome)
    }

    /// The wait after so many failures; half of it is random, so that not all come back at once.
    fn delay(&self, failures: u32, max: Duration) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let full = FIRST_DELAY.saturating_mul(1 << doublings).min(max);
        let share = f64::from(u16::from_be_bytes(self.tools.random.bytes())) / f64::from(u16::MAX);
        full.mul_f64(0.5 + share / 2.0)
    }

    /// Fetches those of these messages' files that are not there, all at the same time and once each, and answers why some are
    /// not there then.
    pub(crate) async fn fetch_now(
        &self,
        connection: &Connection,
        messages: &[Message],
    ) -> Result<HashMap<MessageId, String>, StoreError> {
        let wanted: Vec<MessageId> = messages
            .iter()
            .filter(|message| self.wanted(message) == Wanted::Job)
            .map(|message| message.id.clone())
            .collect();
        let mut missing = HashMap::new();
        if wanted.is_empty() {
            return Ok(missing);
        }
        let there = self.tools.library.find(&self.session, &wanted).await?;
        let mut fetching = FuturesUnordered::new();
        for message in messages.iter().filter(|message| wanted.contains(&message.id)) {
            if !there.contains_key(&message.id) {
                missing.insert(message.id.clone(), "it is still being fetched".to_owned());
                fetching.push(self.try_one_of(connection, message));
            }
        }
        let fetch_all = async {
            while let Some((message, outcome)) = fetching.next().await {
                match outcome {
                    Ok(()) => missing.remove(&message.id),
                    Err(failure) => missing.insert(message.id.clone(), failure.why()),
                };
            }
        };
        // A task of the session's, as the jobs: where it is deleted, nothing is stored any more once that has ended.
        let fetch_all = self.tasks.track_future(self.over.run_until_cancelled(fetch_all));
        // What is not there by then is in a later answer, or not: the caller asks again.
        let _ = timeout(REQUEST_WITHIN, fetch_all).await;
        drop(fetching);
        Ok(missing)
    }
}

impl Failure {
    fn counted(error: impl std::error::Error) -> Self {
        Self::Counted(error.to_string())
    }

    fn of(error: MediaError) -> Self {
        let why = error.to_string();
        match error {
            MediaError::Gone => Self::Gone,
            MediaError::None | MediaError::Lost | MediaError::Forged | MediaError::TooLarge { .. } => Self::Final(why),
            MediaError::Disk(_) => Self::Uncounted(why, HERE_DELAY_MAX),
            MediaError::Engine(EngineError::Offline | EngineError::NotLinked) => Self::Offline(why),
            MediaError::Engine(EngineError::Throttled { .. } | EngineError::Store(_)) => {
                Self::Uncounted(why, HERE_DELAY_MAX)
            }
            // WhatsApp's hosts, the way to them, or the phone: they may be out of reach for hours.
            MediaError::Engine(
                EngineError::Refused { .. }
                | EngineError::Unavailable { .. }
                | EngineError::TimedOut { .. }
                | EngineError::Internal(_),
            ) => Self::Uncounted(why, DELAY_MAX),
            MediaError::Damaged | MediaError::Engine(_) => Self::Counted(why),
        }
    }

    fn why(self) -> String {
        match self {
            Self::Counted(why) | Self::Uncounted(why, _) | Self::Offline(why) | Self::Final(why) => why,
            Self::Gone | Self::Unwanted => MediaError::Gone.to_string(),
        }
    }
}
