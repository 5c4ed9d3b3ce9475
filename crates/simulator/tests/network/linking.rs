//! Link codes from a client's side: right, wrong, late and replaced ones, and how a client may call itself.

use wacore::pair_code::PairCodeUtils;
use wacore_libsignal::protocol::KeyPair;

use super::*;

const CODE: &str = "ABCD2345";

/// A device that shows a link code for Alice.
struct Showing {
    device: Device,
    client: Client,
    ephemeral: KeyPair,
    reference: Vec<u8>,
}

/// Asks for a link code as `display`.
async fn say_hello(client: &mut Client, device: &Device, ephemeral: &KeyPair, display: &str) -> Node {
    let key = |pair: &KeyPair| <[u8; 32]>::try_from(pair.public_key.public_key_bytes()).unwrap();
    let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&key(ephemeral), CODE);
    let noise = key(&device.noise);
    let request =
        PairCodeUtils::build_companion_hello_iq(ALICE, &noise, &wrapped, "1", display, true, "unused".to_owned());
    client.iq("set", "md", request.children().unwrap().to_vec()).await
}

async fn showing(sandbox: &Sandbox) -> Showing {
    let mut device = Device::new();
    let mut client = Client::register(sandbox, &mut device, "Test").await;
    client.pairing_code(&device).await;
    let ephemeral = KeyPair::generate(&mut rand::make_rng::<rand::rngs::StdRng>());
    let answer = say_hello(&mut client, &device, &ephemeral, "Chrome (Linux)").await;
    let reference = content(at(&answer, &["link_code_companion_reg", "link_code_pairing_ref"]));
    Showing {
        device,
        client,
        ephemeral,
        reference,
    }
}

impl Showing {
    /// Answers the phone once, whatever its owner typed.
    async fn finish(&mut self) {
        let notification = self.client.expect("notification").await;
        self.client.ack(&notification).await;
        let hello = at(&notification, &["link_code_companion_reg"]);
        assert_eq!(attr(hello, "stage"), "primary_hello");
        assert_eq!(content(at(hello, &["link_code_pairing_ref"])), self.reference);
        let wrapped = content(at(hello, &["link_code_pairing_wrapped_primary_ephemeral_pub"]));
        let theirs = PairCodeUtils::decrypt_primary_ephemeral_pub(&wrapped, CODE).unwrap();
        let primary = content(at(hello, &["primary_identity_pub"])).try_into().unwrap();
        let (bundle, secret) =
            PairCodeUtils::prepare_key_bundle(&self.ephemeral, &theirs, &primary, &self.device.identity).unwrap();
        self.device.secret = secret;
        let identity = self.device.identity.public_key.public_key_bytes().try_into().unwrap();
        let finish =
            PairCodeUtils::build_companion_finish_iq(ALICE, bundle, &identity, &self.reference, "unused".to_owned());
        let answer = self.client.iq("set", "md", finish.children().unwrap().to_vec()).await;
        assert_eq!(attr(&answer, "type"), "result");
    }

    /// Answers the phone, and signs.
    async fn link(&mut self) {
        self.finish().await;
        self.client.sign(&mut self.device, |_| {}).await;
    }
}

fn why(outcome: Result<LinkView, SandboxError>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test]
async fn the_right_code_links_also_after_a_wrong_one() {
    let sandbox = sandbox();
    let mut showing = showing(&sandbox).await;
    let wants_code = || sandbox.phone(ALICE).unwrap().wants_code;
    assert_eq!(wants_code().as_deref(), Some("Chrome (Linux)"));

    let (wrong, ()) = tokio::join!(sandbox.enter_code(ALICE, "ABCD-2346"), showing.finish());
    assert_eq!(why(wrong), "the code is wrong");
    let (linked, ()) = tokio::join!(sandbox.enter_code(ALICE, "abcd-2345"), showing.link());
    assert_eq!(linked.unwrap().device().unwrap().jid, showing.device.jid.to_string());
    assert_eq!(attr(&showing.client.expect("stream:error").await, "code"), "515");
    Client::ready(&sandbox, &mut showing.device).await;

    assert_eq!(wants_code(), None);
    assert!(why(sandbox.enter_code(ALICE, CODE).await).contains("no device waits"));
    assert_eq!(
        sandbox.metrics().malformed_count,
        0,
        "{:?}",
        sandbox.metrics().malformed
    );
}

#[tokio::test]
async fn a_code_is_tried_three_times_at_most() {
    let sandbox = sandbox();
    let mut showing = showing(&sandbox).await;
    for _ in 0..3 {
        let (wrong, ()) = tokio::join!(sandbox.enter_code(ALICE, "ABCD-2346"), showing.finish());
        assert_eq!(why(wrong), "the code is wrong");
    }
    assert!(why(sandbox.enter_code(ALICE, CODE).await).contains("entered 3 times"));
    assert_eq!(sandbox.phone(ALICE).unwrap().wants_code, None);
}

#[tokio::test]
async fn a_code_expires_after_three_minutes_and_is_for_one_phone() {
    let (clock, sandbox) = held();
    let mut first = showing(&sandbox).await;
    assert!(why(sandbox.enter_code(BOB, CODE).await).contains("no device waits"));
    clock.pass(180);
    assert!(sandbox.phone(ALICE).unwrap().wants_code.is_some());
    clock.pass(1);
    assert!(why(sandbox.enter_code(ALICE, CODE).await).contains("expired"));

    // Another code on the same connection replaces it.
    let answer = say_hello(&mut first.client, &first.device, &first.ephemeral, "Safari (Mac OS)").await;
    first.reference = content(at(&answer, &["link_code_companion_reg", "link_code_pairing_ref"]));
    let (linked, ()) = tokio::join!(sandbox.enter_code(ALICE, CODE), first.link());
    linked.unwrap();
}

#[tokio::test]
async fn a_device_that_calls_itself_by_a_products_name_gets_no_code() {
    let sandbox = sandbox();
    let mut device = Device::new();
    let mut client = Client::register(&sandbox, &mut device, "Test").await;
    client.pairing_code(&device).await;
    let ephemeral = KeyPair::generate(&mut rand::make_rng::<rand::rngs::StdRng>());
    let answer = say_hello(&mut client, &device, &ephemeral, "Chrome (Wharf)").await;
    assert_eq!(attr(&answer, "type"), "error");
    assert_eq!(attr(at(&answer, &["error"]), "text"), "bad-request");
    assert_eq!(sandbox.metrics().malformed_count, 1);
}

#[tokio::test]
async fn a_code_that_is_none_is_told_so() {
    let sandbox = sandbox();
    let outcome = sandbox.enter_code(ALICE, "1234").await;
    assert!(matches!(outcome, Err(SandboxError::Invalid(_))), "{outcome:?}");
}
