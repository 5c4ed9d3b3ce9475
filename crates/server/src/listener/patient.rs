//! A connection that is patient with its client, but not for ever: one that takes nothing of an answer is given up.
//!
//! hyper waits without a limit until a client takes what is written, and asks nothing of the answer meanwhile: such a
//! connection could not even be told that it should end. Never limits reading, nor how long an answer takes as a whole.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection with a limit on how long it may take nothing.
pub(super) struct Patient<T> {
    connection: T,
    stall_max: Duration,
    /// Runs while nothing is taken.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(super) fn new(connection: T, stall_max: Duration) -> Self {
        Self {
            connection,
            stall_max,
            patience: None,
        }
    }

    /// What comes of a write.
    fn unless_stalled<R>(&mut self, written: Poll<Result<R>>, context: &mut Context<'_>) -> Poll<Result<R>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let stall_max = self.stall_max;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(context, bytes);
        self.unless_stalled(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(context, slices);
        self.unless_stalled(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.connection).poll_flush(context);
        self.unless_stalled(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{interval, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const STALL_MAX: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (server, _client) = duplex(16);
        let mut server = Patient::new(server, STALL_MAX);
        let written = timeout(PATIENCE, server.write_all(&[b'x'; 100])).await;
        let error = written.expect("it waits for ever").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_a_little_at_a_time_gets_all() {
        let (server, mut client) = duplex(1);
        let mut server = Patient::new(server, STALL_MAX);
        // All together it takes longer than it may take nothing.
        let reading = async {
            let mut taking = interval(STALL_MAX / 10);
            for _ in 0..30 {
                taking.tick().await;
                client.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[b'x'; 30]), reading);
        written.unwrap();
    }
}
