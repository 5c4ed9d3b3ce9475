//! Faults that a test asks for: stanzas lost, late, doubled or refused on purpose, logins refused, and media that does not
//! come, or comes damaged.
//!
//! Pure matching and counting; what a fault does is decided where stanzas enter and leave, and at the media hosts.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use wacore_binary::{Jid, Node};

use crate::error::SandboxError;
use crate::stanza;

/// Longest delay a fault may ask for, in milliseconds.
pub(crate) const FAULT_DELAY_MS_MAX: u64 = 60_000;
/// Most faults that can be set at a time.
pub(crate) const FAULTS_MAX: usize = 100;

/// A deliberate misbehaviour of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which stanzas it hits; an empty match hits all.
    #[serde(default, rename = "match")]
    pub matches: FaultMatch,
    /// What happens to them.
    #[serde(flatten)]
    pub action: FaultAction,
    /// How many stanzas it hits before it is spent.
    #[serde(default = "one")]
    pub count: u32,
    /// The chance that a matching stanza is hit, 0 to 1; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

fn one() -> u32 {
    1
}

/// Which stanzas a fault hits. Every given field must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultMatch {
    /// Stanzas from a client (`in`, the default) or to one (`out`), or logins (`login`).
    #[serde(default)]
    pub direction: FaultDirection,
    /// The stanza's tag: `message`, `receipt`, `iq`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stanza: Option<String>,
    /// The sender: an address, or just its user part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The recipient: an address, or just its user part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The stanza's `xmlns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmlns: Option<String>,
    /// The stanza's `type`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A part of the path of a media file. Where one is fetched, nobody is known to do so: `from` hits none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Seen from the network: what comes in from a client, or goes out to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultDirection {
    /// From a client.
    #[default]
    In,
    /// To a client.
    Out,
    /// A linked device logs in; it is the sender, and there is no stanza yet.
    Login,
    /// A client uploads a file to the media hosts.
    Upload,
    /// Somebody fetches a file from them.
    Download,
}

/// What happens to a stanza that a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum FaultAction {
    /// It is lost on this connection; what waits for an acknowledgement comes again with the next one. A request for media
    /// ends with its connection.
    Drop,
    /// It is late.
    Delay {
        /// By how much, in milliseconds.
        ms: u64,
    },
    /// It happens twice.
    Duplicate,
    /// A message is refused with this error code in its ack.
    Nack {
        /// For example 479.
        code: u16,
    },
    /// An IQ is answered with this error code.
    IqError {
        /// For example 503.
        code: u16,
    },
    /// A message to a client arrives with a ciphertext that cannot be decrypted.
    Garble,
    /// The connection falls silent: nothing is read from it or written to it any more, the socket stays open. A file that
    /// is fetched falls silent after its first half.
    Stall,
    /// The media hosts answer with this HTTP status: 404 as if they had lost the file, 401 as if the token were too old, …
    Status {
        /// For example 404.
        code: u16,
    },
    /// A file that is fetched breaks off after its first half.
    Truncate,
    /// A file that is fetched has one wrong byte.
    Corrupt,
    /// A login is refused with a `<failure>`. Only for the direction `login`, and all that it takes.
    Failure {
        /// Why, for example 403.
        reason: u16,
        /// The kind of a temporary ban (reason 402).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// How long a temporary ban lasts, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expire: Option<u32>,
    },
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Replaces them all.
    pub(crate) fn set(&mut self, faults: Vec<Fault>) -> Result<(), SandboxError> {
        if faults.len() > FAULTS_MAX {
            return Err(SandboxError::Invalid(format!("more than {FAULTS_MAX} faults")));
        }
        for fault in &faults {
            if matches!(fault.action, FaultAction::Delay { ms } if ms > FAULT_DELAY_MS_MAX) {
                return Err(SandboxError::Invalid(format!(
                    "a delay of more than {FAULT_DELAY_MS_MAX} ms"
                )));
            }
            if matches!(fault.action, FaultAction::Status { code } if !(400..600).contains(&code)) {
                return Err(SandboxError::Invalid("a status that is no error".to_owned()));
            }
            if fault.probability.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
                return Err(SandboxError::Invalid(
                    "a probability that is not between 0 and 1".to_owned(),
                ));
            }
        }
        self.0 = faults;
        Ok(())
    }

    pub(crate) fn list(&self) -> &[Fault] {
        &self.0
    }

    pub(crate) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// What happens to a stanza of the client whose addresses are `peer`. Counts the fault down.
    pub(crate) fn judge(
        &mut self,
        direction: FaultDirection,
        node: &Node,
        peer: &[Jid],
        rng: &mut StdRng,
    ) -> Option<FaultAction> {
        self.first(rng, |fault| {
            fault.matches.hits(direction, node, peer) && applies(fault.action, direction, node)
        })
    }

    /// What happens to a request for the media file at `path`; uploads are somebody's. Counts the fault down.
    pub(crate) fn judge_media(
        &mut self,
        direction: FaultDirection,
        path: &str,
        from: Option<&str>,
        rng: &mut StdRng,
    ) -> Option<FaultAction> {
        self.first(rng, |fault| {
            fault.matches.hits_media(direction, path, from) && applies_to_media(fault.action, direction)
        })
    }

    fn first(&mut self, rng: &mut StdRng, hits: impl Fn(&Fault) -> bool) -> Option<FaultAction> {
        let position = self
            .0
            .iter()
            .position(|fault| hits(fault) && fault.probability.is_none_or(|chance| rng.random_bool(chance)))?;
        let fault = &mut self.0[position];
        let action = fault.action;
        fault.count = fault.count.saturating_sub(1);
        if fault.count == 0 {
            self.0.remove(position);
        }
        Some(action)
    }
}

