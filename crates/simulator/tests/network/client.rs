//! A bare protocol client for the network's tests: handshake, stanzas, pairing, keys; no Signal sessions, no business.
//!
//! Its full handshake is written out here, because the library's initiator refuses the sandbox's certificate chain.

#![expect(
    clippy::unwrap_used,
    reason = "what does not work out in a test's client fails the test"
)]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use buffa::{Message as _, MessageField};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::task::JoinSet;
use wacore::pair::{DeviceState, PairUtils};
use wacore::prekeys::PreKeyUtils;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::consts::{NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER};
use wacore_binary::{Jid, Node, NodeContent, Server};
use wacore_libsignal::protocol::KeyPair;
use wacore_noise::framing::{FrameDecoder, encode_frame};
use wacore_noise::{IkHandshakeState, IkServerHelloOutcome, NoiseCipher, NoiseHandshake};
use waproto::whatsapp::client_payload::DevicePairingRegistrationData;
use waproto::whatsapp::handshake_message::{ClientFinish, ClientHello};
use waproto::whatsapp::{ClientPayload, DeviceProps, HandshakeMessage};
use wharf_simulator::{Farewell, Sandbox, SandboxError};

/// Where the client reaches the TLS listener.
pub(crate) const MEDIA_HOST: &str = "sandbox.test:3901";
/// A test waits this long for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One end of an in-memory websocket.
struct Pipe {
    from: mpsc::UnboundedReceiver<Bytes>,
    to: mpsc::UnboundedSender<Bytes>,
}

impl Stream for Pipe {
    type Item = Result<Bytes, Infallible>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.from.poll_next_unpin(cx).map(|item| item.map(Ok))
    }
}

impl Sink<Bytes> for Pipe {
    type Error = mpsc::SendError;
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.to.poll_ready(cx)
    }
    fn start_send(mut self: Pin<&mut Self>, item: Bytes) -> Result<(), Self::Error> {
        self.to.start_send(item)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.to.poll_flush_unpin(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.to.poll_close_unpin(cx)
    }
}

/// A device's long-lived keys, as a client stores them.
pub(crate) struct Device {
    pub(crate) noise: KeyPair,
    pub(crate) identity: KeyPair,
    pub(crate) signed_prekey: KeyPair,
    pub(crate) secret: [u8; 32],
    pub(crate) jid: Jid,
    pub(crate) lid: Jid,
    pub(crate) server_static: Vec<u8>,
    /// What it signed when it was linked.
    pub(crate) signed_identity: Vec<u8>,
}

impl Device {
    pub(crate) fn new() -> Self {
        let mut rng = rand::make_rng::<rand::rngs::StdRng>();
        Self {
            noise: KeyPair::generate(&mut rng),
            identity: KeyPair::generate(&mut rng),
            signed_prekey: KeyPair::generate(&mut rng),
            secret: [7; 32],
            jid: server(),
            lid: server(),
            server_static: Vec::new(),
            signed_identity: Vec::new(),
        }
    }

    fn signed_prekey_signature(&self) -> Vec<u8> {
        let signed = self.signed_prekey.public_key.serialize();
        let mut rng = rand::make_rng::<rand::rngs::StdRng>();
        self.identity
            .private_key
            .calculate_signature(&signed, &mut rng)
            .unwrap()
            .to_vec()
    }

