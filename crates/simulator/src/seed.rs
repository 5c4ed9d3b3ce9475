//! What a fresh sandbox contains: a few people, their address books, some history, and Echo.
//!
//! All numbers are fictional: area codes with the exchange 555 and the lines 0100 to 0199, which are never assigned.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::certificates::Certificates;
use crate::clock::Env;
use crate::error::SandboxError;
use crate::keys::Blob;
use crate::model::{Account, Device, Saved};
use crate::phone::Memory;
use crate::phone::history::HistoryDepth;
use crate::phone::inbox::{ChatMessage, entry};
use crate::phone::signal::Signal;
use crate::queue::Queue;
use crate::views::{InboxEntry, InboxKind, ReceiptKind, Seed};

/// Alice, who has a history with Bob and Carol.
pub const ALICE: &str = "12025550101";
/// Bob, a friend of Alice.
pub const BOB: &str = "12025550102";
/// Carol, a colleague of Alice and Bob.
pub const CAROL: &str = "12025550103";
/// Echo, who answers everything.
pub const ECHO: &str = "12025550104";

/// Two groups' worth of further people.
const OTHERS: [(&str, &str); 8] = [
    ("12025550111", "Dave"),
    ("12025550112", "Erin"),
    ("12025550113", "Frank"),
    ("12025550114", "Grace"),
    ("13125550121", "Heidi"),
    ("13125550122", "Ivan"),
    ("13125550123", "Judy"),
    ("13125550124", "Mallory"),
];
/// Area codes in which further phones get their numbers.
const AREA_CODES: [u32; 10] = [202, 206, 212, 303, 312, 404, 415, 512, 617, 702];
/// Fictional lines in each area code.
const LINES: std::ops::RangeInclusive<u32> = 100..=199;
/// Longest push name, in bytes.
const NAME_LEN_MAX: usize = 100;
/// First digits of a hidden id, so that it is never taken for a phone number.
const LID_BASE: u64 = 200_000_000_000_000;

/// Seconds before now, whether the first of the two wrote it, and the text.
type Line = (u64, bool, &'static str);

const ALICE_AND_BOB: [Line; 6] = [
    (93_600, true, "Hi Bob! Are we still on for Saturday?"),
    (93_400, false, "Sure. Ten o'clock at the market?"),
    (93_300, true, "Perfect. I'll bring the big basket."),
    (7_400, false, "Can you bring the camera too?"),
    (7_200, true, "Already packed."),
    (3_700, false, "You're the best."),
];
const ALICE_AND_CAROL: [Line; 5] = [
    // Half a year ago: not recent any more.
    (15_768_000, false, "Welcome to the team, Alice!"),
    (180_000, false, "The draft is in the shared folder."),
    (179_000, true, "Thanks, I'll read it tonight."),
    (86_000, true, "Read it. Two small remarks, otherwise great."),
    (85_000, false, "Wonderful, send them over."),
];
const BOB_AND_CAROL: [Line; 2] = [
    (50_000, true, "Is the meeting room free on Monday?"),
    (49_000, false, "From eleven on, yes."),
];

/// A new state with its phones' memories.
pub(crate) fn plant(env: &Env, seed: Seed) -> (Saved, BTreeMap<String, Memory>) {
    let mut rng = env.random.rng();
    let now = env.unix_seconds();
    let certificates = Certificates::generate(&mut rng, now);
    let mut garden = Garden {
        env,
        rng,
        saved: Saved {
            certificates,
            accounts: BTreeMap::new(),
        },
        memories: BTreeMap::new(),
    };
    if seed == Seed::Fresh {
        garden.people();
    }
    (garden.saved, garden.memories)
}

struct Garden<'e> {
    env: &'e Env,
    rng: StdRng,
    saved: Saved,
    memories: BTreeMap<String, Memory>,
}