/// Refusals make sense for what comes in, and each for its own stanza.
fn applies(action: FaultAction, direction: FaultDirection, node: &Node) -> bool {
    match action {
        FaultAction::Nack { .. } => direction == FaultDirection::In && node.tag == "message",
        FaultAction::IqError { .. } => {
            direction == FaultDirection::In
                && node.tag == "iq"
                && matches!(stanza::text(node, "type").as_deref(), Some("get" | "set"))
        }
        FaultAction::Failure { .. } => direction == FaultDirection::Login,
        FaultAction::Garble => direction == FaultDirection::Out && node.tag == "message",
        FaultAction::Drop | FaultAction::Delay { .. } | FaultAction::Duplicate | FaultAction::Stall => {
            matches!(direction, FaultDirection::In | FaultDirection::Out)
        }
        FaultAction::Status { .. } | FaultAction::Truncate | FaultAction::Corrupt => false,
    }
}

/// What is sent can only be damaged where it is fetched.
fn applies_to_media(action: FaultAction, direction: FaultDirection) -> bool {
    match action {
        FaultAction::Status { .. } | FaultAction::Drop | FaultAction::Delay { .. } | FaultAction::Stall => true,
        FaultAction::Truncate | FaultAction::Corrupt => direction == FaultDirection::Download,
        _ => false,
    }
}

impl FaultMatch {
    fn hits(&self, direction: FaultDirection, node: &Node, peer: &[Jid]) -> bool {
        let attribute = |wanted: &Option<String>, key: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| stanza::text(node, key).as_ref() == Some(wanted))
        };
        // The client's own side of the stanza is implied by the connection, so it rarely has the attribute.
        let (from_peer, to_peer) = match direction {
            FaultDirection::In | FaultDirection::Login => (peer, &[][..]),
            FaultDirection::Out => (&[][..], peer),
            // Not of stanzas; see `hits_media`.
            FaultDirection::Upload | FaultDirection::Download => return false,
        };
        self.direction == direction
            && self.stanza.as_ref().is_none_or(|tag| node.tag == tag.as_str())
            && address_hits(self.from.as_deref(), node, "from", from_peer)
            && address_hits(self.to.as_deref(), node, "to", to_peer)
            && attribute(&self.xmlns, "xmlns")
            && attribute(&self.kind, "type")
    }

    fn hits_media(&self, direction: FaultDirection, path: &str, from: Option<&str>) -> bool {
        let names_stanzas = self.stanza.is_some() || self.to.is_some() || self.xmlns.is_some() || self.kind.is_some();
        self.direction == direction
            && !names_stanzas
            && self.path.as_ref().is_none_or(|part| path.contains(part.as_str()))
            && self.from.as_ref().is_none_or(|wanted| from == Some(wanted))
    }
}

