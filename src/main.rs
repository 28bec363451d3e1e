//! The `policyhub` binary: parse, run, exit code.

use std::process::ExitCode;

#[cfg(feature = "cli")]
#[tokio::main]
async fn main() -> ExitCode {
    use clap::Parser as _;
    ExitCode::from(policyhub::cli::run(policyhub::cli::Cli::parse()).await)
}

#[cfg(not(feature = "cli"))]
fn main() -> ExitCode {
    ExitCode::from(2)
}
