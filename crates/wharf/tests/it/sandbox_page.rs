//! The sandbox's page in a real browser; `tests/browser/sandbox-page.mjs` drives it.

use std::path::Path;

use crate::support::TestWharf;
use crate::support::process::{command, run};

#[tokio::test]
async fn a_person_can_use_the_page() {
    let wharf = TestWharf::start().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let mut browser = command(Path::new("node"), &root);
    browser.args([
        "tests/browser/sandbox-page.mjs",
        "--url",
        &format!("http://{}", wharf.sandbox_address()),
    ]);
    let ended = run(browser).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}
