//! Which of the media hosts is asked, and which one after it.

use reqwest::StatusCode;
use wharf_core::engine::EngineError;
use whatsapp_rust::Client;
use whatsapp_rust::mediaconn::MediaConn;

use crate::error::failed;

/// Why a request to a host came to nothing, by what can be done about it.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// Another host may do better.
    Host(E),
    /// The token was refused: a fresh one may do.
    Token(E),
    /// Nothing else would do better.
    Final(E),
}

/// What an answer means that is not the wanted one: the host says no, or it cannot at the moment.
pub(super) fn refused(status: StatusCode) -> EngineError {
    let reason = format!("a media host answered {status}");
    match status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        true => EngineError::Unavailable { reason },
        false => EngineError::Refused { reason },
    }
}

/// The media hosts, one at a time: first those that are known, and where their token is refused, once those of a fresh
/// `media_conn` (whatsapp-rust `upload.rs` does the same).
pub(super) struct Hosts<'c> {
    client: &'c Client,
    conn: MediaConn,
    index: usize,
    is_fresh: bool,
}

impl<'c> Hosts<'c> {
    /// The first one.
    pub(super) async fn of(client: &'c Client) -> Result<Self, EngineError> {
        let conn = client.refresh_media_conn(false).await.map_err(failed)?;
        Ok(Self {
            client,
            conn,
            index: 0,
            is_fresh: false,
        })
    }

    /// Its name, with a port where it has one.
    pub(super) fn name(&self) -> Result<&str, EngineError> {
        let host = self.conn.hosts.get(self.index);
        let host = host.ok_or_else(|| EngineError::Internal("whatsapp names no media hosts".into()))?;
        Ok(&host.hostname)
    }

    /// What an upload shows to be let in.
    pub(super) fn token(&self) -> &str {
        &self.conn.auth
    }

    /// Goes on to the next one; where there is none, with the failure of this one.
    pub(super) async fn after<E: From<EngineError>>(&mut self, failure: Failure<E>) -> Result<(), E> {
        match failure {
            Failure::Token(_) if !self.is_fresh => {
                self.conn = self.client.refresh_media_conn(true).await.map_err(failed)?;
                (self.index, self.is_fresh) = (0, true);
                Ok(())
            }
            Failure::Host(_) if self.index + 1 < self.conn.hosts.len() => {
                self.index += 1;
                Ok(())
            }
            Failure::Host(error) | Failure::Token(error) | Failure::Final(error) => Err(error),
        }
    }
}
