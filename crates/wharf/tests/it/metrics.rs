//! `/metrics`: a page that any scraper reads, whose numbers move with what happens and whose size does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::open_metrics::{Format, Page};
use crate::support::{ALICE, BOB, KEY, Receiver, TestWharf, within};

async fn scrape(wharf: &TestWharf) -> Page {
    let answer = wharf.get("/metrics").await;
    assert_eq!(answer.status, 200);
    Page::read(&String::from_utf8(answer.body).unwrap(), Format::Plain)
}

#[tokio::test]
async fn the_numbers_move_with_what_happens() {
    let (wharf, receiver) = TestWharf::with_alice().await;
    let before = scrape(&wharf).await;
    wharf.network.send(BOB, ALICE, "hello", None).await.unwrap();
    receiver.wait_for_event("message").await;
    let text = json!({ "session": "default", "chatId": format!("{BOB}@c.us"), "text": "hi" });
    wharf.post("/api/sendText", text).await.expect(201);
    receiver
        .wait_for("the text of ours", |event| event["payload"]["body"] == "hi")
        .await;
    let after = scrape(&wharf).await;
    let grown = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);

    assert_eq!(grown("wharf_events_logged_total", &[("event", "message")]), 1.0);
    assert_eq!(grown("wharf_events_logged_total", &[("event", "message.any")]), 2.0);
    assert!(grown("wharf_event_log_append_seconds_count", &[]) >= 2.0);
    assert!(grown("wharf_webhook_attempts_total", &[("result", "delivered")]) >= 2.0);
    let send = [("method", "POST"), ("route", "/api/sendText")];
    assert_eq!(grown("wharf_http_requests_total", &send), 1.0);
    assert_eq!(
        grown(
            "wharf_http_requests_total",
            &[("route", "/api/sendText"), ("status", "2xx")]
        ),
        1.0
    );
    assert_eq!(grown("wharf_http_request_duration_seconds_count", &send), 1.0);
    assert_eq!(after.sum("wharf_sessions", &[("status", "WORKING")]), 1.0);
    assert_eq!(after.sum("wharf_sessions", &[]), 1.0);
    assert!(after.sum("wharf_session_connects_total", &[]) >= 1.0);
    assert_eq!(after.sum("wharf_build_info", &[("engine", "WEBJS")]), 1.0);
    assert!(after.sum("process_resident_memory_bytes", &[]) > 1_000_000.0);
    assert!(after.sum("process_open_fds", &[]) > 3.0);
    assert!(after.sum("process_start_time_seconds", &[]) > 1_600_000_000.0);
    assert!(grown("process_cpu_seconds_total", &[]) >= 0.0);
    wharf.finish().await;
}

/// Scrapes until the page says so.
async fn scraped(wharf: &TestWharf, what: &str, is_so: impl Fn(&Page) -> bool) -> Page {
    let search = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            let page = scrape(wharf).await;
            if is_so(&page) {
                return page;
            }
            ticks.tick().await;
        }
    };
    within(what, search).await
}

