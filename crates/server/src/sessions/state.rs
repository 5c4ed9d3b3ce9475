//! The states of a session: the one table of what leads where, and what the end of a connection means.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::engine::{Closed, PasskeyChallenge};
use wharf_core::events::SessionStatusPoint;
use wharf_core::ids::SessionName;
use wharf_core::session::Me;
use wharf_core::session::SessionStatus::{
    self, Failed, PasskeyConfirmationRequired, PasskeyRequired, ScanQrCode, Starting, Stopped, Working,
};
use wharf_core::store::{Defect, Unusable};

use super::backoff::Backoff;
use super::store::{Desired, SessionDocument};
use super::{Connection, SessionConfig};

/// The statuses that a session remembers, as WAHA's `statuses`.
pub(super) const STATUSES_MAX: usize = 3;

/// A session as it is now.
#[derive(Clone)]
pub(crate) struct View {
    /// Its status.
    pub status: SessionStatus,
    /// The last statuses, oldest first.
    pub statuses: Vec<SessionStatusPoint>,
    /// Its configuration.
    pub config: Arc<SessionConfig>,
    /// Whose account it is linked to.
    pub me: Option<Me>,
    /// The text of the QR code, while the status is `SCAN_QR_CODE`. Whoever has it can link a phone: it belongs into no log.
    pub qr: Option<String>,
    /// What a person has to do with the account's passkey, while the status asks for that.
    pub passkey: Option<Passkey>,
    /// Why it failed, while the status is `FAILED`; why it is not connected, while it is `STARTING`.
    pub problem: Option<Problem>,
    /// Whether it shows the account as online, while the status is `WORKING`; `None` while nothing was said.
    pub online: Option<bool>,
    /// Its connection, while it runs.
    pub connection: Option<Connection>,
    /// Whether it is being deleted: it is there for nobody but those who delete it or make another one of its name.
    pub is_deleted: bool,
}

/// What a person has to do with the passkey of the account that a session is linked to.
#[derive(Debug, Clone)]
pub(crate) enum Passkey {
    /// Have it sign this.
    Sign(Arc<PasskeyChallenge>),
    /// Compare this code with the one on the phone.
    Compare(String),
}

/// Why a session does not work, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// A constant name, for programs.
    pub reason: &'static str,
    /// What happened and what to do, for people.
    pub message: String,
    /// More that belongs to this reason, such as the file that is damaged.
    pub details: Vec<(&'static str, Value)>,
}

/// What happens to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// It was asked to start, or to start again.
    Start,
    /// It was asked to stop.
    Stop,
    /// There is a new QR code.
    QrCode,
    /// A phone has scanned, and its account's passkey has to agree.
    PasskeyRequired,
    /// The passkey agreed, and a person has to compare two codes.
    PasskeyConfirmation,
    /// A phone has agreed.
    Linked,
    /// It is logged in.
    Connected,
    /// The connection is gone and comes back.
    Lost,
    /// The connection is gone and does not come back by itself.
    GaveUp,
}

/// The statuses of a session that runs.
const RUNNING: &[SessionStatus] = &[
    Starting,
    ScanQrCode,
    PasskeyRequired,
    PasskeyConfirmationRequired,
    Working,
];
/// The statuses of a session that waits for a person with a phone, or is about to.
const LINKING: &[SessionStatus] = &[Starting, ScanQrCode, PasskeyRequired, PasskeyConfirmationRequired];

/// From which statuses a trigger leads to which. What is not here changes nothing.
const TRANSITIONS: &[(Trigger, &[SessionStatus], SessionStatus)] = &[
    (Trigger::Start, &[Stopped, Failed], Starting),
    (Trigger::Start, RUNNING, Starting),
    (Trigger::Stop, &[Failed], Stopped),
    (Trigger::Stop, RUNNING, Stopped),
    (Trigger::QrCode, &[Starting, ScanQrCode], ScanQrCode),
    (Trigger::PasskeyRequired, LINKING, PasskeyRequired),
    (
        Trigger::PasskeyConfirmation,
        &[PasskeyRequired],
        PasskeyConfirmationRequired,
    ),
    (Trigger::Linked, LINKING, Starting),
    (Trigger::Connected, LINKING, Working),
    (Trigger::Lost, RUNNING, Starting),
    (Trigger::GaveUp, RUNNING, Failed),
];

/// Where a trigger leads, or `None` where it means nothing.
pub(super) fn next(status: SessionStatus, trigger: Trigger) -> Option<SessionStatus> {
    TRANSITIONS
        .iter()
        .find(|(known, from, _)| *known == trigger && from.contains(&status))
        .map(|(_, _, to)| *to)
}

