//! The README's first message and the sandbox's passkey, word for word: their commands are taken out of the files and run by
//! a shell.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::net::TcpStream;

use crate::support::process::{Process, command, run};
use crate::support::within;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The shell blocks between the two marks of a document, of which there must be this many.
fn walk(document: &str, blocks_min: usize) -> String {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let walk = text
        .split("<!-- walk:")
        .nth(1)
        .and_then(|rest| rest.split("<!-- end of walk -->").next());
    let walk = walk.unwrap_or_else(|| panic!("{document} has no walk"));
    let blocks: Vec<_> = walk
        .split("```bash\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= blocks_min, "only {} blocks in {document}", blocks.len());
    blocks.concat()
}

#[tokio::test]
async fn the_first_message_works_as_the_readme_says() {
    for port in [3000, 3900, 3901] {
        let taken = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        assert!(
            !taken,
            "the walk of the README needs port {port}, which another program uses"
        );
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.contains("\n./dev run\n"),
        "the README does not start with ./dev run"
    );
    let data = tempfile::tempdir().unwrap();
    let with_data = |program: &str| {
        let mut command = command(Path::new(program), &root());
        command.env("WAHA_LOCAL_STORE_BASE_DIR", data.path());
        command
    };
    let mut serve = with_data("./dev");
    serve.arg("run");
    let mut server = Process::start(serve);
    server.line_with("The API's documentation").await;

    let in_shell = async |commands: &str| {
        let mut shell = with_data("bash");
        shell.args(["-euo", "pipefail", "-c", commands]);
        let ended = run(shell).await;
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended
    };
    let ended = in_shell(&walk("README.md", 5)).await;
    let hooks = ended.stdout.lines().last().unwrap().to_owned();
    let wait_for_all = async {
        let mut hooks = hooks;
        loop {
            let wanted = [
                "session.status",
                "message.any",
                "message.ack",
                "\"message\"",
                "SERVER",
                "DEVICE",
                "READ",
                "Hi there!",
            ];
            if wanted.iter().all(|word| hooks.contains(word)) {
                return;
            }
            let again = in_shell("curl -s 'localhost:3900/hook/me?after=0&wait=1'").await;
            hooks = again.stdout.replace('\\', "");
        }
    };
    within("all events in the sandbox's inbox", wait_for_all).await;

    in_shell(&walk("docs/sandbox.md", 1)).await;
    let is_linked = r#"eval "$(./dev env)"; curl -fsS localhost:3000/api/sessions/carol -H "X-Api-Key: $KEY""#;
    let linked = async { while !in_shell(is_linked).await.stdout.contains("\"WORKING\"") {} };
    within("the session with a passkey to be linked", linked).await;
    assert_eq!(server.terminate().await.0, Some(0));
}
