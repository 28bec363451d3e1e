//! The `policyhub` binary: run, exit code.

use std::process::ExitCode;

#[cfg(feature = "cli")]
fn main() -> ExitCode {
    ExitCode::from(policyhub::cli::main())
}

#[cfg(not(feature = "cli"))]
fn main() -> ExitCode {
    ExitCode::from(2)
}
