//! The network's state: accounts, their devices, and the connections that are open now.
//!
//! One lock guards all of it; sections under it are short and never await. What follows a stanza is in the module of
//! its topic, as methods of [`State`]. Message contents are never readable here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use wacore_binary::{Jid, Node, Server};

use crate::certificates::Certificates;
use crate::clock::Env;
use crate::faults::Faults;
use crate::keys::Blob;
use crate::media::MediaAuths;
use crate::metrics::Counters;
use crate::pairing::{Hello, PasskeyRequest, REFS_MAX};
use crate::passkey::Passkey;
use crate::phone::history::HistoryDepth;
use crate::phone::linking::Step;
use crate::queue::Queue;
use crate::views::DeviceView;

/// Highest device number of an account (WhatsApp's device ids are 0 to 99).
pub(crate) const DEVICE_ID_MAX: u16 = 99;

/// Identifies one connection for as long as the process lives.
pub(crate) type ConnId = u64;

/// A device of an account: 0 is the phone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DeviceRef {
    /// The account's phone number, digits only.
    pub(crate) number: String,
    /// The device number.
    pub(crate) device: u16,
}

impl DeviceRef {
    pub(crate) fn new(number: impl Into<String>, device: u16) -> Self {
        Self {
            number: number.into(),
            device,
        }
    }
}

impl std::fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.number, self.device)
    }
}

/// The two kinds of address every account has. What was addressed in one is delivered in the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Space {
    Pn,
    Lid,
}

impl Space {
    pub(crate) fn of(jid: &Jid) -> Option<Self> {
        match jid.server {
            Server::Pn => Some(Self::Pn),
            Server::Lid => Some(Self::Lid),
            _ => None,
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Pn => Self::Lid,
            Self::Lid => Self::Pn,
        }
    }
}

/// What survives a restart.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) certificates: Certificates,
    pub(crate) accounts: BTreeMap<String, Account>,
}

/// An account with its devices.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) number: String,
    pub(crate) lid: String,
    pub(crate) name: String,
    pub(crate) about: Option<String>,
    pub(crate) devices: BTreeMap<u16, Device>,
    pub(crate) next_device: u16,
    pub(crate) next_key_index: u32,
    /// Names the account's primary installation in its signatures.
    pub(crate) adv_raw_id: u32,
    /// The encoded `ADVSignedKeyIndexList`, signed by the phone; says which companions are genuine.
    pub(crate) key_index_list: Blob,
    pub(crate) key_index_at: u64,
    /// Accounts that must hear of changes: both sides of every address book entry and conversation.
    pub(crate) peers: BTreeSet<String>,
    pub(crate) app_state: BTreeMap<String, Collection>,
    pub(crate) privacy: BTreeMap<String, String>,
    pub(crate) blocked: BTreeMap<String, u64>,
    pub(crate) last_seen: Option<u64>,
    /// What has to sign before a companion is linked; most accounts link without.
    #[serde(default)]
    pub(crate) passkey: Option<Passkey>,
}

impl Account {
    pub(crate) fn user_jid(&self, space: Space) -> Jid {
        self.device_jid(space, 0)
    }

    pub(crate) fn device_jid(&self, space: Space, device: u16) -> Jid {
        match space {
            Space::Pn => Jid::pn_device(self.number.as_str(), device),
            Space::Lid => Jid::lid_device(self.lid.as_str(), device),
        }
    }

    pub(crate) fn device_view(&self, device: &Device) -> DeviceView {
        DeviceView {
            device: device.id,
            jid: self.device_jid(Space::Pn, device.id).to_string(),
            lid: self.device_jid(Space::Lid, device.id).to_string(),
            platform: device.platform.clone(),
            push_name: device.push_name.clone(),
            connected: device.conn.is_some(),
            online: false,
            queued: device.queue.len(),
            history_given: device.history_given,
            linked_at: device.linked_at,
        }
    }
}

