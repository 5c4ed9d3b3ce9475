//! What became of deliveries, dead letters, replays, and the list of webhooks.

use std::sync::Arc;

use axum::Router;
use axum::extract::Json;
use axum::http::Method;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{ALICE, BOB, Link, PATIENCE, Receiver, Wharf, text};

/// A session whose webhook is tried once.
async fn impatient(wharf: &mut Wharf, name: &str, receiver: &Receiver) -> Link {
    let webhook = json!({"url": receiver.url, "events": ["message"], "retries": {"attempts": 0}});
    wharf.working(name, json!({"webhooks": [webhook]})).await
}

/// The dead deliveries, once there are so many.
async fn dead(wharf: &Wharf, count: usize) -> Vec<Value> {
    let page = wharf.until_answer("/api/webhooks/dead", |page| {
        page["deliveries"].as_array().is_some_and(|dead| dead.len() == count)
    });
    page.await["deliveries"].as_array().unwrap().clone()
}

async fn without_slow_retries() -> Wharf {
    Wharf::start_with(&[("WHARF_WEBHOOK_SLOW_RETRIES", "False")]).await
}

#[tokio::test]
async fn dead_letters_are_listed_in_pages_and_replayed_in_their_order() {
    let mut wharf = without_slow_retries().await;
    let mut receiver = Receiver::start().await;
    let link = impatient(&mut wharf, "a", &receiver).await;
    receiver.answers(&[500; 3]);
    for body in ["one", "two", "three"] {
        link.receive(text(ALICE, body, body)).await.unwrap();
        receiver.post().await;
    }
    let all = dead(&wharf, 3).await;
    let first = wharf.get("/api/webhooks/dead?session=a&limit=2").await.json();
    assert_eq!(first["deliveries"], json!(all[..2]));
    let cursor = first["cursor"].as_str().unwrap();
    let second = wharf
        .get(&format!("/api/webhooks/dead?session=a&limit=2&after={cursor}"))
        .await;
    assert_eq!(second.json(), json!({"deliveries": all[2..]}));
    assert_eq!(wharf.get("/api/webhooks/dead?after=a.x.evt_1").await.status, 422);
    assert_eq!(wharf.get("/api/webhooks/dead?limit=0").await.status, 400);

    let replayed = wharf.post("/api/sessions/a/events/replay", json!({})).await;
    assert_eq!(replayed.status, 201);
    assert_eq!(replayed.json(), json!({"events": 3, "deliveries": 3}));
    for body in ["one", "two", "three"] {
        assert_eq!(receiver.post().await.body["payload"]["body"], body);
    }
    dead(&wharf, 0).await;
    // Nothing is dead any more, so there is nothing to replay.
    let again = wharf.post("/api/sessions/a/events/replay", json!({})).await;
    assert_eq!(again.json(), json!({"events": 0, "deliveries": 0}));
    wharf.stop().await;
}

#[tokio::test]
async fn a_replay_takes_events_by_time_name_and_state() {
    let mut wharf = without_slow_retries().await;
    let mut receiver = Receiver::start().await;
    let link = impatient(&mut wharf, "a", &receiver).await;
    receiver.answers(&[200, 500]);
    let mut times = Vec::new();
    for body in ["delivered", "dead"] {
        link.receive(text(ALICE, body, body)).await.unwrap();
        times.push(receiver.post().await.body["timestamp"].as_i64().unwrap());
        wharf.pass(std::time::Duration::from_secs(60));
    }
    dead(&wharf, 1).await;
    for (request, expected) in [
        (json!({"state": "dead", "until": times[1]}), vec![]),
        (json!({"state": "failed"}), vec![]),
        (json!({"state": "any", "events": ["message.ack"]}), vec![]),
        (json!({"state": "delivered"}), vec!["delivered"]),
        (json!({"state": "any", "since": times[0] + 1}), vec!["dead"]),
        (
            json!({"state": "any", "since": times[0], "until": times[1]}),
            vec!["delivered"],
        ),
        (json!({"state": "any"}), vec!["delivered", "dead"]),
    ] {
        let replayed = wharf
            .post("/api/sessions/a/events/replay", request.clone())
            .await
            .json();
        let count = expected.len();
        assert_eq!(replayed, json!({"events": count, "deliveries": count}), "{request}");
        for body in expected {
            let event = receiver.post().await.body;
            assert_eq!(event["payload"]["body"], body, "{request}");
            let path = format!("/api/events/{}/deliveries", event["id"].as_str().unwrap());
            wharf
                .until_answer(&path, |answer| answer[0]["state"] == "delivered")
                .await;
        }
    }
    for (request, field) in [
        (json!({"state": "alive"}), "state"),
        (json!({"since": "yesterday"}), "since"),
        (json!({"until": 1e300}), "until"),
        (json!({"events": ["massage"]}), "massage"),
    ] {
        let refused = wharf.post("/api/sessions/a/events/replay", request).await;
        assert_eq!(refused.status, 400);
        assert!(
            refused.json()["message"].to_string().contains(field),
            "{:?}",
            refused.json()
        );
    }
    wharf.stop().await;
}

