//! `docs/env.md` is made from the declarations of the settings, and is true.

use std::fs;
use std::path::Path;

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/env.md");
    let current = wharf_server::config::document();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &current).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == current,
        "docs/env.md is not what the settings say; `./dev snap` writes it"
    );
}
