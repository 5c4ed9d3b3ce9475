//! The `wharf` program. Everything it does is in the library beside it, so that tests can call the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    wharf_cli::main()
}
