//! A site that answers byte for byte as a test wants, and counts who comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A site.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    hits: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

/// What a request gets.
pub(crate) enum Reply {
    /// These bytes, and that was all.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing for ever.
    Stall(Vec<u8>),
    /// These bytes, and then more for ever.
    Endless(Vec<u8>),
}

/// An answer with a body of this type.
pub(crate) fn page(kind: &str, body: &[u8]) -> Reply {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Reply::Bytes([head.as_bytes(), body].concat())
}

/// An answer that leads elsewhere.
pub(crate) fn redirect(to: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

impl Site {
    /// A site at `address` that answers a request for a path.
    pub(crate) async fn start(address: &str, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hits, answer) = (Arc::<AtomicUsize>::default(), Arc::new(answer));
        let mut server = JoinSet::new();
        let counter = Arc::clone(&hits);
        server.spawn(async move {
            let mut visitors = JoinSet::new();
            loop {
                let (visitor, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                // Whoever hangs up has seen enough.
                visitors.spawn(async move { serve(visitor, &*answer).await.unwrap_or_default() });
            }
        });
        Self {
            address,
            hits,
            _server: server,
        }
    }

    /// How many connections there were.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(mut visitor: TcpStream, answer: &(impl Fn(&str) -> Reply + Sync)) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(visitor.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    match answer(path) {
        Reply::Bytes(bytes) => visitor.write_all(&bytes).await?,
        Reply::Stall(bytes) => {
            visitor.write_all(&bytes).await?;
            std::future::pending::<()>().await;
        }
        Reply::Endless(bytes) => {
            visitor.write_all(&bytes).await?;
            loop {
                visitor.write_all(&[b'x'; 64 * 1024]).await?;
            }
        }
    }
    visitor.shutdown().await
}