fn address_hits(wanted: Option<&str>, node: &Node, key: &str, peer: &[Jid]) -> bool {
    let Some(wanted) = wanted else { return true };
    let stated = node.attrs.get(key).and_then(|value| value.to_jid());
    stated
        .iter()
        .chain(peer)
        .any(|jid| jid.user == wanted || jid.to_string() == wanted || jid.to_non_ad_string() == wanted)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use wacore_binary::builder::NodeBuilder;

    use super::*;

    fn fault(json: serde_json::Value) -> Fault {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_fault_hits_what_it_names_as_often_as_it_says() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut faults = Faults::default();
        let wanted = serde_json::json!({"match": {"stanza": "message", "to": "12025550104"}, "action": "nack",
            "code": 479, "count": 2});
        faults.set(vec![fault(wanted)]).unwrap();
        let to = |user: &str| NodeBuilder::new("message").attr("to", Jid::pn(user)).build();

        assert_eq!(
            faults.judge(FaultDirection::In, &to("12025550101"), &[], &mut rng),
            None
        );
        for _ in 0..2 {
            let action = faults.judge(FaultDirection::In, &to("12025550104"), &[], &mut rng);
            assert_eq!(action, Some(FaultAction::Nack { code: 479 }));
        }
        assert_eq!(
            faults.judge(FaultDirection::In, &to("12025550104"), &[], &mut rng),
            None
        );
        assert!(!faults.any());
    }

    #[test]
    fn the_client_is_found_by_its_connection() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut faults = Faults::default();
        let wanted = serde_json::json!({"match": {"direction": "out", "to": "12025550101"}, "action": "drop"});
        faults.set(vec![fault(wanted)]).unwrap();
        let node = NodeBuilder::new("message").build();
        let peer = [Jid::pn_device("12025550101", 1)];
        assert_eq!(faults.judge(FaultDirection::In, &node, &peer, &mut rng), None);
        assert_eq!(
            faults.judge(FaultDirection::Out, &node, &peer, &mut rng),
            Some(FaultAction::Drop)
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let mut faults = Faults::default();
        let late = fault(serde_json::json!({"action": "delay", "ms": FAULT_DELAY_MS_MAX + 1}));
        assert!(faults.set(vec![late]).is_err());
        let often = fault(serde_json::json!({"action": "drop", "probability": 1.5}));
        assert!(faults.set(vec![often]).is_err());
        assert!(serde_json::from_value::<Fault>(serde_json::json!({"action": "explode"})).is_err());
    }

    #[test]
    fn a_login_is_refused_and_nothing_else() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut faults = Faults::default();
        let wanted = serde_json::json!({"match": {"direction": "login", "from": "12025550101"},
            "action": "failure", "reason": 402, "code": 101, "expire": 60});
        faults.set(vec![fault(wanted)]).unwrap();
        let peer = [Jid::pn_device("12025550101", 1)];
        let node = NodeBuilder::new("login").build();
        assert_eq!(faults.judge(FaultDirection::In, &node, &peer, &mut rng), None);
        let action = faults.judge(FaultDirection::Login, &node, &peer, &mut rng);
        let (code, expire) = (Some(101), Some(60));
        assert_eq!(
            action,
            Some(FaultAction::Failure {
                reason: 402,
                code,
                expire
            })
        );
        assert!(!faults.any());
    }
    #[test]
    fn media_is_hit_by_its_path_and_its_uploader() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut faults = Faults::default();
        let lost = serde_json::json!({"match": {"direction": "download", "path": "/video/"}, "action": "status",
            "code": 404});
        let refused = serde_json::json!({"match": {"direction": "upload", "from": "12025550101"}, "action": "drop"});
        let damaged = serde_json::json!({"match": {"direction": "upload"}, "action": "corrupt"});
        faults.set(vec![fault(lost), fault(refused), fault(damaged)]).unwrap();
        let (up, down) = (FaultDirection::Upload, FaultDirection::Download);
        let alice = Some("12025550101");

        assert_eq!(faults.judge_media(down, "/v/image/a", None, &mut rng), None);
        let lost = faults.judge_media(down, "/v/video/a", None, &mut rng);
        assert_eq!(lost, Some(FaultAction::Status { code: 404 }));
        assert_eq!(
            faults.judge_media(up, "/mms/video/a", Some("12025550102"), &mut rng),
            None
        );
        assert_eq!(
            faults.judge_media(up, "/mms/video/a", alice, &mut rng),
            Some(FaultAction::Drop)
        );
        let node = NodeBuilder::new("message").build();
        assert_eq!(faults.judge(FaultDirection::In, &node, &[], &mut rng), None);
        let fine = fault(serde_json::json!({"match": {"direction": "download"}, "action": "status", "code": 200}));
        assert!(faults.set(vec![fine]).is_err());
    }
}
