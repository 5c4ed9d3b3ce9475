//! A receiver of webhooks, which answers as a test wants, or never.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
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
    /// The same, of all others.
    otherwise: AtomicU16,
    /// What answers say of when to come back.
    retry_after: Mutex<Option<String>>,
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
            otherwise: AtomicU16::new(200),
            retry_after: Mutex::default(),
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

    /// Answers everything with this status, where it was not told otherwise.
    pub(crate) fn always_answers(&self, status: u16) {
        self.shared.otherwise.store(status, Ordering::SeqCst);
    }

    /// Says in every answer when to come back.
    pub(crate) fn retry_after(&self, when: &str) {
        *self.shared.retry_after.lock().unwrap() = Some(when.to_owned());
    }

    /// Whether nothing came that the test has not taken.
    pub(crate) fn has_no_post(&mut self) -> bool {
        self.posts.try_recv().is_err()
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

    /// The next webhook, if one comes within this time.
    pub(crate) async fn post_within(&mut self, time: Duration) -> Option<Post> {
        timeout(time, self.posts.recv()).await.ok()?
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

async fn take(State(state): State<Arc<ReceiverState>>, headers: HeaderMap, bytes: Bytes) -> Response {
    let body = serde_json::from_slice(&bytes).unwrap();
    let _ = state.posts.send(Post { headers, bytes, body });
    if state.hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let status = state.answers.lock().unwrap().pop_front();
    let status = status.unwrap_or_else(|| state.otherwise.load(Ordering::SeqCst));
    let retry_after = state.retry_after.lock().unwrap().clone();
    let headers = retry_after.map(|when| [(header::RETRY_AFTER, when)]);
    let status = StatusCode::from_u16(status).unwrap();
    match headers {
        Some(headers) => (status, headers).into_response(),
        None => status.into_response(),
    }
}
