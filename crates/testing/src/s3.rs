//! S3 in this process, over TCP: `s3s-fs`, which checks every signature and when it expires.

use std::net::{Ipv4Addr, SocketAddr};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::host::MultiDomain;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// S3 with one bucket and one pair of keys.
pub struct S3 {
    address: SocketAddr,
    service: S3Service,
    /// Ends what is served where it is dropped.
    serving: JoinSet<()>,
    folder: TempDir,
}

impl S3 {
    /// Its bucket.
    pub const BUCKET: &str = "wharf-test";
    /// The region, which is any.
    pub const REGION: &str = "eu-west-1";
    /// Who may use it.
    pub const ACCESS_KEY_ID: &str = "AKIDWHARFTEST";
    /// The proof of it.
    pub const SECRET_ACCESS_KEY: &str = "s3-secret-canary";

    /// Starts one on a free port.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        std::fs::create_dir(folder.path().join(Self::BUCKET)).expect("a bucket is a folder");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.expect("this machine has free ports");
        let address = listener.local_addr().expect("it is bound");
        let files = FileSystem::new(folder.path()).expect("the folder is there");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY_ID, Self::SECRET_ACCESS_KEY));
        let domain = format!("localhost:{}", address.port());
        builder.set_host(MultiDomain::new(&[domain]).expect("a domain"));
        let mut s3 = Self {
            address,
            service: builder.build(),
            serving: JoinSet::new(),
            folder,
        };
        s3.serving.spawn(serve(listener, s3.service.clone()));
        s3
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address; names like `bucket.localhost` mean it too, but resolve nowhere by themselves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes away with all connections. What it has is kept.
    pub async fn stop(&mut self) {
        self.serving.shutdown().await;
    }

    /// Comes back where it was.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is still free");
        self.serving.spawn(serve(listener, self.service.clone()));
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Vec<String> {
        let bucket = self.folder.path().join(Self::BUCKET);
        let mut keys = Vec::new();
        let mut folders = vec![bucket.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the folder is there") {
                let path = entry.expect("it can be read").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => keys.extend(path.strip_prefix(&bucket).map(|key| key.display().to_string())),
                }
            }
        }
        keys.sort();
        keys
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("it listens");
                connections.spawn(serve_one(stream, service.clone()));
            }
        }
    }
}

async fn serve_one(stream: TcpStream, service: S3Service) {
    // A client that goes away is none of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
