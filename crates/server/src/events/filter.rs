//! What a reader of the log asks for: which session, which events, and from where on.
//!
//! The same query for websockets, streams and pages. Never says who may read what; a filter is only narrowed to it.

use url::form_urlencoded;
use wharf_core::events::EventName;
use wharf_core::ids::{EventId, SessionName};

use super::log::LoggedEvent;

/// What a reader wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Of this session; of all where it is `None`.
    pub(super) session: Option<SessionName>,
    /// These events.
    events: Vec<EventName>,
    /// Whether the reader may know of no other session, not even by an event's id.
    pub(super) is_confined: bool,
}

/// Where a reader starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the first event that is kept: `oldest`.
    Oldest,
    /// With what is logged from now on: `newest`.
    Newest,
    /// Behind this event.
    After(EventId),
}

/// A query that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// The text says what is wrong with it.
    #[error("{0}")]
    Wrong(String),
    /// Only events of this session may be read.
    #[error("this key reads the events of session '{0}' only")]
    Foreign(SessionName),
}

impl Filter {
    /// The filter in a query: `session=*|name`, `events=*|name`, each `events` also more than once or with commas.
    pub(crate) fn parse(query: &str) -> Result<Self, FilterError> {
        let wrong = |problem: String| FilterError::Wrong(problem);
        let (mut sessions, mut names) = (Vec::new(), Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "session" if value == "*" => sessions.push(None),
                "session" => sessions.push(Some(value.parse().map_err(|error| wrong(format!("{error}")))?)),
                "events" => {
                    let named = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                    names.extend(named.map(str::to_owned));
                }
                _ => {}
            }
        }
        sessions.dedup();
        if sessions.len() > 1 {
            return Err(wrong("session must be one name, or * for all".to_owned()));
        }
        if names.is_empty() {
            names.push("*".to_owned());
        }
        let events = EventName::select(names.iter().map(String::as_str));
        Ok(Self {
            session: sessions.pop().flatten(),
            events: events.map_err(|error| wrong(format!("{error}")))?,
            is_confined: false,
        })
    }

    /// The same for a reader who may know of one session only, if there is one.
    pub(crate) fn confined_to(self, own: Option<&SessionName>) -> Result<Self, FilterError> {
        let Some(own) = own else {
            return Ok(self);
        };
        match self.session.as_ref().is_none_or(|session| session == own) {
            true => Ok(Self {
                session: Some(own.clone()),
                is_confined: true,
                ..self
            }),
            false => Err(FilterError::Foreign(own.clone())),
        }
    }

    /// Whether it is an event of the wanted session.
    pub(super) fn is_of_session(&self, event: &LoggedEvent) -> bool {
        self.session.as_ref().is_none_or(|session| *session == event.session)
    }

    /// Whether it is a wanted event.
    pub(super) fn wants(&self, event: &LoggedEvent) -> bool {
        self.events.contains(&event.name) && self.is_of_session(event)
    }
}

impl Start {
    /// The start in a query: `after=oldest|newest|evt_…`; `None` where it has none.
    pub(crate) fn parse(query: &str) -> Result<Option<Self>, FilterError> {
        let mut starts = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "after");
        match (starts.next(), starts.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => Self::read(&value).map(Some),
            (Some(_), Some(_)) => Err(FilterError::Wrong("after must be there once".to_owned())),
        }
    }

    /// The start in a text: `oldest`, `newest`, or the id of an event.
    pub(crate) fn read(text: &str) -> Result<Self, FilterError> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            id => id
                .parse()
                .map(Self::After)
                .map_err(|_| FilterError::Wrong("after must be the id of an event, oldest or newest".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn event(session: &str, name: EventName) -> LoggedEvent {
        LoggedEvent {
            id: EventId::derived(Timestamp::UNIX_EPOCH, [0; 16]),
            seq: 1,
            name,
            session: session.parse().unwrap(),
            at: Timestamp::UNIX_EPOCH,
            body: bytes::Bytes::new(),
        }
    }

    fn problem(query: &str) -> String {
        Filter::parse(query).unwrap_err().to_string()
    }

    #[test]
    fn no_filter_is_everything_but_engine_events() {
        for query in ["", "session=*&events=*", "x-api-key=k"] {
            let filter = Filter::parse(query).unwrap();
            assert!(filter.wants(&event("a", EventName::Message)), "{query}");
            assert!(!filter.wants(&event("a", EventName::EngineEvent)), "{query}");
        }
    }

    #[test]
    fn events_may_be_named_more_than_once_or_with_commas() {
        for query in [
            "session=a&events=message&events=message.ack",
            "session=a&events=message,message.ack",
        ] {
            let filter = Filter::parse(query).unwrap();
            assert!(filter.wants(&event("a", EventName::MessageAck)), "{query}");
            assert!(!filter.wants(&event("b", EventName::MessageAck)), "{query}");
            assert!(!filter.wants(&event("a", EventName::MessageAny)), "{query}");
        }
        let with_engine = Filter::parse("events=*&events=engine.event").unwrap();
        assert!(with_engine.wants(&event("a", EventName::EngineEvent)));
    }

    #[test]
    fn wrong_filters_say_what_is_wrong() {
        assert_eq!(problem("events=massage"), "there is no event 'massage'");
        assert!(problem("session=a/b").starts_with("session name must be"));
        assert_eq!(problem("session=a&session=b"), "session must be one name, or * for all");
        for query in ["after=evt_1", "after=", "after=newest&after=oldest"] {
            assert!(Start::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn who_may_read_one_session_reads_no_other() {
        let own: SessionName = "a".parse().unwrap();
        for query in ["", "session=*", "session=a"] {
            let filter = Filter::parse(query).unwrap().confined_to(Some(&own)).unwrap();
            assert!(filter.wants(&event("a", EventName::Message)), "{query}");
            assert!(!filter.wants(&event("b", EventName::Message)), "{query}");
        }
        let foreign = Filter::parse("session=b").unwrap().confined_to(Some(&own));
        assert_eq!(foreign, Err(FilterError::Foreign(own)));
    }

    #[test]
    fn a_start_is_a_word_or_an_event() {
        let id = EventId::derived(Timestamp::UNIX_EPOCH, [7; 16]);
        for (query, start) in [
            ("events=message".to_owned(), None),
            ("after=oldest".to_owned(), Some(Start::Oldest)),
            ("after=newest".to_owned(), Some(Start::Newest)),
            (format!("after={id}"), Some(Start::After(id))),
        ] {
            assert_eq!(Start::parse(&query), Ok(start), "{query}");
        }
    }
}
