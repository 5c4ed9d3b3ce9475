//! Sockets and requests through real proxies of this machine.

use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use url::Url;
use wacore::net::{HttpClient as _, HttpRequest, TransportFactory as _};
use wharf_core::clock::SystemClock;
use wharf_core::engine::{Inbox, Signal};
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};

use super::testing::{SANDBOX_HOST, Speaks, TestProxy};
use super::*;
use crate::http::Http;
use crate::network::{Gate, Network};
use crate::tls::Trust;
use crate::transport::{Dialer, Uplink};
use crate::{WhatsApp, WhatsAppConfig};

/// What a proxy has to read as it was written, whatever it goes through on the way.
const LOGIN: (&str, &str) = ("us er%41", "p@ss:w%rd/?#é");

fn proxy(scheme: ProxyScheme, port: u16, login: Option<(&str, &str)>) -> Proxy {
    Proxy {
        scheme,
        host: "127.0.0.1".to_owned(),
        port,
        credentials: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
    }
}

/// Something that answers every connection with `answer`, under a name that only the proxy resolves.
async fn site(answer: &'static str) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, tasks)
}

fn gate(port: u16) -> Gate {
    let url = Url::parse(&format!("ws://{SANDBOX_HOST}:{port}/ws/chat")).unwrap();
    Gate::new(&Network::sandbox(url)).unwrap()
}

#[derive(Default)]
struct Signals(Mutex<Vec<Signal>>);

