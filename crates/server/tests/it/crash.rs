//! What a crash leaves half-way, and what the next start makes of it.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use wharf_core::engine::Closed;

use crate::harness::Wharf;

#[tokio::test]
async fn a_crash_in_the_middle_of_a_logout_leaves_no_account_behind() {
    let mut wharf = Wharf::start().await;
    wharf.working("a", json!({})).await;
    wharf.post("/api/sessions/a/stop", json!({})).await;
    let gate = wharf.server_writes().shut();
    let crashed = Arc::new(tempfile::tempdir().unwrap());
    let logout = wharf.post("/api/sessions/a/logout", json!({}));
    let crash = async {
        gate.reached().await;
        gate.let_one_pass();
        // The data is deleted, and that it is done is not written yet.
        gate.reached().await;
        copy(wharf.folder(), crashed.path());
        gate.let_one_pass();
    };
    assert_eq!(tokio::join!(logout, crash).0.status, 201);
    wharf.stop().await;

    let wharf = Wharf::on(crashed).await;
    let session = wharf.get("/api/sessions/a").await.json();
    assert_eq!((&session["status"], &session["me"]), (&json!("STOPPED"), &json!(null)));
    wharf.stop().await;
}

#[tokio::test]
async fn credentials_that_whatsapp_never_heard_of_are_forgotten() {
    let mut wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    let half_linked = wharf.link().await;
    let leftover = wharf.folder().join("test/a/leftover");
    std::fs::write(&leftover, "").unwrap();
    let reason = "401".to_owned();
    half_linked.close(Closed::LoggedOut { reason });
    let fresh = wharf.link().await;
    assert!(!leftover.exists());
    fresh.show_qr("QR");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    wharf.stop().await;
}

/// Copies a folder with all that is in it, as it is at this moment.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
