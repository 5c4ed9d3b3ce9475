//! Which version of WhatsApp Web we say we are.
//!
//! WhatsApp refuses versions that are too old. The library would fetch the current one for every session, and fail the
//! connect when that fetch fails. Here one process-wide fetch serves all sessions for a day, and a failing one falls
//! back to the last known version, or to the one this program was built with. The session that happens to ask does so
//! through its own HTTP client, because nothing of a session with a proxy may go past it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use wacore::net::HttpClient;
use wharf_core::clock::Clock;

use crate::error::one_line;

/// A version of WhatsApp Web.
pub type Version = (u32, u32, u32);

/// The version that was current when this program was built.
const PINNED: Version = (2, 3000, 1_042_742_319);
/// How long a fetched version is used.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// How long to go without another fetch after one that failed.
const RETRY: Duration = Duration::from_secs(10 * 60);
/// How long after a fetch a version that is refused is not fetched again.
const ASK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a fetch may take. Sessions that start wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers the version to use.
pub(crate) enum Versions {
    /// Always the same.
    Fixed(Version),
    /// The one that WhatsApp publishes.
    Published(Published),
}

/// What WhatsApp publishes, and when we last asked.
pub(crate) struct Published {
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

struct Known {
    version: Version,
    asked: Timestamp,
    ask_again: Timestamp,
}

impl Versions {
    /// The pinned one, for networks that do not care.
    pub(crate) fn pinned() -> Self {
        Self::Fixed(PINNED)
    }

    /// The published one, starting from the pinned one.
    pub(crate) fn published(clock: Arc<dyn Clock>) -> Self {
        let known = Mutex::new(Known {
            version: PINNED,
            asked: Timestamp::MIN,
            ask_again: Timestamp::MIN,
        });
        Self::Published(Published { clock, known })
    }

    /// The version to say now, fetched through this client if need be. Never fails.
    pub(crate) async fn current(&self, http: &Arc<dyn HttpClient>) -> Version {
        match self {
            Self::Fixed(version) => *version,
            Self::Published(published) => published.current(http).await,
        }
    }

    /// Whether there is another version than this one, which WhatsApp has refused.
    pub(crate) async fn renewed(&self, refused: Version, http: &Arc<dyn HttpClient>) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Published(published) => published.renewed(refused, http).await,
        }
    }
}

impl Published {
    async fn current(&self, http: &Arc<dyn HttpClient>) -> Version {
        // Sessions that start together wait here for one fetch.
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if now >= known.ask_again {
            self.ask(&mut known, now, http).await;
        }
        known.version
    }

    async fn renewed(&self, refused: Version, http: &Arc<dyn HttpClient>) -> bool {
        // All sessions are refused at the same time; the first one asks for the others.
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        let asked_just_now = now.duration_since(known.asked).unsigned_abs() < ASK_INTERVAL;
        if known.version == refused && !asked_just_now {
            self.ask(&mut known, now, http).await;
        }
        known.version != refused
    }

    async fn ask(&self, known: &mut Known, now: Timestamp, http: &Arc<dyn HttpClient>) {
        let fetch = whatsapp_rust::version::fetch_latest_app_version(http);
        let patience = match tokio::time::timeout(FETCH_TIMEOUT, fetch).await {
            Ok(Ok(version)) => {
                known.version = version;
                FRESH
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %one_line(error.as_ref()), version = ?known.version, "version of whatsapp web cannot be fetched");
                RETRY
            }
            Err(_) => {
                tracing::warn!(version = ?known.version, "version of whatsapp web was not fetched in time");
                RETRY
            }
        };
        known.asked = now;
        known.ask_again = now.saturating_add(patience).unwrap_or(Timestamp::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use wacore::net::{HttpRequest, HttpResponse};

    use super::*;

    struct Movable(StdMutex<Timestamp>);

    impl Movable {
        fn advance(&self, by: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = now.saturating_add(by).unwrap();
        }
    }

    impl Clock for Movable {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    #[derive(Default)]
    struct Site {
        asked: AtomicUsize,
        revision: AtomicUsize,
    }

    #[async_trait]
    impl HttpClient for Site {
        async fn execute(&self, _request: HttpRequest) -> anyhow::Result<HttpResponse> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let revision = self.revision.load(Ordering::SeqCst);
            let (status_code, body) = match revision {
                0 => (503, String::new()),
                revision => (200, format!("\"client_revision\":{revision},")),
            };
            Ok(HttpResponse {
                status_code,
                body: body.into_bytes(),
            })
        }
    }

    fn setup() -> (Arc<Site>, Arc<dyn HttpClient>, Arc<Movable>, Versions) {
        let site = Arc::new(Site::default());
        let clock = Arc::new(Movable(StdMutex::new(Timestamp::UNIX_EPOCH)));
        let versions = Versions::published(clock.clone());
        (site.clone(), site, clock, versions)
    }

    #[tokio::test]
    async fn one_fetch_serves_a_day() {
        let (site, http, clock, versions) = setup();
        site.revision.store(1_050_000_000, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(versions.current(&http).await, (2, 3000, 1_050_000_000));
        }
        assert_eq!(site.asked.load(Ordering::SeqCst), 1);
        clock.advance(FRESH);
        versions.current(&http).await;
        assert_eq!(site.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_needs_the_version_fetches_it_itself() {
        let (site, http, clock, versions) = setup();
        let (other_site, other_http, ..) = setup();
        versions.current(&http).await;
        clock.advance(RETRY);
        versions.current(&other_http).await;
        let asked = |site: &Site| site.asked.load(Ordering::SeqCst);
        assert_eq!((asked(&site), asked(&other_site)), (1, 1));
    }

    #[tokio::test]
    async fn a_failing_fetch_falls_back_and_is_not_repeated_at_once() {
        let (site, http, clock, versions) = setup();
        assert_eq!(versions.current(&http).await, PINNED);
        assert_eq!(versions.current(&http).await, PINNED);
        assert_eq!(site.asked.load(Ordering::SeqCst), 1);
        site.revision.store(1_050_000_000, Ordering::SeqCst);
        clock.advance(RETRY);
        assert_eq!(versions.current(&http).await, (2, 3000, 1_050_000_000));
    }

    #[tokio::test]
    async fn a_refused_version_is_fetched_again_once_for_all_sessions() {
        let (site, http, clock, versions) = setup();
        site.revision.store(1_050_000_000, Ordering::SeqCst);
        let refused = versions.current(&http).await;
        clock.advance(ASK_INTERVAL);
        assert!(
            !versions.renewed(refused, &http).await,
            "it is still the one that is published"
        );
        assert!(!versions.renewed(refused, &http).await);
        assert_eq!(site.asked.load(Ordering::SeqCst), 2);
        clock.advance(ASK_INTERVAL);
        site.revision.store(1_050_000_001, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(versions.renewed(refused, &http).await);
        }
        assert_eq!(site.asked.load(Ordering::SeqCst), 3);
        assert_eq!(versions.current(&http).await, (2, 3000, 1_050_000_001));
    }
}