    fn registration(&self, name: &str) -> Vec<u8> {
        let data = DevicePairingRegistrationData {
            e_regid: Some(77u32.to_be_bytes().to_vec()),
            e_keytype: Some(vec![5]),
            e_ident: Some(self.identity.public_key.public_key_bytes().to_vec()),
            e_skey_id: Some(vec![0, 0, 1]),
            e_skey_val: Some(self.signed_prekey.public_key.public_key_bytes().to_vec()),
            e_skey_sig: Some(self.signed_prekey_signature()),
            device_props: Some(
                DeviceProps {
                    os: Some("Test".into()),
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            ..Default::default()
        };
        ClientPayload {
            push_name: Some(name.to_owned()),
            device_pairing_data: MessageField::some(data),
            ..Default::default()
        }
        .encode_to_vec()
    }

    fn login(&self) -> Vec<u8> {
        ClientPayload {
            username: Some(self.jid.user.parse().unwrap()),
            device: Some(self.jid.device.into()),
            passive: Some(true),
            ..Default::default()
        }
        .encode_to_vec()
    }
}

/// An open connection.
pub(crate) struct Client {
    pipe: Pipe,
    decoder: FrameDecoder,
    write: Option<(NoiseCipher, NoiseCipher)>,
    written: u32,
    read: u32,
    next_id: u32,
    _served: JoinSet<Farewell>,
}

pub(crate) fn server() -> Jid {
    Jid::new("", Server::Pn)
}

pub(crate) fn attr(node: &Node, key: &str) -> String {
    node.attrs.get(key).map(|value| value.to_string()).unwrap_or_default()
}

/// Follows tags down from a node.
pub(crate) fn at<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
    path.iter().fold(node, |node, tag| {
        node.get_optional_child(tag)
            .unwrap_or_else(|| panic!("no <{tag}> in {node:?}"))
    })
}

pub(crate) fn content(node: &Node) -> Vec<u8> {
    match &node.content {
        Some(NodeContent::Bytes(bytes)) => bytes.clone(),
        other => panic!("not bytes: {other:?}"),
    }
}

/// The text of the first QR code that a device shows after this request.
pub(crate) fn code_in(request: &Node, device: &Device) -> String {
    let refs = at(request, &["pair-device"]).children().unwrap();
    assert_eq!(refs.len(), 6);
    let fields = [
        String::from_utf8(content(&refs[0])).unwrap(),
        BASE64_STANDARD.encode(device.noise.public_key.public_key_bytes()),
        BASE64_STANDARD.encode(device.identity.public_key.public_key_bytes()),
        BASE64_STANDARD.encode(device.secret),
        "1".to_owned(),
    ];
    fields.join(",")
}

impl Client {
    fn open(sandbox: &Sandbox) -> Self {
        let (to_server, from_client) = mpsc::unbounded();
        let (to_client, from_server) = mpsc::unbounded();
        let mut served = JoinSet::new();
        let sandbox = sandbox.clone();
        served.spawn(async move {
            sandbox
                .accept(
                    Pipe {
                        from: from_client,
                        to: to_client,
                    },
                    Some(MEDIA_HOST.to_owned()),
                )
                .await
        });
        Self {
            pipe: Pipe {
                from: from_server,
                to: to_server,
            },
            decoder: FrameDecoder::new(),
            write: None,
            written: 0,
            read: 0,
            next_id: 0,
            _served: served,
        }
    }

    async fn send_frame(&mut self, payload: &[u8], header: Option<&[u8]>) {
        self.pipe
            .send(encode_frame(payload, header).unwrap().into())
            .await
            .unwrap();
    }

