//! The sandbox's page in a real browser, driven by the scripts in `tests/browser`.

use std::path::Path;

use crate::support::process::{Process, address, command, run, serve_with_sandbox};
use crate::support::{KEY, TestWharf};

/// Runs a browser script; what it complains about fails the test.
pub(crate) async fn browse(script: &str, arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let mut browser = command(Path::new("node"), &root);
    browser.arg(format!("tests/browser/{script}")).args(arguments);
    let ended = run(browser).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

#[tokio::test]
async fn a_person_can_use_the_page() {
    let wharf = TestWharf::start().await;
    browse(
        "sandbox-page.mjs",
        &["--url", &format!("http://{}", wharf.sandbox_address())],
    )
    .await;
}

#[tokio::test]
async fn a_person_links_a_session_with_one_click_and_has_a_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = serve_with_sandbox(folder.path());
    serve.env("WAHA_API_KEY", KEY);
    let mut server = Process::start(serve);
    let api = address(&server.line_with("wharf ").await);
    let page = address(&server.line_with("sandbox network: ").await);
    let (page, api) = (format!("http://{page}"), format!("http://{api}"));
    let mut arguments = vec!["--url", &page, "--api", &api, "--key", KEY];
    // `WHARF_SCREENSHOTS=docs/screenshots ./dev test` renews the pictures of the documentation.
    let screenshots = std::env::var("WHARF_SCREENSHOTS").unwrap_or_default();
    if !screenshots.is_empty() {
        arguments.extend(["--screenshots", &screenshots]);
    }
    browse("first-message.mjs", &arguments).await;
    assert_eq!(server.terminate().await.0, Some(0));
}