/// A device, as the server knows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) id: u16,
    pub(crate) key_index: u32,
    /// The static Noise key it logs in with; a phone has none.
    pub(crate) noise_public: Blob,
    pub(crate) bundle: Bundle,
    /// The encoded `ADVSignedDeviceIdentity`; a phone has none.
    pub(crate) signed_identity: Blob,
    pub(crate) platform: String,
    pub(crate) push_name: Option<String>,
    pub(crate) linked_at: u64,
    /// Whether its phone still owes it the app-state key and the history.
    pub(crate) awaits_phone: bool,
    /// How much history it asked for.
    #[serde(default)]
    pub(crate) history: HistoryDepth,
    /// How many messages its phone gave it.
    #[serde(default)]
    pub(crate) history_given: usize,
    pub(crate) queue: Queue,
    #[serde(skip)]
    pub(crate) conn: Option<ConnId>,
    /// Typing states that arrived while it was away, with the time after which they are stale.
    #[serde(skip)]
    pub(crate) held: VecDeque<(u64, Node)>,
}

/// The public keys others start a Signal session with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Bundle {
    pub(crate) registration_id: u32,
    pub(crate) identity: Blob,
    pub(crate) signed_prekey: SignedPrekey,
    pub(crate) prekeys: BTreeMap<u32, Blob>,
    /// The base key of the first message that used each one-time key.
    pub(crate) spent: BTreeMap<u32, Blob>,
    /// Whether the device was told that its keys run low, since its last upload.
    pub(crate) low_told: bool,
}

/// The medium-term key of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedPrekey {
    pub(crate) id: u32,
    pub(crate) public: Blob,
    pub(crate) signature: Blob,
}

/// A collection of app-state patches, opaque to the server.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Collection {
    pub(crate) version: u64,
    /// Encoded `SyncdPatch`es; the first one makes version 1.
    pub(crate) patches: Vec<Blob>,
}

/// What a connection is told to do next.
#[derive(Debug)]
pub(crate) enum Out {
    /// Send a stanza.
    Node(Node),
    /// Send a stanza after some milliseconds.
    Later(u64, Node),
    /// Stop reading and writing, keep the socket.
    Stall,
    /// Close after what was sent before.
    Close,
    /// Drop the socket without a word.
    Cut,
    /// For phones: a companion can receive its first messages.
    Ready(u16),
    /// For phones: a device that was allowed to link with the account's passkey has come further.
    Linking(ConnId, Step),
}

/// An open connection, of a client or of a phone.
pub(crate) struct Link {
    pub(crate) out: mpsc::Sender<Out>,
    pub(crate) role: Role,
    pub(crate) flow: Flow,
    pub(crate) stalled: bool,
    /// Whether something could not be sent because the channel was full.
    pub(crate) lagging: bool,
    /// Whether its owner is "online" for others.
    pub(crate) available: bool,
    /// Where its owner reaches the TLS listener for media, as `host:port`.
    pub(crate) media_host: Option<String>,
}

impl Link {
    /// Whether a client is at the other end, and not a phone.
    pub(crate) fn is_client(&self) -> bool {
        !matches!(&self.role, Role::Device(who) if who.device == 0)
    }
}

/// What a connection is for.
pub(crate) enum Role {
    /// Handshake done, payload not accepted yet.
    New,
    /// A device that shows a pairing code.
    Registering(Box<Registration>),
    /// A logged-in device, or a phone.
    Device(DeviceRef),
}

/// How queued stanzas flow on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Not before the client says that it is active.
    Waiting,
    /// What was queued before login goes out in pages.
    Draining { total: usize, left: usize, budget: usize },
    /// At once.
    Open,
}

/// A device that wants to be linked.
pub(crate) struct Registration {
    pub(crate) noise_public: Vec<u8>,
    pub(crate) bundle: Bundle,
    pub(crate) platform: String,
    /// The browser that it says it is, by its number.
    pub(crate) device_type: i32,
    pub(crate) history: HistoryDepth,
    pub(crate) push_name: Option<String>,
    pub(crate) refs: Vec<String>,
    /// When nothing that it shows is good any more, in milliseconds since the Unix epoch.
    pub(crate) expires_at_ms: u64,
    /// The link code that it shows.
    pub(crate) hello: Option<Hello>,
    /// The passkey that it was asked for.
    pub(crate) passkey: Option<PasskeyRequest>,
    pub(crate) offer: Option<Offer>,
    /// What it was told and has to acknowledge.
    pub(crate) told: Queue,
}

