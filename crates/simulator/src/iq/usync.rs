//! `usync`: what is known about users: whether they exist, their devices, hidden ids, and "about" texts.
//!
//! Formats as in wacore `iq/usync/query.rs`. A user with companions always comes with the phone's signed list of them,
//! without which clients drop the user.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::model::{Account, ConnId, DeviceRef, Space, State};
use crate::stanza::{self, Malformed};

/// Users in one request.
const USERS_MAX: usize = 10_000;
/// Protocols that this server answers.
const KNOWN: [&str; 12] = [
    "contact",
    "devices",
    "lid",
    "status",
    "picture",
    "business",
    "disappearing_mode",
    "username",
    "text_status",
    "bot",
    "sidelist",
    "feature",
];

impl State {
    pub(super) fn on_usync(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let usync = stanza::child(node, "usync")?;
        for key in ["sid", "mode", "context", "index", "last"] {
            stanza::required(usync, key)?;
        }
        let protocols: Vec<String> = stanza::children(stanza::child(usync, "query")?)
            .iter()
            .map(|protocol| protocol.tag.to_string())
            .collect();
        if protocols.is_empty() {
            return Err(Malformed::new("usync without protocols"));
        }
        for unknown in protocols.iter().filter(|protocol| !KNOWN.contains(&protocol.as_str())) {
            self.unknown(conn, &format!("usync protocol {unknown}"));
        }
        let users = stanza::children(stanza::child(usync, "list")?);
        if users.len() > USERS_MAX {
            return Err(Malformed::new("usync for too many users"));
        }
        let mut answers = Vec::with_capacity(users.len());
        for user in users {
            answers.extend(self.usync_user(user, &protocols)?);
        }
        self.learn_peers(who, &answers);
        let result = NodeBuilder::new("result")
            .children(
                protocols
                    .iter()
                    .map(|name| NodeBuilder::new_dynamic(name.clone()).build())
                    .collect::<Vec<_>>(),
            )
            .build();
        let mut builder = NodeBuilder::new("usync");
        for key in ["sid", "mode", "context", "index", "last"] {
            if let Some(value) = usync.attrs.get(key) {
                builder = builder.attr(key, value.clone());
            }
        }
        let list = NodeBuilder::new("list").children(answers).build();
        self.answer(conn, node, vec![builder.children([result, list]).build()])
    }

    /// One user's answer; nothing for a user that does not exist, unless its existence was the question.
    fn usync_user(&self, user: &Node, protocols: &[String]) -> Result<Option<Node>, Malformed> {
        let asked = stanza::jid(user, "jid")?;
        let contact = user
            .get_optional_child("contact")
            .and_then(stanza::bytes)
            .filter(|bytes| !bytes.is_empty());
        let jid = match (&asked, contact) {
            (Some(jid), _) => jid.to_non_ad(),
            (None, Some(phone)) => {
                let digits: String = String::from_utf8_lossy(phone)
                    .chars()
                    .filter(char::is_ascii_digit)
                    .collect();
                Jid::pn(digits)
            }
            (None, None) => return Err(Malformed::new("usync <user> without jid and contact")),
        };
        let wants_contact = protocols.iter().any(|protocol| protocol == "contact");
        let Some(account) = self.resolve(&jid) else {
            let unknown = contact_node("out", contact);
            return Ok(wants_contact.then(|| NodeBuilder::new("user").attr("jid", jid).children([unknown]).build()));
        };
        let mut children = Vec::new();
        for protocol in protocols {
            match protocol.as_str() {
                "contact" => children.push(contact_node("in", contact)),
                "devices" => children.extend(devices(account, user)),
                "lid" => children.push(
                    NodeBuilder::new("lid")
                        .attr("val", account.user_jid(Space::Lid))
                        .build(),
                ),
                "status" => children.push(about(account)),
                "disappearing_mode" => {
                    children.push(
                        NodeBuilder::new("disappearing_mode")
                            .attr("duration", 0)
                            .attr("t", 0)
                            .build(),
                    );
                }
                _ => {} // No pictures, businesses, user names or bots yet: their absence is the answer.
            }
        }
        if children.is_empty() && protocols.iter().all(|protocol| protocol == "devices") {
            return Ok(None);
        }
        let mut builder = NodeBuilder::new("user").attr("jid", &jid);
        if Space::of(&jid) == Some(Space::Lid) {
            builder = builder.attr("pn_jid", account.user_jid(Space::Pn));
        }
        Ok(Some(builder.children(children).build()))
    }

    /// Who asks for an account's devices must hear when they change.
    fn learn_peers(&mut self, who: &DeviceRef, answers: &[Node]) {
        let asked: Vec<String> = answers
            .iter()
            .filter(|user| user.get_optional_child("devices").is_some())
            .filter_map(|user| Some(self.resolve(&user.attrs.get("jid")?.to_jid()?)?.number.clone()))
            .filter(|number| *number != who.number)
            .collect();
        for number in asked {
            self.make_peers(&who.number, &number);
        }
    }

    /// Two accounts hear of each other's changes from now on.
    pub(crate) fn make_peers(&mut self, one: &str, other: &str) {
        for (of, peer) in [(one, other), (other, one)] {
            if let Some(account) = self.account_mut(of).filter(|_| one != other) {
                account.peers.insert(peer.to_owned());
            }
        }
    }
}

fn contact_node(kind: &'static str, asked: Option<&[u8]>) -> Node {
    let builder = NodeBuilder::new("contact").attr("type", kind);
    match asked {
        Some(phone) => builder.bytes(phone).build(),
        None => builder.build(),
    }
}

fn about(account: &Account) -> Node {
    let builder = NodeBuilder::new("status").attr("t", account.key_index_at);
    match &account.about {
        Some(about) => builder.string_content(about.as_str()).build(),
        None => builder.build(),
    }
}

/// The account's devices; nothing for a client that has the same list already and says so with its hash, which is how
/// it learns that nothing changed (WhatsApp Web `syncDeviceList`).
fn devices(account: &Account, asked: &Node) -> Option<Node> {
    let hash = device_hash(account);
    let known = asked
        .get_optional_child("devices")
        .and_then(|hint| stanza::text(hint, "device_hash"));
    if known.is_some_and(|known| known == hash) {
        return None;
    }
    let list = account.devices.values().map(|device| {
        let builder = NodeBuilder::new("device").attr("id", device.id);
        if device.id == 0 {
            builder.build()
        } else {
            builder.attr("key-index", device.key_index).build()
        }
    });
    let mut children = vec![
        NodeBuilder::new("device-list")
            .attr("hash", hash)
            .children(list.collect::<Vec<_>>())
            .build(),
    ];
    if !account.key_index_list.0.is_empty() {
        let signed = NodeBuilder::new("key-index-list").attr("ts", account.key_index_at);
        children.push(signed.bytes(account.key_index_list.0.clone()).build());
    }
    Some(NodeBuilder::new("devices").children(children).build())
}

fn device_hash(account: &Account) -> String {
    let mut hash = Sha256::new();
    for device in account.devices.values() {
        hash.update(device.id.to_be_bytes());
        hash.update(device.key_index.to_be_bytes());
    }
    format!("2:{}", BASE64_STANDARD.encode(&hash.finalize()[..6]))
}
