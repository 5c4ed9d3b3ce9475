//! Linking by a code that a person types into the phone: the server's part.
//!
//! The device and the phone wrap their keys with the code and exchange them through the server, which never learns the code
//! (wacore `pair_code.rs`, whatsmeow `pair-code.go`): companion_hello, primary_hello, companion_finish. Then the phone
//! offers the device a place as after a scan.

use rand::Rng as _;
use tokio::sync::oneshot;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use super::KEY_LEN;
use crate::error::SandboxError;
use crate::model::{ConnId, State};
use crate::stanza::{self, Malformed};

/// How long a code can be entered, in milliseconds (WhatsApp Web, by wacore `pair_code.rs`: 180 s).
const CODE_VALID_MS: u64 = 180_000;
/// How long a device may still need after its code was entered at the last moment, in milliseconds.
const FINISH_VALID_MS: u64 = 60_000;
/// How often a phone may try one code; devices answer no more (WhatsApp Web `DeviceLinkingApi`: three).
const ATTEMPTS_MAX: u32 = 3;
/// Random bytes in a ref.
const REF_LEN: usize = 16;
/// A wrapped key: salt, initialisation vector and the encrypted key.
const WRAPPED_KEY_LEN: usize = 32 + 16 + 32;
/// A wrapped key bundle: salt, initialisation vector, two keys, a secret, and the tag.
const WRAPPED_BUNDLE_LEN: usize = 32 + 12 + 3 * 32 + 16;
/// What a device may say it is: browsers and desktops 1 to 9 (wacore `companion_reg.rs`), a Mac c (whatsmeow `pair-code.go`
/// PairClientMacOS), Android tablets and phones d to f.
const PLATFORM_IDS: &[u8] = b"123456789cdef";
/// The browsers of `Chrome (Linux)`; the last is what Android devices say.
const BROWSERS: &[&str] = &["Chrome", "Edge", "Firefox", "IE", "Opera", "Safari", "Android"];
/// The systems of `Chrome (Linux)` that are known to be accepted. Anything that is no system, such as a product's name, is
/// refused by the real server as a bad request (wacore `companion_reg.rs`).
const SYSTEMS: &[&str] = &[
    "Windows",
    "Mac OS",
    "Mac",
    "Linux",
    "Ubuntu",
    "Fedora",
    "Debian",
    "Chrome OS",
    "Android",
    "iOS",
];

/// A link code that a device shows.
pub(crate) struct Hello {
    /// Whose phone the code is for.
    number: String,
    reference: Vec<u8>,
    wrapped_ephemeral: Vec<u8>,
    display: String,
    created_at_ms: u64,
    attempts: u32,
    /// Where the answer to the phone's last attempt goes.
    finish: Option<oneshot::Sender<Vec<u8>>>,
}

/// What a phone learns when its owner enters a code.
pub(crate) struct Shown {
    /// The connection of the device that shows it.
    pub(crate) conn: ConnId,
    /// The device's key, wrapped with the code.
    pub(crate) wrapped_ephemeral: Vec<u8>,
    /// The device's identity key.
    pub(crate) identity: [u8; KEY_LEN],
}

impl State {
    /// A device asks for a link code, or answers the phone that tries one.
    pub(super) fn on_link_code(&mut self, conn: ConnId, node: &Node) -> Result<(), Malformed> {
        let request = stanza::child(node, "link_code_companion_reg")?;
        let jid = stanza::required_jid(request, "jid")?;
        if !jid.is_pn() || jid.user.is_empty() || jid.device != 0 {
            return Err(Malformed::new(format!("link code for {jid}, which is no phone")));
        }
        match stanza::required(request, "stage")?.as_str() {
            "companion_hello" => self.on_companion_hello(conn, node, request, jid.user.to_string()),
            "companion_finish" => self.on_companion_finish(conn, node, request, &jid.user),
            stage => Err(Malformed::new(format!("link code of stage {stage}"))),
        }
    }

