//! Privacy settings, the block list, and trusted-contact tokens.
//!
//! Formats as in wacore `iq/privacy.rs`, `iq/blocklist.rs`, `iq/tctoken.rs`. Tokens are relayed, never enforced.

use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::model::{ConnId, DeviceRef, Space, State};
use crate::stanza::{self, Malformed};

/// Every account's settings before it changes one.
const DEFAULTS: [(&str, &str); 9] = [
    ("last", "all"),
    ("online", "all"),
    ("profile", "all"),
    ("status", "all"),
    ("readreceipts", "all"),
    ("groupadd", "all"),
    ("calladd", "all"),
    ("messages", "all"),
    ("defense", "off"),
];
/// Accounts that one account can block.
const BLOCKED_MAX: usize = 5_000;
/// Length of a trusted-contact token.
const TOKEN_LEN: usize = 16;

impl State {
    pub(super) fn on_get_privacy(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let changed = self
            .account(&who.number)
            .map(|account| account.privacy.clone())
            .unwrap_or_default();
        let categories = DEFAULTS.map(|(name, default)| {
            let value = changed.get(name).map_or(default, String::as_str);
            NodeBuilder::new("category")
                .attr("name", name)
                .attr("value", value)
                .build()
        });
        self.answer(
            conn,
            node,
            vec![NodeBuilder::new("privacy").children(categories).build()],
        )
    }

    pub(super) fn on_set_privacy(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let category = stanza::child(stanza::child(node, "privacy")?, "category")?;
        let (name, value) = (
            stanza::required(category, "name")?,
            stanza::required(category, "value")?,
        );
        if !DEFAULTS.iter().any(|(known, _)| *known == name) {
            return Err(Malformed::new(format!("privacy category {name}")));
        }
        let answer = NodeBuilder::new("category")
            .attr("name", name.as_str())
            .attr("value", value.as_str())
            .build();
        if let Some(account) = self.account_mut(&who.number) {
            account.privacy.insert(name, value);
        }
        self.touch();
        self.answer(conn, node, vec![NodeBuilder::new("privacy").children([answer]).build()])
    }

    pub(super) fn on_get_blocklist(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let list = self.blocklist(who);
        self.answer(conn, node, vec![list])
    }

    pub(super) fn on_set_blocklist(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let item = stanza::child(node, "item")?;
        let jid = stanza::required_jid(item, "jid")?;
        let action = stanza::required(item, "action")?;
        let now = self.now();
        let target = self.resolve(&jid).map(|account| account.number.clone());
        let Some((account, target)) = self.account_mut(&who.number).zip(target) else {
            self.reply(conn, stanza::iq_error(node, 404, "item-not-found"));
            return Ok(());
        };
        match action.as_str() {
            "block" if account.blocked.len() < BLOCKED_MAX => {
                account.blocked.insert(target, now);
            }
            "unblock" => {
                account.blocked.remove(&target);
            }
            _ => return Err(Malformed::new(format!("block list action {action}"))),
        }
        self.touch();
        let list = self.blocklist(who);
        self.answer(conn, node, vec![list])
    }

    fn blocklist(&self, who: &DeviceRef) -> Node {
        let blocked = self
            .account(&who.number)
            .map(|account| account.blocked.clone())
            .unwrap_or_default();
        let mut hash = Sha256::new();
        let items: Vec<Node> = blocked
            .iter()
            .filter_map(|(number, t)| {
                hash.update(number);
                let account = self.account(number)?;
                let item = NodeBuilder::new("item")
                    .attr("jid", account.user_jid(Space::Lid))
                    .attr("t", *t);
                Some(item.attr("pn_jid", account.user_jid(Space::Pn)).build())
            })
            .collect();
        NodeBuilder::new("list")
            .attr("dhash", hex::encode(&hash.finalize()[..8]))
            .children(items)
            .build()
    }

    /// `privacy` `set` `tokens`: the account trusts a contact, who gets a token to prove it.
    pub(super) fn on_issue_tokens(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        for token in stanza::children(stanza::child(node, "tokens")?) {
            let jid = stanza::required_jid(token, "jid")?;
            let t = stanza::number(token, "t")?.ok_or_else(|| Malformed::new("<token> without t"))?;
            let kind = stanza::required(token, "type")?;
            let Some(contact) = self.resolve(&jid).map(|account| account.number.clone()) else {
                continue;
            };
            let mut secret = [0; TOKEN_LEN];
            self.env.random.rng().fill_bytes(&mut secret);
            let token = NodeBuilder::new("token")
                .attr("type", kind)
                .attr("t", t)
                .bytes(secret)
                .build();
            let tokens = NodeBuilder::new("tokens").children([token]).build();
            let space = Space::of(&jid).unwrap_or(Space::Lid);
            let Some(from) = self.account(&who.number) else {
                continue;
            };
            let (from, sender_lid) = (from.user_jid(space), from.user_jid(Space::Lid));
            for device in self
                .devices_of(&contact)
                .into_iter()
                .filter(|device| device.device != 0)
            {
                let notification = NodeBuilder::new("notification")
                    .attr("from", from.clone())
                    .attr("sender_lid", sender_lid.clone())
                    .attr("type", "privacy_token")
                    .attr("id", self.random_id())
                    .attr("t", self.now())
                    .children([tokens.clone()])
                    .build();
                self.enqueue(&device, notification);
            }
        }
        self.answer(conn, node, Vec::new())
    }
}
