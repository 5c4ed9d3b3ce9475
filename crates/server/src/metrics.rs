//! What `/metrics` tells, every number under its name, in one place.
//!
//! Each number lives with what it counts ([`HttpMetrics`], [`EventMetrics`], [`SessionMetrics`], [`MediaMetrics`]); what is only known at the time
//! of a scrape is set here. Every label has few values, which this program knows: never a session, a chat, an address, or a path
//! as somebody sent it.

mod process;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use wharf_core::session::SessionStatus;

use self::process::Process;
use crate::api::HttpMetrics;
use crate::events::{EventMetrics, ServerEnvironment};
use crate::media::MediaMetrics;
use crate::sessions::SessionMetrics;

/// The last line of a page in the OpenMetrics format.
const END: &str = "# EOF";

/// Every number of one server.
pub(crate) struct Metrics {
    pub(crate) http: HttpMetrics,
    by_status: Family<StatusLabels, Gauge>,
    websockets: Gauge,
    streams: Gauge,
    oldest_due: Gauge<f64, AtomicU64>,
    dead: Gauge<f64, AtomicU64>,
    disabled: Gauge,
    registry: Registry,
}

/// What is known at the time of a scrape only.
pub(crate) struct Scrape {
    /// The status of each session.
    pub(crate) statuses: Vec<SessionStatus>,
    /// Websockets that are open.
    pub(crate) websockets: usize,
    /// Streams of events that are open.
    pub(crate) streams: usize,
    /// For how many seconds the oldest delivery is due, 0 where none is; `None` where that is not known.
    pub(crate) oldest_due: Option<f64>,
    /// Deliveries that are dead; `None` where that is not known.
    pub(crate) dead: Option<u64>,
    /// Webhooks that get nothing any more.
    pub(crate) disabled: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

impl Metrics {
    /// Gives each number its name. Counters get the ending `_total` when they are written.
    pub(crate) fn new(
        environment: &ServerEnvironment,
        started_at: Timestamp,
        events: &EventMetrics,
        sessions: &SessionMetrics,
        media: &MediaMetrics,
    ) -> Self {
        let mut metrics = Self {
            http: HttpMetrics::default(),
            by_status: Family::default(),
            websockets: Gauge::default(),
            streams: Gauge::default(),
            oldest_due: Gauge::default(),
            dead: Gauge::default(),
            disabled: Gauge::default(),
            registry: Registry::default(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process { started_at }));
        let wharf = registry.sub_registry_with_prefix("wharf");
        name_build(wharf, environment);
        name_http(wharf, &metrics.http);
        name_sessions(wharf, sessions);
        name_events(wharf, events);
        name_media(wharf, media);
        metrics.name_own(wharf);
        metrics.registry = registry;
        metrics
    }

    /// Names what is only known at the time of a scrape.
    fn name_own(&self, wharf: &mut Registry) {
        wharf.register("sessions", "Sessions by status", self.by_status.clone());
        wharf.register("websocket_clients", "Websockets that are open", self.websockets.clone());
        wharf.register("stream_clients", "Event streams that are open", self.streams.clone());
        let about = "For how long the oldest delivery is due that is still to be made";
        wharf.register("webhook_oldest_due_seconds", about, self.oldest_due.clone());
        wharf.register("webhook_dead_letters", "Deliveries that are dead", self.dead.clone());
        let about = "Webhooks that get nothing because their receiver said so";
        wharf.register("webhook_disabled", about, self.disabled.clone());
    }

