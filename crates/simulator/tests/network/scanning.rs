//! `POST /admin/mock-phone/scan-qr`: a phone for whoever shows a code, over the real listener.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wharf_simulator::{SandboxServer, SandboxServerConfig};

use super::*;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Posts a code as the body, as WAHA's own tests do; answers the status line and the body.
async fn scan_with_any_phone(server: &SandboxServer, code: &str) -> (String, Value) {
    let host = server.local_addr();
    let length = code.len();
    let head = format!(
        "POST /admin/mock-phone/scan-qr HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: text/plain\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("{head}{code}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.parse().unwrap())
}

/// Pairs a new device of this push name with whichever phone the sandbox picks; answers its phone's number and its id.
async fn pair(server: &SandboxServer, sandbox: &Sandbox, name: &str) -> (String, u16) {
    let mut device = Device::new();
    let mut client = Client::register(sandbox, &mut device, name).await;
    let code = client.pairing_code(&device).await;
    let (answer, ()) = tokio::join!(scan_with_any_phone(server, &code), client.sign(&mut device, |_| {}));
    assert_eq!(answer.0, "HTTP/1.1 200 OK", "{}", answer.1);
    assert_eq!(answer.1["jid"], device.jid.to_string());
    assert_eq!(answer.1["push_name"], name);
    assert_eq!(attr(&client.expect("stream:error").await, "code"), "515");
    Client::ready(sandbox, &mut device).await;

    let (status, refusal) = scan_with_any_phone(server, &code).await;
    assert_eq!(status, "HTTP/1.1 409 Conflict", "{refusal}");
    (device.jid.user.to_string(), device.jid.device)
}

#[tokio::test]
async fn the_same_push_name_is_the_same_phone_and_a_new_name_makes_one() {
    let sandbox = sandbox();
    let config = SandboxServerConfig {
        listen: ANY_PORT,
        tls_listen: ANY_PORT,
        ..SandboxServerConfig::new(Env::system())
    };
    let server = SandboxServer::start(config, sandbox.clone(), None).await.unwrap();
    let phones = sandbox.phones().len();

    let first = pair(&server, &sandbox, "Dora").await;
    assert_eq!(sandbox.phones().len(), phones + 1, "a new name makes a phone");
    assert_eq!(sandbox.phone(&first.0).unwrap().name, "Dora");
    assert_eq!(first.1, 1);

    let second = pair(&server, &sandbox, "Dora").await;
    assert_eq!(
        second,
        (first.0.clone(), 2),
        "the same name is the same phone's next device"
    );
    let other = pair(&server, &sandbox, "Emil").await;
    assert_ne!(other.0, first.0);
    assert_eq!(sandbox.phones().len(), phones + 2);

    assert_eq!(pair(&server, &sandbox, "Alice").await, (ALICE.to_owned(), 1));
    assert_eq!(sandbox.phones().len(), phones + 2);
    let devices = sandbox.phone(&first.0).unwrap().devices;
    assert_eq!(devices.iter().map(|device| device.device).collect::<Vec<_>>(), [1, 2]);
    server.shutdown().await;
}
