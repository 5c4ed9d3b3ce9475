//! The network's parts together: state, phones, tasks, and the way stanzas enter and leave.
//!
//! Lock order: a phone's lock may be held while the state's is taken, never the other way round, and never two
//! phones at a time except in `snapshot`, which takes them in the order of their numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wacore_binary::Node;

use crate::clock::Env;
use crate::faults::{FaultAction, FaultDirection};
use crate::media::MediaStore;
use crate::metrics::stanza_key;
use crate::model::{ConnId, Flow, Link, Out, Role, State};
use crate::phone::Phone;
use crate::stanza;

/// Stanzas that may wait for one client's socket before the rest stays in its queue.
pub(crate) const LINK_DEPTH: usize = 1024;

/// A shared handle to the whole network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    env: Env,
    state: Mutex<State>,
    phones: Mutex<BTreeMap<String, Arc<Phone>>>,
    media: MediaStore,
    /// Ends with a reset or a shutdown.
    generation: Mutex<Generation>,
    changed: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Generation {
    tasks: TaskTracker,
    ended: CancellationToken,
}

/// What the connection does with a stanza that it read.
pub(crate) enum Verdict {
    /// It was handled, or lost on purpose.
    Done,
    /// Hand it in again after some milliseconds.
    Later(u64, Node),
}

impl Network {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(Inner {
            env: state.env.clone(),
            state: Mutex::new(state),
            phones: Mutex::default(),
            media: MediaStore::new(),
            generation: Mutex::default(),
            changed: watch::Sender::new(0),
        }))
    }

    pub(crate) fn env(&self) -> &Env {
        &self.0.env
    }

    /// What the media hosts keep.
    pub(crate) fn media(&self) -> &MediaStore {
        &self.0.media
    }

    /// The state, for a short section without awaits.
    pub(crate) fn lock(&self) -> Guard<'_> {
        // A panic in a section is a bug that its own task reports; the others go on with the state as it is.
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        Guard {
            before: state.version,
            state,
            changed: &self.0.changed,
        }
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    pub(crate) fn tick(&self) {
        self.0.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn phone(&self, number: &str) -> Option<Arc<Phone>> {
        self.phone_map().get(number).cloned()
    }

    pub(crate) fn phones(&self) -> Vec<Arc<Phone>> {
        self.phone_map().values().cloned().collect()
    }

    pub(crate) fn add_phone(&self, phone: Arc<Phone>) {
        self.phone_map().insert(phone.number().to_owned(), phone);
    }

    fn phone_map(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Phone>>> {
        self.0.phones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> MutexGuard<'_, Generation> {
        self.0.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Owns tasks until the next reset or the shutdown.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.generation().tasks.clone()
    }

    /// Fires at the next reset or the shutdown.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.generation().ended.clone()
    }

    /// Ends all connections and tasks and waits for them.
    pub(crate) async fn end(&self) {
        let generation = self.generation().clone();
        generation.ended.cancel();
        generation.tasks.close();
        generation.tasks.wait().await;
    }

    /// Starts over with another state, after [`Network::end`]. What was counted stays: a reset must not hide a mistake.
    pub(crate) fn restart(&self, mut state: State) {
        *self.generation() = Generation::default();
        self.phone_map().clear();
        let mut guard = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counters = std::mem::take(&mut guard.counters);
        *guard = state;
    }

    /// Opens a connection. Its owner must call [`Network::disconnect`] in the end.
    pub(crate) fn connect(&self, depth: usize) -> (ConnId, mpsc::Receiver<Out>) {
        let (out, receiver) = mpsc::channel(depth);
        let mut state = self.lock();
        let id = state.next_conn;
        state.next_conn += 1;
        let link = Link {
            out,
            role: Role::New,
            flow: Flow::Waiting,
            stalled: false,
            lagging: false,
            available: false,
            media_host: None,
        };
        state.links.insert(id, link);
        (id, receiver)
    }

    /// Whether there is an outage; counts who finds out.
    pub(crate) fn is_out(&self) -> bool {
        let mut state = self.lock();
        if state.outage {
            state.counters.outage_dial();
        }
        state.outage
    }

    /// Takes a stanza that a client sent; faults may befall it. Phones hand theirs to the state directly.
    pub(crate) fn receive(&self, conn: ConnId, node: Node) -> Verdict {
        let mut state = self.lock();
        let action = if state.faults.any() {
            let addresses = state.who(conn).map(|who| state.addresses(&who)).unwrap_or_default();
            state
                .faults
                .judge(FaultDirection::In, &node, &addresses, &mut self.0.env.random.rng())
        } else {
            None
        };
        match action {
            None => state.handle(conn, &node),
            Some(FaultAction::Drop) => state.counters.count("in", &stanza_key(&node)),
            Some(FaultAction::Delay { ms }) => return Verdict::Later(ms, node),
            Some(FaultAction::Duplicate) => {
                state.handle(conn, &node);
                state.handle(conn, &node);
            }
            Some(FaultAction::Nack { code }) => {
                let now = state.now();
                state.counters.count("in", &stanza_key(&node));
                state.reply(conn, stanza::nack(&node, now, code));
            }
            Some(FaultAction::IqError { code }) => {
                state.counters.count("in", &stanza_key(&node));
                state.reply(conn, stanza::iq_error(&node, code, stanza::error_text(code)));
            }
            Some(FaultAction::Stall) => state.stall(conn),
            // Of logins, of what goes out, and of media.
            Some(
                FaultAction::Failure { .. }
                | FaultAction::Garble
                | FaultAction::Status { .. }
                | FaultAction::Truncate
                | FaultAction::Corrupt,
            ) => {}
        }
        Verdict::Done
    }

    /// Takes a stanza after the delay that [`Verdict::Later`] asked for.
    pub(crate) fn receive_late(&self, conn: ConnId, node: &Node) {
        self.lock().handle(conn, node);
    }

    /// A connection's channel has room again: more of its queue can go out.
    pub(crate) fn drained(&self, conn: ConnId) {
        let mut state = self.lock();
        let lagging = state
            .links
            .get_mut(&conn)
            .is_some_and(|link| std::mem::take(&mut link.lagging));
        if lagging && let Some(who) = state.who(conn) {
            state.pump(&who);
        }
    }

    pub(crate) fn disconnect(&self, conn: ConnId) {
        self.lock().disconnect(conn);
    }
}

/// The locked state; tells observers when it changed.
pub(crate) struct Guard<'n> {
    state: MutexGuard<'n, State>,
    before: u64,
    changed: &'n watch::Sender<u64>,
}

impl std::ops::Deref for Guard<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.state.version != self.before {
            self.changed.send_modify(|version| *version += 1);
        }
    }
}
