//! What a person at the terminal reads: plain lines to standard output, apart from the log on standard error.

use std::fmt::Arguments;
use std::io::Write;

/// Prints one line. A closed terminal is no reason to stop.
pub(crate) fn print(line: Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
