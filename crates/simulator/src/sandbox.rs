//! The sandbox as a whole: what the control interface, the tests and the embedding server use.
//!
//! It has no listener of its own: hand it sockets with [`Sandbox::accept`]. How devices are linked is in [`linking`], how
//! people use messages in [`messages`], how many texts are sent at once in [`traffic`].

mod linking;
mod media;
mod messages;
mod traffic;

use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clock::Env;
use crate::connection::{self, Farewell};
use crate::error::SandboxError;
use crate::faults::Fault;
use crate::metrics::{Metrics, Unacked};
use crate::model::{DeviceRef, State};
use crate::network::Network;
use crate::phone::Phone;
use crate::views::{InboxPage, KillMode, PhoneView, ReceiptKind, Seed, TypingState};
use crate::{seed, snapshot};

/// Most phones of one network.
const PHONES_MAX: usize = 10_000;

/// The whole sandbox network. Cheap to clone; all clones are the same network.
#[derive(Clone)]
pub struct Sandbox(Network);

impl Sandbox {
    /// A new network. Must be called within a Tokio runtime, which runs its phones.
    pub fn new(env: Env, seed: Seed) -> Self {
        let (saved, memories) = seed::plant(&env, seed);
        Self(snapshot::start(&env, saved, memories))
    }

    /// The network that [`Sandbox::snapshot`] saved. Phones start new Signal sessions.
    ///
    /// # Errors
    /// When the snapshot is not readable or of another version.
    pub fn restore(env: Env, snapshot: &[u8]) -> Result<Self, SandboxError> {
        let (saved, memories) = snapshot::read(snapshot)?;
        Ok(Self(snapshot::start(&env, saved, memories)))
    }

    /// Everything that must survive a restart, as JSON. It contains the network's and the phones' secret keys.
    pub fn snapshot(&self) -> Vec<u8> {
        snapshot::write(&self.0)
    }

