//! One client connection: websocket messages in, frames, Noise, stanzas, and back.
//!
//! It knows nothing of what stanzas mean. Framing as in wacore-noise `framing.rs`: three length bytes before every
//! payload; the first bytes of a connection may be an edge-routing introduction and then the four header bytes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use wacore::xml::DisplayableNode;
use wacore_binary::Node;
use wacore_binary::consts::WA_CONN_HEADER;
use wacore_noise::NoiseCipher;
use wacore_noise::framing::{FrameDecoder, encode_frame};

use crate::model::{ConnId, Out};
use crate::network::{LINK_DEPTH, Network, Verdict};
use crate::noise::{NoiseError, Responder, Session, Step};
use crate::stanza;

/// A client must complete its handshake in this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// A client that sends nothing for this long is gone; clients ping every 15 to 30 s (wacore `protocol/keepalive.rs`).
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// One write may take this long before the client counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to close after the network did.
const LINGER: Duration = Duration::from_secs(1);
/// How often silence and pairing time are checked.
const TICK: Duration = Duration::from_secs(1);
/// Stanzas written before the socket is flushed.
const WRITE_BURST: usize = 32;
/// Late stanzas (a fault) that one connection may have under way.
const LATE_LEN_MAX: usize = 1000;
/// Longest edge-routing introduction.
const ROUTING_LEN_MAX: usize = 4096;
/// Length of the edge-routing marker and its length field (wacore-noise `edge_routing.rs`).
const ROUTING_HEAD_LEN: usize = 7;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client closed")]
    ByClient,
    #[error("closed by the network")]
    ByNetwork,
    #[error("cut by the network")]
    Cut,
    #[error("the socket failed: {0}")]
    Socket(String),
    #[error("not the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Noise(#[from] NoiseError),
    #[error("frame {counter} cannot be read")]
    Frame { counter: u32 },
    #[error("no sign of life")]
    Silent,
}

/// How a connection was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The socket was closed.
    Closed,
    /// Without a word: the socket is still open, and is to be dropped as by a network that fails.
    Cut,
}

/// Serves one connection until it ends.
pub(crate) async fn serve<S, R, W>(network: &Network, mut socket: S, media_host: Option<String>) -> Farewell
where
    S: Stream<Item = Result<Bytes, R>> + Sink<Bytes, Error = W> + Unpin + Send,
    R: std::fmt::Display + Send,
    W: std::fmt::Display + Send,
{
    let (tasks, ended) = (network.tasks(), network.ended());
    // The token makes a shutdown wait for this connection.
    let _alive = tasks.token();
    let outcome = if network.is_out() {
        Err(Ended::Cut)
    } else {
        tokio::select! {
            () = ended.cancelled() => Err(Ended::ByNetwork),
            outcome = converse(network, &mut socket, media_host) => outcome,
        }
    };
    if let Err(why) = &outcome {
        tracing::debug!(%why, "connection ended");
    }
    if matches!(outcome, Err(Ended::Cut)) {
        return Farewell::Cut;
    }
    let _ = timeout(WRITE_TIMEOUT, socket.close()).await; // The peer may be gone already.
    if !ended.is_cancelled() {
        // A socket that is closed with something unread in it takes back what was sent last: the client would never learn
        // why it ended.
        let unread = async { while let Some(Ok(_)) = socket.next().await {} };
        let _ = timeout(LINGER, unread).await; // A client that does not close is let go.
    }
    Farewell::Closed
}

async fn converse<S, R, W>(network: &Network, socket: &mut S, media_host: Option<String>) -> Result<(), Ended>
where
    S: Stream<Item = Result<Bytes, R>> + Sink<Bytes, Error = W> + Unpin + Send,
    R: std::fmt::Display + Send,
    W: std::fmt::Display + Send,
{
    let mut input = Input {
        decoder: FrameDecoder::new(),
        started: false,
        head: BytesMut::new(),
    };
    let session = timeout(HANDSHAKE_TIMEOUT, handshake(network, socket, &mut input))
        .await
        .map_err(|_| Ended::Silent)??;
    let (conn, out) = network.connect(LINK_DEPTH);
    let _registered = Registered { network, conn };
    let open = Open {
        network,
        conn,
        write: session.write,
        written: 0,
        read: session.read,
        seen: 0,
        stalled: false,
    };
    if let Some(link) = network.lock().links.get_mut(&conn) {
        link.media_host = media_host;
    }
    network
        .lock()
        .on_payload(conn, session.pattern, session.client_static, &session.payload);
    open.run(socket, input, out).await
}

/// Takes a connection off the network when it ends, even if its task is dropped in the middle.
struct Registered<'n> {
    network: &'n Network,
    conn: ConnId,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.network.disconnect(self.conn);
    }
}