    async fn next_frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.decoder.decode_frame() {
                return Some(frame.to_vec());
            }
            let Ok(data) = tokio::time::timeout(PATIENCE, self.pipe.next())
                .await
                .expect("the network is silent")?;
            self.decoder.feed(&data);
        }
    }

    /// A full handshake with some payload; remembers the server's static key.
    async fn full(sandbox: &Sandbox, device: &mut Device, payload: Vec<u8>) -> Self {
        let mut client = Self::open(sandbox);
        let ephemeral = KeyPair::generate(&mut rand::make_rng::<rand::rngs::StdRng>());
        let public = ephemeral.public_key.public_key_bytes();
        let hello = ClientHello {
            ephemeral: Some(public.to_vec()),
            ..Default::default()
        };
        let hello = HandshakeMessage {
            client_hello: MessageField::some(hello),
            ..Default::default()
        };
        client.send_frame(&hello.encode_to_vec(), Some(&WA_CONN_HEADER)).await;
        let answer = client.next_frame().await.unwrap();
        client
            .finish(NOISE_PATTERN_XX, &ephemeral, &answer, device, payload)
            .await;
        client
    }

    /// The second half of a full handshake, which a refused resumption goes on with too.
    async fn finish(
        &mut self,
        pattern: &str,
        ephemeral: &KeyPair,
        answer: &[u8],
        device: &mut Device,
        payload: Vec<u8>,
    ) {
        let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER).unwrap();
        noise.authenticate(ephemeral.public_key.public_key_bytes());
        let answer = HandshakeMessage::decode_from_slice(answer)
            .unwrap()
            .server_hello
            .into_option()
            .unwrap();
        let theirs = answer.ephemeral.unwrap();
        noise.authenticate(&theirs);
        noise
            .mix_shared_secret(ephemeral.private_key.serialize(), &theirs)
            .unwrap();
        device.server_static = noise.decrypt(&answer.r#static.unwrap()).unwrap();
        noise
            .mix_shared_secret(ephemeral.private_key.serialize(), &device.server_static)
            .unwrap();
        noise.decrypt(&answer.payload.unwrap()).unwrap();
        let encrypted_static = noise.encrypt(device.noise.public_key.public_key_bytes()).unwrap();
        noise
            .mix_shared_secret(device.noise.private_key.serialize(), &theirs)
            .unwrap();
        let payload = noise.encrypt(&payload).unwrap();
        let finish = ClientFinish {
            r#static: Some(encrypted_static),
            payload: Some(payload),
            ..Default::default()
        };
        let finish = HandshakeMessage {
            client_finish: MessageField::some(finish),
            ..Default::default()
        };
        self.send_frame(&finish.encode_to_vec(), None).await;
        self.write = Some(noise.finish().unwrap());
    }

    /// A connection of a device that wants to be linked.
    pub(crate) async fn register(sandbox: &Sandbox, device: &mut Device, name: &str) -> Self {
        let payload = device.registration(name);
        Self::full(sandbox, device, payload).await
    }

    /// A login with a full handshake. Nothing is read yet.
    pub(crate) async fn log_in(sandbox: &Sandbox, device: &mut Device) -> Self {
        let payload = device.login();
        Self::full(sandbox, device, payload).await
    }

    /// A login that resumes with the known static key, or goes on as a full one when that is not the server's any more.
    pub(crate) async fn resume(sandbox: &Sandbox, device: &mut Device) -> Self {
        let mut client = Self::open(sandbox);
        let server_static = device.server_static.clone().try_into().unwrap();
        let mut state =
            IkHandshakeState::new(device.noise.clone(), server_static, device.login(), &WA_CONN_HEADER).unwrap();
        let hello = state.build_client_hello().unwrap();
        client.send_frame(&hello, Some(&WA_CONN_HEADER)).await;
        let answer = client.next_frame().await.unwrap();
        match state.read_server_hello(&answer).unwrap() {
            IkServerHelloOutcome::Continue(outcome) => {
                client.write = Some((outcome.write_cipher, outcome.read_cipher));
            }
            IkServerHelloOutcome::Fallback(inputs) => {
                let payload = device.login();
                client
                    .finish(NOISE_PATTERN_XXFALLBACK, &inputs.ephemeral_kp, &answer, device, payload)
                    .await;
            }
        }
        client
    }

    pub(crate) async fn send(&mut self, node: Node) {
        let mut payload = wacore_binary::marshal(&node).unwrap();
        let (write, _) = self.write.as_ref().unwrap();
        write.encrypt_in_place_with_counter(self.written, &mut payload).unwrap();
        self.written += 1;
        self.send_frame(&payload, None).await;
    }

    /// The next stanza; nothing when the network closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Node> {
        let mut frame = self.next_frame().await?;
        let (_, read) = self.write.as_ref().unwrap();
        read.decrypt_in_place_with_counter(self.read, &mut frame).unwrap();
        self.read += 1;
        let plain = wacore_binary::util::unpack(&frame).unwrap();
        Some(wacore_binary::marshal::unmarshal_ref(&plain).unwrap().to_owned())
    }

    /// Reads until a stanza with this tag comes.
    pub(crate) async fn expect(&mut self, tag: &str) -> Node {
        loop {
            let node = self.next().await.unwrap_or_else(|| panic!("closed before <{tag}>"));
            if node.tag == tag {
                return node;
            }
        }
    }

    /// Reads everything up to and including the end of the offline drain.
    pub(crate) async fn until_drained(&mut self) -> Vec<Node> {
        let mut seen = Vec::new();
        loop {
            let node = self.next().await.expect("closed while draining");
            let ends = node.get_optional_child("offline").is_some();
            seen.push(node);
            if ends {
                return seen;
            }
        }
    }

    /// Becomes active and pulls everything that was stored.
    pub(crate) async fn drain(&mut self) -> Vec<Node> {
        self.activate().await;
        let batch = NodeBuilder::new("offline_batch").attr("count", 100).build();
        self.send(NodeBuilder::new("ib").children([batch]).build()).await;
        self.until_drained().await
    }

    /// Sends an IQ and reads until its answer.
    pub(crate) async fn iq(&mut self, kind: &'static str, xmlns: &'static str, children: Vec<Node>) -> Node {
        self.next_id += 1;
        let id = format!("test-{}", self.next_id);
        let builder = NodeBuilder::new("iq")
            .attr("to", server())
            .attr("type", kind)
            .attr("xmlns", xmlns);
        self.send(builder.attr("id", id.as_str()).children(children).build())
            .await;
        loop {
            let answer = self.expect("iq").await;
            if attr(&answer, "id") == id {
                return answer;
            }
        }
    }

    /// Says that it is active: the drain of what was stored begins.
    pub(crate) async fn activate(&mut self) {
        self.iq("set", "passive", vec![NodeBuilder::new("active").build()])
            .await;
    }

    /// Uploads one-time keys with the ids 1 to `count`.
    pub(crate) async fn upload_prekeys(&mut self, device: &Device, count: u32) -> Node {
        let mut rng = rand::make_rng::<rand::rngs::StdRng>();
        let keys: Vec<(u32, Vec<u8>)> = (1..=count)
            .map(|id| (id, KeyPair::generate(&mut rng).public_key.public_key_bytes().to_vec()))
            .collect();
        let nodes = PreKeyUtils::build_upload_prekeys_request(
            77,
            device.identity.public_key.public_key_bytes(),
            1,
            device.signed_prekey.public_key.public_key_bytes(),
            &device.signed_prekey_signature(),
            keys.iter().map(|(id, key)| (*id, key.as_slice())),
        );
        self.iq("set", "encrypt", nodes).await
    }

    pub(crate) async fn ack(&mut self, node: &Node) {
        let mut ack = NodeBuilder::new("ack")
            .attr("class", node.tag.to_string())
            .attr("id", attr(node, "id"))
            .attr("to", node.attrs.get("from").unwrap().clone());
        for key in ["type", "participant", "recipient"] {
            if let Some(value) = node.attrs.get(key) {
                ack = ack.attr(key, value.clone());
            }
        }
        self.send(ack.build()).await;
    }

    pub(crate) async fn receipt(&mut self, message: &Node) {
        let mut receipt = NodeBuilder::new("receipt")
            .attr("id", attr(message, "id"))
            .attr("to", message.attrs.get("from").unwrap().clone());
        if message.attrs.get("category").is_some() {
            receipt = receipt.attr("type", "peer_msg");
        } else if message.attrs.get("recipient").is_some() {
            receipt = receipt
                .attr("type", "sender")
                .attr("recipient", message.attrs.get("recipient").unwrap().clone());
        }
        self.send(receipt.build()).await;
    }

    /// Acknowledges whatever needs it.
    pub(crate) async fn settle(&mut self, node: &Node) {
        match node.tag.as_ref() {
            "message" => self.receipt(node).await,
            "receipt" | "notification" => self.ack(node).await,
            _ => {}
        }
    }

    /// Reads the refs and answers the text of the pairing code.
    pub(crate) async fn pairing_code(&mut self, device: &Device) -> String {
        let request = self.expect("iq").await;
        let confirm = NodeBuilder::new("iq")
            .attr("type", "result")
            .attr("to", server())
            .attr("id", attr(&request, "id"));
        self.send(confirm.build()).await;
        code_in(&request, device)
    }

    /// Answers `<pair-success>` with the device's signature; `spoil` may damage it.
    pub(crate) async fn sign(&mut self, device: &mut Device, spoil: impl FnOnce(&mut Vec<u8>)) {
        let request = self.expect("iq").await;
        let success = at(&request, &["pair-success"]);
        let addresses = at(success, &["device"]);
        device.jid = addresses.attrs.get("jid").unwrap().to_jid().unwrap();
        device.lid = addresses.attrs.get("lid").unwrap().to_jid().unwrap();
        let state = DeviceState {
            identity_key: device.identity.clone(),
            noise_key: device.noise.clone(),
            adv_secret_key: device.secret,
        };
        let (mut signed, key_index) =
            PairUtils::do_pair_crypto(&state, &content(at(success, &["device-identity"]))).unwrap();
        spoil(&mut signed);
        device.signed_identity = signed.clone();
        self.send(PairUtils::build_pair_success_response(
            &attr(&request, "id"),
            signed,
            key_index,
        ))
        .await;
    }

    /// The whole pairing with a phone, up to the stream error that asks for a login.
    pub(crate) async fn pair(sandbox: &Sandbox, number: &str) -> Result<Device, SandboxError> {
        let mut device = Device::new();
        let mut client = Self::register(sandbox, &mut device, "Test").await;
        let code = client.pairing_code(&device).await;
        let (scanned, ()) = tokio::join!(sandbox.scan(number, &code), client.sign(&mut device, |_| {}));
        assert_eq!(scanned?.device().unwrap().jid, device.jid.to_string());
        assert_eq!(attr(&client.expect("stream:error").await, "code"), "515");
        assert_eq!(client.next().await, None);
        Ok(device)
    }

    /// Logs a paired device in for good: keys uploaded, active, drained.
    pub(crate) async fn ready(sandbox: &Sandbox, device: &mut Device) -> Self {
        Self::first_login(sandbox, device).await.0
    }

    /// As [`Client::ready`]; also answers what was stored, none of it acknowledged.
    pub(crate) async fn first_login(sandbox: &Sandbox, device: &mut Device) -> (Self, Vec<Node>) {
        let mut client = Self::log_in(sandbox, device).await;
        assert_eq!(attr(&client.expect("success").await, "lid"), device.lid.to_string());
        client.upload_prekeys(device, 50).await;
        client.activate().await;
        let stored = client.until_drained().await;
        (client, stored)
    }
}
