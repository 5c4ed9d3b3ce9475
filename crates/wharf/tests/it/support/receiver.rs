//! A webhook receiver that remembers what came, and can be told to fail.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{contract, within};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) event: Value,
}

impl Delivery {
    /// The value of a header, or "".
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    deliveries: Mutex<Vec<Delivery>>,
    answers: Mutex<VecDeque<StatusCode>>,
    problems: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

/// Answers 200 unless told otherwise. Dropping it fails the test where an event did not fit its schema.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port of this machine.
    #[expect(
        clippy::disallowed_methods,
        reason = "the task ends with the receiver, which aborts it"
    )]
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared, task }
    }

    /// Where to send webhooks to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    /// Answers the next requests with these statuses.
    pub(crate) fn answer_next(&self, statuses: impl IntoIterator<Item = StatusCode>) {
        self.shared.answers.lock().unwrap().extend(statuses);
    }

    /// Everything that came so far.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap().clone()
    }

    /// Waits until so many requests have come, and answers all of them.
    pub(crate) async fn wait_for_count(&self, count: usize) -> Vec<Delivery> {
        let mut changes = self.shared.count.subscribe();
        within(&format!("{count} webhooks"), changes.wait_for(|come| *come >= count))
            .await
            .unwrap();
        self.deliveries()
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until so many requests have come, for as long as that takes.
    pub(crate) async fn reached(&self, count: usize) {
        let mut changes = self.shared.count.subscribe();
        changes.wait_for(|come| *come >= count).await.unwrap();
    }

    /// Waits for an event that `wanted` likes, and answers the first of them.
    pub(crate) async fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Delivery {
        let find = || self.deliveries().into_iter().find(|delivery| wanted(&delivery.event));
        let mut changes = self.shared.count.subscribe();
        let search = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = find() {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(super::PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; came: {:#?}", self.names()),
        }
    }

    /// Waits for an event by its name.
    pub(crate) async fn wait_for_event(&self, name: &str) -> Delivery {
        self.wait_for(name, |event| event["event"] == name).await
    }

    /// What came, in short.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |event: &Value| {
            let payload = &event["payload"];
            let detail = [&payload["status"], &payload["body"], &payload["ackName"]];
            let detail = detail.into_iter().find_map(Value::as_str).unwrap_or_default();
            format!("{} {detail}", event["event"].as_str().unwrap_or("?"))
        };
        self.deliveries().iter().map(|delivery| name(&delivery.event)).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
        let problems = self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            std::thread::panicking() || problems.is_empty(),
            "events do not fit their schema: {problems:#?}"
        );
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let problem = contract::event_problem(&event);
    shared
        .problems
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend(problem);
    shared
        .deliveries
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Delivery { headers, body, event });
    let answer = shared
        .answers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop_front();
    shared.count.send_modify(|count| *count += 1);
    answer.unwrap_or(StatusCode::OK)
}