    fn on_companion_hello(
        &mut self,
        conn: ConnId,
        node: &Node,
        request: &Node,
        number: String,
    ) -> Result<(), Malformed> {
        let push = stanza::required(request, "should_show_push_notification")?;
        if !matches!(push.as_str(), "true" | "false") {
            return Err(Malformed::new(format!("should_show_push_notification {push}")));
        }
        let wrapped_ephemeral = bytes_of(
            request,
            "link_code_pairing_wrapped_companion_ephemeral_pub",
            WRAPPED_KEY_LEN,
        )?;
        let noise = bytes_of(request, "companion_server_auth_key_pub", KEY_LEN)?;
        let platform = bytes_of(request, "companion_platform_id", 1)?;
        bytes_of(request, "link_code_pairing_nonce", 1)?;
        let display = stanza::required_bytes(stanza::child(request, "companion_platform_display")?)?;
        let display = String::from_utf8_lossy(display).into_owned();
        if !PLATFORM_IDS.contains(&platform[0]) {
            return Err(Malformed::new(format!(
                "companion_platform_id {}",
                char::from(platform[0])
            )));
        }
        if !is_display(&display) {
            return Err(Malformed::new(format!("companion_platform_display {display}")));
        }
        let mut reference = vec![0; REF_LEN];
        self.env.random.rng().fill_bytes(&mut reference);
        let created_at_ms = self.env.clock.now_ms();
        let registration = self.registration_mut(conn);
        let registration = registration.ok_or_else(|| Malformed::new("link code after linking"))?;
        if registration.noise_public != noise {
            return Err(Malformed::new("companion_server_auth_key_pub of another device"));
        }
        // A second code replaces the first: the phone finds devices by its number, not by what is typed.
        registration.hello = Some(Hello {
            number,
            reference: reference.clone(),
            wrapped_ephemeral,
            display,
            created_at_ms,
            attempts: 0,
            finish: None,
        });
        self.extend(conn, CODE_VALID_MS + FINISH_VALID_MS);
        self.touch();
        let answer = NodeBuilder::new("link_code_companion_reg")
            .attr("stage", "companion_hello")
            .children([stanza::with_bytes("link_code_pairing_ref", reference)]);
        self.reply(conn, stanza::iq_result(node, vec![answer.build()]));
        Ok(())
    }

    fn on_companion_finish(
        &mut self,
        conn: ConnId,
        node: &Node,
        request: &Node,
        number: &str,
    ) -> Result<(), Malformed> {
        let bundle = bytes_of(request, "link_code_pairing_wrapped_key_bundle", WRAPPED_BUNDLE_LEN)?;
        let identity = bytes_of(request, "companion_identity_public", KEY_LEN)?;
        let reference = stanza::required_bytes(stanza::child(request, "link_code_pairing_ref")?)?;
        let registration = self.registration_mut(conn);
        let registration = registration.ok_or_else(|| Malformed::new("companion_finish after linking"))?;
        if registration.bundle.identity.0 != identity {
            return Err(Malformed::new("companion_finish with another identity"));
        }
        let hello = registration.hello.as_mut();
        let hello = hello.filter(|hello| hello.number == number && hello.reference == reference);
        let finish = hello.and_then(|hello| hello.finish.take());
        let finish = finish.ok_or_else(|| Malformed::new("companion_finish that no phone waits for"))?;
        let _ = finish.send(bundle); // The phone may have stopped waiting.
        self.reply(conn, stanza::iq_result(node, Vec::new()));
        Ok(())
    }

