//! A receiver of webhooks, which answers as a test wants, or never.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PATIENCE;

/// A receiver of webhooks.
pub(crate) struct Receiver {
    pub(crate) url: String,
    posts: mpsc::UnboundedReceiver<Post>,
    shared: Arc<ReceiverState>,
    _server: JoinSet<()>,
}

/// A webhook that arrived.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    pub(crate) body: Value,
}

struct ReceiverState {
    posts: mpsc::UnboundedSender<Post>,
    /// The statuses of the next answers; 200 after that.
    answers: Mutex<VecDeque<u16>>,
    hangs: AtomicBool,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, posts) = mpsc::unbounded_channel();
        let shared = Arc::new(ReceiverState {
            posts: sender,
            answers: Mutex::default(),
            hangs: AtomicBool::new(false),
        });
        let router = axum::Router::new()
            .route("/hook", axum::routing::post(take))
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            posts,
            shared,
            _server: server,
        }
    }

    /// Answers the next posts with these statuses.
    pub(crate) fn answers(&self, statuses: &[u16]) {
        self.shared.answers.lock().unwrap().extend(statuses);
    }

    /// From now on no post is answered.
    pub(crate) fn hang(&self) {
        self.shared.hangs.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn post(&mut self) -> Post {
        timeout(PATIENCE, self.posts.recv())
            .await
            .expect("no webhook arrived")
            .unwrap()
    }

    /// The next webhook of this event; others are passed over.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        loop {
            let post = self.post().await;
            if post.body["event"] == name {
                return post.body;
            }
        }
    }

    pub(crate) fn webhook(&self, events: &[&str]) -> Value {
        json!({"url": self.url, "events": events, "retries": {"delaySeconds": 0.05}})
    }
}

async fn take(State(state): State<Arc<ReceiverState>>, headers: HeaderMap, bytes: Bytes) -> StatusCode {
    let body = serde_json::from_slice(&bytes).unwrap();
    let _ = state.posts.send(Post { headers, bytes, body });
    if state.hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let status = state.answers.lock().unwrap().pop_front().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}