#[tokio::test]
async fn an_event_is_replayed_to_the_webhooks_that_want_it_now() {
    let mut wharf = without_slow_retries().await;
    let (mut before, mut after) = (Receiver::start().await, Receiver::start().await);
    let link = impatient(&mut wharf, "a", &before).await;
    link.receive(text(ALICE, "A1", "x")).await.unwrap();
    let event = before.post().await.body["id"].as_str().unwrap().to_owned();
    let config = json!({"webhooks": [after.webhook(&["message"])]});
    wharf.put("/api/sessions/a", json!({"config": config})).await;
    let replay = format!("/api/events/{event}/replay");
    assert_eq!(
        wharf.post(&replay, json!({})).await.json(),
        json!({"events": 1, "deliveries": 1})
    );
    assert_eq!(after.post().await.body["id"], event);
    assert!(before.has_no_post());
    let path = format!("/api/events/{event}/deliveries");
    let deliveries = wharf
        .until_answer(&path, |answer| {
            answer
                .as_array()
                .is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["state"] == "delivered"))
        })
        .await;
    let mut urls: Vec<_> = deliveries
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["url"].to_string())
        .collect();
    urls.sort();
    let mut expected = [json!(before.url).to_string(), json!(after.url).to_string()];
    expected.sort();
    assert_eq!(urls, expected);
    assert_eq!(deliveries[0]["attempts"][0]["status"], 200);
    assert!(deliveries[0]["attempts"][0]["durationMs"].is_u64());
    assert_eq!(wharf.post("/api/events/evt_x/replay", json!({})).await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn a_key_of_a_session_sees_only_its_own_deliveries_and_webhooks() {
    let mut receiver = Receiver::start().await;
    let url = receiver.url.clone();
    let variables = [
        ("WHATSAPP_HOOK_URL", url.as_str()),
        ("WHATSAPP_HOOK_EVENTS", "message"),
        ("WHATSAPP_HOOK_RETRIES_ATTEMPTS", "0"),
        ("WHARF_WEBHOOK_SLOW_RETRIES", "False"),
    ];
    let mut wharf = Wharf::start_with(&variables).await;
    receiver.always_answers(500);
    let mut events = Vec::new();
    for (name, chat) in [("a", ALICE), ("b", BOB)] {
        let link = wharf.working(name, json!({})).await;
        link.receive(text(chat, name, name)).await.unwrap();
        events.push(receiver.post().await.body["id"].as_str().unwrap().to_owned());
    }
    dead(&wharf, 2).await;
    let actions = json!({"read": true, "setting": true});
    let key = wharf
        .post(
            "/api/keys",
            json!({"isAdmin": false, "session": "a", "isActive": true, "actions": actions}),
        )
        .await
        .json();
    let key = key["key"].as_str().unwrap().to_owned();
    let get = async |path: String| {
        wharf
            .send(wharf.request(Method::GET, &path).header("X-Api-Key", &key))
            .await
    };
    let mine = get("/api/webhooks/dead".to_owned()).await.json();
    assert_eq!(mine["deliveries"][0]["event"], events[0]);
    assert_eq!(mine["deliveries"].as_array().unwrap().len(), 1);
    // Where the operator's own webhook leads is not the tenant's business.
    assert_eq!(mine["deliveries"][0].get("url"), None);
    assert_eq!(get("/api/webhooks".to_owned()).await.json(), json!([]));
    assert_eq!(get("/api/webhooks/dead?session=b".to_owned()).await.status, 403);
    assert_eq!(
        get("/api/webhooks/dead?after=b.global.evt_x".to_owned()).await.status,
        422
    );
    assert_eq!(get(format!("/api/events/{}/deliveries", events[0])).await.status, 200);
    assert_eq!(get(format!("/api/events/{}/deliveries", events[1])).await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn webhooks_are_listed_with_their_secret_for_standard_webhooks() {
    let mut wharf = Wharf::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = json!({"url": receiver.url, "events": ["message"], "hmac": {"key": "my-secret-key"}});
    let link = wharf.working("a", json!({"webhooks": [webhook]})).await;
    let listed = wharf.get("/api/webhooks?session=a").await.json();
    assert_eq!(listed[0]["secret"], "whsec_bXktc2VjcmV0LWtleQ==");
    assert_eq!(
        (&listed[0]["url"], &listed[0]["setBy"], &listed[0]["global"]),
        (&json!(receiver.url), &json!("admin"), &json!(false))
    );
    link.receive(text(ALICE, "A1", "x")).await.unwrap();
    let post = receiver.post().await;
    assert_eq!(post.headers["webhook-id"], post.body["id"].as_str().unwrap());
    let seconds: i64 = post.headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
    let millis: i64 = post.headers["x-webhook-timestamp"].to_str().unwrap().parse().unwrap();
    assert_eq!(seconds, millis / 1_000);
    assert!(post.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    wharf.stop().await;
}

#[tokio::test]
async fn a_replay_of_what_is_under_way_is_not_forgotten() {
    let mut wharf = without_slow_retries().await;
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let answering = Arc::new(Semaphore::new(0));
    let turn = Arc::clone(&answering);
    let router = Router::new().route(
        "/",
        post(async move |Json(event): Json<Value>| {
            sender.send(event).unwrap();
            turn.acquire().await.unwrap().forget();
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let link = wharf
        .working("a", json!({"webhooks": [{"url": url, "events": ["message"]}]}))
        .await;
    link.receive(text(ALICE, "A1", "x")).await.unwrap();
    let event = timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
    let replay = format!("/api/events/{}/replay", event["id"].as_str().unwrap());
    assert_eq!(wharf.post(&replay, json!({})).await.json()["deliveries"], 1);
    answering.add_permits(2);
    let again = timeout(PATIENCE, arrived.recv())
        .await
        .expect("it is forgotten")
        .unwrap();
    assert_eq!(again["id"], event["id"]);
    wharf.stop().await;
}
