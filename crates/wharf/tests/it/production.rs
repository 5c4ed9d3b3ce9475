//! The production build: no sandbox in it, the certificate check on, and the image's file layout.
//!
//! `./dev test` builds it first and names it in `WHARF_PRODUCTION_BINARY`; without that these tests fail and say so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::KEY;
use crate::support::process::{Process, command, run};

fn production_binary() -> PathBuf {
    let path = std::env::var_os("WHARF_PRODUCTION_BINARY")
        .expect("WHARF_PRODUCTION_BINARY names the production build; `./dev test` builds it and sets this");
    PathBuf::from(path)
}

#[tokio::test]
async fn the_certificate_check_is_enforced() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&production_binary(), folder.path());
    command.arg("selftest");
    let ended = run(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("certificate check: enforced"), "{}", ended.stdout);
}

#[tokio::test]
async fn there_is_no_sandbox_in_it() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["serve", "--sandbox"][..], &["sandbox"]] {
        let mut command = command(&production_binary(), folder.path());
        command.args(arguments);
        let ended = run(command).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(
            ended.stderr.contains("has no sandbox"),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
    let mut command = command(&production_binary(), folder.path());
    command
        .args(["serve", "--port", "0"])
        .env("WHARF_SANDBOX_URL", "ws://127.0.0.1:3900/ws/chat");
    let ended = run(command).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("WHARF_SANDBOX_URL"), "{}", ended.stderr);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "a refused start leaves nothing behind"
    );
}

#[tokio::test]
async fn the_simulator_is_not_linked_into_it() {
    let bytes = fs::read(production_binary()).unwrap();
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(has(b"/api/sessions"), "this is not the program");
    assert!(
        !has(b"/admin/mock-phone/scan-qr"),
        "the sandbox's control API is in the production build"
    );
}

#[tokio::test]
async fn it_runs_in_the_layout_of_the_image() {
    let image = tempfile::tempdir().unwrap();
    let app = image.path().join("app");
    for folder in [
        app.join(".sessions"),
        app.join(".media"),
        image.path().join("usr/local/bin"),
    ] {
        fs::create_dir_all(folder).unwrap();
    }
    let program = image.path().join("usr/local/bin/wharf");
    fs::copy(production_binary(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let dockerfile = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../Dockerfile")).unwrap();
    for line in [
        "WORKDIR /app",
        "USER wharf",
        "VOLUME [\"/app/.sessions\", \"/app/.media\"]",
        "EXPOSE 3000",
    ] {
        assert!(dockerfile.contains(line), "the image has no {line}");
    }
    let start = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("CMD "))
        .expect("no CMD");
    let arguments: Vec<String> = serde_json::from_str(start).unwrap();
    assert_eq!(arguments, ["serve", "--listen", "0.0.0.0"]);

    let mut command = command(&program, &app);
    // The image listens everywhere, which a test must not.
    command
        .args(["serve", "--listen", "127.0.0.1", "--port", "0"])
        .env("WAHA_API_KEY", KEY);
    let mut process = Process::start(command);
    process.line_with("wharf ").await;
    assert_eq!(process.terminate().await.0, Some(0));
    assert!(
        app.join(".sessions/webjs/wharf.sqlite3").exists(),
        "the data is in the volume"
    );
}
