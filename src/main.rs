//! The `policyhub` binary: run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(policyhub::cli::main())
}
