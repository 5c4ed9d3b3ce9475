//! The log, on standard error: for people or, as JSON, for collectors.

use std::fmt;
use std::io::stderr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::tz::TimeZone;
use log::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use wharf_core::clock::Clock;
use wharf_server::config::{LogFormat, LoggingConfig};

/// Our crates. Libraries tell of single stanzas and connections at `info`, so from them only warnings are news.
const OURS: &[&str] = &[
    "wharf_cli",
    "wharf_core",
    "wharf_engine",
    "wharf_server",
    "wharf_simulator",
    "wharf_storage",
];

/// The span that the tasks of a session with `config.debug` run in; see `sessions/settings.rs` of the server.
const DEBUGGED: &str = "debugged";

/// Parts of the protocol library that log secrets, and the least important level of each that has none: pairing codes with
/// the numbers that they are for, and addresses of media with the tokens that open them.
const SECRETIVE: [(&str, Level); 2] = [
    ("Client/PairCode", Level::WARN),
    ("whatsapp_rust::download", Level::ERROR),
];

/// Starts logging. Does nothing where a log was started already, as in tests.
pub(crate) fn start(config: &LoggingConfig, clock: Arc<dyn Clock>) {
    let libraries = Libraries::new(config.level);
    let usual = libraries.usual;
    // An error means that there is a log already.
    if subscriber(config, clock, stderr).with(libraries).try_init().is_ok() {
        log::set_max_level(usual);
    }
}

fn subscriber<W>(
    config: &LoggingConfig,
    clock: Arc<dyn Clock>,
    writer: W,
) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let time = LocalTime {
        clock,
        zone: config.zone.clone(),
    };
    let lines = layer().with_writer(writer).with_timer(time);
    let lines = match config.format {
        LogFormat::Pretty => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(EnvFilter::new(directives(config.level)))
        // Not one of the directives: a session with `config.debug` is let through whatever those say.
        .with(filter_fn(is_public))
        .with(lines)
}

/// Whether something may be logged at all.
fn is_public(metadata: &Metadata<'_>) -> bool {
    SECRETIVE
        .iter()
        .all(|(target, level)| metadata.target() != *target || metadata.level() <= level)
}

fn directives(level: Level) -> String {
    let ours = OURS.iter().map(|name| format!(",{name}={level}")).collect::<String>();
    let all = match level {
        // Somebody looks for something: show everything.
        Level::DEBUG | Level::TRACE => format!("{level},hyper=info"),
        level => format!("{}{ours}", level.min(Level::WARN)),
    };
    format!("{all},[{DEBUGGED}]=debug")
}

/// Keeps libraries that log in the older way quiet while no session is debugged. What they have to say would only be thrown
/// away by the filter, and the protocol library has so much to say that a send would cost a tenth more.
struct Libraries {
    usual: LevelFilter,
    debugged: AtomicUsize,
}

impl Libraries {
    fn new(level: Level) -> Self {
        let usual = match level {
            Level::TRACE => LevelFilter::Trace,
            Level::DEBUG => LevelFilter::Debug,
            Level::INFO | Level::WARN => LevelFilter::Warn,
            Level::ERROR => LevelFilter::Error,
        };
        Self {
            usual,
            debugged: AtomicUsize::new(0),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Libraries {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if span.metadata().name() == DEBUGGED && self.debugged.fetch_add(1, Ordering::SeqCst) == 0 {
            log::set_max_level(self.usual.max(LevelFilter::Debug));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let is_debugged = context
            .metadata(&id)
            .is_some_and(|metadata| metadata.name() == DEBUGGED);
        if is_debugged && self.debugged.fetch_sub(1, Ordering::SeqCst) == 1 {
            log::set_max_level(self.usual);
        }
    }
}

/// Writes the time of day of one time zone.
struct LocalTime {
    clock: Arc<dyn Clock>,
    zone: TimeZone,
}

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = self.clock.now().to_zoned(self.zone.clone());
        write!(writer, "{}", now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use jiff::Timestamp;
    use wharf_server::config::{Config, Environment};

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            "2026-07-01T12:00:00Z".parse().unwrap()
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What is logged with these settings.
    fn logged(variables: &[(&str, &str)], log: impl FnOnce()) -> String {
        let environment: Environment = variables.iter().copied().collect();
        let config = Config::read(&environment).unwrap().logging;
        let lines = Lines::default();
        tracing::subscriber::with_default(subscriber(&config, Arc::new(Noon), lines.clone()), log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn times_are_those_of_the_time_zone() {
        let log = || tracing::warn!("hello");
        assert!(logged(&[], log).contains("2026-07-01T12:00:00.000+00:00"));
        assert!(logged(&[("TZ", "Europe/Warsaw")], log).contains("2026-07-01T14:00:00.000+02:00"));
        let json = logged(&[("TZ", "America/Sao_Paulo"), ("WAHA_LOG_FORMAT", "JSON")], log);
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["timestamp"], "2026-07-01T09:00:00.000-03:00");
        assert_eq!(line["fields"]["message"], "hello");
    }

    #[test]
    fn the_level_is_the_one_that_is_set() {
        let log = || {
            tracing::info!(target: "wharf_server::x", "ours");
            tracing::info!(target: "library", "foreign");
            tracing::debug!(target: "wharf_server::x", "detail");
        };
        for (variables, expected) in [
            (&[][..], [true, false, false]),
            (&[("WAHA_LOG_LEVEL", "error")], [false, false, false]),
            (&[("WAHA_LOG_LEVEL", "debug")], [true, true, true]),
            (&[("DEBUG", "1"), ("WAHA_LOG_LEVEL", "error")], [true, true, true]),
        ] {
            let lines = logged(variables, log);
            let found = ["ours", "foreign", "detail"].map(|word| lines.contains(word));
            assert_eq!(found, expected, "{variables:?}");
        }
    }

    #[test]
    fn what_has_secrets_is_not_logged() {
        let lines = logged(&[("WAHA_LOG_LEVEL", "trace")], || {
            tracing::warn!(target: "whatsapp_rust::download", "an address with its token");
            tracing::info!(target: "Client/PairCode", "a code");
            tracing::warn!(target: "Client/PairCode", "no code");
        });
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains("no code"), "{lines}");
    }

    #[test]
    fn a_debugged_session_logs_more_than_the_others() {
        let lines = logged(&[], || {
            let work = |name: &str| tracing::debug!(target: "library", "work of {name}");
            tracing::info_span!("debugged", session = "one").in_scope(|| work("one"));
            work("two");
        });
        assert!(
            lines.contains("work of one") && !lines.contains("work of two"),
            "{lines}"
        );
    }
}