#[tokio::test]
async fn what_is_not_delivered_shows_until_it_is() {
    let wharf = TestWharf::start_with(&[("WHARF_WEBHOOK_SLOW_RETRIES", "False")]).await;
    let (down, refusing) = (Receiver::start().await, Receiver::start().await);
    down.answer_next([StatusCode::BAD_GATEWAY; 2]);
    refusing.answer_next([StatusCode::GONE]);
    let hook = |receiver: &Receiver, delay: f64, attempts: u32| {
        let retries = json!({ "policy": "constant", "delaySeconds": delay, "attempts": attempts });
        json!({ "url": receiver.url(), "events": ["session.status"], "retries": retries })
    };
    let create = async |name: &str, hook: Value| {
        let body = json!({ "name": name, "start": false, "config": { "webhooks": [hook] } });
        wharf.post("/api/sessions", body).await.expect(201);
        let started = wharf.post(&format!("/api/sessions/{name}/start"), json!({})).await;
        started.expect(201);
    };
    create("waits", hook(&down, 3_600.0, 1)).await;
    let attempts = |page: &Page| page.sum("wharf_webhook_attempts_total", &[("result", "failed")]);
    let page = scraped(&wharf, "the first failure", |page| attempts(page) >= 1.0).await;
    assert!(page.sum("wharf_webhook_oldest_due_seconds", &[]) > 0.0);
    assert_eq!(page.sum("wharf_webhook_given_up_total", &[]), 0.0);
    create("refuses", hook(&refusing, 0.0, 0)).await;
    let page = scraped(&wharf, "a dead letter", |page| {
        page.sum("wharf_webhook_dead_letters", &[]) >= 1.0
    })
    .await;
    assert!(page.sum("wharf_webhook_given_up_total", &[]) >= 1.0);
    assert_eq!(page.sum("wharf_webhook_disabled", &[]), 1.0);
    for name in ["waits", "refuses"] {
        wharf.delete(&format!("/api/sessions/{name}")).await.expect(200);
    }
    let gone = |page: &Page| page.sum("wharf_webhook_oldest_due_seconds", &[]) == 0.0;
    let page = scraped(&wharf, "nothing to be due any more", gone).await;
    assert_eq!(page.sum("wharf_webhook_dead_letters", &[]), 0.0);
    assert_eq!(page.sum("wharf_webhook_disabled", &[]), 0.0);
}

#[tokio::test]
async fn what_callers_make_up_adds_no_series() {
    let wharf = TestWharf::start().await;
    let ask = async |number: usize| {
        let method = match number % 3 {
            0 => Method::GET,
            1 => Method::POST,
            _ => Method::from_bytes(format!("METHOD{number}").as_bytes()).unwrap(),
        };
        let path = match number % 2 {
            0 => format!("/made/up/{number}"),
            _ => format!("/api/sessions/made-up-{number}"),
        };
        wharf.send(wharf.request(method, &path).header("x-api-key", KEY)).await;
    };
    for number in 0..6 {
        ask(number).await;
    }
    // Once more, so that the scrape is one of the series too.
    scrape(&wharf).await;
    let before = scrape(&wharf).await;
    for number in 6..1_006 {
        ask(number).await;
    }
    let after = scrape(&wharf).await;
    assert_eq!(after.len(), before.len());
    let unknown = [("route", "none")];
    let grown = after.sum("wharf_http_requests_total", &unknown) - before.sum("wharf_http_requests_total", &unknown);
    assert_eq!(grown, 500.0);
}

#[tokio::test]
async fn scrapers_get_the_format_that_they_ask_for_and_strangers_nothing() {
    let wharf = TestWharf::start().await;
    let with = |accept: &str| {
        wharf
            .request(Method::GET, "/metrics")
            .header("x-api-key", KEY)
            .header("accept", accept)
    };
    let plain = wharf.send(with("text/plain;version=0.0.4;q=0.5,*/*;q=0.1")).await;
    assert_eq!(plain.content_type, "text/plain; version=0.0.4; charset=utf-8");
    let open = wharf
        .send(with(
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
        ))
        .await;
    assert_eq!(
        open.content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let plain = Page::read(&String::from_utf8(plain.body).unwrap(), Format::Plain);
    let open = Page::read(&String::from_utf8(open.body).unwrap(), Format::OpenMetrics);
    let logged = |page: &Page| page.sum("wharf_event_log_append_seconds_count", &[]);
    assert_eq!(logged(&plain), logged(&open));
    let stranger = wharf.send(wharf.request(Method::GET, "/metrics")).await;
    stranger.expect(401);
}

/// What has no series before it happens, because its labels are not known until then.
const COMES_LATER: &str = "wharf_session_reconnects_total";

#[tokio::test]
async fn the_page_on_monitoring_names_every_number_and_no_other() {
    let wharf = TestWharf::start().await;
    // A request is counted when it was answered.
    scrape(&wharf).await;
    let mut written: BTreeSet<String> = scrape(&wharf).await.families.into_keys().collect();
    assert!(written.insert(COMES_LATER.to_owned()), "nothing was connected yet");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/how-to/monitoring.md");
    let page = fs::read_to_string(path).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<String> = rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect();
    assert_eq!(named, written);
}