/// What to do after a connection closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterClose {
    /// Nothing: we asked for it.
    Nothing,
    /// Connect again, after a while.
    Rebuild {
        /// What happened.
        problem: Problem,
        /// How long to wait, and whether to give up after many times.
        backoff: Backoff,
    },
    /// Fail.
    Fail(Problem),
    /// Fail; the credentials are worthless, and the next start begins with none.
    Unlinked(Problem),
}

/// What the end of a connection means for the session.
pub(super) fn after_close(closed: Closed) -> AfterClose {
    match closed {
        Closed::Asked => AfterClose::Nothing,
        Closed::Unexpected => AfterClose::Rebuild {
            problem: Problem::not_connected("the connection ended without saying why"),
            backoff: Backoff::BOUNDED,
        },
        Closed::Renewed => AfterClose::Rebuild {
            problem: Problem::not_connected("WhatsApp asked for a newer client version, which is tried now"),
            backoff: Backoff::BOUNDED,
        },
        // A full disk may stay full for days; WhatsApp keeps the messages meanwhile.
        Closed::StoreFailed { reason } => AfterClose::Rebuild {
            problem: Problem::not_connected(&reason),
            backoff: Backoff::STEADILY,
        },
        Closed::StoreUnusable(unusable) => AfterClose::Fail(Problem::unusable(&unusable)),
        Closed::LoggedOut { reason } => AfterClose::Unlinked(
            Problem::new(
                "LOGGED_OUT",
                "the phone or WhatsApp unlinked this session; restart it and scan the new QR code",
            )
            .with("details", reason),
        ),
        Closed::Locked { reason } => AfterClose::Unlinked(
            Problem::new(
                "ACCOUNT_LOCKED",
                "WhatsApp locked this account, or its phone is no longer signed in; open WhatsApp on the phone and do what \
                 it asks for, then restart this session and scan the new QR code",
            )
            .with("details", reason),
        ),
        Closed::PasskeyExpired => AfterClose::Fail(Problem::new(
            "PASSKEY_EXPIRED",
            "the account's passkey did not sign in time; restart the session, and link it again",
        )),
        Closed::PasskeyFailed { reason } => AfterClose::Fail(
            Problem::new(
                "PASSKEY_FAILED",
                "linking with the account's passkey went wrong; restart the session, and link it again",
            )
            .with("details", reason),
        ),
        Closed::QrCodesExpired => AfterClose::Fail(Problem::new(
            "QR_CODES_EXPIRED",
            "nobody scanned any of the QR codes; restart the session to get new ones",
        )),
        Closed::Replaced => AfterClose::Fail(Problem::new(
            "REPLACED",
            "another connection uses the same credentials; stop the other server or copy, then restart this session",
        )),
        Closed::Banned { code, expires_in } => AfterClose::Fail(banned(code, expires_in)),
        Closed::Outdated => AfterClose::Fail(Problem::new(
            "OUTDATED",
            "WhatsApp does not accept this client version any more; update Wharf, then restart the session",
        )),
        Closed::Refused { reason } => AfterClose::Fail(
            Problem::new(
                "REFUSED",
                "WhatsApp refused the login; restart the session, or log it out and link it again",
            )
            .with("details", reason),
        ),
    }
}

fn banned(code: i32, expires_in: Option<Duration>) -> Problem {
    let seconds = expires_in.map(|duration| duration.as_secs());
    let message = match seconds {
        Some(seconds) => format!("WhatsApp banned this account for {seconds} seconds; restart the session after that"),
        None => "WhatsApp banned this account; see WhatsApp on the phone, then restart the session".to_owned(),
    };
    Problem::new("BANNED", message)
        .with("code", code)
        .with("expiresInSeconds", seconds)
}

impl Problem {
    /// A problem with no details.
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// WhatsApp is not reached now, or has ended the connection.
    pub(super) fn not_connected(reason: &str) -> Self {
        let message = format!("there is no connection to WhatsApp ({reason}); it is tried again until there is one");
        Self::new("NOT_CONNECTED", message)
    }

    /// WhatsApp takes no connection now.
    pub(super) fn turned_away(reason: &str) -> Self {
        let message = format!(
            "WhatsApp takes no connection of this session now ({reason}); it is tried again, less and less often; \
             restart the session to try at once"
        );
        Self::new("TURNED_AWAY", message)
    }

    /// The session's proxy is in the way. It is tried again too: a proxy refuses for a while when it is out of quota.
    pub(super) fn proxy_failed(reason: &str) -> Self {
        let message = format!("{reason}; it is tried again, see to the proxy, or change config.proxy");
        Self::new("PROXY_FAILED", message)
    }

