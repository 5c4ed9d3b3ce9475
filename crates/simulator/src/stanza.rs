//! Small helpers to read and build binary nodes.
//!
//! What a stanza means is decided by the module of its topic.

use serde::{Deserialize, Deserializer, Serializer};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeContent, NodeValue, Server};

use crate::keys::Blob;

/// A stanza that a strict server refuses, with what is wrong in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// An attribute as text.
pub(crate) fn text(node: &Node, key: &str) -> Option<String> {
    node.attrs.get(key).map(|value| value.as_str().into_owned())
}

/// A message whose ciphertext is damaged: the last byte is part of its authentication code, or of the keys before it.
pub(crate) fn garbled(mut message: Node) -> Node {
    if let Some(NodeContent::Nodes(children)) = &mut message.content {
        for child in children.iter_mut().filter(|child| child.tag == "enc") {
            if let Some(NodeContent::Bytes(bytes)) = &mut child.content
                && let Some(last) = bytes.last_mut()
            {
                *last ^= 1;
            }
        }
    }
    message
}

/// An attribute that must be there and not be empty.
pub(crate) fn required(node: &Node, key: &str) -> Result<String, Malformed> {
    text(node, key)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Malformed(format!("<{}> without {key}", node.tag)))
}

/// An attribute that must be an address if it is there.
pub(crate) fn jid(node: &Node, key: &str) -> Result<Option<Jid>, Malformed> {
    match node.attrs.get(key) {
        None => Ok(None),
        Some(value) => value
            .to_jid()
            .map(Some)
            .ok_or_else(|| Malformed(format!("<{}> with a bad {key}: {value}", node.tag))),
    }
}

/// An attribute that must be an address.
pub(crate) fn required_jid(node: &Node, key: &str) -> Result<Jid, Malformed> {
    jid(node, key)?.ok_or_else(|| Malformed(format!("<{}> without {key}", node.tag)))
}

/// An attribute that must be a number if it is there.
pub(crate) fn number(node: &Node, key: &str) -> Result<Option<u64>, Malformed> {
    match text(node, key) {
        None => Ok(None),
        Some(value) => value
            .parse()
            .map(Some)
            .map_err(|_| Malformed(format!("<{}> with a bad {key}: {value}", node.tag))),
    }
}

/// The child that must be there.
pub(crate) fn child<'n>(node: &'n Node, tag: &str) -> Result<&'n Node, Malformed> {
    node.get_optional_child(tag)
        .ok_or_else(|| Malformed(format!("<{}> without <{tag}>", node.tag)))
}

/// The content as bytes; text counts as its UTF-8.
pub(crate) fn bytes(node: &Node) -> Option<&[u8]> {
    match node.content.as_ref()? {
        NodeContent::Bytes(bytes) => Some(bytes),
        NodeContent::String(text) => Some(text.as_bytes()),
        NodeContent::Nodes(_) => None,
    }
}

/// The content, which must be bytes.
pub(crate) fn required_bytes(node: &Node) -> Result<&[u8], Malformed> {
    bytes(node)
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| Malformed(format!("<{}> without content", node.tag)))
}

/// All children, none if the content is something else.
pub(crate) fn children(node: &Node) -> &[Node] {
    node.children().unwrap_or_default()
}

/// The tag of the first child, by which most IQs are told apart.
pub(crate) fn first_child_tag(node: &Node) -> &str {
    children(node).first().map_or("", |child| child.tag.as_ref())
}

/// The address of the server itself.
pub(crate) fn server_jid() -> Jid {
    Jid::new("", Server::Pn)
}

/// Whether an address is the server itself.
pub(crate) fn is_server(jid: &Jid) -> bool {
    jid.user.is_empty() && jid.server == Server::Pn
}

/// An empty node.
pub(crate) fn empty(tag: &'static str) -> Node {
    NodeBuilder::new(tag).build()
}

/// A node with bytes and no attributes.
pub(crate) fn with_bytes(tag: &'static str, bytes: impl Into<Vec<u8>>) -> Node {
    NodeBuilder::new(tag).bytes(bytes).build()
}

/// The successful answer to an IQ.
pub(crate) fn iq_result(request: &Node, children: Vec<Node>) -> Node {
    let mut builder = NodeBuilder::new("iq")
        .attr("from", reply_from(request))
        .attr("type", "result");
    if let Some(id) = request.attrs.get("id") {
        builder = builder.attr("id", id.clone());
    }
    if !children.is_empty() {
        builder = builder.children(children);
    }
    builder.build()
}

/// The refusal of an IQ.
pub(crate) fn iq_error(request: &Node, code: u16, why: &str) -> Node {
    let error = NodeBuilder::new("error")
        .attr("code", u32::from(code))
        .attr("text", why)
        .build();
    let mut node = iq_result(request, vec![error]);
    node.attrs.insert("type", "error");
    node
}

/// WhatsApp's word for an error code; WhatsApp Web takes a code with another word for something else (wacore
/// `pair_code.rs`).
pub(crate) fn error_text(code: u16) -> &'static str {
    match code {
        400 => "bad-request",
        401 => "not-authorized",
        403 => "forbidden",
        404 => "item-not-found",
        429 => "rate-overlimit",
        452 => "feature-not-available",
        500 => "internal-server-error",
        501 => "feature-not-implemented",
        503 => "service-unavailable",
        _ => "error",
    }
}

fn reply_from(request: &Node) -> NodeValue {
    request.attrs.get("to").cloned().unwrap_or_else(|| server_jid().into())
}

/// The acknowledgement of a stanza from a client.
pub(crate) fn ack(stanza: &Node, now: u64) -> Node {
    let mut builder = NodeBuilder::new("ack")
        .attr("class", stanza.tag.to_string())
        .attr("t", now);
    for (theirs, ours) in [
        ("to", "from"),
        ("id", "id"),
        ("type", "type"),
        ("participant", "participant"),
    ] {
        if let Some(value) = stanza
            .attrs
            .get(theirs)
            .filter(|_| stanza.tag != "message" || theirs != "type")
        {
            builder = builder.attr(ours, value.clone());
        }
    }
    builder.build()
}

/// The refusal of a stanza from a client.
pub(crate) fn nack(stanza: &Node, now: u64, code: u16) -> Node {
    let mut node = ack(stanza, now);
    node.attrs.insert("error", u32::from(code));
    node
}

/// Stores a node as its wire bytes.
pub(crate) mod stored {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(node: &Node, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = wacore_binary::marshal(node).map_err(serde::ser::Error::custom)?;
        serde::Serialize::serialize(&Blob(bytes), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let blob = Blob::deserialize(deserializer)?;
        decode(&blob.0).map_err(serde::de::Error::custom)
    }
}

/// Reads a node from its wire bytes, compressed or not.
pub(crate) fn decode(bytes: &[u8]) -> wacore_binary::Result<Node> {
    let plain = wacore_binary::util::unpack(bytes)?;
    Ok(wacore_binary::marshal::unmarshal_ref(&plain)?.to_owned())
}