/// What a phone offered to a device that shows a pairing code.
pub(crate) struct Offer {
    pub(crate) iq_id: String,
    pub(crate) who: DeviceRef,
    pub(crate) key_index: u32,
    pub(crate) details: Vec<u8>,
    pub(crate) account_key: Vec<u8>,
    pub(crate) account_signature: Vec<u8>,
    pub(crate) key_index_list: Vec<u8>,
    pub(crate) done: oneshot::Sender<Result<DeviceView, String>>,
}

/// Everything behind the lock.
pub(crate) struct State {
    pub(crate) env: Env,
    pub(crate) saved: Saved,
    /// Hidden id to phone number.
    pub(crate) lids: HashMap<String, String>,
    pub(crate) links: HashMap<ConnId, Link>,
    /// Pairing ref to the connection that shows it.
    pub(crate) refs: HashMap<String, ConnId>,
    /// Who wants to know when an account comes and goes: account to device and the space it asked in.
    pub(crate) watchers: HashMap<String, Vec<(DeviceRef, Space)>>,
    pub(crate) counters: Counters,
    pub(crate) faults: Faults,
    /// Who may upload media.
    pub(crate) media_auths: MediaAuths,
    /// Whether every connection ends without a word.
    pub(crate) outage: bool,
    /// Refs that a device gets which wants to be linked.
    pub(crate) refs_given: usize,
    pub(crate) next_conn: ConnId,
    /// Rises with everything that is worth saving or showing.
    pub(crate) version: u64,
}

impl State {
    pub(crate) fn new(env: Env, saved: Saved) -> Self {
        let lids = saved
            .accounts
            .values()
            .map(|account| (account.lid.clone(), account.number.clone()))
            .collect();
        Self {
            env,
            saved,
            lids,
            links: HashMap::new(),
            refs: HashMap::new(),
            watchers: HashMap::new(),
            counters: Counters::default(),
            faults: Faults::default(),
            media_auths: MediaAuths::default(),
            outage: false,
            refs_given: REFS_MAX,
            next_conn: 1,
            version: 0,
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.env.unix_seconds()
    }

    pub(crate) fn touch(&mut self) {
        self.version += 1;
    }

    pub(crate) fn account(&self, number: &str) -> Option<&Account> {
        self.saved.accounts.get(number)
    }

    pub(crate) fn account_mut(&mut self, number: &str) -> Option<&mut Account> {
        self.saved.accounts.get_mut(number)
    }

    pub(crate) fn device(&self, who: &DeviceRef) -> Option<&Device> {
        self.account(&who.number)?.devices.get(&who.device)
    }

    pub(crate) fn device_mut(&mut self, who: &DeviceRef) -> Option<&mut Device> {
        self.account_mut(&who.number)?.devices.get_mut(&who.device)
    }

    /// The account an address belongs to, whichever space it is in.
    pub(crate) fn resolve(&self, jid: &Jid) -> Option<&Account> {
        match Space::of(jid)? {
            Space::Pn => self.account(&jid.user),
            Space::Lid => self.account(self.lids.get(jid.user.as_str())?),
        }
    }

    /// The device an address belongs to, if there is one.
    pub(crate) fn resolve_device(&self, jid: &Jid) -> Option<DeviceRef> {
        let account = self.resolve(jid)?;
        account
            .devices
            .contains_key(&jid.device)
            .then(|| DeviceRef::new(account.number.clone(), jid.device))
    }

    /// All devices of an account, the phone included.
    pub(crate) fn devices_of(&self, number: &str) -> Vec<DeviceRef> {
        self.account(number)
            .map(|account| {
                account
                    .devices
                    .keys()
                    .map(|device| DeviceRef::new(number, *device))
                    .collect()
            })
            .unwrap_or_default()
    }

    /// The logged-in device of a connection.
    pub(crate) fn who(&self, conn: ConnId) -> Option<DeviceRef> {
        match &self.links.get(&conn)?.role {
            Role::Device(who) => Some(who.clone()),
            Role::New | Role::Registering(_) => None,
        }
    }

    /// An address of a device that is known to exist.
    pub(crate) fn jid_of(&self, who: &DeviceRef, space: Space) -> Option<Jid> {
        self.account(&who.number)
            .map(|account| account.device_jid(space, who.device))
    }
}
