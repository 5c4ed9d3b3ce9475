//! Session folders and server files that are damaged, gone or not to be written: said clearly, never papered over.

use serde_json::json;

use crate::support::{ALICE, TestWharf};

#[tokio::test]
async fn a_damaged_session_folder_is_an_error_and_never_a_new_device() {
    let (mut wharf, receiver) = TestWharf::with_alice().await;
    wharf.stop().await;
    let folder = wharf.session_dir("default");
    let file = folder.join("session.sqlite3");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path != file {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::write(
        &file,
        "this is not a database, and it is long enough to look like a page of one".repeat(100),
    )
    .unwrap();
    wharf.boot().await;
    wharf.wait_for_status("default", "FAILED").await;
    let failed = receiver
        .wait_for("FAILED", |event| event["payload"]["status"] == "FAILED")
        .await
        .event;
    assert!(
        failed["payload"]["data"].to_string().contains("session.sqlite3"),
        "{failed:#}"
    );
    wharf.post("/api/sessions/default/restart", json!({})).await.expect(201);
    wharf.wait_for_status("default", "FAILED").await;
    assert_eq!(wharf.network.phone(ALICE).unwrap().devices.len(), 1);
    wharf.delete("/api/sessions/default").await.expect(200);
    wharf.get("/api/sessions/default").await.expect(404);
    wharf.settled().await;
}
