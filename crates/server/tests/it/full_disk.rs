//! What sessions do on a full disk: those that ran come back, and deleting makes room.

use serde_json::json;

use crate::harness::Wharf;

#[tokio::test]
async fn a_session_that_ran_is_back_after_a_restart_on_a_full_disk() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    let mut wharf = wharf.restart_on_a_full_disk().await;
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_that_the_settings_start_does_so_on_a_full_disk_and_is_stored_when_there_is_room() {
    let mut wharf = Wharf::start_with(&[("WHATSAPP_START_SESSION", "a")]).await;
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;
    wharf.post("/api/sessions/a/stop", json!({})).await;
    let mut wharf = wharf.restart_on_a_full_disk().await;
    let link = wharf.link().await;
    wharf.server_disk_is_full(false);
    link.work();
    wharf.until_status("a", "WORKING").await;
    let mut wharf = Wharf::on(wharf.stop().await).await;
    wharf.link().await.work();
    wharf.until_status("a", "WORKING").await;
    wharf.stop().await;
}

#[tokio::test]
async fn deleting_a_session_makes_room_on_a_full_disk() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    let folder = wharf.folder().join("test/a");
    assert!(folder.exists());
    wharf.server_disk_is_full(true);
    let gate = wharf.server_writes().shut();
    let deletion = wharf.delete("/api/sessions/a");
    let disk = async {
        // The mark, for which there is no room.
        gate.reached().await;
        gate.let_one_pass();
        gate.reached().await;
        assert!(!folder.exists());
        wharf.server_disk_is_full(false);
        wharf.server_writes().open();
        gate.let_one_pass();
    };
    assert_eq!(tokio::join!(deletion, disk).0.status, 200);
    let wharf = wharf.restart().await;
    assert_eq!(wharf.get("/api/sessions/a").await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn a_deletion_that_fails_hides_the_session_and_is_done_before_its_name_is_used_again() {
    let mut wharf = half_deleted().await;
    for round in ["at once", "after a restart"] {
        let session = "/api/sessions/a";
        assert_eq!(wharf.get(session).await.status, 404, "{round}");
        assert_eq!(wharf.get("/api/sessions?all=true").await.json(), json!([]), "{round}");
        assert_eq!(wharf.put(session, json!({})).await.status, 404, "{round}");
        assert_eq!(wharf.delete(session).await.status, 503, "{round}");
        let another = wharf.post("/api/sessions", json!({"name": "a"})).await;
        assert_eq!(another.status, 503, "{round}: {another:?}");
        wharf = wharf.restart_on_a_full_disk().await;
    }
    wharf.server_disk_is_full(false);
    let config = json!({"metadata": {"is": "another"}});
    let another = wharf
        .post("/api/sessions", json!({"name": "a", "config": config}))
        .await;
    assert_eq!(another.status, 201, "{another:?}");
    wharf.link().await.work();
    let session = wharf.until_status("a", "WORKING").await;
    assert_eq!(session["config"], config);
    assert_eq!(wharf.delete("/api/sessions/a").await.status, 200);
    wharf.stop().await;
}

#[tokio::test]
async fn a_deletion_that_fails_is_tried_again_until_it_is_done() {
    let wharf = half_deleted().await.restart_on_a_full_disk().await;
    let gate = wharf.server_writes().shut();
    // It has failed once or more, and nobody asks for it.
    gate.reached().await;
    gate.let_one_pass();
    gate.reached().await;
    wharf.server_disk_is_full(false);
    gate.let_one_pass();
    wharf.server_writes().open();
    let wharf = wharf.restart_on_a_full_disk().await;
    let gate = wharf.server_writes().shut();
    wharf.server_disk_is_full(false);
    // One write is enough to make another one: nothing is left to delete before it.
    gate.let_one_pass();
    let another = wharf.post("/api/sessions", json!({"name": "a", "start": false})).await;
    assert_eq!(another.status, 201, "{another:?}");
    wharf.stop().await;
}

/// A server whose disk became full in the middle of the deletion of its only session, `a`.
async fn half_deleted() -> Wharf {
    let wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a", "start": false})).await;
    let gate = wharf.server_writes().shut();
    let deletion = wharf.delete("/api/sessions/a");
    let disk = async {
        // The mark.
        gate.reached().await;
        gate.let_one_pass();
        gate.reached().await;
        wharf.server_disk_is_full(true);
        gate.let_one_pass();
    };
    assert_eq!(tokio::join!(deletion, disk).0.status, 503);
    wharf.server_writes().open();
    wharf
}