#[async_trait::async_trait]
impl Inbox for Signals {
    async fn commit(&self, _messages: Vec<Message>, _marks: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(&self, _chat: &wharf_core::ids::ChatId, _id: &str) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    fn signal(&self, signal: Signal) {
        self.0.lock().unwrap().push(signal);
    }
}

/// What a dial through the proxy reports.
async fn dial(port: u16, tls: Arc<rustls::ClientConfig>, proxy: Proxy) -> String {
    let inbox = Arc::new(Signals::default());
    let uplink = Uplink {
        dialer: Arc::new(Dialer::new(gate(port), tls)),
        proxy: Some(proxy),
        inbox: inbox.clone(),
        answered: Arc::default(),
        ending: Arc::default(),
    };
    assert!(uplink.create_transport().await.is_err(), "no site here is a websocket");
    let mut signals = inbox.0.lock().unwrap();
    assert_eq!(signals.len(), 1);
    match signals.remove(0) {
        Signal::ProxyFailed { reason } => format!("proxy: {reason}"),
        Signal::ConnectFailed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn public_tls() -> Arc<rustls::ClientConfig> {
    crate::tls::client_config().unwrap()
}

#[tokio::test]
async fn a_socket_goes_through_the_proxy_which_resolves_the_name() {
    let (port, _site) = site("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    for (scheme, speaks) in [(ProxyScheme::Http, Speaks::Http), (ProxyScheme::Socks5, Speaks::Socks5)] {
        let running = TestProxy::start(speaks, Some(LOGIN)).await;
        let reason = dial(port, public_tls(), proxy(scheme, running.address.port(), Some(LOGIN))).await;
        assert!(reason.starts_with("sandbox.invalid refused the websocket"), "{reason}");
        assert_eq!(running.opened(), [format!("{SANDBOX_HOST}:{port}")]);
    }
}

#[tokio::test]
async fn a_request_for_media_goes_through_the_proxy_which_resolves_the_name() {
    let (port, _site) = site("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ncats").await;
    let running = TestProxy::start(Speaks::Socks5, Some(LOGIN)).await;
    let through = proxy(ProxyScheme::Socks5, running.address.port(), Some(LOGIN));
    let http = Http::new(gate(port), &Trust::public().unwrap(), Some(&through)).unwrap();
    let request = HttpRequest::get(format!("http://{SANDBOX_HOST}:{port}/mms/image"));
    assert_eq!(http.execute(request).await.unwrap().body, b"cats");
    assert_eq!(running.opened(), [format!("{SANDBOX_HOST}:{port}")]);
}

#[tokio::test]
async fn a_session_with_a_proxy_fetches_through_it_and_one_without_fetches_directly() {
    let (port, _site) = site("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ncats").await;
    let running = TestProxy::start(Speaks::Socks5, None).await;
    let through = proxy(ProxyScheme::Socks5, running.address.port(), None);
    let url = Url::parse(&format!("ws://{SANDBOX_HOST}:{port}/ws/chat")).unwrap();
    let whatsapp = WhatsApp::new(WhatsAppConfig {
        network: Network::sandbox(url),
        clock: Arc::new(SystemClock),
        version: None,
    })
    .unwrap();
    let request = || HttpRequest::get(format!("http://{SANDBOX_HOST}:{port}/"));
    let fetched = whatsapp.http(Some(&through)).unwrap().execute(request()).await;
    assert_eq!(fetched.unwrap().body, b"cats");
    assert_eq!(running.opened().len(), 1);
    let directly = whatsapp.http(None).unwrap().execute(request()).await;
    assert!(directly.is_err(), "only the proxy knows the name");
    assert_eq!(running.opened().len(), 1);
}

#[tokio::test]
async fn nothing_is_fetched_through_a_metadata_service() {
    let through = Proxy {
        host: "169.254.169.254".to_owned(),
        ..proxy(ProxyScheme::Http, 80, None)
    };
    let http = Http::new(gate(80), &Trust::public().unwrap(), Some(&through)).unwrap();
    let refused = http.execute(HttpRequest::get(format!("http://{SANDBOX_HOST}/"))).await;
    let error = refused.unwrap_err().to_string();
    assert_eq!(error, "nothing may be sent to the address of the proxy");
}

#[tokio::test]
async fn a_request_for_media_asks_an_http_proxy_for_a_tunnel() {
    // It is not TLS that answers, which does not matter here: the tunnel came first.
    let (port, _site) = site("no").await;
    let running = TestProxy::start(Speaks::Http, Some(LOGIN)).await;
    let through = proxy(ProxyScheme::Http, running.address.port(), Some(LOGIN));
    let http = Http::new(gate(port), &Trust::public().unwrap(), Some(&through)).unwrap();
    let request = HttpRequest::get(format!("https://{SANDBOX_HOST}:{port}/mms/image"));
    assert!(http.execute(request).await.is_err());
    assert_eq!(running.opened(), [format!("{SANDBOX_HOST}:{port}")]);
}

#[tokio::test]
async fn a_request_without_the_right_login_is_refused_and_shows_no_password() {
    let (port, _site) = site("no").await;
    for (scheme, speaks) in [(ProxyScheme::Http, Speaks::Http), (ProxyScheme::Socks5, Speaks::Socks5)] {
        let running = TestProxy::start(speaks, Some(LOGIN)).await;
        let through = proxy(scheme, running.address.port(), Some(("me", "guess")));
        let http = Http::new(gate(port), &Trust::public().unwrap(), Some(&through)).unwrap();
        let request = HttpRequest::get(format!("https://{SANDBOX_HOST}:{port}/mms/image"));
        let error = format!("{:#}", http.execute(request).await.unwrap_err());
        assert!(!error.contains("guess"), "{error}");
        assert_eq!((running.refused(), running.opened().len()), (1, 0), "{error}");
    }
}

/// A port that nobody listens on.
async fn unused_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_dial_says_that_there_is_no_proxy() {
    let unused = unused_port().await;
    let (no_proxy, _site) = site("220 mail.example.com ESMTP\r\n").await;
    for (proxy_port, expected) in [
        (
            unused,
            "cannot be reached: 127.0.0.1 cannot be reached: Connection refused",
        ),
        (no_proxy, "does not let through: it does not answer as an http proxy"),
    ] {
        let reason = dial(1, public_tls(), proxy(ProxyScheme::Http, proxy_port, None)).await;
        assert!(reason.starts_with("proxy: ") && reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn no_proxy_is_a_metadata_service_however_it_is_written() {
    for host in ["169.254.169.254", "0xA9FEA9FE", "[fe80::1]", "[::ffff:169.254.169.254]"] {
        let server = Proxy {
            host: host.to_owned(),
            ..proxy(ProxyScheme::Socks5, 80, None)
        };
        let reason = dial(1, public_tls(), server).await;
        let expected = format!("cannot be reached: {host} is link-local or a metadata service");
        assert!(reason.starts_with("proxy: ") && reason.ends_with(&expected), "{reason}");
    }
}

#[tokio::test]
async fn a_dial_says_that_the_proxy_refused_the_login() {
    let (port, _site) = site("").await;
    for (scheme, speaks, login, expected) in [
        (
            ProxyScheme::Http,
            Speaks::Http,
            Some(("me", "guess")),
            "it refused the credentials",
        ),
        (
            ProxyScheme::Http,
            Speaks::Http,
            None,
            "it asks for credentials, and none are configured",
        ),
        (
            ProxyScheme::Socks5,
            Speaks::Socks5,
            Some(("me", "guess")),
            "it refused: SOCKS error: credentials not accepted",
        ),
        (
            ProxyScheme::Socks5,
            Speaks::Socks5,
            None,
            "it refused a login without credentials: SOCKS error",
        ),
    ] {
        let running = TestProxy::start(speaks, Some(LOGIN)).await;
        let reason = dial(port, public_tls(), proxy(scheme, running.address.port(), login)).await;
        assert!(
            reason.starts_with("proxy: the proxy ") && reason.contains(expected),
            "{reason}"
        );
        assert!(!reason.contains("guess"), "{reason}");
        assert_eq!((running.refused(), running.opened().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_proxy_may_refuse_the_login_with_401() {
    let (refusing, _site) = site("HTTP/1.0 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await;
    let reason = dial(1, public_tls(), proxy(ProxyScheme::Http, refusing, Some(LOGIN))).await;
    assert!(reason.ends_with("it refused the credentials"), "{reason}");
}

#[tokio::test]
async fn a_dial_says_that_the_proxy_does_not_reach_the_host() {
    let unused = unused_port().await;
    for (scheme, speaks, expected) in [
        (
            ProxyScheme::Http,
            Speaks::Http,
            "it answered with status 502 Bad Gateway",
        ),
        (
            ProxyScheme::Socks5,
            Speaks::Socks5,
            "it refused: SOCKS error: host unreachable",
        ),
    ] {
        let running = TestProxy::start(speaks, Some(LOGIN)).await;
        let reason = dial(unused, public_tls(), proxy(scheme, running.address.port(), Some(LOGIN))).await;
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_proxy_over_tls_is_asked_over_tls() {
    let (port, _site) = site("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let running = TestProxy::start(Speaks::Http, Some(LOGIN)).await;
    let (front, trusting, _tasks) = tls_front(running.address.port()).await;
    let through = proxy(ProxyScheme::Https, front, Some(LOGIN));
    let reason = dial(port, trusting, through.clone()).await;
    assert!(reason.starts_with("sandbox.invalid refused the websocket"), "{reason}");
    assert_eq!(running.opened().len(), 1);
    let reason = dial(port, public_tls(), through).await;
    assert!(
        reason.contains("cannot be reached: tls with 127.0.0.1 failed"),
        "{reason}"
    );
}

/// The same proxy behind TLS, and a configuration that trusts it.
async fn tls_front(behind: u16) -> (u16, Arc<rustls::ClientConfig>, JoinSet<()>) {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let trusting = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let serving = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(serving));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut onward = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut onward).await;
        }
    });
    (port, Arc::new(trusting), tasks)
}

#[tokio::test]
async fn a_sandbox_build_uses_no_proxy_that_is_whatsapp() {
    let mut through = proxy(ProxyScheme::Http, 443, None);
    through.host = "web.whatsapp.com".to_owned();
    let reason = dial(1, public_tls(), through).await;
    assert_eq!(reason, "this build does not connect to web.whatsapp.com");
}
