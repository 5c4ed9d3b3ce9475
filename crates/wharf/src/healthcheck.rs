//! `wharf healthcheck`: asks the server on this machine whether it is up.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server that takes longer is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// The status line is all that matters.
const ANSWER_BYTES: usize = 64;

/// Succeeds when `/ping` answers 200.
pub(crate) async fn run(server: SocketAddr) -> anyhow::Result<()> {
    let answer = timeout(ANSWER_WITHIN, ping(server))
        .await
        .context("the server does not answer in time")??;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("the server answered: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(())
}

async fn ping(server: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(server)
        .await
        .context("there is no server at this address")?;
    stream
        .write_all(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = vec![0; ANSWER_BYTES];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
