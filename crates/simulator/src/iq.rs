//! Requests of logged-in clients ("IQs") and the small ones among their answers.
//!
//! What is not known is refused with error 501 and counted, never accepted silently.

mod appstate;
mod prekeys;
mod privacy;
mod usync;

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::model::{ConnId, DeviceRef, State};
use crate::stanza::{self, Malformed};

/// How long a client may use a media connection, in seconds.
const MEDIA_CONN_TTL_S: u64 = 3600;
/// Buckets that clients spread media over.
const MEDIA_BUCKETS: u32 = 12;
/// How often a client should ask for its properties again, in seconds.
const PROPS_REFRESH_S: u64 = 24 * 3600;
/// Longest "about" text, in bytes.
const ABOUT_LEN_MAX: usize = 700;

impl State {
    pub(crate) fn on_iq(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let kind = stanza::required(node, "type")?;
        stanza::required(node, "id")?;
        if matches!(kind.as_str(), "result" | "error") {
            return Ok(()); // An answer to a request of ours, such as a ping.
        }
        let xmlns = stanza::required(node, "xmlns")?;
        let to = stanza::required_jid(node, "to")?;
        let child = stanza::first_child_tag(node);
        match (xmlns.as_str(), kind.as_str(), child) {
            ("passive", "set", _) => self.on_passive(conn, who, node),
            ("w:p" | "urn:xmpp:ping", "get", _) => self.answer(conn, node, Vec::new()),
            ("abt" | "w", "get", "props") => self.answer(conn, node, vec![props()]),
            ("encrypt", "get", "count") => self.on_prekey_count(conn, who, node),
            ("encrypt", "get", "digest") => self.on_digest(conn, who, node),
            ("encrypt", "get", "key") => self.on_fetch_prekeys(conn, node),
            ("encrypt", "set", "rotate") => self.on_rotate(conn, who, node),
            ("encrypt", "set", "registration" | "type" | "identity" | "list" | "skey") => {
                self.on_upload_prekeys(conn, who, node)
            }
            ("usync", "get", "usync") => self.on_usync(conn, who, node),
            ("w:sync:app:state", "set", "sync") => self.on_app_state(conn, who, node),
            ("privacy", "get", "privacy") => self.on_get_privacy(conn, who, node),
            ("privacy", "set", "privacy") => self.on_set_privacy(conn, who, node),
            ("privacy", "set", "tokens") => self.on_issue_tokens(conn, who, node),
            ("blocklist", "get", _) => self.on_get_blocklist(conn, who, node),
            ("blocklist", "set", "item") => self.on_set_blocklist(conn, who, node),
            ("status", "set", "status") => self.on_set_about(conn, who, node),
            ("urn:xmpp:whatsapp:dirty", "set", "clean") => self.on_clean(conn, node),
            ("md", "set", "remove-companion-device") => self.on_remove_companion(conn, who, node),
            ("w:m", "set" | "get", "media_conn") => self.on_media_conn(conn, who, node),
            ("w:profile:picture", "get", "picture") => self.on_get_picture(conn, &to, node),
            ("w:stats", _, "add") => self.answer(conn, node, Vec::new()),
            _ => {
                let what = format!("iq {kind} {xmlns} <{child}>");
                self.unknown(conn, &what);
                self.reply(conn, stanza::iq_error(node, 501, "feature-not-implemented"));
                Ok(())
            }
        }
    }

    pub(crate) fn answer(&mut self, conn: ConnId, node: &Node, children: Vec<Node>) -> Result<(), Malformed> {
        self.reply(conn, stanza::iq_result(node, children));
        Ok(())
    }

    fn on_clean(&mut self, conn: ConnId, node: &Node) -> Result<(), Malformed> {
        for clean in stanza::children(node) {
            stanza::required(clean, "type")?;
        }
        self.answer(conn, node, Vec::new())
    }

    /// `w:m` `media_conn`: where media goes (wacore `iq/mediaconn.rs`). Both hosts are the sandbox's TLS listener, under
    /// the name that the client uses for the sandbox.
    fn on_media_conn(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let (now, auth) = (self.now(), self.random_id());
        let host = self.links.get(&conn).and_then(|link| link.media_host.clone());
        let issued = |state: &mut Self| {
            let good_until = now + MEDIA_CONN_TTL_S;
            state.media_auths.issue(auth.clone(), who.clone(), now, good_until)
        };
        let Some(host) = host.filter(|_| issued(self)) else {
            self.reply(conn, stanza::iq_error(node, 503, "service-unavailable"));
            return Ok(());
        };
        let hosts = ["primary", "fallback"].map(|kind| {
            let builder = NodeBuilder::new("host").attr("hostname", host.as_str());
            builder.attr("type", kind).build()
        });
        let media_conn = NodeBuilder::new("media_conn")
            .attr("auth", auth)
            .attr("ttl", MEDIA_CONN_TTL_S)
            .attr("auth_ttl", MEDIA_CONN_TTL_S)
            .attr("max_buckets", MEDIA_BUCKETS)
            .children(hosts)
            .build();
        self.answer(conn, node, vec![media_conn])
    }

    /// `w:profile:picture` `get`: nobody has a picture yet, which the real server says with a 404 of its own.
    fn on_get_picture(&mut self, conn: ConnId, to: &wacore_binary::Jid, node: &Node) -> Result<(), Malformed> {
        let picture = stanza::child(node, "picture")?;
        let kind = stanza::required(picture, "type")?;
        if !matches!(kind.as_str(), "preview" | "image") {
            return Err(Malformed::new(format!("<picture> of type {kind}")));
        }
        let target = stanza::jid(node, "target")?
            .filter(|_| stanza::is_server(to))
            .unwrap_or_else(|| to.clone());
        tracing::trace!(%target, "picture asked for");
        self.reply(conn, stanza::iq_error(node, 404, "item-not-found"));
        Ok(())
    }

    /// `status` `set`: the account's "about" text (wacore `iq/profile.rs`).
    fn on_set_about(&mut self, conn: ConnId, who: &DeviceRef, node: &Node) -> Result<(), Malformed> {
        let about = stanza::bytes(stanza::child(node, "status")?).unwrap_or_default();
        let about = std::str::from_utf8(about).map_err(|_| Malformed::new("<status> that is not text"))?;
        if about.len() > ABOUT_LEN_MAX {
            return Err(Malformed::new("<status> too long"));
        }
        let about = about.to_owned();
        if let Some(account) = self.account_mut(&who.number) {
            account.about = Some(about).filter(|about| !about.is_empty());
        }
        self.touch();
        self.answer(conn, node, Vec::new())
    }
}

/// No experiment is on in the sandbox.
fn props() -> Node {
    NodeBuilder::new("props")
        .attr("protocol", 1)
        .attr("ab_key", "sandbox")
        .attr("hash", "sandbox")
        .attr("refresh", PROPS_REFRESH_S)
        .attr("refresh_id", 1)
        .build()
}