/// Bytes of the client on their way to frames.
struct Input {
    decoder: FrameDecoder,
    started: bool,
    head: BytesMut,
}

impl Input {
    fn feed(&mut self, data: &[u8]) -> Result<(), Ended> {
        if self.started {
            self.decoder.feed(data);
            return Ok(());
        }
        self.head.extend_from_slice(data);
        let skip = if self.head.starts_with(b"ED\x00\x01") {
            if self.head.len() < ROUTING_HEAD_LEN {
                return Ok(());
            }
            let length = usize::from(self.head[4]) << 16 | usize::from(self.head[5]) << 8 | usize::from(self.head[6]);
            if length > ROUTING_LEN_MAX {
                return Err(Ended::Protocol("edge-routing introduction too long"));
            }
            ROUTING_HEAD_LEN + length
        } else {
            0
        };
        if self.head.len() < skip + WA_CONN_HEADER.len() {
            return Ok(());
        }
        let header = &self.head[skip..skip + WA_CONN_HEADER.len()];
        if header != WA_CONN_HEADER {
            return Err(Ended::Protocol("unknown connection header"));
        }
        self.started = true;
        let head = std::mem::take(&mut self.head);
        self.decoder.feed(&head[skip + WA_CONN_HEADER.len()..]);
        Ok(())
    }
}

async fn handshake<S, R, W>(network: &Network, socket: &mut S, input: &mut Input) -> Result<Session, Ended>
where
    S: Stream<Item = Result<Bytes, R>> + Sink<Bytes, Error = W> + Unpin + Send,
    R: std::fmt::Display,
    W: std::fmt::Display,
{
    let mut rng = network.env().random.rng();
    let responder = {
        let state = network.lock();
        let certificates = &state.saved.certificates;
        let chain = certificates
            .chain(&mut rng)
            .map_err(|_| Ended::Protocol("the certificate chain cannot be signed"))?;
        Responder {
            static_keys: certificates.noise().clone(),
            chain,
        }
    };
    let hello = next_frame(socket, input).await?;
    match responder.on_hello(&hello, &WA_CONN_HEADER, &mut rng)? {
        Step::Done { reply, session } => {
            write(socket, &reply).await?;
            Ok(session)
        }
        Step::Finish { reply, pending } => {
            write(socket, &reply).await?;
            let finish = next_frame(socket, input).await?;
            Ok(pending.finish(&finish)?)
        }
    }
}

async fn next_frame<S, R>(socket: &mut S, input: &mut Input) -> Result<BytesMut, Ended>
where
    S: Stream<Item = Result<Bytes, R>> + Unpin,
    R: std::fmt::Display,
{
    loop {
        if let Some(frame) = input.decoder.decode_frame() {
            return Ok(frame);
        }
        match socket.next().await {
            Some(Ok(data)) => input.feed(&data)?,
            Some(Err(error)) => return Err(Ended::Socket(error.to_string())),
            None => return Err(Ended::ByClient),
        }
    }
}

async fn write<S, W>(socket: &mut S, payload: &[u8]) -> Result<(), Ended>
where
    S: Sink<Bytes, Error = W> + Unpin,
    W: std::fmt::Display,
{
    let frame = encode_frame(payload, None).map_err(|_| Ended::Protocol("stanza too large"))?;
    timeout(WRITE_TIMEOUT, socket.send(frame.into()))
        .await
        .map_err(|_| Ended::Silent)?
        .map_err(|error| Ended::Socket(error.to_string()))
}

/// A connection after its handshake.
struct Open<'n> {
    network: &'n Network,
    conn: ConnId,
    write: NoiseCipher,
    written: u32,
    read: NoiseCipher,
    seen: u32,
    stalled: bool,
}

/// A stanza that a fault made late.
enum Late {
    In(Node),
    Out(Node),
}