impl Garden<'_> {
    fn people(&mut self) {
        let people = [(ALICE, "Alice"), (BOB, "Bob"), (CAROL, "Carol"), (ECHO, "Echo")];
        for (number, name) in people.into_iter().chain(OTHERS) {
            // The numbers and names above are well formed, and signing with a key that was just made cannot fail.
            let (account, mut memory) =
                new_account(self.env, &mut self.rng, number, name).expect("the seed's accounts are valid");
            memory.echoes = number == ECHO;
            self.saved.accounts.insert(number.to_owned(), account);
            self.memories.insert(number.to_owned(), memory);
        }
        for (owner, _) in people {
            for (number, name) in people.into_iter().chain(OTHERS).filter(|(number, _)| *number != owner) {
                self.introduce(owner, number, name);
            }
        }
        for (one, other, lines) in [
            (ALICE, BOB, &ALICE_AND_BOB[..]),
            (ALICE, CAROL, &ALICE_AND_CAROL),
            (BOB, CAROL, &BOB_AND_CAROL),
        ] {
            self.converse(one, other, lines);
        }
    }

    fn introduce(&mut self, owner: &str, number: &str, name: &str) {
        if let Some(memory) = self.memories.get_mut(owner) {
            memory.contacts.insert(number.to_owned(), name.to_owned());
        }
        for (of, peer) in [(owner, number), (number, owner)] {
            if let Some(account) = self.saved.accounts.get_mut(of) {
                account.peers.insert(peer.to_owned());
            }
        }
    }

    fn converse(&mut self, one: &str, other: &str, lines: &[Line]) {
        let now = self.env.unix_seconds();
        for (ago, by_one, text) in lines {
            let id = format!("AC{:016X}", self.rng.next_u64());
            for (owner, peer, from_me) in [(one, other, *by_one), (other, one, !*by_one)] {
                let mut message = ChatMessage::text(&id, from_me, text, now.saturating_sub(*ago));
                message.receipt = Some(ReceiptKind::Read).filter(|_| from_me);
                let author = if from_me { owner } else { peer };
                let mut shown = entry(InboxKind::Message, peer, author, from_me, message.timestamp);
                (shown.id, shown.text) = (Some(id.clone()), message.text.clone());
                if let Some(memory) = self.memories.get_mut(owner) {
                    memory.chats.add(peer, message);
                    memory.chats.read(peer);
                    memory.inbox.push(shown);
                    if from_me {
                        memory.inbox.push(read_by(peer, &id, now.saturating_sub(*ago)));
                    }
                }
            }
        }
    }
}

/// The note that the other party has read a message.
fn read_by(peer: &str, id: &str, timestamp: u64) -> InboxEntry {
    let mut read = entry(InboxKind::Receipt, peer, peer, false, timestamp);
    (read.id, read.receipt) = (Some(id.to_owned()), Some(ReceiptKind::Read));
    read
}

/// An account with a new phone, not yet on the network.
pub(crate) fn new_account(
    env: &Env,
    rng: &mut StdRng,
    number: &str,
    name: &str,
) -> Result<(Account, Memory), SandboxError> {
    if number.is_empty() || number.len() > 15 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(SandboxError::Invalid("a phone number has 1 to 15 digits".to_owned()));
    }
    if name.is_empty() || name.len() > NAME_LEN_MAX {
        return Err(SandboxError::Invalid(format!("a name has 1 to {NAME_LEN_MAX} bytes")));
    }
    let broken = |error| SandboxError::Refused(format!("the phone's keys cannot be made: {error}"));
    let mut signal = Signal::generate(env.clock.now_ms(), rng).map_err(broken)?;
    let now = env.unix_seconds();
    let phone = Device {
        id: 0,
        key_index: 0,
        noise_public: Blob::default(),
        bundle: signal.bundle(rng),
        signed_identity: Blob::default(),
        platform: "phone".to_owned(),
        push_name: Some(name.to_owned()),
        linked_at: now,
        awaits_phone: false,
        history: HistoryDepth::default(),
        history_given: 0,
        queue: Queue::default(),
        conn: None,
        held: Default::default(),
    };
    let account = Account {
        number: number.to_owned(),
        lid: (LID_BASE + rng.next_u64() % LID_BASE).to_string(),
        name: name.to_owned(),
        about: None,
        devices: BTreeMap::from([(0, phone)]),
        next_device: 1,
        next_key_index: 0,
        adv_raw_id: rng.next_u32() >> 1,
        key_index_list: Blob::default(),
        key_index_at: now,
        peers: Default::default(),
        app_state: BTreeMap::new(),
        privacy: BTreeMap::new(),
        blocked: BTreeMap::new(),
        last_seen: None,
        passkey: None,
    };
    Ok((account, Memory::new(signal)))
}

/// The first fictional number that nobody has.
pub(crate) fn free_number(taken: impl Fn(&str) -> bool) -> Option<String> {
    AREA_CODES
        .into_iter()
        .flat_map(|area| LINES.map(move |line| format!("1{area}555{line:04}")))
        .find(|number| !taken(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fresh_seed_has_people_who_know_each_other() {
        let (saved, memories) = plant(&Env::system(), Seed::Fresh);
        assert_eq!(saved.accounts.len(), memories.len());
        assert_eq!(memories[ALICE].contacts[BOB], "Bob");
        assert_eq!(memories[ALICE].chats.0[BOB].messages.len(), ALICE_AND_BOB.len());
        let shown = memories[ALICE].inbox.page(0).entries;
        let texts = shown
            .iter()
            .filter(|entry| entry.kind == InboxKind::Message && entry.chat == BOB);
        assert_eq!(texts.count(), ALICE_AND_BOB.len());
        assert!(memories[ECHO].echoes);
    }

    #[test]
    fn further_numbers_are_fictional_and_free() {
        let number = free_number(|number| number.starts_with("1202")).unwrap();
        assert_eq!(number, "12065550100");
        assert_eq!(free_number(|_| true), None);
    }
}
