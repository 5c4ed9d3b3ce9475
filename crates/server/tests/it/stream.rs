//! `/api/events/stream`: Server-Sent Events, and how a client goes on after a break.

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::events::{Ending, receive, session_key, short};
use crate::harness::{ALICE, KEY, PATIENCE, Wharf, text};
use crate::websocket::until_too_slow;

/// A client of the stream.
struct Stream {
    response: reqwest::Response,
    unread: String,
}

/// One event as it stands in the stream.
struct Sent {
    id: String,
    name: String,
    event: Value,
}

impl Stream {
    async fn open(wharf: &Wharf, query: &str, last_event_id: Option<&str>) -> Self {
        let mut request = wharf.request(reqwest::Method::GET, &format!("/api/events/stream?{query}"));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            unread: String::new(),
        }
    }

    /// The next event; `None` once the stream has ended.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
                    line.map(str::to_owned)
                };
                let sent = field("data").map(|data| Sent {
                    id: field("id").unwrap(),
                    name: field("event").unwrap(),
                    event: serde_json::from_str(&data).unwrap(),
                });
                self.unread = rest.to_owned();
                // A comment has no data.
                if sent.is_some() {
                    return sent;
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("nothing came");
            self.unread.push_str(std::str::from_utf8(&chunk.ok()??).unwrap());
        }
    }
}

fn query() -> String {
    format!("x-api-key={KEY}&events=message")
}

#[tokio::test]
async fn a_stream_has_what_happens_from_now_on_with_id_and_name() {
    let mut wharf = Wharf::start().await;
    let a = wharf.working("a", json!({})).await;
    receive(&a, "before", 1).await;
    let mut stream = Stream::open(&wharf, &query(), None).await;
    assert_eq!(stream.response.headers()["x-accel-buffering"], "no");
    receive(&a, "after", 1).await;
    let sent = stream.next().await.unwrap();
    assert_eq!(short(&sent.event), "a message after 0");
    assert_eq!(
        (sent.event["id"].as_str().unwrap(), sent.name.as_str()),
        (sent.id.as_str(), "message")
    );
    let answer = wharf.get(&format!("/api/events/{}", sent.id)).await;
    assert_eq!(answer.json(), sent.event);
    wharf.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_behind_its_last_event() {
    let mut wharf = Wharf::start().await;
    let a = wharf.working("a", json!({})).await;
    let (mut heard, mut last): (Vec<String>, Option<String>) = (Vec::new(), None);
    let (cuts, each) = (10, 20);
    for cut in 0..cuts {
        let start = if cut == 0 { "&after=oldest" } else { "" };
        let mut stream = Stream::open(&wharf, &(query() + start), last.as_deref()).await;
        let until = heard.len() + 7;
        let reading = async {
            while heard.len() < until {
                let sent = stream.next().await.unwrap();
                heard.push(short(&sent.event));
                last = Some(sent.id);
            }
        };
        let name = format!("round {cut} text");
        tokio::join!(reading, receive(&a, &name, each));
    }
    let mut rest = Stream::open(&wharf, &query(), last.as_deref()).await;
    while heard.len() < cuts * each {
        heard.push(short(&rest.next().await.unwrap().event));
    }
    let numbers = (0..cuts).flat_map(|cut| (0..each).map(move |number| format!("a message round {cut} text {number}")));
    assert_eq!(heard, numbers.collect::<Vec<_>>());
    wharf.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_stream_and_goes_on_with_the_next() {
    let mut wharf = Wharf::start_with(&[("WHARF_EVENTS_STALL_SECONDS", "1")]).await;
    let a = wharf.working("a", json!({})).await;
    let mut stalled = Stream::open(&wharf, &query(), None).await;
    // More than all buffers between the two sides hold.
    let (count, long) = (400, "x".repeat(60_000));
    for number in 0..count {
        let body = format!("{number} {long}");
        a.receive(text(ALICE, &format!("A{number}"), &body)).await.unwrap();
    }
    until_too_slow(&wharf).await;
    let (mut heard, mut last) = (0, None);
    while let Some(sent) = stalled.next().await {
        let body = sent.event["payload"]["body"].as_str().unwrap();
        assert!(body.starts_with(&format!("{heard} ")), "not {heard}");
        (heard, last) = (heard + 1, Some(sent.id));
    }
    assert!(heard < count, "it was never too slow");
    let mut resumed = Stream::open(&wharf, &query(), last.as_deref()).await;
    for number in heard..count {
        let sent = resumed.next().await.unwrap();
        let body = sent.event["payload"]["body"].as_str().unwrap();
        assert!(body.starts_with(&format!("{number} ")), "not {number}");
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_with_the_server() {
    let mut wharf = Wharf::start().await;
    let (a, b) = (wharf.working("a", json!({})).await, wharf.working("b", json!({})).await);
    for ending in Ending::ALL {
        let key = session_key(&wharf, "a").await;
        let mut own = Stream::open(&wharf, &format!("x-api-key={}", key["key"].as_str().unwrap()), None).await;
        let text = format!("{ending:?} soon");
        receive(&b, &text, 1).await;
        receive(&a, &text, 1).await;
        for name in ["message", "message.any"] {
            assert_eq!(short(&own.next().await.unwrap().event), format!("a {name} {text} 0"));
        }
        ending.end(&wharf, &key).await;
        receive(&a, &format!("{ending:?}"), 1).await;
        assert!(own.next().await.is_none(), "{ending:?}");
    }
    let mut stream = Stream::open(&wharf, &query(), None).await;
    let (_, ended) = tokio::join!(wharf.stop(), stream.next());
    assert!(ended.is_none(), "the server stops");
}
