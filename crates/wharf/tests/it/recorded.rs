//! Recorded cases: what is asked, in which state of a session, and what is answered, in `recorded/*.jsonl`.
//!
//! One file for each state, one line for each case: `method`, `path`, `headers`, and `body` (JSON), `text` or `spaces` (as
//! many) as what is sent; `status`, `answer` (JSON; `null` for an empty body, `"*"` for anything) or `answer_text` (the body
//! word for word), and `answer_headers` (how they begin) as what must come back. They follow what WAHA answers; where they do
//! not, `docs/compatibility.md` says why.

use std::collections::BTreeMap;

use futures::future::join_all;
use reqwest::Method;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::support::{ALICE, KEY, TestWharf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    text: Option<String>,
    spaces: Option<usize>,
    status: u16,
    #[serde(default, deserialize_with = "stated")]
    answer: Option<Value>,
    answer_text: Option<String>,
    #[serde(default)]
    answer_headers: BTreeMap<String, String>,
}

/// A value that is there, also where it is `null`, which serde reads as one that is not.
fn stated<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

impl Case {
    /// Asks, and says what is not as recorded, if anything.
    async fn replay(self, wharf: &TestWharf, key: Option<&str>) -> Option<String> {
        let mut request = wharf.request(Method::from_bytes(self.method.as_bytes()).unwrap(), &self.path);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        if let Some(text) = self.text {
            request = request.body(text);
        }
        if let Some(spaces) = self.spaces {
            request = request.body(vec![b' '; spaces]);
        }
        let answer = wharf.send(request).await;
        let header = |name: &str| {
            answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let headers_fit = self
            .answer_headers
            .iter()
            .all(|(name, value)| header(name).starts_with(value));
        let body_fits = match &self.answer {
            None => true,
            Some(Value::Null) => answer.body.is_empty(),
            Some(expected) => is_like(expected, &answer.json()),
        };
        let text_fits = self
            .answer_text
            .as_ref()
            .is_none_or(|text| answer.body == text.as_bytes());
        let fits = answer.status == self.status && headers_fit && body_fits && text_fits;
        (!fits).then(|| {
            let (method, path, status) = (self.method, self.path, self.status);
            let (expected, headers) = (self.answer, self.answer_headers);
            format!(
                "{method} {path}\n  expected {status} {headers:?} {expected:?}\n  got {} {:?}\n  {}",
                answer.status,
                answer.headers,
                String::from_utf8_lossy(&answer.body)
            )
        })
    }
}

/// Whether two values are the same, with `"*"` for anything that is there.
fn is_like(expected: &Value, answer: &Value) -> bool {
    match (expected, answer) {
        (Value::String(any), answer) if any == "*" => !answer.is_null(),
        (Value::Object(expected), Value::Object(answer)) => {
            expected.len() == answer.len()
                && expected
                    .iter()
                    .all(|(name, value)| answer.get(name).is_some_and(|found| is_like(value, found)))
        }
        (Value::Array(expected), Value::Array(answer)) => {
            expected.len() == answer.len() && expected.iter().zip(answer).all(|(one, other)| is_like(one, other))
        }
        _ => expected == answer,
    }
}

/// Replays all cases at the same time: none of them changes the state.
async fn replay(wharf: &TestWharf, key: Option<&str>, cases: &str) {
    let cases = cases
        .lines()
        .map(|line| serde_json::from_str::<Case>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let odd: Vec<_> = join_all(cases.map(|case| case.replay(wharf, key)))
        .await
        .into_iter()
        .flatten()
        .collect();
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}

/// A server with a session that is not started, or is.
async fn with_session(start: bool) -> TestWharf {
    let wharf = TestWharf::start().await;
    let session = json!({"name": "default", "config": {"metadata": {"a": "b"}}, "start": start});
    wharf.post("/api/sessions", session).await.expect(201);
    wharf
}

#[tokio::test]
async fn answers_to_callers_without_a_key_are_as_recorded() {
    let wharf = TestWharf::start().await;
    replay(&wharf, None, include_str!("recorded/without_key.jsonl")).await;
}

#[tokio::test]
async fn answers_without_a_session_are_as_recorded() {
    let wharf = TestWharf::start().await;
    replay(&wharf, Some(KEY), include_str!("recorded/absent.jsonl")).await;
}

#[tokio::test]
async fn answers_of_a_stopped_session_are_as_recorded() {
    let wharf = with_session(false).await;
    replay(&wharf, Some(KEY), include_str!("recorded/stopped.jsonl")).await;
}

#[tokio::test]
async fn answers_of_a_session_without_a_network_are_as_recorded() {
    let wharf = TestWharf::start().await;
    wharf.network.set_outage(true);
    let session = json!({"name": "default", "config": {"metadata": {"a": "b"}}});
    wharf.post("/api/sessions", session).await.expect(201);
    replay(&wharf, Some(KEY), include_str!("recorded/starting.jsonl")).await;
}

#[tokio::test]
async fn answers_of_a_session_that_waits_for_a_scan_are_as_recorded() {
    let wharf = with_session(true).await;
    wharf.qr("default").await;
    replay(&wharf, Some(KEY), include_str!("recorded/scanning.jsonl")).await;
}

#[tokio::test]
async fn answers_of_a_working_session_are_as_recorded() {
    let wharf = with_session(true).await;
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    replay(&wharf, Some(KEY), include_str!("recorded/working.jsonl")).await;
    wharf.finish().await;
}
