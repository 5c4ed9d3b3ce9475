//! The house rules that no compiler checks: headers, sizes, forbidden imports, words that must not appear.

use std::fs;
use std::path::{Path, PathBuf};

/// Longer files are split.
const FILE_LINES_MAX: usize = 700;
/// The architecture page is read in one sitting or not at all.
const ARCHITECTURE_LINES_MAX: usize = 300;

struct Source {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Every file below `folder` with this extension, except what is built or downloaded.
fn sources(folder: &str, extension: &str) -> Vec<Source> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["target", "node_modules"].contains(&name.as_str()) && !name.starts_with('.') {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(Source {
                    text: fs::read_to_string(&path).unwrap(),
                    path,
                });
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), extension, &mut found);
    assert!(!found.is_empty(), "there are no .{extension} files in {folder}");
    found
}

fn fail_on(what: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let without = sources("crates", "rs")
        .into_iter()
        .filter(|it| !it.text.starts_with("//!"));
    fail_on(
        "files without a //! header",
        without.map(|it| it.path.display().to_string()).collect(),
    );
}

#[test]
fn no_file_is_too_long() {
    let mut files = sources("crates", "rs");
    files.extend(sources("tests", "mjs"));
    files.extend(sources("crates", "js"));
    let long = files.into_iter().filter(|it| it.text.lines().count() > FILE_LINES_MAX);
    fail_on(
        "files to split",
        long.map(|it| format!("{} {}", it.text.lines().count(), it.path.display()))
            .collect(),
    );
}

#[test]
fn crates_keep_to_their_side() {
    let rules: &[(&str, &[&str])] = &[
        (
            "core",
            &[
                "whatsapp_rust",
                "wacore",
                "rusqlite",
                "axum",
                "wharf_engine",
                "wharf_storage",
                "wharf_server",
            ],
        ),
        (
            "storage",
            &["whatsapp_rust", "wacore", "axum", "wharf_engine", "wharf_server"],
        ),
        (
            "server",
            &["whatsapp_rust", "wacore", "waproto", "rusqlite", "wharf_engine"],
        ),
        (
            "simulator",
            &[
                "whatsapp_rust",
                "wharf_core",
                "wharf_engine",
                "wharf_server",
                "wharf_storage",
            ],
        ),
        ("engine", &["axum", "rusqlite", "wharf_server"]),
        ("bench", &["whatsapp_rust", "wacore", "wharf_"]),
    ];
    let mut findings = Vec::new();
    for (name, forbidden) in rules {
        for source in sources(&format!("crates/{name}/src"), "rs") {
            let lines = (1..).zip(source.text.lines());
            for (number, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
                let paths = line.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | ':'));
                let named = paths.filter_map(|path| path.split_once("::")).map(|(first, _)| first);
                let bad = named.filter(|name| forbidden.iter().any(|word| name.starts_with(word)));
                findings.extend(bad.map(|name| format!("{}:{number}: {name}", source.path.display())));
            }
        }
    }
    fail_on("imports that the architecture forbids", findings);
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [
        concat!("todo", "!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    let mut findings = Vec::new();
    for source in sources("crates", "rs") {
        for mark in marks.iter().filter(|mark| source.text.contains(**mark)) {
            findings.push(format!("{}: {mark}", source.path.display()));
        }
        let todo = concat!("TO", "DO");
        let bare = source
            .text
            .lines()
            .filter(|line| line.contains(todo) && !line.contains(&format!("{todo}(#")));
        findings.extend(bare.map(|line| format!("{}: {}", source.path.display(), line.trim())));
    }
    fail_on("unfinished marks", findings);
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    let allow = concat!("#[al", "low(");
    let allows = sources("crates", "rs").into_iter().filter(|it| it.text.contains(allow));
    fail_on(
        "files with an allow attribute",
        allows.map(|it| it.path.display().to_string()).collect(),
    );
}

#[test]
fn the_architecture_page_stays_short() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(
        text.lines().count() <= ARCHITECTURE_LINES_MAX,
        "{} lines",
        text.lines().count()
    );
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut documents = sources("docs", "md");
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let path = root().join(name);
        documents.push(Source {
            text: fs::read_to_string(&path).unwrap(),
            path,
        });
    }
    let mut findings = Vec::new();
    for document in documents {
        let folder = document.path.parent().unwrap();
        for link in document
            .text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                findings.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    fail_on("broken links", findings);
}
