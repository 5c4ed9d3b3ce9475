//! `w:sync:app:state`: versioned collections of encrypted patches.
//!
//! The server orders patches and never reads them (wacore-appstate `patch_decode.rs`): a patch on an old version is
//! refused with 409 together with what came between. Snapshots are external blobs and come with media.

use buffa::MessageField;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp::SyncdVersion;

use crate::keys::Blob;
use crate::model::{ConnId, DeviceRef, State};
use crate::stanza::{self, Malformed};

/// The collections there are.
const NAMES: [&str; 5] = [
    "critical_block",
    "critical_unblock_low",
    "regular",
    "regular_high",
    "regular_low",
];
/// Patches in one answer.
const PATCHES_PAGE: usize = 50;
/// Most patches of one collection.
const PATCHES_MAX: usize = 10_000;
/// Largest patch, in bytes.
const PATCH_LEN_MAX: usize = 1 << 20;

/// What a device asks of one collection.
struct Wanted {
    name: String,
    version: u64,
    patch: Option<Vec<u8>>,
}

impl State {
    pub(super) fn on_app_state(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let mut answers = Vec::new();
        let mut changed = Vec::new();
        for collection in stanza::children(stanza::child(node, "sync")?) {
            let wanted = read(collection)?;
            let mut conflict = false;
            if let Some(patch) = &wanted.patch {
                match self.push_patch(&who.number, &wanted.name, wanted.version, patch)? {
                    true => changed.push(wanted.name.clone()),
                    false => conflict = true,
                }
            }
            answers.push(self.collection_node(who, &wanted, conflict));
        }
        self.answer(conn, node, vec![NodeBuilder::new("sync").children(answers).build()])?;
        for name in changed {
            self.notify_collection(who, &name);
        }
        Ok(())
    }

    /// Appends a patch if it builds on the newest version.
    pub(crate) fn push_patch(&mut self, number: &str, name: &str, base: u64, patch: &[u8]) -> Result<bool, Malformed> {
        let mut decoded =
            waproto::codec::syncd_patch_decode(patch).map_err(|_| Malformed::new("app-state patch that is none"))?;
        let Some(account) = self.account_mut(number) else {
            return Ok(false);
        };
        let collection = account.app_state.entry(name.to_owned()).or_default();
        if base != collection.version || collection.patches.len() >= PATCHES_MAX {
            return Ok(false);
        }
        // The sender cannot know the version its patch will make; the server writes it in.
        collection.version += 1;
        decoded.version = MessageField::some(SyncdVersion {
            version: Some(collection.version),
        });
        collection
            .patches
            .push(Blob(waproto::codec::syncd_patch_to_vec(&decoded)));
        self.touch();
        Ok(true)
    }

    fn collection_node(&self, who: &DeviceRef, wanted: &Wanted, conflict: bool) -> Node {
        let empty = Default::default();
        let collection = self
            .account(&who.number)
            .and_then(|account| account.app_state.get(&wanted.name))
            .unwrap_or(&empty);
        let mut builder = NodeBuilder::new("collection").attr("name", wanted.name.as_str());
        let from = usize::try_from(wanted.version)
            .unwrap_or(usize::MAX)
            .min(collection.patches.len());
        // After a push that went well the sender already has what it sent.
        let pushed = wanted.patch.is_some() && !conflict;
        let missing = if pushed { &[][..] } else { &collection.patches[from..] };
        let page = &missing[..missing.len().min(PATCHES_PAGE)];
        builder = builder.attr(
            "version",
            if pushed {
                collection.version
            } else {
                (from + page.len()) as u64
            },
        );
        if page.len() < missing.len() {
            builder = builder.attr("has_more_patches", "true");
        }
        let mut children = Vec::new();
        if conflict {
            builder = builder.attr("type", "error");
            children.push(
                NodeBuilder::new("error")
                    .attr("code", 409)
                    .attr("text", "conflict")
                    .build(),
            );
        }
        if !page.is_empty() {
            let patches = page.iter().map(|patch| stanza::with_bytes("patch", patch.0.clone()));
            children.push(
                NodeBuilder::new("patches")
                    .children(patches.collect::<Vec<_>>())
                    .build(),
            );
        }
        builder.children(children).build()
    }

    /// Tells the account's other devices that a collection moved on.
    pub(crate) fn notify_collection(&mut self, author: &DeviceRef, name: &str) {
        let Some(account) = self.account(&author.number) else {
            return;
        };
        let version = account.app_state.get(name).map_or(0, |collection| collection.version);
        let others: Vec<DeviceRef> = self
            .devices_of(&author.number)
            .into_iter()
            .filter(|device| device != author)
            .collect();
        for other in others {
            let collection = NodeBuilder::new("collection")
                .attr("name", name)
                .attr("version", version)
                .build();
            let notification = NodeBuilder::new("notification")
                .attr("from", stanza::server_jid())
                .attr("type", "server_sync")
                .attr("id", self.random_id())
                .attr("t", self.now())
                .children([collection])
                .build();
            self.enqueue(&other, notification);
        }
    }
}

fn read(node: &Node) -> Result<Wanted, Malformed> {
    let name = stanza::required(node, "name")?;
    if node.tag != "collection" || !NAMES.contains(&name.as_str()) {
        return Err(Malformed::new(format!("app-state <{}> {name}", node.tag)));
    }
    let patch = match node.get_optional_child("patch") {
        Some(patch) => Some(stanza::required_bytes(patch)?.to_vec()),
        None => None,
    };
    if patch.as_ref().is_some_and(|patch| patch.len() > PATCH_LEN_MAX) {
        return Err(Malformed::new("app-state patch too large"));
    }
    Ok(Wanted {
        name,
        version: stanza::number(node, "version")?.unwrap_or(0),
        patch,
    })
}
