//! As much of HTTP/1.1 as a receiver needs: requests with a `Content-Length`, connections that are used again.

use std::future::pending;
use std::io;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::sleep;

use super::{Behaviour, Shared};

/// A piece of a body.
const CHUNK: &str = "nobody wants to read this, least of all for ever";

/// How a connection is to end.
pub(super) enum Ending {
    Close,
    Reset,
}

/// Reads requests and treats them as the receiver is told to, until one of both sides has enough.
pub(super) async fn serve(receiver: &Shared, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Ending> {
    let mut stream = BufReader::new(stream);
    while let Some(headers) = read_head(&mut stream).await? {
        let length = headers.get("content-length").map_or("0", |it| it.to_str().unwrap());
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await?;
        match receiver.received(headers, Bytes::from(body)) {
            Behaviour::Answer(status, headers) => answer(&mut stream, status, "content-length: 0", &headers).await?,
            Behaviour::Slow(time) => {
                sleep(time).await;
                answer(&mut stream, StatusCode::OK, "content-length: 0", &[]).await?;
            }
            Behaviour::Hang => pending().await,
            Behaviour::Endless => {
                answer(&mut stream, StatusCode::OK, "transfer-encoding: chunked", &[]).await?;
                let chunk = format!("{:x}\r\n{CHUNK}\r\n", CHUNK.len());
                loop {
                    stream.write_all(chunk.as_bytes()).await?;
                }
            }
            Behaviour::HalfBody => {
                let twice = format!("content-length: {}", CHUNK.len() * 2);
                answer(&mut stream, StatusCode::OK, &twice, &[]).await?;
                stream.write_all(CHUNK.as_bytes()).await?;
                stream.flush().await?;
                return Ok(Ending::Close);
            }
            Behaviour::Reset => return Ok(Ending::Reset),
            Behaviour::AnswerAndReset => {
                answer(&mut stream, StatusCode::OK, "content-length: 0", &[]).await?;
                return Ok(Ending::Reset);
            }
        }
    }
    Ok(Ending::Close)
}

/// The headers of the next request; `None` where the other side has closed.
async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<HeaderMap>> {
    if read_line(stream).await?.is_none() {
        return Ok(None);
    }
    let mut headers = HeaderMap::new();
    loop {
        let line = read_line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(Some(headers));
        };
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
}

/// A whole line: whoever is killed while it writes leaves half of one.
async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<String>> {
    let mut line = String::new();
    match stream.read_line(&mut line).await? {
        0 => Ok(None),
        _ if line.ends_with('\n') => Ok(Some(line.trim_end().to_owned())),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    status: StatusCode,
    framing: &str,
    headers: &[(&str, String)],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\n{framing}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await
}
