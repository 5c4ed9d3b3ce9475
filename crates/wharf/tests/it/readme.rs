//! The README's first message, word for word: its commands are taken out of the file and run by a shell.

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

/// The shell blocks between the two marks.
fn walk() -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let walk = readme
        .split("<!-- walk:")
        .nth(1)
        .and_then(|rest| rest.split("<!-- end of walk -->").next());
    let walk = walk.expect("the README has no walk");
    let blocks: Vec<_> = walk
        .split("```bash\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 5, "only {} blocks", blocks.len());
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

    let mut shell = with_data("bash");
    shell.args(["-euo", "pipefail", "-c", &walk()]);
    let ended = run(shell).await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
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
            let mut again = with_data("bash");
            again.args(["-c", "curl -s 'localhost:3900/hook/me?after=0&wait=1'"]);
            hooks = run(again).await.stdout.replace('\\', "");
        }
    };
    within("all events in the sandbox's inbox", wait_for_all).await;
    assert_eq!(server.terminate().await.0, Some(0));
}