    /// The newest link code for a phone. Every call is an attempt.
    pub(crate) fn attempt_link_code(&mut self, number: &str) -> Result<Shown, SandboxError> {
        let now_ms = self.env.clock.now_ms();
        let conn = self.newest_hello(number).map(|(conn, _)| conn);
        let registration = conn.and_then(|conn| Some((conn, self.registration_mut(conn)?)));
        let Some((conn, hello, identity)) = registration.and_then(|(conn, registration)| {
            let identity = registration.bundle.identity.0.as_slice().try_into().ok()?;
            Some((conn, registration.hello.as_mut()?, identity))
        }) else {
            let message = format!("no device waits for a code of {number}; request a code for this number first");
            return Err(SandboxError::Conflict(message));
        };
        if now_ms > hello.created_at_ms + CODE_VALID_MS {
            return Err(SandboxError::Conflict(
                "the code has expired; request a new one".to_owned(),
            ));
        }
        if hello.attempts >= ATTEMPTS_MAX {
            return Err(SandboxError::Conflict(format!(
                "a wrong code was entered {ATTEMPTS_MAX} times; request a new one"
            )));
        }
        hello.attempts += 1;
        Ok(Shown {
            conn,
            wrapped_ephemeral: hello.wrapped_ephemeral.clone(),
            identity,
        })
    }

    /// Passes the phone's wrapped key on to the device. Its answer is a wrapped key bundle.
    pub(crate) fn primary_hello(
        &mut self,
        conn: ConnId,
        wrapped_ephemeral: &[u8],
        identity: &[u8],
    ) -> Result<oneshot::Receiver<Vec<u8>>, SandboxError> {
        let (finish, answer) = oneshot::channel();
        let hello = self.registration_mut(conn).and_then(|it| it.hello.as_mut());
        let hello = hello.ok_or_else(|| SandboxError::Conflict("the device has gone".to_owned()))?;
        hello.finish = Some(finish);
        let greeting = NodeBuilder::new("link_code_companion_reg")
            .attr("stage", "primary_hello")
            .children([
                stanza::with_bytes("link_code_pairing_wrapped_primary_ephemeral_pub", wrapped_ephemeral),
                stanza::with_bytes("primary_identity_pub", identity),
                stanza::with_bytes("link_code_pairing_ref", hello.reference.clone()),
            ]);
        self.notify_unlinked(conn, "link_code_companion_reg", vec![greeting.build()]);
        Ok(answer)
    }

    /// What the device calls itself that waits for a code on this phone.
    pub(crate) fn wants_link_code(&self, number: &str) -> Option<String> {
        let now_ms = self.env.clock.now_ms();
        let (_, hello) = self.newest_hello(number)?;
        let is_open = now_ms <= hello.created_at_ms + CODE_VALID_MS && hello.attempts < ATTEMPTS_MAX;
        is_open.then(|| hello.display.clone())
    }

    fn newest_hello(&self, number: &str) -> Option<(ConnId, &Hello)> {
        let hellos = self
            .links
            .keys()
            .filter_map(|conn| Some((*conn, self.unclaimed(*conn)?.hello.as_ref()?)));
        hellos
            .filter(|(_, hello)| hello.number == number)
            .max_by_key(|(conn, hello)| (hello.created_at_ms, *conn))
    }
}

fn bytes_of(request: &Node, tag: &'static str, length: usize) -> Result<Vec<u8>, Malformed> {
    let bytes = stanza::required_bytes(stanza::child(request, tag)?)?;
    match bytes.len() == length {
        true => Ok(bytes.to_vec()),
        false => Err(Malformed::new(format!(
            "<{tag}> of {} bytes, not {length}",
            bytes.len()
        ))),
    }
}

/// Whether this is a browser and a system, as in `Chrome (Linux)`.
fn is_display(display: &str) -> bool {
    let parts = display.strip_suffix(')').and_then(|rest| rest.split_once(" ("));
    parts.is_some_and(|(browser, system)| BROWSERS.contains(&browser) && SYSTEMS.contains(&system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_calls_itself_by_browser_and_system() {
        for fine in ["Chrome (Linux)", "Safari (Mac OS)", "Android (Android)"] {
            assert!(is_display(fine), "{fine}");
        }
        for odd in [
            "Chrome",
            "Wharf (Linux)",
            "Chrome (Wharf)",
            "Chrome (Linux",
            "Chrome(Linux)",
        ] {
            assert!(!is_display(odd), "{odd}");
        }
    }
}
