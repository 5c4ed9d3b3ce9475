//! How long a start takes until the first answer, and what memory the program then holds.

use tokio::time::Instant;

use super::{float, millis};
use crate::api::KEY;
use crate::bench::Bench;
use crate::cli::Sizes;
use crate::process::Program;
use crate::report::Figure;

const FIRST_ANSWER_MS_MAX: f64 = 100.0;
const AT_REST_MIB_MAX: f64 = 25.0;

/// Starts the program again and again, each time in an empty folder.
pub(crate) async fn run(bench: &mut Bench, sizes: &Sizes) -> anyhow::Result<()> {
    let (program, settings, build) = match &bench.production {
        Some(program) => (program.clone(), vec![("WAHA_API_KEY", KEY)], "production build"),
        // It starts only with a network; there is none at this address, and without a session nobody dials it.
        None => (
            bench.sandbox.clone(),
            vec![("WAHA_API_KEY", KEY), ("WHARF_SANDBOX_URL", "ws://127.0.0.1:9/ws/chat")],
            "sandbox build",
        ),
    };
    let (mut answers, mut resident, mut anonymous) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sizes.starts {
        let folder = bench.folder()?;
        let begin = Instant::now();
        let server = Program::start(&program, folder.path(), &["serve", "--port", "0"], &settings).await?;
        bench.api(&server.address).ping().await?;
        answers.push(millis(begin.elapsed()));
        server.rest().await?;
        let memory = server.memory()?;
        resident.push(float(memory.resident_kib) / 1024.0);
        anonymous.push(float(memory.anonymous_kib) / 1024.0);
        server.stop().await?;
    }
    bench.note(Figure::new(format!("start to first answer, {build}"), "ms", answers).at_most(FIRST_ANSWER_MS_MAX));
    bench.note(Figure::new(format!("memory at rest, {build}"), "MiB", resident).at_most(AT_REST_MIB_MAX));
    bench.note(Figure::new(
        "memory at rest, of it not the program's file",
        "MiB",
        anonymous,
    ));
    Ok(())
}
