//! A small HTTP CONNECT or SOCKS5 proxy for tests, which notes what it was asked for.
//!
//! The integration suite has it too. Knows the host name [`SANDBOX_HOST`], which nobody else can resolve: what arrives
//! there has gone through this proxy.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The name of this machine that only the proxy resolves.
pub(crate) const SANDBOX_HOST: &str = "sandbox.invalid";

/// What the proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Socks5,
}

/// A running proxy; it ends when it is dropped.
pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

struct Shared {
    speaks: Speaks,
    credentials: Mutex<Option<(String, String)>>,
    opened: Mutex<Vec<String>>,
    refused: Mutex<usize>,
}

impl TestProxy {
    /// A proxy that asks for these credentials, or for none.
    pub(crate) async fn start(speaks: Speaks, credentials: Option<(&str, &str)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            speaks,
            credentials: Mutex::default(),
            opened: Mutex::default(),
            refused: Mutex::default(),
        });
        let mut accepting = JoinSet::new();
        let serving = Arc::clone(&shared);
        accepting.spawn(async move {
            // They end with the proxy.
            let mut tunnels = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tunnels.spawn(async move { shared.serve(stream).await });
            }
        });
        let proxy = Self {
            address,
            shared,
            _accepting: accepting,
        };
        proxy.ask_for(credentials);
        proxy
    }

    /// Asks for these credentials from now on.
    pub(crate) fn ask_for(&self, credentials: Option<(&str, &str)>) {
        *lock(&self.shared.credentials) = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
    }

    /// The hosts that tunnels were opened to, as they were asked for.
    pub(crate) fn opened(&self) -> Vec<String> {
        lock(&self.shared.opened).clone()
    }

    /// How often somebody with wrong credentials was refused.
    pub(crate) fn refused(&self) -> usize {
        *lock(&self.shared.refused)
    }
}

impl Shared {
    /// Whoever hangs up early is no failure of the proxy.
    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let _ = match self.speaks {
            Speaks::Http => self.serve_http(stream).await,
            Speaks::Socks5 => self.serve_socks(stream).await,
        };
    }

    async fn serve_http(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let basic = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
            .and_then(|(_, value)| BASE64.decode(value.strip_prefix("Basic ")?).ok())
            .map(|login| String::from_utf8_lossy(&login).into_owned());
        let expected = lock(&self.credentials).clone();
        let expected = expected.map(|(user, password)| format!("{user}:{password}"));
        if expected.is_some() && basic != expected {
            *lock(&self.refused) += 1;
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 2\r\n\r\nno";
            return stream.write_all(refusal.as_bytes()).await;
        }
        let Some(mut onward) = self.open(target.unwrap_or_default()).await else {
            return stream
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
                .await;
        };
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        copy_bidirectional(&mut stream, &mut onward).await.map(drop)
    }

    /// RFC 1928, with the login of RFC 1929.
    async fn serve_socks(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let _version = stream.read_u8().await?;
        let methods = counted(&mut stream).await?;
        let expected = lock(&self.credentials).clone();
        let method = if expected.is_some() { 2 } else { 0 };
        if !methods.contains(&method) {
            *lock(&self.refused) += 1;
            return stream.write_all(&[5, 0xFF]).await;
        }
        stream.write_all(&[5, method]).await?;
        if let Some((user, password)) = expected {
            let _version = stream.read_u8().await?;
            let fits = counted(&mut stream).await? == user.as_bytes();
            let fits = counted(&mut stream).await? == password.as_bytes() && fits;
            stream.write_all(&[1, u8::from(!fits)]).await?;
            if !fits {
                *lock(&self.refused) += 1;
                return Ok(());
            }
        }
        let mut request = [0; 4];
        stream.read_exact(&mut request).await?;
        let host = match request[3] {
            1 => Ipv4Addr::from(stream.read_u32().await?).to_string(),
            3 => String::from_utf8_lossy(&counted(&mut stream).await?).into_owned(),
            _ => format!("[{}]", Ipv6Addr::from(stream.read_u128().await?)),
        };
        let port = stream.read_u16().await?;
        let Some(mut onward) = self.open(&format!("{host}:{port}")).await else {
            return stream.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        };
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        copy_bidirectional(&mut stream, &mut onward).await.map(drop)
    }

    /// The way to a host of this machine.
    async fn open(&self, target: &str) -> Option<TcpStream> {
        let (host, port) = target.rsplit_once(':')?;
        let port = port.parse::<u16>().ok()?;
        let host = if host == SANDBOX_HOST { "127.0.0.1" } else { host };
        let onward = TcpStream::connect((host, port)).await.ok()?;
        lock(&self.opened).push(target.to_owned());
        Some(onward)
    }
}

/// As many bytes as the one before them says.
async fn counted(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
