//! The `policyhub` binary: run, exit code.

use std::process::ExitCode;

#[cfg(feature = "cli")]
#[tokio::main]
async fn main() -> ExitCode {
    ExitCode::from(policyhub::cli::run().await)
}

#[cfg(not(feature = "cli"))]
fn main() -> ExitCode {
    ExitCode::from(2)
}
