//! Runs the benchmark as small as it goes, on a build that is not optimised: it must not rot, its figures do not matter.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The smallest sizes that still measure everything.
const SIZES: &[&str] = &[
    "--sessions=1",
    "--sends=3",
    "--receiving=2",
    "--chats=2",
    "--texts=2",
    "--waiting=2",
    "--starts=1",
    "--rounds=1",
    "--idle-seconds=0",
];

#[test]
fn every_scenario_measures_something() {
    let bench = Path::new(env!("CARGO_BIN_EXE_wharf-bench"));
    let program = bench.with_file_name("wharf");
    assert!(
        program.exists(),
        "the program is missing: cargo build --bin wharf --features wharf/sandbox"
    );
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(bench);
    command
        .args(SIZES)
        .arg("--sandbox")
        .arg(program)
        .arg("--out")
        .arg(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let table = String::from_utf8(output.stdout).unwrap();
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let figures = report["figures"].as_array().unwrap();
    for scenario in [
        "start",
        "sends",
        "inbound",
        "backlog",
        "pairing",
        "memory",
        "stop",
        "cut sockets",
    ] {
        let of_scenario = |figure: &&Value| figure["what"].as_str().unwrap().starts_with(scenario);
        assert!(figures.iter().any(|figure| of_scenario(&figure)), "{scenario}: {table}");
    }
    for figure in figures {
        assert!(table.contains(figure["what"].as_str().unwrap()), "{figure}");
        let samples = figure["samples"].as_array().unwrap();
        assert!(!samples.is_empty(), "{figure}");
        // Nothing but CPU time, which is counted in ticks, can be less than can be measured.
        let may_be_zero = figure["what"].as_str().unwrap().contains("CPU");
        let is_sound = |sample: &Value| sample.as_f64().is_some_and(|value| value > 0.0 || may_be_zero);
        assert!(samples.iter().all(is_sound), "{figure}");
    }
}