    /// All numbers as text in the OpenMetrics format.
    pub(crate) fn text(&self, scrape: &Scrape) -> Result<String, fmt::Error> {
        for status in SessionStatus::ALL {
            let count = scrape.statuses.iter().filter(|is| **is == status).count();
            let labels = StatusLabels {
                status: status.as_str(),
            };
            self.by_status.get_or_create(&labels).set(gauge(count));
        }
        self.websockets.set(gauge(scrape.websockets));
        self.streams.set(gauge(scrape.streams));
        self.oldest_due.set(scrape.oldest_due.unwrap_or(f64::NAN));
        self.dead.set(scrape.dead.map_or(f64::NAN, |dead| dead as f64));
        self.disabled.set(gauge(scrape.disabled));
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

fn name_build(wharf: &mut Registry, environment: &ServerEnvironment) {
    let (version, engine) = (environment.wharf.version.clone(), environment.engine.clone());
    let labels = [("version".into(), version.into()), ("engine".into(), engine.into())];
    let about = "Always 1, its labels say what is running";
    wharf
        .sub_registry_with_labels(labels.into_iter())
        .register("build_info", about, ConstGauge::new(1_i64));
}

fn name_http(wharf: &mut Registry, http: &HttpMetrics) {
    let about = "Requests that were answered";
    wharf.register("http_requests", about, http.requests.clone());
    let about = "From the headers of a request to those of its answer";
    wharf.register("http_request_duration_seconds", about, http.durations.clone());
}

fn name_sessions(wharf: &mut Registry, sessions: &SessionMetrics) {
    let about = "Connections to WhatsApp that were made";
    wharf.register("session_connects", about, sessions.connects.clone());
    let about = "Connections that are made anew, by why";
    wharf.register("session_reconnects", about, sessions.reconnects.clone());
    let about = "Messages that came and could not be read";
    wharf.register("messages_waiting", about, sessions.waiting.clone());
    let about = "Times that a message which was lost was asked for again";
    wharf.register("messages_asked_again", about, sessions.asked_again.clone());
    let about = "Messages that could only be kept without most of them";
    wharf.register("messages_reduced", about, sessions.reduced.clone());
    let about = "Sends that were asked for again and answered as before";
    wharf.register("sends_repeated", about, sessions.repeated.clone());
}

fn name_events(wharf: &mut Registry, events: &EventMetrics) {
    let about = "Events that were logged";
    wharf.register("events_logged", about, events.logged.clone());
    let about = "From an append to the log to its commit on disk";
    wharf.register("event_log_append_seconds", about, events.append.clone());
    let about = "Attempts to deliver an event to a webhook";
    wharf.register("webhook_attempts", about, events.attempts.clone());
    let about = "Deliveries that were given up";
    wharf.register("webhook_given_up", about, events.given_up.clone());
    let about = "Websockets and event streams that were ended because their client took nothing";
    wharf.register("readers_too_slow", about, events.too_slow.clone());
}

fn name_media(wharf: &mut Registry, media: &MediaMetrics) {
    let about = "Events that wait for the files of their messages";
    wharf.register("media_held_events", about, media.held.clone());
    let about = "Files of messages that are wanted and not there";
    wharf.register("media_waiting", about, media.waiting.clone());
    let about = "Files of messages that are being fetched";
    wharf.register("media_running", about, media.running.clone());
    let about = "Files of messages that were fetched and stored";
    wharf.register("media_fetched", about, media.fetched.clone());
    let about = "Bytes of the files that were fetched and stored";
    wharf.register("media_fetched_bytes", about, media.bytes.clone());
    let about = "Tries to fetch a file that came to nothing";
    wharf.register("media_failed_tries", about, media.failed_tries.clone());
    let about = "Files of messages that were given up";
    wharf.register("media_given_up", about, media.given_up.clone());
}

/// The same page in the older text format of Prometheus (0.0.4), in which a counter's description has the ending of its samples.
pub(crate) fn plain(page: &str) -> String {
    let counter = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
    let counters: HashSet<String> = page.lines().filter_map(counter).collect();
    let mut plain = String::with_capacity(page.len());
    for line in page.lines().filter(|line| *line != END) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind), Some(name), Some(rest)) if counters.contains(name) => {
                plain.extend(["# ", kind, " ", name, "_total ", rest]);
            }
            _ => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Dialect;

    #[test]
    fn what_the_store_does_not_tell_is_no_number_and_the_rest_is_shown() {
        let environment = ServerEnvironment::new(Dialect::Gows, "");
        let (events, sessions, media) = Default::default();
        let metrics = Metrics::new(&environment, Timestamp::UNIX_EPOCH, &events, &sessions, &media);
        let scrape = Scrape {
            statuses: vec![SessionStatus::Working; 3],
            websockets: 2,
            streams: 1,
            oldest_due: None,
            dead: None,
            disabled: 0,
        };
        let page = metrics.text(&scrape).unwrap();
        for line in [
            "wharf_webhook_dead_letters NaN",
            "wharf_webhook_oldest_due_seconds NaN",
            "wharf_sessions{status=\"WORKING\"} 3",
            "# TYPE wharf_sends_repeated counter",
        ] {
            assert!(page.lines().any(|written| written == line), "{line}");
        }
        let plain = plain(&page);
        assert!(plain.contains("# TYPE wharf_sends_repeated_total counter\nwharf_sends_repeated_total 0\n"));
        assert!(!plain.contains(END));
    }
}
