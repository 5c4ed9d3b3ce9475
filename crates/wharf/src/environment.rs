//! Settings: the variables of the process, and those of a `.env` file below them.
//!
//! The file is read as WAHA reads it: values may have spaces, and nothing in them is replaced, so that a `$` in a key or a
//! password is just that.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow};

/// Reads `file`, or `./.env` where there is one, and lays the process's own variables over it.
///
/// A file that was named must exist; a line that cannot be read is an error that names the line, never its content.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<BTreeMap<String, String>> {
    let path = file.unwrap_or(Path::new(".env"));
    let mut variables = if file.is_some() || path.exists() {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        parse(&text).map_err(|line| anyhow!("cannot read {}: line {line} is not NAME=value", path.display()))?
    } else {
        BTreeMap::new()
    };
    let own =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.extend(own);
    Ok(variables)
}

/// The variables of a `.env` file, or the number of the line that cannot be read. The last of two of one name holds.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut variables = BTreeMap::new();
    let mut lines = (1..).zip(text.trim_start_matches('\u{feff}').lines());
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(number)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(number);
        }
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'' | '`')) => quoted(&value[1..], quote, &mut lines).ok_or(number)?,
            _ => unquoted(value).to_owned(),
        };
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// A value behind its opening quote. It goes on until its closing quote, over as many lines as that takes.
fn quoted<'a>(start: &str, quote: char, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Option<String> {
    let mut text = start.to_owned();
    let end = loop {
        match closing(&text, quote) {
            Some(end) => break end,
            None => text.extend(["\n", lines.next()?.1]),
        }
    };
    let behind = text[end + 1..].trim_start();
    let is_whole = behind.is_empty() || behind.starts_with('#');
    is_whole.then(|| match quote {
        '"' => text[..end].replace("\\n", "\n").replace("\\\"", "\""),
        _ => text[..end].to_owned(),
    })
}

/// Where a quoted text ends. A double quote behind a backslash stands for itself.
fn closing(text: &str, quote: char) -> Option<usize> {
    let is_escaped = |at: usize| quote == '"' && text[..at].ends_with('\\');
    text.match_indices(quote).map(|(at, _)| at).find(|at| !is_escaped(*at))
}

/// A value up to the comment behind it, which needs a space before it: keys and links may have a `#` in them.
fn unquoted(value: &str) -> &str {
    let is_comment = |at: usize| at == 0 || value[..at].ends_with(char::is_whitespace);
    let comment = value.match_indices('#').find(|(at, _)| is_comment(*at));
    comment.map_or(value, |(at, _)| value[..at].trim_end())
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
    fn values_are_what_stands_there() {
        for (line, value) in [
            ("A=plain", "plain"),
            ("export A = spaced out ", "spaced out"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=pa$$word${HOME}", "pa$$word${HOME}"),
            ("A=a#b # a comment", "a#b"),
            ("A=https://a.b/?c=d&e=f#g", "https://a.b/?c=d&e=f#g"),
            (
                "A=<p>Find treasures!<br/> <a href='https://a.b'>More</a></p>",
                "<p>Find treasures!<br/> <a href='https://a.b'>More</a></p>",
            ),
            ("A='single # quoted' # a comment", "single # quoted"),
            (r#"A="two\nlines""#, "two\nlines"),
            (r#"A="say \"hi\"" # politely"#, r#"say "hi""#),
            ("A=`back`", "back"),
            ("A=\"over\ntwo lines\"", "over\ntwo lines"),
            ("A=first\r\nA=last\r\n", "last"),
            ("\u{feff}A=after a mark", "after a mark"),
        ] {
            assert_eq!(parse(line).unwrap()["A"], value, "{line}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_line_but_never_a_value() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(read(Some(&missing)).unwrap_err().to_string().contains("missing"));
        let broken = folder.path().join("broken");
        for line in [
            "SECRET='unterminated hunter2",
            "hunter2",
            "TWO WORDS=hunter2",
            "A=\"b\" hunter2",
        ] {
            std::fs::write(&broken, format!("FIRST=1\n\n{line}\n")).unwrap();
            let error = format!("{:#}", read(Some(&broken)).unwrap_err());
            assert!(
                error.contains("broken: line 3") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
