//! WAHA's older operations with the session's name in the body.

use serde_json::json;

use crate::harness::Wharf;

#[tokio::test]
async fn start_makes_a_session_or_changes_it_and_runs_it() {
    let mut wharf = Wharf::start().await;
    let config = json!({"metadata": {"a": "1"}});
    let made = wharf
        .post("/api/sessions/start", json!({"name": "a", "config": config}))
        .await;
    let expected = json!({"name": "a", "status": "STARTING", "config": {"metadata": {"a": "1"}}});
    assert_eq!((made.status, made.json()), (201, expected));
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;

    let again = wharf.post("/api/sessions/start", json!({"name": "a"})).await;
    assert_eq!(again.json()["status"], "WORKING", "it runs already");
    assert_eq!(
        again.json()["config"],
        json!({"metadata": {"a": "1"}}),
        "nothing was said about it"
    );
    let changed = wharf
        .post("/api/sessions/start", json!({"name": "a", "config": {"debug": true}}))
        .await;
    assert_eq!(changed.json()["config"], json!({"debug": true}));
    wharf.link().await;
    wharf.stop().await;
}

#[tokio::test]
async fn stop_stops_and_with_logout_deletes() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    let stopped = wharf.post("/api/sessions/stop", json!({"name": "a"})).await;
    assert_eq!((stopped.status, stopped.bytes.len()), (201, 0));
    assert_eq!(wharf.get("/api/sessions/a").await.json()["status"], "STOPPED");
    for name in ["a", "a", "nobody"] {
        let body = json!({"name": name, "logout": true});
        assert_eq!(wharf.post("/api/sessions/stop", body).await.status, 201);
    }
    assert_eq!(wharf.get("/api/sessions/a").await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn logout_deletes() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    for name in ["a", "nobody"] {
        let gone = wharf.post("/api/sessions/logout", json!({"name": name})).await;
        assert_eq!((gone.status, gone.bytes.len()), (201, 0));
    }
    assert_eq!(wharf.get("/api/sessions/a").await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn each_of_them_wants_a_name() {
    let wharf = Wharf::start().await;
    for operation in ["start", "stop", "logout"] {
        let path = format!("/api/sessions/{operation}");
        let answer = wharf.post(&path, json!({})).await;
        assert_eq!(
            (answer.status, answer.json()["message"].clone()),
            (422, json!("Session name is required"))
        );
        assert_eq!(wharf.post(&path, json!({"name": "../x"})).await.status, 400);
        let taken = wharf.post("/api/sessions", json!({"name": operation})).await;
        assert_eq!(taken.status, 400, "the path would be ambiguous");
    }
    wharf.stop().await;
}
