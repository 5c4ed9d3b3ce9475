//! WAHA's older operations with the session's name in the body.

use futures::future::join_all;
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
async fn start_with_the_same_configuration_leaves_a_session_that_runs_alone() {
    let mut wharf = Wharf::start().await;
    let config = json!({"metadata": {"a": "1"}});
    wharf.working("a", config.clone()).await;
    let body = json!({"name": "a", "config": config});
    let again = wharf.post("/api/sessions/start", body).await;
    assert_eq!((again.status, again.json()["status"].clone()), (201, json!("WORKING")));
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn start_of_a_new_session_from_many_callers_succeeds_for_all() {
    let mut wharf = Wharf::start().await;
    let gate = wharf.server_writes().shut();
    let body = json!({"name": "a", "config": {"debug": true}});
    let starts = (0..8).map(|_| wharf.post("/api/sessions/start", body.clone()));
    let making = async {
        gate.reached().await;
        // The others have not found it either by now.
        assert_eq!(wharf.get("/api/sessions/a").await.status, 404);
        wharf.server_writes().open();
        gate.let_one_pass();
    };
    let (answers, ()) = tokio::join!(join_all(starts), making);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201; 8]);
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;
    assert!(wharf.has_no_link());
    wharf.stop().await;
}

#[tokio::test]
async fn start_is_done_whole_where_the_caller_hangs_up() {
    let mut wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a", "start": false})).await;
    let gate = wharf.server_writes().shut();
    let config = json!({"metadata": {"a": "1"}});
    tokio::select! {
        answer = wharf.post("/api/sessions/start", json!({"name": "a", "config": config})) => panic!("{answer:?}"),
        () = gate.reached() => {}
    }
    // The server has noticed by the time that it answers another one.
    assert_eq!(wharf.get("/ping").await.status, 200);
    wharf.server_writes().open();
    gate.let_one_pass();
    wharf.link().await.work();
    let session = wharf.until_status("a", "WORKING").await;
    assert_eq!(session["config"], config);
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