    /// Ticks whenever something changed that is worth saving or showing.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed()
    }

    /// Closes all sockets and waits until every task has ended.
    pub async fn shutdown(&self) {
        self.0.end().await;
    }

    /// Serves one client connection (binary websocket messages) until it ends. `media_host` is where this client reaches a
    /// TLS listener, as `host:port`; without one it is told that media is not available.
    pub async fn accept<S, R, W>(&self, socket: S, media_host: Option<String>) -> Farewell
    where
        S: Stream<Item = Result<Bytes, R>> + Sink<Bytes, Error = W> + Unpin + Send,
        R: std::fmt::Display + Send,
        W: std::fmt::Display + Send,
    {
        connection::serve(&self.0, socket, media_host).await
    }

    /// A new account with a phone. Without a number the next free fictional one is taken.
    ///
    /// # Errors
    /// When the number is taken or not one, or the name is empty.
    pub async fn create_phone(&self, number: Option<String>, name: Option<String>) -> Result<PhoneView, SandboxError> {
        let mut rng = self.0.env().random.rng();
        let number = {
            let mut state = self.0.lock();
            if state.saved.accounts.len() >= PHONES_MAX {
                return Err(SandboxError::Refused(format!(
                    "a sandbox has at most {PHONES_MAX} phones"
                )));
            }
            let number = match number {
                Some(number) => digits(&number)?,
                None => seed::free_number(|number| state.account(number).is_some())
                    .ok_or_else(|| SandboxError::Refused("all fictional numbers are taken; give one".to_owned()))?,
            };
            if state.account(&number).is_some() {
                return Err(SandboxError::Conflict(format!("there is a phone {number} already")));
            }
            let name = name.unwrap_or_else(|| format!("Phone {}", &number[number.len().saturating_sub(4)..]));
            let (account, memory) = seed::new_account(self.0.env(), &mut rng, &number, name.trim())?;
            state.lids.insert(account.lid.clone(), number.clone());
            state.saved.accounts.insert(number.clone(), account);
            state.touch();
            drop(state);
            Phone::start(&self.0, number.clone(), memory);
            number
        };
        self.phone(&number)
    }

    /// All phones, by number.
    pub fn phones(&self) -> Vec<PhoneView> {
        self.0
            .phones()
            .iter()
            .filter_map(|phone| phone.view(&self.0).ok())
            .collect()
    }

    /// One phone.
    ///
    /// # Errors
    /// When there is no such phone.
    pub fn phone(&self, number: &str) -> Result<PhoneView, SandboxError> {
        self.find(number)?.view(&self.0)
    }

    /// The phone reports how far a message it received got.
    ///
    /// # Errors
    /// When phone, chat or message do not exist, or the message is the phone's own.
    pub async fn receipt(&self, number: &str, chat: &str, id: &str, kind: ReceiptKind) -> Result<(), SandboxError> {
        self.find(number)?.receipt(&self.0, &digits(chat)?, id, kind)
    }

    /// The phone's owner types, records, or stops.
    ///
    /// # Errors
    /// When phone or chat do not exist.
    pub async fn typing(&self, number: &str, chat: &str, state: TypingState) -> Result<(), SandboxError> {
        self.find(number)?.typing(&self.0, &digits(chat)?, state)
    }

    /// What the phone shows after a cursor; waits up to `wait` for something to show.
    ///
    /// # Errors
    /// When there is no such phone.
    pub async fn inbox(&self, number: &str, after: u64, wait: Duration) -> Result<InboxPage, SandboxError> {
        let phone = self.find(number)?;
        let mut news = phone.news();
        let deadline = Instant::now() + wait;
        loop {
            news.mark_unchanged();
            let page = phone.inbox(after);
            let waited = page.entries.is_empty() && matches!(timeout_at(deadline, news.changed()).await, Ok(Ok(())));
            if !waited {
                return Ok(page);
            }
        }
    }

    /// Ends the connection of a device, named by either of its addresses.
    ///
    /// # Errors
    /// When there is no such device, or it is not connected.
    pub async fn kill(&self, jid: &str, mode: KillMode) -> Result<(), SandboxError> {
        let address = jid
            .parse()
            .map_err(|_| SandboxError::Invalid(format!("{jid} is not an address")))?;
        let mut state = self.0.lock();
        let who = state.resolve_device(&address).filter(|who| who.device != 0);
        let who = who.ok_or_else(|| SandboxError::not_found("linked device", jid))?;
        let conn = connected(&state, &who)?;
        state.kill(conn, mode);
        Ok(())
    }

    /// Ends the connections of all clients at once; answers how many those were.
    pub fn kill_all(&self, mode: KillMode) -> usize {
        let mut state = self.0.lock();
        let clients = state.clients();
        for conn in &clients {
            state.kill(*conn, mode);
        }
        clients.len()
    }

    /// While there is an outage every connection ends at once and without a word, those that are open first.
    pub fn set_outage(&self, outage: bool) {
        self.0.lock().outage = outage;
        if outage {
            self.kill_all(KillMode::Cut);
        }
    }

    /// Replaces the list of faults.
    ///
    /// # Errors
    /// When there are too many, or one of them makes no sense.
    pub fn set_faults(&self, faults: Vec<Fault>) -> Result<(), SandboxError> {
        self.0.lock().faults.set(faults)
    }

    /// The faults that are not spent yet.
    pub fn faults(&self) -> Vec<Fault> {
        self.0.lock().faults.list().to_vec()
    }

    /// Makes a new static Noise key: resumed handshakes are refused and go on as full ones.
    pub fn rotate_noise_key(&self) {
        let mut rng = self.0.env().random.rng();
        let mut state = self.0.lock();
        let now = state.now();
        state.saved.certificates.rotate(&mut rng, now);
        state.touch();
    }

    /// What the network counted since the process made it, across resets.
    pub fn metrics(&self) -> Metrics {
        self.0.lock().metrics()
    }

    /// Waits until every stanza that a connected device got is acknowledged.
    ///
    /// # Errors
    /// The stanzas that were not, after `within`.
    pub async fn settled(&self, within: Duration) -> Result<(), Vec<Unacked>> {
        let mut changed = self.0.changed();
        let deadline = Instant::now() + within;
        loop {
            changed.mark_unchanged();
            let open = self.0.lock().unacknowledged();
            if open.is_empty() {
                return Ok(());
            }
            if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return Err(open);
            }
        }
    }

    /// Back to the fresh seed, without media; closes all sockets. The counters go on.
    pub async fn reset(&self) {
        let (saved, memories) = seed::plant(self.0.env(), Seed::Fresh);
        self.0.end().await;
        if let Err(error) = self.0.media().clear() {
            tracing::warn!(%error, "the media of the sandbox cannot be removed");
        }
        self.0.restart(State::new(self.0.env().clone(), saved));
        snapshot::start_phones(&self.0, memories);
        self.0.tick();
    }

    fn find(&self, number: &str) -> Result<std::sync::Arc<Phone>, SandboxError> {
        let number = digits(number)?;
        self.0
            .phone(&number)
            .ok_or_else(|| SandboxError::not_found("phone", number))
    }
}

fn connected(state: &State, who: &DeviceRef) -> Result<u64, SandboxError> {
    let conn = state.device(who).and_then(|device| device.conn);
    conn.ok_or_else(|| SandboxError::Refused(format!("device {who} is not connected")))
}

/// The digits of a number that may be written as an address or with a plus sign.
fn digits(number: &str) -> Result<String, SandboxError> {
    if number.trim().ends_with("@g.us") {
        return Err(SandboxError::Invalid(format!("{number} is a group: groups come later")));
    }
    let digits = number
        .trim()
        .trim_start_matches('+')
        .split(['@', ':'])
        .next()
        .unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(SandboxError::Invalid(format!("{number} is not a phone number")));
    }
    Ok(digits.to_owned())
}
