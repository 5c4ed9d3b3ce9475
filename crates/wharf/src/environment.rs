//! Settings: the variables of the process, and those of a `.env` file below them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};

/// Reads `file`, or `./.env` where there is one, and lays the process's own variables over it.
///
/// A file that was named must exist; a line that cannot be read is an error that names the line, never its content.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    let path = file.unwrap_or(Path::new(".env"));
    if file.is_some() || path.exists() {
        let entries = dotenvy::from_path_iter(path).map_err(|error| match error {
            // Its own text would say the cause twice.
            dotenvy::Error::Io(cause) => anyhow::Error::new(cause),
            other => other.into(),
        });
        let entries = entries.with_context(|| format!("cannot read {}", path.display()))?;
        for (index, entry) in entries.enumerate() {
            let Ok((name, value)) = entry else {
                bail!(
                    "cannot read {}: setting {} is not of the form NAME=value",
                    path.display(),
                    index + 1
                );
            };
            variables.insert(name, value);
        }
    }
    let own =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.extend(own);
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_the_environment_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings");
        std::fs::write(&path, "WAHA_API_KEY=from-file\nPATH=nowhere\n# comment\n").unwrap();
        let variables = read(Some(&path)).unwrap();
        assert_eq!(variables["WAHA_API_KEY"], "from-file");
        assert_eq!(variables["PATH"], std::env::var("PATH").unwrap());
    }

    #[test]
    fn errors_name_the_file_but_never_a_value() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(read(Some(&missing)).unwrap_err().to_string().contains("missing"));
        let broken = folder.path().join("broken");
        std::fs::write(&broken, "SECRET='unterminated hunter2\n").unwrap();
        let error = format!("{:#}", read(Some(&broken)).unwrap_err());
        assert!(error.contains("setting 1") && !error.contains("hunter2"), "{error}");
    }
}