impl Open<'_> {
    async fn run<S, R, W>(mut self, socket: &mut S, mut input: Input, mut out: mpsc::Receiver<Out>) -> Result<(), Ended>
    where
        S: Stream<Item = Result<Bytes, R>> + Sink<Bytes, Error = W> + Unpin + Send,
        R: std::fmt::Display,
        W: std::fmt::Display,
    {
        let mut late = JoinSet::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = tokio::time::Instant::now();
        // The payload's answer may be waiting already, and frames may have come with the handshake.
        self.read_frames(&mut input, &mut late)?;
        loop {
            tokio::select! {
                data = socket.next(), if !self.stalled => {
                    let data = data.ok_or(Ended::ByClient)?.map_err(|error| Ended::Socket(error.to_string()))?;
                    heard = tokio::time::Instant::now();
                    input.feed(&data)?;
                    self.read_frames(&mut input, &mut late)?;
                }
                next = out.recv() => {
                    let first = next.ok_or(Ended::ByNetwork)?;
                    self.write_burst(socket, first, &mut out, &mut late).await?;
                }
                Some(Ok(stanza)) = late.join_next() => match stanza {
                    Late::In(node) => self.network.receive_late(self.conn, &node),
                    Late::Out(node) => self.write_node(socket, &node).await?,
                },
                _ = tick.tick() => {
                    if !self.stalled && heard.elapsed() > SILENCE_MAX {
                        return Err(Ended::Silent);
                    }
                    self.network.lock().on_tick(self.conn);
                }
            }
        }
    }

    fn read_frames(&mut self, input: &mut Input, late: &mut JoinSet<Late>) -> Result<(), Ended> {
        while let Some(mut frame) = input.decoder.decode_frame() {
            let counter = self.seen;
            self.read
                .decrypt_in_place_with_counter(counter, &mut frame)
                .map_err(|_| Ended::Frame { counter })?;
            self.seen = counter.checked_add(1).ok_or(Ended::Frame { counter })?;
            let node = stanza::decode(&frame).map_err(|_| Ended::Frame { counter })?;
            tracing::trace!(conn = self.conn, %counter, stanza = %DisplayableNode(&node), "in");
            if let Verdict::Later(ms, node) = self.network.receive(self.conn, node)
                && late.len() < LATE_LEN_MAX
            {
                delay(late, ms, Late::In(node));
            }
        }
        Ok(())
    }

    async fn write_burst<S, W>(
        &mut self,
        socket: &mut S,
        first: Out,
        out: &mut mpsc::Receiver<Out>,
        late: &mut JoinSet<Late>,
    ) -> Result<(), Ended>
    where
        S: Sink<Bytes, Error = W> + Unpin,
        W: std::fmt::Display,
    {
        let mut next = Some(first);
        let mut left = WRITE_BURST;
        while let Some(step) = next {
            match step {
                Out::Node(node) => self.feed_node(socket, &node).await?,
                Out::Later(ms, node) if late.len() < LATE_LEN_MAX => delay(late, ms, Late::Out(node)),
                Out::Later(..) | Out::Ready(_) | Out::Linking(..) => {}
                Out::Stall => self.stalled = true,
                Out::Close => {
                    flush(socket).await?;
                    return Err(Ended::ByNetwork);
                }
                Out::Cut => return Err(Ended::Cut),
            }
            left -= 1;
            next = if left > 0 { out.try_recv().ok() } else { None };
        }
        flush(socket).await?;
        if out.is_empty() {
            self.network.drained(self.conn);
        }
        Ok(())
    }

    async fn write_node<S, W>(&mut self, socket: &mut S, node: &Node) -> Result<(), Ended>
    where
        S: Sink<Bytes, Error = W> + Unpin,
        W: std::fmt::Display,
    {
        self.feed_node(socket, node).await?;
        flush(socket).await
    }

    async fn feed_node<S, W>(&mut self, socket: &mut S, node: &Node) -> Result<(), Ended>
    where
        S: Sink<Bytes, Error = W> + Unpin,
        W: std::fmt::Display,
    {
        if self.stalled {
            return Ok(());
        }
        tracing::trace!(conn = self.conn, stanza = %DisplayableNode(node), "out");
        let counter = self.written;
        let mut payload = wacore_binary::marshal(node).map_err(|_| Ended::Protocol("stanza cannot be encoded"))?;
        self.write
            .encrypt_in_place_with_counter(counter, &mut payload)
            .map_err(|_| Ended::Frame { counter })?;
        self.written = counter.checked_add(1).ok_or(Ended::Frame { counter })?;
        let frame = encode_frame(&payload, None).map_err(|_| Ended::Protocol("stanza too large"))?;
        timeout(WRITE_TIMEOUT, socket.feed(frame.into()))
            .await
            .map_err(|_| Ended::Silent)?
            .map_err(|error| Ended::Socket(error.to_string()))
    }
}

async fn flush<S, W>(socket: &mut S) -> Result<(), Ended>
where
    S: Sink<Bytes, Error = W> + Unpin,
    W: std::fmt::Display,
{
    timeout(WRITE_TIMEOUT, socket.flush())
        .await
        .map_err(|_| Ended::Silent)?
        .map_err(|error| Ended::Socket(error.to_string()))
}

fn delay(late: &mut JoinSet<Late>, ms: u64, stanza: Late) {
    late.spawn(async move {
        sleep(Duration::from_millis(ms)).await;
        stanza
    });
}
