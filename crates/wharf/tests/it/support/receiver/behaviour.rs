//! What a receiver can do with a request.

use std::time::Duration;

use axum::http::StatusCode;

/// What it does with a request, after it has read it.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// Answers with this status and these headers.
    Answer(StatusCode, Vec<(&'static str, String)>),
    /// Answers 200 after this long.
    Slow(Duration),
    /// Never answers, and keeps the connection.
    Hang,
    /// Answers 200 with a body that never ends.
    Endless,
    /// Answers 200, promises a body, sends half of it and closes.
    HalfBody,
    /// Resets the connection instead of an answer.
    Reset,
    /// Answers 200 and resets the connection.
    AnswerAndReset,
}

impl Behaviour {
    /// Sends whoever asks elsewhere.
    pub(crate) fn redirect(status: StatusCode, location: impl Into<String>) -> Self {
        Self::Answer(status, vec![("location", location.into())])
    }
}

impl From<StatusCode> for Behaviour {
    fn from(status: StatusCode) -> Self {
        Self::Answer(status, Vec::new())
    }
}