    /// The account is known, but not its credentials: the session's data has gone.
    pub(super) fn missing(session: &SessionName) -> Self {
        Self::new(
            "STORE_MISSING",
            format!(
                "{session} is linked to an account, but its data is gone; restore its folder from a backup and restart the \
                 session, or log the session out and start it to begin anew"
            ),
        )
    }

    /// A file that somebody must see to.
    pub(super) fn unusable(unusable: &Unusable) -> Self {
        let (file, cause) = (unusable.file.display(), &unusable.cause);
        let (reason, message) = match unusable.why {
            Defect::Corrupt => (
                "STORE_CORRUPT",
                format!(
                    "the session's data in {file} is damaged ({cause}); restore it from a backup and restart the session, \
                     or log the session out and start it to begin anew"
                ),
            ),
            Defect::Denied => (
                "STORE_DENIED",
                format!(
                    "the session's data in {file} may not be read or written ({cause}); give the file and its folder to \
                     the user that runs the server, then restart the session"
                ),
            ),
        };
        Self::new(reason, message).with("file", file.to_string())
    }

    /// Adds a detail.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// As the `data` of a `session.status` event.
    pub(crate) fn data(&self) -> Value {
        let mut data = json!({"reason": self.reason, "message": self.message});
        for (name, value) in &self.details {
            data[*name] = value.clone();
        }
        data
    }
}

impl View {
    /// A session that does not run.
    pub(super) fn stopped(document: &SessionDocument) -> Self {
        Self {
            status: Stopped,
            statuses: document.statuses.clone(),
            config: Arc::new(document.config.clone()),
            me: document.me.clone(),
            qr: None,
            passkey: None,
            problem: None,
            online: None,
            connection: None,
            is_deleted: document.desired == Desired::Deleted,
        }
    }

    /// Whether it is on its way to another status by itself: connecting, or just scanned.
    pub(crate) fn is_settling(&self) -> bool {
        match self.status {
            Starting => true,
            ScanQrCode => self.qr.is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairing_and_loss_walk_through_the_table() {
        let walk = [
            (Trigger::Start, Starting),
            (Trigger::QrCode, ScanQrCode),
            (Trigger::QrCode, ScanQrCode),
            (Trigger::PasskeyRequired, PasskeyRequired),
            (Trigger::Lost, Starting),
            (Trigger::QrCode, ScanQrCode),
            (Trigger::PasskeyRequired, PasskeyRequired),
            (Trigger::PasskeyConfirmation, PasskeyConfirmationRequired),
            (Trigger::Linked, Starting),
            (Trigger::Connected, Working),
            (Trigger::Lost, Starting),
            (Trigger::Connected, Working),
            (Trigger::GaveUp, Failed),
            (Trigger::Start, Starting),
            (Trigger::Stop, Stopped),
        ];
        let mut status = Stopped;
        for (trigger, expected) in walk {
            status = next(status, trigger).unwrap_or_else(|| panic!("{status:?} {trigger:?}"));
            assert_eq!(status, expected, "{trigger:?}");
        }
    }

    #[test]
    fn a_stopped_session_hears_nothing_but_start() {
        for trigger in [
            Trigger::Stop,
            Trigger::QrCode,
            Trigger::PasskeyRequired,
            Trigger::PasskeyConfirmation,
            Trigger::Linked,
            Trigger::Connected,
            Trigger::Lost,
            Trigger::GaveUp,
        ] {
            assert_eq!(next(Stopped, trigger), None, "{trigger:?}");
        }
    }

    #[test]
    fn a_failed_session_does_not_come_back_by_itself() {
        for trigger in [Trigger::QrCode, Trigger::Linked, Trigger::Connected, Trigger::Lost] {
            assert_eq!(next(Failed, trigger), None, "{trigger:?}");
        }
    }

    #[test]
    fn every_failure_says_what_to_do() {
        for closed in [
            Closed::QrCodesExpired,
            Closed::PasskeyExpired,
            Closed::PasskeyFailed {
                reason: "400".to_owned(),
            },
            Closed::LoggedOut {
                reason: "401".to_owned(),
            },
            Closed::Locked {
                reason: "403".to_owned(),
            },
            Closed::Replaced,
            Closed::Banned {
                code: 101,
                expires_in: Some(Duration::from_secs(60)),
            },
            Closed::Outdated,
            Closed::Refused {
                reason: "405".to_owned(),
            },
        ] {
            let (AfterClose::Fail(problem) | AfterClose::Unlinked(problem)) = after_close(closed.clone()) else {
                panic!("{closed:?} must fail");
            };
            assert!(problem.message.contains("restart"), "{}", problem.message);
            assert_eq!(problem.data()["reason"], problem.reason);
        }
    }
}
