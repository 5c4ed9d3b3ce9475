//! A webhook receiver that remembers what came, and behaves as badly as a test wants it to.
//!
//! It speaks HTTP by hand, so that it can also do what no HTTP library would: answer half, or never, or cut the line.

mod behaviour;
mod http;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::interval;

pub(crate) use behaviour::Behaviour;

use super::{contract, within};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) event: Value,
}

impl Delivery {
    /// The value of a header, or "".
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The event's id.
    pub(crate) fn id(&self) -> &str {
        self.event["id"].as_str().unwrap_or_default()
    }
}

struct Shared {
    deliveries: Mutex<Vec<Delivery>>,
    next: Mutex<VecDeque<Behaviour>>,
    otherwise: Mutex<Behaviour>,
    problems: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

/// Whether anybody opens.
enum Door {
    /// What accepts and serves.
    Open(JoinSet<()>),
    /// The port is kept, so that nobody else gets it, and refuses connections.
    Shut(TcpSocket),
}

/// Answers 200 unless told otherwise. Dropping it fails the test where an event did not fit its schema.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    door: tokio::sync::Mutex<Door>,
}

impl Receiver {
    /// Listens on a free port of this machine.
    pub(crate) async fn start() -> Self {
        let socket = bound(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            deliveries: Mutex::default(),
            next: Mutex::default(),
            otherwise: Mutex::new(StatusCode::OK.into()),
            problems: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let door = Door::Open(serve(&shared, socket.listen(BACKLOG).unwrap()));
        Self {
            address,
            shared,
            door: door.into(),
        }
    }

    /// Where to send webhooks to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    /// Treats the next requests like this, one after the other.
    pub(crate) fn answer_next(&self, behaviours: impl IntoIterator<Item = impl Into<Behaviour>>) {
        lock(&self.shared.next).extend(behaviours.into_iter().map(Into::into));
    }

    /// Treats all requests like this from now on, where it was not told what to do next.
    pub(crate) fn answer_always(&self, behaviour: impl Into<Behaviour>) {
        *lock(&self.shared.otherwise) = behaviour.into();
    }

    /// Cuts off whoever is connected, and refuses connections.
    pub(crate) async fn go_down(&self) {
        let mut door = self.door.lock().await;
        if let Door::Open(tasks) = &mut *door {
            tasks.shutdown().await;
            // A process that is just being started has a copy of the listener, until it runs its own program.
            let mut ticks = interval(Duration::from_millis(1));
            let socket = loop {
                match bound(self.address) {
                    Ok(socket) => break socket,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}"),
                }
                ticks.tick().await;
            };
            *door = Door::Shut(socket);
        }
    }

    /// Listens again where it listened before.
    pub(crate) async fn come_back(&self) {
        let mut door = self.door.lock().await;
        if let Door::Shut(_) = &*door {
            let Door::Shut(socket) = std::mem::replace(&mut *door, Door::Open(JoinSet::new())) else {
                unreachable!("it was shut a line ago");
            };
            *door = Door::Open(serve(&self.shared, socket.listen(BACKLOG).unwrap()));
        }
    }

    /// Everything that came so far.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries_after(0)
    }

    /// What came after the first `seen`.
    pub(crate) fn deliveries_after(&self, seen: usize) -> Vec<Delivery> {
        lock(&self.shared.deliveries)[seen..].to_vec()
    }

    /// Waits until so many requests have come, and answers all of them.
    pub(crate) async fn wait_for_count(&self, count: usize) -> Vec<Delivery> {
        within(&format!("{count} webhooks"), self.reached(count)).await;
        self.deliveries()
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until so many requests have come, for as long as that takes.
    pub(crate) async fn reached(&self, count: usize) {
        let mut changes = self.shared.count.subscribe();
        changes.wait_for(|come| *come >= count).await.unwrap();
    }

    /// Waits for an event that `wanted` likes, and answers the first of them.
    pub(crate) async fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Delivery {
        let mut seen = 0;
        let search = async {
            loop {
                let new = self.deliveries_after(seen);
                seen += new.len();
                if let Some(found) = new.into_iter().find(|delivery| wanted(&delivery.event)) {
                    return found;
                }
                self.reached(seen + 1).await;
            }
        };
        match tokio::time::timeout(super::PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; came: {:#?}", self.names()),
        }
    }

    /// Waits for an event by its name.
    pub(crate) async fn wait_for_event(&self, name: &str) -> Delivery {
        self.wait_for(name, |event| event["event"] == name).await
    }

    /// What came, in short.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |event: &Value| {
            let payload = &event["payload"];
            let detail = [&payload["status"], &payload["body"], &payload["ackName"]];
            let detail = detail.into_iter().find_map(Value::as_str).unwrap_or_default();
            format!("{} {detail}", event["event"].as_str().unwrap_or("?"))
        };
        self.deliveries().iter().map(|delivery| name(&delivery.event)).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let problems = lock(&self.shared.problems);
        assert!(
            std::thread::panicking() || problems.is_empty(),
            "events do not fit their schema: {problems:#?}"
        );
    }
}

impl Shared {
    /// Serves a connection to its end. Whoever hangs up early is no failure of the receiver.
    async fn serve(&self, mut stream: TcpStream) {
        if let Ok(http::Ending::Reset) = http::serve(self, &mut stream).await {
            // Instead of a goodbye.
            stream.set_zero_linger().unwrap();
        }
    }

    /// Remembers a request, and says what to do with it.
    fn received(&self, headers: HeaderMap, body: Bytes) -> Behaviour {
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        lock(&self.problems).extend(contract::event_problem(&event));
        lock(&self.deliveries).push(Delivery { headers, body, event });
        let next = lock(&self.next).pop_front();
        self.count.send_modify(|count| *count += 1);
        next.unwrap_or_else(|| lock(&self.otherwise).clone())
    }
}

/// A socket at this address that does not listen yet.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn serve(shared: &Arc<Shared>, listener: TcpListener) -> JoinSet<()> {
    let shared = Arc::clone(shared);
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        // They end with it.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            connections.spawn(async move { shared.serve(stream).await });
        }
    });
    accepting
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
