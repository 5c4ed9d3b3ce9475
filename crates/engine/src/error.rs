//! Turns the protocol library's failures into those of the engine port, whose variants a caller can act on.

use std::error::Error;

use wacore::store::error::StoreError as LibraryStoreError;
use wharf_core::BoxError;
use wharf_core::engine::EngineError;
use wharf_core::store::StoreError;
use whatsapp_rust::{ClientError, SendError};

/// How long the protocol library waits for the answer to a request, in seconds (wacore `request.rs`).
const REQUEST_TIMEOUT_S: u64 = 75;

/// Why an engine cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address of the network is not a websocket's.
    #[error("network address must be ws://host:port/path or wss://host:port/path")]
    Url,
    /// A sandbox build was pointed at WhatsApp.
    #[error("a sandbox build cannot connect to whatsapp")]
    SandboxOnly,
    /// The HTTP client or TLS could not be set up.
    #[error("network client cannot be set up")]
    Client(#[source] BoxError),
}

/// A failed operation.
pub(crate) fn failed(error: impl Into<BoxError>) -> EngineError {
    // Not imported for the whole file: its helper methods collide with those that thiserror brings.
    use whatsapp_rust::ErrorChainExt as _;
    let error = error.into();
    let cause: &(dyn Error + 'static) = error.as_ref();
    if chain(cause).any(is_not_linked) {
        return EngineError::NotLinked;
    }
    if cause.is_transport_unavailable() {
        return EngineError::Offline;
    }
    if cause.is_timeout() {
        return EngineError::TimedOut {
            seconds: REQUEST_TIMEOUT_S,
        };
    }
    if let Some(rejection) = cause.server_rejection() {
        let reason = format!("{} {}", rejection.code, rejection.text).trim_end().to_owned();
        return EngineError::Refused { reason };
    }
    if cause.store_failure().is_some() {
        return EngineError::Store(StoreError::Unavailable(error));
    }
    EngineError::Internal(error)
}

/// An error and its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| Error::source(*error))
}

fn is_not_linked(cause: &(dyn Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(ClientError::NotLoggedIn))
        || matches!(cause.downcast_ref(), Some(SendError::NotLoggedIn))
}

/// A failure of the session's store, as it was before it went through the library.
pub(crate) fn store_failed(error: LibraryStoreError) -> StoreError {
    match error {
        LibraryStoreError::Connection(cause)
        | LibraryStoreError::Database(cause)
        | LibraryStoreError::Serialization(cause)
        | LibraryStoreError::Migration(cause) => match cause.downcast::<StoreError>() {
            Ok(ours) => *ours,
            Err(other) => StoreError::Internal(other),
        },
        other => StoreError::Internal(Box::new(other)),
    }
}

/// An error and its causes in one line, without repeating what a wrapper repeats.
pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in chain(error) {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::IqError;

    use super::*;

    #[test]
    fn says_what_a_caller_can_do() {
        let rejection = IqError::ServerError {
            code: 403,
            text: "forbidden".to_owned(),
            error_type: None,
            backoff: None,
        };
        for (error, expected) in [
            (SendError::NotLoggedIn.into(), "session is not linked to a phone"),
            (
                SendError::Client(ClientError::NotConnected).into(),
                "session is not connected",
            ),
            (
                SendError::Iq(IqError::Timeout).into(),
                "whatsapp did not answer within 75 seconds",
            ),
            (SendError::Iq(rejection).into(), "whatsapp refused: 403 forbidden"),
            (BoxError::from("odd"), "engine failed"),
        ] {
            let error: BoxError = error;
            assert_eq!(failed(error).to_string(), expected);
        }
    }

    #[test]
    fn a_store_failure_comes_out_as_it_went_in() {
        let through_the_library = LibraryStoreError::Database(Box::new(StoreError::Full));
        assert!(matches!(store_failed(through_the_library), StoreError::Full));
    }

    #[test]
    fn one_line_does_not_repeat_wrappers() {
        let error = SendError::Client(ClientError::Internal(anyhow::anyhow!("tube is blocked")));
        assert_eq!(one_line(&error), "tube is blocked");
    }
}
